//! Protocol errors: what a client gets in `error` when its message cannot be served.
//!
//! A fault is the answer to one request. "No" for reasons of load is a refusal, and a failure of ours is an
//! error; both end as a fault only at the edge.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Era, raw};

/// The codes used here, by name.
pub mod code {
    /// The text is not JSON.
    pub const PARSE: i64 = -32700;
    /// JSON, but no JSON-RPC message that fits here.
    pub const INVALID_REQUEST: i64 = -32600;
    /// Unknown, removed, or not offered.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// Parameters missing or of the wrong shape.
    pub const INVALID_PARAMS: i64 = -32602;
    /// We failed.
    pub const INTERNAL: i64 = -32603;
    /// Legacy: no such resource.
    pub const RESOURCE_NOT_FOUND_LEGACY: i64 = -32002;
    /// Modern: a required header is missing or differs from the body.
    pub const HEADER_MISMATCH: i64 = -32020;
    /// Modern: the client has not declared a capability that the request needs.
    pub const CAPABILITY_MISSING: i64 = -32021;
    /// Modern: this revision is not spoken here.
    pub const VERSION_UNSUPPORTED: i64 = -32022;
    /// Legacy: no session of that id.
    pub const SESSION_NOT_FOUND: i64 = -32001;
}

/// One JSON-RPC error with the HTTP status that goes with it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// The JSON-RPC code.
    pub code: i64,
    /// One line for a person.
    pub message: String,
    /// `error.data`, raw.
    pub data: Option<Box<RawValue>>,
    /// Status of an HTTP answer that holds only this fault.
    pub status: u16,
}

impl RpcError {
    /// A fault that HTTP answers with 200, as JSON-RPC over HTTP does for errors of the method itself.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> RpcError {
        RpcError { code, message: message.into(), data: None, status: 200 }
    }

    /// The same fault under another HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> RpcError {
        self.status = status;
        self
    }

    /// The same fault with `error.data`.
    #[must_use]
    pub fn with_data<T: Serialize + ?Sized>(mut self, data: &T) -> RpcError {
        self.data = Some(raw(data));
        self
    }

    /// -32700 under 400.
    #[must_use]
    pub fn parse(why: impl Into<String>) -> RpcError {
        RpcError::new(code::PARSE, format!("parse error: {}", why.into())).with_status(400)
    }

    /// -32600 under 400.
    #[must_use]
    pub fn invalid_request(why: impl Into<String>) -> RpcError {
        RpcError::new(code::INVALID_REQUEST, why).with_status(400)
    }

    /// -32601; modern answers it with 404, legacy with 200.
    #[must_use]
    pub fn method_not_found(era: Era, method: &str) -> RpcError {
        let status = if era == Era::Modern { 404 } else { 200 };
        RpcError::new(code::METHOD_NOT_FOUND, format!("method not found: {method}")).with_status(status)
    }

    /// -32602 under 200.
    #[must_use]
    pub fn invalid_params(why: impl Into<String>) -> RpcError {
        RpcError::new(code::INVALID_PARAMS, why)
    }

    /// -32603 under 200.
    #[must_use]
    pub fn internal(why: impl Into<String>) -> RpcError {
        RpcError::new(code::INTERNAL, why)
    }

    /// No such resource: -32002 (legacy) or -32602 (modern), `data.uri` in both.
    #[must_use]
    pub fn resource_not_found(era: Era, uri: &str) -> RpcError {
        let code = match era {
            Era::Legacy => code::RESOURCE_NOT_FOUND_LEGACY,
            Era::Modern => code::INVALID_PARAMS,
        };
        RpcError::new(code, format!("resource not found: {uri}"))
            .with_data(&serde_json::json!({ "uri": uri }))
    }

    /// -32021 under 400: the client has to declare `required` (an object like its capabilities).
    #[must_use]
    pub fn capability_missing(required: &serde_json::Value) -> RpcError {
        RpcError::new(
            code::CAPABILITY_MISSING,
            "the request needs a capability that the client did not declare",
        )
        .with_data(&serde_json::json!({ "requiredCapabilities": required }))
        .with_status(400)
    }
}
