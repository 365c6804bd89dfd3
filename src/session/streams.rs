//! All streams of one session, within the bytes that the session and the node may keep.
//!
//! Messages that a reader took already go first; then those nobody waits for, oldest first; results last, and
//! only when the node is full.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::account::Account;
use super::log::{After, LoggedEvent, StreamLog};

/// The session's own stream (GET).
pub const OWN: u64 = 0;
/// Streams kept in one session; running requests are fewer, so only finished ones are dropped.
const STREAMS_MAX: usize = 256;

/// The streams of one session.
#[derive(Debug)]
pub(super) struct Streams {
    logs: BTreeMap<u64, StreamLog>,
    last: u64,
    readers: u64,
    bytes: usize,
    bytes_max: usize,
    account: Account,
}

impl Streams {
    pub(super) fn new(bytes_max: usize, account: Account) -> Streams {
        Streams { logs: BTreeMap::new(), last: OWN, readers: 0, bytes: 0, bytes_max, account }
    }

    /// Opens the stream of one request and returns it with its first reader.
    pub(super) fn open(&mut self) -> (u64, u64) {
        if self.logs.len() >= STREAMS_MAX {
            self.forget_oldest_finished();
        }
        self.last += 1;
        self.readers += 1;
        let mut log = StreamLog::default();
        log.attach(self.readers, None);
        self.logs.insert(self.last, log);
        (self.last, self.readers)
    }

    /// Lets a client read `stream` from after the event `after`; any earlier reader of it is replaced.
    /// Returns the reader's number and that of the last event that it is taken to have.
    pub(super) fn attach(&mut self, stream: u64, after: Option<u64>) -> Option<(u64, u64)> {
        self.readers += 1;
        let reader = self.readers;
        if stream == OWN {
            return Some((reader, self.logs.entry(OWN).or_default().attach(reader, after)));
        }
        Some((reader, self.logs.get_mut(&stream)?.attach(reader, after)))
    }

    pub(super) fn detach(&mut self, stream: u64, reader: u64) {
        if let Some(log) = self.logs.get_mut(&stream)
            && log.reader == reader
        {
            log.attached = false;
        }
    }

    /// Takes what `reader` has not had yet.
    pub(super) fn take(
        &mut self,
        stream: u64,
        reader: u64,
        into: &mut VecDeque<(u64, LoggedEvent)>,
    ) -> After {
        let Some(log) = self.logs.get_mut(&stream) else { return After::Ended };
        let after = log.take(reader, into);
        self.fit();
        after
    }

    /// Appends to `stream`; lost if the stream is gone. `last`: nothing follows.
    pub(super) fn push(&mut self, stream: u64, kept: LoggedEvent, last: bool) {
        if stream == OWN {
            self.logs.entry(OWN).or_default();
        }
        let Some(log) = self.logs.get_mut(&stream) else { return };
        log.finished = last;
        let size = log.push(kept);
        self.bytes += size;
        self.account.charge(size);
        self.fit();
    }

    /// Appends to the session's own stream unless the same message waits there already: a level, not an edge.
    pub(super) fn push_level(&mut self, message: Bytes) {
        if self.logs.get(&OWN).is_some_and(|log| log.is_waiting(&message)) {
            return;
        }
        self.push(OWN, LoggedEvent::Message(message), false);
    }

    /// Whether one who writes to `stream` may go on; false while a reader is there and behind.
    pub(super) fn has_room(&self, stream: u64) -> bool {
        let Some(log) = self.logs.get(&stream) else { return true };
        !log.attached || log.waiting_bytes() < self.bytes_max.max(1)
    }

    /// Whether anyone reads.
    pub(super) fn is_read(&self) -> bool {
        self.logs.values().any(|log| log.attached)
    }

    /// Forgets finished streams that nobody has read for `keep_ms`.
    pub(super) fn sweep(&mut self, now_ms: u64, keep_ms: u64) {
        let mut old = Vec::new();
        for (stream, log) in &mut self.logs {
            if !log.finished || log.attached {
                continue;
            }
            let since = *log.unread_since_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(since) >= keep_ms {
                old.push(*stream);
            }
        }
        old.into_iter().for_each(|stream| self.forget(stream));
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.logs.clear();
        self.free(self.bytes);
    }

    fn fit(&mut self) {
        while self.bytes > self.bytes_max || self.account.is_spent() {
            let delivered = self.logs.values_mut().find_map(StreamLog::drop_delivered);
            let dropped = delivered.or_else(|| {
                let unread = self.logs.iter_mut().filter(|(stream, log)| **stream == OWN || !log.attached);
                unread.map(|(_, log)| log).find_map(StreamLog::drop_but_result)
            });
            match dropped {
                Some(size) => self.free(size),
                None if self.account.is_spent() => {
                    if !self.forget_oldest_finished() {
                        return;
                    }
                }
                None => return,
            }
        }
    }

