//! The answer to a modern request: JSON if the result comes first, else a stream. Dropping either cancels the
//! request. A fault alone is always JSON, as its HTTP status says what it is.

use std::time::Duration;

use axum::response::Response;

use super::sse::{self, Calling};
use super::{HttpService, answer};
use crate::exchange::{EncodedResponse, PendingCall, StreamItem};
use crate::mcp::Outbound;

/// Answers with what comes out of `call`; with `prefers_stream` a result is a stream of one event.
pub(super) async fn respond(service: &HttpService, mut call: PendingCall, prefers_stream: bool) -> Response {
    let keepalive_ms = service.config.http.sse_keepalive_ms;
    if call.is_listening() {
        return sse::response(Calling::Listening(call), keepalive_ms);
    }
    let quiet = tokio::time::sleep(Duration::from_millis(keepalive_ms));
    tokio::pin!(quiet);
    loop {
        let step = tokio::select! {
            biased;
            step = call.next() => step,
            () = &mut quiet => return sse::response(Calling::start(call, None), keepalive_ms),
        };
        match step {
            StreamItem::Done(outcome) => return answered(service, outcome, prefers_stream),
            StreamItem::Message(Outbound::CloseStream { .. }) => {}
            StreamItem::Message(Outbound::Message(message)) => {
                return sse::response(Calling::start(call, Some(message)), keepalive_ms);
            }
        }
    }
}

/// The last message of a request of which nothing was sent yet.
pub(super) fn answered(service: &HttpService, outcome: EncodedResponse, prefers_stream: bool) -> Response {
    if prefers_stream && !outcome.is_fault {
        return sse::response(Calling::Single(Some(outcome.body)), service.config.http.sse_keepalive_ms);
    }
    answer::json(outcome, service.jitter())
}
