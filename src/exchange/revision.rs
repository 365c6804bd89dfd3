//! Which revision a message is of. The body decides; a header may only agree.
//!
//! A revision that is named but wrong is an error, never a silent fallback to another era.

use crate::mcp::{Era, MODERN_LATEST, Message, Meta, Method, RpcError, Version, code};

use super::Rejected;

/// Revision that a message is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// It says so itself.
    Modern(Version),
    /// It belongs to a session, or opens one.
    Legacy,
}

impl Revision {
    /// Its era.
    #[must_use]
    pub fn era(self) -> Era {
        match self {
            Revision::Modern(_) => Era::Modern,
            Revision::Legacy => Era::Legacy,
        }
    }
}

/// `MCP-Protocol-Version`, on transports that have headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionHeader<'a> {
    /// This transport has no headers.
    NoSuchThing,
    /// It was not sent.
    Missing,
    /// This was sent.
    Is(&'a str),
}

/// Finds the era of `message`.
///
/// # Errors
/// -32602, -32020 or -32022 under 400, with the request's id.
pub fn detect_revision(message: &Message, header: VersionHeader<'_>) -> Result<Revision, Rejected> {
    match message {
        Message::Request(request) => {
            let claimed = request.meta.protocol_version.as_deref();
            let opens = request.method == Method::Initialize;
            of_request(claimed, opens, header).map_err(|fault| Rejected::of(&request.id, fault))
        }
        Message::Notification(notification) => {
            let claimed = Meta::read(&notification.params)?.protocol_version;
            Ok(of_other(claimed.as_deref(), header)?)
        }
        Message::Response(_) => match of_other(None, header)? {
            Revision::Legacy => Ok(Revision::Legacy),
            Revision::Modern(_) => {
                Err(RpcError::invalid_request("no requests were sent to this client").into())
            }
        },
    }
}

fn of_request(claimed: Option<&str>, opens: bool, header: VersionHeader<'_>) -> Result<Revision, RpcError> {
    let Some(claimed) = claimed else {
        return match header {
            _ if opens => Ok(Revision::Legacy),
            VersionHeader::Is(version) => match parse_revision(version)?.era() {
                Era::Legacy => Ok(Revision::Legacy),
                Era::Modern => Err(missing("protocolVersion")),
            },
            VersionHeader::Missing | VersionHeader::NoSuchThing => Ok(Revision::Legacy),
        };
    };
    match header {
        VersionHeader::Is(header) if header != claimed => {
            return Err(mismatch(&format!("MCP-Protocol-Version is {header:?}, the body says {claimed:?}")));
        }
        VersionHeader::Missing if Version::known(claimed).is_none_or(|v| v.era() == Era::Modern) => {
            return Err(mismatch("MCP-Protocol-Version is missing"));
        }
        _ => {}
    }
    let version = parse_revision(claimed)?;
    Ok(if version.era() == Era::Modern { Revision::Modern(version) } else { Revision::Legacy })
}

fn of_other(claimed: Option<&str>, header: VersionHeader<'_>) -> Result<Revision, RpcError> {
    let version = match (claimed, header) {
        (Some(claimed), VersionHeader::Is(header)) if claimed != header => {
            return Err(mismatch(&format!("MCP-Protocol-Version is {header:?}, the body says {claimed:?}")));
        }
        (Some(version), _) | (None, VersionHeader::Is(version)) => parse_revision(version)?,
        (None, VersionHeader::Missing | VersionHeader::NoSuchThing) => return Ok(Revision::Legacy),
    };
    Ok(if version.era() == Era::Modern { Revision::Modern(version) } else { Revision::Legacy })
}

/// -32602 under 400: a modern request lacks a member of `_meta`.
pub(super) fn missing(member: &str) -> RpcError {
    let text = format!("params._meta[\"io.modelcontextprotocol/{member}\"] is required by {MODERN_LATEST}");
    RpcError::invalid_params(text).with_status(400)
}

