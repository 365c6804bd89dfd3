//! Response of an endpoint to one request: messages until the answer, over as many event streams as it takes
//! to resume.
//!
//! A stream that ends before the answer is taken up again where it stopped, if the upstream gave its events
//! ids.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::client::{EventStream, Reply};

/// Pause before a stream is taken up again, where the upstream names none.
const RETRY_MS: u64 = 1_000;
/// Longest pause that an upstream may ask for.
const RETRY_MS_MAX: u64 = 60_000;
/// Streams without any event after which it is given up.
const EMPTY_STREAMS_MAX: u32 = 5;

/// A reply that is on its way.
pub(super) type Opening<'a> = Pin<Box<dyn Future<Output = Result<Reply, String>> + Send + 'a>>;

/// What happens next.
pub(super) enum Step {
    /// One message, raw.
    Message(Bytes),
    /// An event longer than the limit was skipped.
    TooLong,
    /// The stream ended; it will be taken up again after this pause, asked for by the upstream if `is_asked`.
    Pause {
        /// Milliseconds.
        retry_ms: u64,
        /// The upstream named the pause: it ended the stream on purpose.
        is_asked: bool,
    },
    /// Another HTTP status.
    Refused(StatusCode, Bytes),
    /// It is over without an answer.
    Over(String),
}

enum Source<'a> {
    Opening(Opening<'a>),
    Reading(EventStream),
}

/// One exchange. Dropped, its stream is closed.
pub(super) struct ResumableResponse<'a> {
    source: Source<'a>,
    /// Opens a stream again after an event id, after a pause; `None`: streams are not taken up again.
    resume: Option<Box<dyn Fn(String, Duration) -> Opening<'a> + Send + 'a>>,
    last_event_id: Option<String>,
    retry_ms: Option<u64>,
    empty_streams: u32,
}

impl<'a> ResumableResponse<'a> {
    /// Begins with `opening`.
    pub(super) fn new(opening: Opening<'a>) -> ResumableResponse<'a> {
        let source = Source::Opening(opening);
        ResumableResponse { source, resume: None, last_event_id: None, retry_ms: None, empty_streams: 0 }
    }

    /// Streams that end too early are taken up again with `resume`.
    pub(super) fn resuming(
        mut self,
        resume: impl Fn(String, Duration) -> Opening<'a> + Send + 'a,
    ) -> ResumableResponse<'a> {
        self.resume = Some(Box::new(resume));
        self
    }

    /// The next step. May be cancelled without loss. After [`Step::Over`] and [`Step::Refused`] there is
    /// none.
    pub(super) async fn next(&mut self) -> Step {
        loop {
            match &mut self.source {
                Source::Opening(opening) => match opening.await {
                    Ok(Reply::Events(events, _)) => self.source = Source::Reading(events),
                    Ok(Reply::Json(message, _)) => {
                        self.source = over("it answered, but not this request");
                        return Step::Message(message);
                    }
                    Ok(Reply::Nothing) => return self.end("it gave an empty answer".to_owned()),
                    Ok(Reply::Refused(status, body)) => {
                        self.source = over("it refused");
                        return Step::Refused(status, body);
                    }
                    Err(why) => return self.end(why),
                },
                Source::Reading(events) => match events.next().await {
                    Some(event) => {
                        self.empty_streams = 0;
                        self.last_event_id = event.id.or(self.last_event_id.take());
                        self.retry_ms = event.retry_ms.or(self.retry_ms);
                        if event.is_too_long {
                            return Step::TooLong;
                        }
                        if !event.data.is_empty() {
                            return Step::Message(event.data);
                        }
                    }
                    None => return self.take_up(),
                },
            }
        }
    }

    fn end(&mut self, why: String) -> Step {
        self.source = over("it is over");
        Step::Over(why)
    }

    fn take_up(&mut self) -> Step {
        self.empty_streams += 1;
        let (Some(resume), Some(id)) = (&self.resume, &self.last_event_id) else {
            return self.end("it closed the stream before the answer".to_owned());
        };
        if self.empty_streams > EMPTY_STREAMS_MAX {
            return self.end(format!("{EMPTY_STREAMS_MAX} streams ended before the answer"));
        }
        let is_asked = self.retry_ms.is_some();
        let retry_ms = self.retry_ms.unwrap_or(RETRY_MS).min(RETRY_MS_MAX);
        self.source = Source::Opening(resume(id.clone(), Duration::from_millis(retry_ms)));
        Step::Pause { retry_ms, is_asked }
    }
}

fn over<'a>(why: &'static str) -> Source<'a> {
    Source::Opening(Box::pin(async move { Err(why.to_owned()) }))
}
