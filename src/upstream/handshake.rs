//! Handshakes with an upstream: `initialize` and `server/discover`, in the name of the node or of one
//! client.

use serde_json::value::RawValue;

use crate::mcp::{Caller, Era, LEGACY_LATEST, ListKind, MODERN_LATEST, RawObject, Version, raw};

use super::catalog_store::ServerDescription;

/// Our own name towards upstreams.
fn client_info() -> Box<RawValue> {
    raw(&serde_json::json!({ "name": "erlmcp-node", "version": env!("CARGO_PKG_VERSION") }))
}

/// Params of `initialize` for a conversation that several clients share: whatever a client may be asked is
/// declared, and a client that has not declared it answers with an error.
pub(super) fn initialize_for_all() -> RawObject {
    let capabilities = serde_json::json!({
        "elicitation": { "form": {}, "url": {} },
        "sampling": {},
        "roots": {},
    });
    initialize(LEGACY_LATEST.as_str(), raw(&capabilities), client_info())
}

/// Params of `initialize` for a conversation of our own: nobody can be asked.
pub(super) fn initialize_for_us() -> RawObject {
    initialize(LEGACY_LATEST.as_str(), raw(&serde_json::json!({})), client_info())
}

/// Params of `initialize` as this client sent them to us.
pub(super) fn initialize_for(caller: &Caller) -> RawObject {
    let info = caller.client_info.as_ref().map_or_else(client_info, |info| (**info).to_owned());
    initialize(caller.version.as_str(), caller.capabilities.to_raw(), info)
}

fn initialize(version: &str, capabilities: Box<RawValue>, info: Box<RawValue>) -> RawObject {
    let mut params = RawObject::new();
    params.set("protocolVersion", raw(version));
    params.set("capabilities", capabilities);
    params.set("clientInfo", info);
    params
}

/// Reads the result of `initialize`: what is offered and the revision agreed on.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_initialized(result: &RawValue) -> Result<(ServerDescription, Version), String> {
    let members = RawObject::parse(result.get()).map_err(|error| format!("initialize: {error}"))?;
    let text = members.text("protocolVersion").unwrap_or_default();
    let version = Version::known(&text).filter(|version| version.era() == Era::Legacy);
    let version = version.ok_or_else(|| format!("initialize: it answers with revision {text:?}"))?;
    Ok((ServerDescription::read(result)?, version))
}

/// `_meta` of our own modern requests.
pub(super) fn own_meta() -> Box<RawValue> {
    raw(&serde_json::json!({
        "io.modelcontextprotocol/protocolVersion": MODERN_LATEST.as_str(),
        "io.modelcontextprotocol/clientInfo": { "name": "erlmcp-node", "version": env!("CARGO_PKG_VERSION") },
        "io.modelcontextprotocol/clientCapabilities": {},
    }))
}

/// The same params as a modern request of our own.
pub(super) fn with_own_meta(mut params: RawObject) -> RawObject {
    params.set("_meta", own_meta());
    params
}

/// Reads the result of `server/discover`.
///
/// # Errors
/// What is wrong with it, or that it speaks no modern revision of ours.
pub(super) fn read_discovered(result: &RawValue) -> Result<ServerDescription, String> {
    let members = RawObject::parse(result.get()).map_err(|error| format!("server/discover: {error}"))?;
    let versions: Vec<String> = members
        .read("supportedVersions")
        .map_err(|error| format!("server/discover: supportedVersions: {error}"))?
        .unwrap_or_default();
    if !versions.iter().any(|version| Version::all(Era::Modern).contains(&version.as_str())) {
        return Err(format!("server/discover: it speaks {versions:?} only"));
    }
    ServerDescription::read(result)
}

/// The filter of `subscriptions/listen` for what `greeting` can announce and the resources `uris`; `None` if
/// that is nothing.
pub(super) fn listen_params(description: &ServerDescription, uris: &[String]) -> Option<RawObject> {
    let mut filter = RawObject::new();
    for kind in ListKind::ALL {
        let member =
            description.offers.get(kind.capability()).and_then(|value| RawObject::parse(value.get()).ok());
        if member.and_then(|member| member.read("listChanged").ok().flatten()) == Some(true) {
            filter.set(kind.filter(), raw(&true));
        }
    }
    if !uris.is_empty() {
        filter.set("resourceSubscriptions", raw(uris));
    }
    if filter.is_empty() {
        return None;
    }
    let mut params = RawObject::new();
    params.set("notifications", filter.to_raw());
    Some(with_own_meta(params))
}