fn mismatch(why: &str) -> RpcError {
    RpcError::new(code::HEADER_MISMATCH, format!("header mismatch: {why}")).with_status(400)
}

/// The revision that `version` names.
///
/// # Errors
/// -32022 under 400 with what is spoken here, if that is not.
pub fn parse_revision(version: &str) -> Result<Version, RpcError> {
    Version::known(version).ok_or_else(|| {
        let data = serde_json::json!({ "supported": Version::all(Era::Modern), "requested": version });
        let text = format!("protocol version {version:?} is not spoken here");
        RpcError::new(code::VERSION_UNSUPPORTED, text).with_data(&data).with_status(400)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::parse;

    fn of(body: &str, header: VersionHeader<'_>) -> Result<Revision, i64> {
        detect_revision(&parse(body.as_bytes()).unwrap(), header).map_err(|refused| {
            assert_eq!(refused.fault.status, 400);
            refused.fault.code
        })
    }

    const MODERN: Result<Revision, i64> = Ok(Revision::Modern(MODERN_LATEST));
    const LEGACY: Result<Revision, i64> = Ok(Revision::Legacy);
    const NOW: VersionHeader<'static> = VersionHeader::Is("2026-07-28");
    const OLD: VersionHeader<'static> = VersionHeader::Is("2025-06-18");
    const NEVER: VersionHeader<'static> = VersionHeader::Is("v999.0.0");

    fn request(method: &str, claimed: Option<&str>) -> String {
        let meta = claimed.map(|v| format!(r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"{v}"}}"#));
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{}}}}}"#, meta.unwrap_or_default())
    }

    #[test]
    fn the_body_decides_and_the_header_may_only_agree() {
        let modern = request("tools/list", Some("2026-07-28"));
        assert_eq!(of(&modern, NOW), MODERN);
        assert_eq!(of(&modern, VersionHeader::NoSuchThing), MODERN);
        assert_eq!(of(&modern, VersionHeader::Missing), Err(-32020));
        assert_eq!(of(&modern, OLD), Err(-32020));
        let legacy = request("tools/list", Some("2025-11-25"));
        assert_eq!(of(&legacy, VersionHeader::Missing), LEGACY);
        assert_eq!(of(&legacy, NOW), Err(-32020));
    }

    #[test]
    fn no_claim_is_legacy_unless_the_header_says_modern() {
        let plain = request("tools/list", None);
        assert_eq!(of(&plain, VersionHeader::Missing), LEGACY);
        assert_eq!(of(&plain, OLD), LEGACY);
        assert_eq!(of(&plain, NOW), Err(-32602));
        assert_eq!(of(&plain, NEVER), Err(-32022));
    }

    #[test]
    fn initialize_is_legacy_whatever_the_header_but_not_against_its_own_claim() {
        assert_eq!(of(&request("initialize", None), NOW), LEGACY);
        assert_eq!(of(&request("initialize", Some("2026-07-28")), NOW), MODERN);
    }

    #[test]
    fn an_unknown_version_is_refused_with_what_is_spoken() {
        let unknown = request("server/discover", Some("v999.0.0"));
        assert_eq!(of(&unknown, NEVER), Err(-32022));
        assert_eq!(of(&unknown, NOW), Err(-32020));
        let refused = detect_revision(&parse(unknown.as_bytes()).unwrap(), NEVER).unwrap_err();
        let data = refused.fault.data.unwrap();
        assert_eq!(data.get(), r#"{"requested":"v999.0.0","supported":["2026-07-28"]}"#);
    }

    #[test]
    fn notifications_and_responses_go_by_the_header() {
        let notification = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
        assert_eq!(of(notification, VersionHeader::Missing), LEGACY);
        assert_eq!(of(notification, NOW), MODERN);
        assert_eq!(of(notification, NEVER), Err(-32022));
        let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        assert_eq!(of(response, OLD), LEGACY);
        assert_eq!(of(response, NOW), Err(-32600));
    }
}
