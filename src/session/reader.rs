//! One connection's view of one stream.
//!
//! Each message goes to exactly one reader: a newer reader of the same stream replaces the older, which ends.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Session;
use super::log::{After, EventId, LoggedEvent};

/// The events to be replayed are not there (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing is kept for that event id")]
pub struct StreamGone;

/// Reads one stream until it ends or another reader takes it over.
pub struct Reader {
    session: Arc<Session>,
    stream: u64,
    number: u64,
    start: EventId,
    waiting: VecDeque<(u64, LoggedEvent)>,
    after: After,
}

impl Reader {
    /// The reader `number` of `stream`, which has everything up to the event `after`.
    pub(super) fn new(session: Arc<Session>, stream: u64, number: u64, after: u64) -> Reader {
        let start = EventId { stream, number: after };
        Reader { session, stream, number, start, waiting: VecDeque::new(), after: After::Open }
    }

    /// The event that it starts after: what a client names to start there again.
    #[must_use]
    pub fn start(&self) -> EventId {
        self.start
    }

    /// Session of the stream.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The stream that it reads.
    #[must_use]
    pub fn stream(&self) -> u64 {
        self.stream
    }

    /// The next event; `None` when nothing follows for this reader. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<(EventId, LoggedEvent)> {
        let ended = self.session.ended_token();
        loop {
            let changed = self.session.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.waiting.is_empty() && self.after == After::Open {
                self.after = self.session.take(self.stream, self.number, &mut self.waiting);
            }
            if let Some((number, kept)) = self.waiting.pop_front() {
                return Some((EventId { stream: self.stream, number }, kept));
            }
            if self.after == After::Ended {
                return None;
            }
            tokio::select! {
                () = changed => {}
                () = ended.cancelled() => return None,
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.session.detach(self.stream, self.number);
    }
}