    fn forget_oldest_finished(&mut self) -> bool {
        let oldest =
            self.logs.iter().find(|(_, log)| log.finished && !log.attached).map(|(stream, _)| *stream);
        oldest.inspect(|stream| self.forget(*stream)).is_some()
    }

    fn forget(&mut self, stream: u64) {
        if let Some(log) = self.logs.remove(&stream) {
            self.free(log.bytes());
        }
    }

    fn free(&mut self, size: usize) {
        self.bytes -= size;
        self.account.free(size);
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::account::{Budget, HolderBytes};
    use super::*;

    fn streams(bytes_max: usize, node_max: usize) -> (Streams, Arc<Budget>) {
        let budget = Budget::new(node_max);
        let holder = Arc::new(HolderBytes::new([127, 0, 0, 1].into()));
        (Streams::new(bytes_max, Account::new(budget.clone(), holder)), budget)
    }

    fn message(size: usize) -> LoggedEvent {
        LoggedEvent::Message(Bytes::from(vec![b'x'; size]))
    }

    fn numbers(streams: &mut Streams, stream: u64, after: u64) -> Vec<u64> {
        let Some((reader, _)) = streams.attach(stream, Some(after)) else { return Vec::new() };
        let mut into = VecDeque::new();
        streams.take(stream, reader, &mut into);
        into.into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn the_own_stream_drops_the_oldest_when_it_is_full() {
        let (mut streams, budget) = streams(10, 1000);
        for _ in 0..4 {
            streams.push(OWN, message(4), false);
        }
        assert_eq!(budget.used(), 8);
        assert_eq!(numbers(&mut streams, OWN, 0), [3, 4]);
    }

    #[test]
    fn the_byte_limit_holds_one_below_at_and_above() {
        for (size, kept) in [(4, 2), (5, 2), (6, 1)] {
            let (mut streams, _) = streams(10, 1000);
            streams.push(OWN, message(size), false);
            streams.push(OWN, message(size), false);
            assert_eq!(numbers(&mut streams, OWN, 0).len(), kept, "two of {size} bytes");
        }
    }

    #[test]
    fn an_undelivered_result_stays_although_it_is_larger_than_the_limit() {
        let (mut streams, _) = streams(10, 1000);
        let (stream, reader) = streams.open();
        streams.detach(stream, reader);
        streams.push(stream, message(8), false);
        streams.push(stream, message(50), true);
        assert_eq!(numbers(&mut streams, stream, 0), [2]);
    }

    #[test]
    fn a_full_node_gives_up_results_too() {
        let (mut streams, budget) = streams(1000, 20);
        let (stream, reader) = streams.open();
        streams.detach(stream, reader);
        streams.push(stream, message(50), true);
        assert_eq!(budget.used(), 0);
        assert_eq!(streams.attach(stream, Some(0)), None);
    }

    #[test]
    fn everything_is_given_back_to_the_node_at_the_end() {
        let (mut streams, budget) = streams(100, 1000);
        let (stream, _) = streams.open();
        streams.push(stream, message(30), false);
        streams.push(OWN, message(30), false);
        assert_eq!(budget.used(), 60);
        drop(streams);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_finished_stream_that_nobody_reads_is_forgotten_in_time() {
        let (mut streams, budget) = streams(100, 1000);
        let (stream, reader) = streams.open();
        streams.push(stream, message(30), true);
        streams.sweep(0, 10);
        streams.detach(stream, reader);
        streams.sweep(5, 10);
        streams.sweep(14, 10);
        assert_eq!(budget.used(), 30);
        streams.sweep(15, 10);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn the_same_level_waits_only_once() {
        let (mut streams, _) = streams(1000, 1000);
        let changed = Bytes::from_static(b"changed");
        streams.push_level(changed.clone());
        streams.push_level(changed.clone());
        assert_eq!(numbers(&mut streams, OWN, 0), [1]);
        streams.push_level(changed);
        assert_eq!(numbers(&mut streams, OWN, 1), [2]);
    }

    #[test]
    fn streams_in_one_session_are_bounded() {
        let (mut streams, _) = streams(1000, 1000);
        for _ in 0..STREAMS_MAX + 5 {
            let (stream, reader) = streams.open();
            streams.push(stream, message(1), true);
            streams.detach(stream, reader);
        }
        assert_eq!(streams.logs.len(), STREAMS_MAX);
    }
}
