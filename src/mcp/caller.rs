//! Sender of a request, as far as the one who serves it needs to know.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::{Era, LogLevel, RawObject, RpcError, Version};

/// The principal of clients without credentials: many people at once.
pub const ANONYMOUS: &str = "anonymous";

/// The sender of one request.
#[derive(Clone)]
pub struct Caller {
    /// Revision that the request is served under.
    pub version: Version,
    /// Name from credentials; `anonymous` without.
    pub principal: Arc<str>,
    /// Address that the client's share of places counts for: its own, or the first of its IPv6 /64.
    pub address: IpAddr,
    /// Questions that the client takes.
    pub capabilities: Arc<ClientCapabilities>,
    /// `clientInfo`, raw, where the client sent it.
    pub client_info: Option<Arc<RawValue>>,
    /// Least severe log message wanted; `None`: none at all.
    pub log_level: Option<LogLevel>,
    /// The legacy session the request belongs to; `None` in the modern era.
    pub session: Option<Arc<dyn SessionPort>>,
}

impl Caller {
    /// The era of [`Caller::version`].
    #[must_use]
    pub fn era(&self) -> Era {
        self.version.era()
    }
}

/// Port of a legacy session, for a server that has more to say than answers to its requests.
pub trait SessionPort: Send + Sync {
    /// The session's id: unique in the cluster.
    fn key(&self) -> &str;
    /// Sends a message on the session's own stream (GET), kept for replay if none is open. Never waits; the
    /// oldest goes when it is full.
    fn push(&self, message: Bytes);
    /// Cancelled when the session ends.
    fn ended(&self) -> CancellationToken;
    /// The level set by `logging/setLevel`; `None` if it was never set.
    fn log_level(&self) -> Option<LogLevel>;
}

/// The client's declared capabilities.
#[derive(Clone, Debug, Default)]
pub struct ClientCapabilities {
    members: RawObject,
}

impl ClientCapabilities {
    /// Reads the object that the client sent in `initialize` or `_meta`.
    ///
    /// # Errors
    /// -32602 if it is no object.
    pub fn read(value: &RawValue) -> Result<ClientCapabilities, RpcError> {
        RawObject::parse(value.get()).map(|members| ClientCapabilities { members }).map_err(|error| {
            RpcError::invalid_params(format!("client capabilities: {error}")).with_status(400)
        })
    }

    /// Whether `name` is declared: `elicitation`, `sampling`, `roots`, ...
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| value.get() != "null")
    }

    /// Whether `name` has the member `member`: `elicitation` has `url`, `roots` has `listChanged`, ...
    #[must_use]
    pub fn has_under(&self, name: &str, member: &str) -> bool {
        let members = self.members.get(name).map(|value| RawObject::parse(value.get()));
        matches!(members, Some(Ok(members)) if members.get(member).is_some_and(|value| value.get() != "null"))
    }

    /// Whether `extensions[name]` is declared.
    #[must_use]
    pub fn has_extension(&self, name: &str) -> bool {
        let extensions = self.members.get("extensions").map(|value| RawObject::parse(value.get()));
        matches!(extensions, Some(Ok(extensions)) if extensions.get(name).is_some())
    }

    /// All of it, raw.
    #[must_use]
    pub fn to_raw(&self) -> Box<RawValue> {
        self.members.to_raw()
    }
}
