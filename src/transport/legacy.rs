//! The answer to a legacy request, and the session's own stream.
//!
//! A request outlives its connection: before its answer has become a stream it is finished unheard,
//! afterwards the session keeps what it yields for the client to fetch.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::HeaderMap;

use super::sse::{self, Reading};
use super::{HttpService, answer, headers};
use crate::exchange::{PendingCall, Rejected, StreamItem};
use crate::mcp::{Outbound, RpcError, Version};
use crate::session::{EventId, LoggedEvent, OWN_STREAM, Reader, Session};

/// The first revision whose clients know an event without data as a place to start again.
const PRIMED_SINCE: &str = "2025-11-25";

/// A call that is finished even if the connection that waits for it goes.
struct Held {
    call: Option<PendingCall>,
    session: Arc<Session>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.session.spawn(call.finish_unheard());
        }
    }
}

/// Answers with what comes out of `call`: JSON if the result comes first and soon, else a stream.
pub(super) async fn respond(service: &HttpService, call: PendingCall, session: Arc<Session>) -> Response {
    let mut held = Held { call: Some(call), session };
    let soon = Duration::from_millis(service.config.http.sse_after_ms);
    let step = {
        let Some(call) = &mut held.call else { unreachable!("it was put there") };
        tokio::select! {
            biased;
            step = call.next() => Some(step),
            () = tokio::time::sleep(soon) => None,
        }
    };
    let Some(call) = held.call.take() else { unreachable!("nobody else takes it") };
    let first = match step {
        Some(StreamItem::Done(outcome)) => return answer::json(outcome, service.jitter()),
        Some(StreamItem::Message(frame)) => Some(frame),
        None => None,
    };
    let reader = held.session.open_stream();
    let session = held.session.clone();
    held.session.spawn(record(call, first, session, reader.stream()));
    stream(service, reader, None)
}

/// Writes what comes out of `call` to its stream.
async fn record(mut call: PendingCall, mut first: Option<Outbound>, session: Arc<Session>, stream: u64) {
    loop {
        let step = match first.take() {
            Some(frame) => StreamItem::Message(frame),
            None => call.next().await,
        };
        match step {
            StreamItem::Message(Outbound::Message(message)) => {
                session.write(stream, LoggedEvent::Message(message), false).await
            }
            StreamItem::Message(Outbound::CloseStream { retry_ms }) => {
                if is_primed(session.params().version) {
                    session.write(stream, LoggedEvent::CloseStream(retry_ms), false).await;
                }
            }
            StreamItem::Done(outcome) => {
                return session.write(stream, LoggedEvent::Message(outcome.body), true).await;
            }
        }
    }
}

/// The session's own stream, or the rest of one that broke.
pub(super) fn listen(
    service: &HttpService,
    session: &Arc<Session>,
    headers: &HeaderMap,
) -> Result<Response, Rejected> {
    let after = match headers::single(headers, "last-event-id")? {
        None | Some("") => None,
        Some(text) => {
            let id = text.parse::<EventId>();
            Some(id.map_err(|()| RpcError::invalid_request("Last-Event-ID is none of ours"))?)
        }
    };
    let reader = session.read(after).map_err(|gone| RpcError::invalid_request(gone.to_string()))?;
    let drain = (reader.stream() == OWN_STREAM).then(|| service.exchange.stop().clone());
    Ok(stream(service, reader, drain))
}

fn stream(
    service: &HttpService,
    reader: Reader,
    drain: Option<tokio_util::sync::CancellationToken>,
) -> Response {
    let primes = is_primed(reader.session().params().version);
    sse::response(
        Reading::new(reader, primes, drain, service.config.http.sse_retry_ms),
        service.config.http.sse_keepalive_ms,
    )
}

fn is_primed(version: Version) -> bool {
    version.as_str() >= PRIMED_SINCE
}
