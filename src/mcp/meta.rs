//! `params._meta`, as far as the node reads it.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{RawObject, RpcError};

/// Severity of a log message, in the protocol's words (RFC 5424).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
#[allow(missing_docs, reason = "the words are the protocol's own")]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

/// Metadata of a request. Unknown members stay in [`Request::params`](super::Request).
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// `io.modelcontextprotocol/protocolVersion`: present means that the request claims an era.
    pub protocol_version: Option<String>,
    /// `io.modelcontextprotocol/clientCapabilities`, raw (modern).
    pub client_capabilities: Option<Box<RawValue>>,
    /// `io.modelcontextprotocol/clientInfo`, raw (modern).
    pub client_info: Option<Box<RawValue>>,
    /// `io.modelcontextprotocol/logLevel` (modern): no logs are sent without it.
    pub log_level: Option<LogLevel>,
    /// `progressToken`, raw: a string or a number.
    pub progress_token: Option<Box<RawValue>>,
    /// `traceparent` (W3C Trace Context).
    pub traceparent: Option<String>,
}

const PREFIX: &str = "io.modelcontextprotocol/";

impl Meta {
    /// Reads `_meta` out of `params`; absent is fine, another shape is not.
    ///
    /// # Errors
    /// -32602 under 400 that names the member.
    pub fn read(params: &RawObject) -> Result<Meta, RpcError> {
        let Some(value) = params.get("_meta") else { return Ok(Meta::default()) };
        let bad = |what: &str, error: serde_json::Error| {
            RpcError::invalid_params(format!("params._meta{what}: {error}")).with_status(400)
        };
        let members = RawObject::parse(value.get()).map_err(|error| bad("", error))?;
        let own = |name: &str| members.get(&format!("{PREFIX}{name}")).map(ToOwned::to_owned);
        let text = |value: Option<Box<RawValue>>, what: &str| match value {
            Some(value) => serde_json::from_str(value.get()).map(Some).map_err(|error| bad(what, error)),
            None => Ok(None),
        };
        let log_level = match own("logLevel") {
            Some(value) => Some(serde_json::from_str(value.get()).map_err(|e| bad(".logLevel", e))?),
            None => None,
        };
        Ok(Meta {
            protocol_version: text(own("protocolVersion"), ".protocolVersion")?,
            client_capabilities: own("clientCapabilities"),
            client_info: own("clientInfo"),
            log_level,
            progress_token: members.get("progressToken").map(ToOwned::to_owned),
            traceparent: members.text("traceparent"),
        })
    }
}
