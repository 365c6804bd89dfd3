//! Answers that are streams of server-sent events.
//!
//! A stream is pulled by its connection: of one that is not read only a few events wait. A comment goes out
//! when it was quiet for a while, so that nobody on the way takes it for dead.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderName, HeaderValue, header};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::exchange::{PendingCall, StreamItem};
use crate::mcp::Outbound;
use crate::session::{EventId, LoggedEvent, Reader};

/// Events of a call that wait for a slow reader.
const EVENTS_MAX: usize = 16;

const QUIET: Bytes = Bytes::from_static(b": quiet\n\n");

/// Source of the events of a stream.
pub(super) trait EventSource: Send + 'static {
    /// The next chunk, ready to be sent; `None` at the end. Loses nothing if it is dropped while it waits.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// The answer that streams what `source` yields.
pub(super) fn response(source: impl EventSource, keepalive_ms: u64) -> Response {
    let keepalive = Duration::from_millis(keepalive_ms);
    let chunks = stream::unfold(source, move |mut source| async move {
        tokio::select! {
            biased;
            chunk = source.next() => chunk.map(|chunk| (Ok::<_, Infallible>(chunk), source)),
            () = tokio::time::sleep(keepalive) => Some((Ok(QUIET), source)),
        }
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// A modern call: its events have no ids, as a broken stream is not resumed, and dropping it cancels the
/// call.
pub(super) enum Calling {
    /// The result came first.
    Single(Option<Bytes>),
    /// A call that has something to say before its result, or takes long: in a task of its own, so that it
    /// goes on, ends in time and frees its place whether or not its client reads.
    Running(mpsc::Receiver<Bytes>),
    /// A client that listens: it holds no place, and what it hears of waits elsewhere.
    Listening(PendingCall),
}

impl Calling {
    /// Goes on with `call`, which has yielded `first`.
    pub(super) fn start(call: PendingCall, first: Option<Bytes>) -> Calling {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(run(call, first, events));
        Calling::Running(receiver)
    }
}

/// Hands on what comes out of `call`; its end, or that of the stream, ends it.
async fn run(mut call: PendingCall, first: Option<Bytes>, events: mpsc::Sender<Bytes>) {
    if let Some(first) = first {
        let _ = events.send(event(None, &first)).await;
    }
    loop {
        let item = tokio::select! {
            biased;
            () = events.closed() => return,
            item = call.next() => item,
        };
        let is_over = matches!(item, StreamItem::Done(_));
        let Some(message) = told(item) else { continue };
        if events.send(event(None, &message)).await.is_err() || is_over {
            return;
        }
    }
}

/// Part of an item that a modern client is told; it has no stream to come back to.
fn told(item: StreamItem) -> Option<Bytes> {
    match item {
        StreamItem::Message(Outbound::Message(message)) => Some(message),
        StreamItem::Message(Outbound::CloseStream { .. }) => None,
        StreamItem::Done(outcome) => Some(outcome.body),
    }
}

impl EventSource for Calling {
    async fn next(&mut self) -> Option<Bytes> {
        match self {
            Calling::Single(result) => result.take().map(|result| event(None, &result)),
            Calling::Running(events) => events.recv().await,
            Calling::Listening(call) => loop {
                let item = call.next().await;
                let is_over = matches!(item, StreamItem::Done(_));
                let Some(message) = told(item) else { continue };
                if is_over {
                    *self = Calling::Single(None);
                }
                return Some(event(None, &message));
            },
        }
    }
}

/// A legacy stream, read from what its session keeps.
pub(super) struct Reading {
    reader: Reader,
    opening: Option<Bytes>,
    /// Cancelled to send the client away for `retry_ms`; `None` for a stream that ends by itself.
    drain: Option<CancellationToken>,
    retry_ms: u64,
}

impl Reading {
    /// Reads `reader`. With `primes` the client is told at once where it could start again; older clients do
    /// not know such events.
    pub(super) fn new(
        reader: Reader,
        primes: bool,
        drain: Option<CancellationToken>,
        retry_ms: u64,
    ) -> Reading {
        let start = reader.start();
        let opening = if primes {
            format!("id: {start}\nretry: {retry_ms}\ndata: \n\n")
        } else {
            format!("retry: {retry_ms}\n\n")
        };
        Reading { reader, opening: Some(opening.into()), drain, retry_ms }
    }
}

impl EventSource for Reading {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        let drained = async {
            match &self.drain {
                Some(drain) => drain.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            next = self.reader.next() => next,
            () = drained => return None,
        };
        match next? {
            (id, LoggedEvent::Message(message)) => Some(event(Some(id), &message)),
            (_, LoggedEvent::CloseStream(retry_ms)) => {
                let retry_ms = if retry_ms == 0 { self.retry_ms } else { retry_ms };
                Some(format!("retry: {retry_ms}\n\n").into())
            }
        }
    }
}

/// One event. A line break would end its line: in JSON it can only stand between tokens, so a blank does as
/// well.
fn event(id: Option<EventId>, message: &Bytes) -> Bytes {
    let mut head = String::with_capacity(48);
    head.push_str("event: message\n");
    if let Some(id) = id {
        let _ = writeln!(head, "id: {id}");
    }
    head.push_str("data: ");
    let mut chunk = BytesMut::with_capacity(head.len() + message.len() + 2);
    chunk.put_slice(head.as_bytes());
    let at = chunk.len();
    chunk.put_slice(message);
    chunk[at..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    chunk.put_slice(b"\n\n");
    chunk.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_data_whatever_blanks_the_json_has() {
        let id = EventId { stream: 3, number: 4 };
        let chunk = event(Some(id), &Bytes::from_static(b"{\"a\":\r\n1,\n\"b\":\"x\\n\"}"));
        assert_eq!(chunk, "event: message\nid: 3-4\ndata: {\"a\":  1, \"b\":\"x\\n\"}\n\n");
    }
}
