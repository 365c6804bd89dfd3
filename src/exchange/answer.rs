//! Response of a request, encoded.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::mcp::{Id, RpcError, encode_error, encode_error_without_id, encode_result};
use crate::refusal::Refusal;

/// The last message of a request, encoded.
#[derive(Clone, Debug)]
pub struct EncodedResponse {
    /// The JSON-RPC response.
    pub body: Bytes,
    /// The HTTP status, where it is all that is sent.
    pub status: u16,
    /// Whether it is an error.
    pub is_fault: bool,
}

impl EncodedResponse {
    pub(super) fn result(id: &Id, result: &RawValue) -> EncodedResponse {
        EncodedResponse { body: encode_result(id, result), status: 200, is_fault: false }
    }

    pub(super) fn fault(id: &Id, fault: &RpcError) -> EncodedResponse {
        EncodedResponse { body: encode_error(id, fault), status: fault.status, is_fault: true }
    }
}

/// A message that is not served: why, and the id to say so under.
#[derive(Debug)]
pub struct Rejected {
    /// The request's id where it could be read.
    pub id: Option<Id>,
    /// Why.
    pub fault: RpcError,
}

impl Rejected {
    /// About the request `id`.
    #[must_use]
    pub fn of(id: &Id, fault: RpcError) -> Rejected {
        Rejected { id: Some(id.clone()), fault }
    }

    /// A short name of the reason, for counters.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match (Refusal::by_code(self.fault.code), self.fault.status) {
            (Some(refusal), _) => refusal.name(),
            (None, 400) => "bad_request",
            (None, 404) => "not_found",
            (None, 406) => "not_acceptable",
            (None, 408) => "body_incomplete",
            (None, 413) => "body_too_long",
            (None, 415) => "unsupported_media_type",
            (None, _) => "other",
        }
    }

    /// The answer.
    #[must_use]
    pub fn outcome(&self) -> EncodedResponse {
        let body = match &self.id {
            Some(id) => encode_error(id, &self.fault),
            None => encode_error_without_id(&self.fault),
        };
        EncodedResponse { body, status: self.fault.status, is_fault: true }
    }
}

impl From<RpcError> for Rejected {
    fn from(fault: RpcError) -> Rejected {
        Rejected { id: None, fault }
    }
}

impl From<(Option<Id>, RpcError)> for Rejected {
    fn from((id, fault): (Option<Id>, RpcError)) -> Rejected {
        Rejected { id, fault }
    }
}

/// A refusal as the fault that says it.
pub(super) fn refused(refusal: Refusal) -> RpcError {
    RpcError::new(refusal.code(), refusal.to_string()).with_status(refusal.status())
}
