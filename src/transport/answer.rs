//! Answers that are not streams.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, Version, header};

use crate::exchange::{EncodedResponse, Rejected};
use crate::mcp::RpcError;
use crate::refusal::Refusal;

/// The header that names a legacy session.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON-RPC response as the whole answer. `jitter` spreads the time after which refused clients return.
pub(super) fn json(outcome: EncodedResponse, jitter: u64) -> Response {
    let mut response = Response::new(Body::from(outcome.body));
    *response.status_mut() =
        StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    if outcome.status == 503 || outcome.status == 429 {
        let retry_after_s = Refusal::ConnectionsFull.retry_after_s(jitter);
        response.headers_mut().insert(header::RETRY_AFTER, retry_after_s.into());
    }
    response
}

/// A fault without the id of any request.
pub(super) fn fault(fault: RpcError) -> Response {
    json(Rejected::from(fault).outcome(), 0)
}

/// A refusal without the id of any request.
pub(super) fn refusal(refusal: Refusal, jitter: u64) -> Response {
    let fault = RpcError::new(refusal.code(), refusal.to_string()).with_status(refusal.status());
    json(Rejected::from(fault).outcome(), jitter)
}

/// A status without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Lets the connection end with this answer; HTTP/2 has its own way to say so.
pub(super) fn close(response: &mut Response, version: Version) {
    if version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
