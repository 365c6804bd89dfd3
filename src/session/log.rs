//! The events of one SSE stream, numbered, the last of them kept for a client that comes back.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

/// An event's id on the wire, `<stream>-<number>`: unique in its session, and it names its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The stream; 0 is the session's own (GET).
    pub stream: u64,
    /// The event in it, from 1; 0 stands for "none yet".
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.number)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<EventId, ()> {
        let (stream, number) = text.split_once('-').ok_or(())?;
        let read = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            if plain { digits.parse().map_err(|_| ()) } else { Err(()) }
        };
        Ok(EventId { stream: read(stream)?, number: read(number)? })
    }
}

/// Content of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoggedEvent {
    /// One JSON-RPC message.
    Message(Bytes),
    /// The end of the connection, not of the stream: the client comes back after this many milliseconds.
    CloseStream(u64),
}

impl LoggedEvent {
    fn size(&self) -> usize {
        match self {
            LoggedEvent::Message(message) => message.len(),
            LoggedEvent::CloseStream(_) => 0,
        }
    }
}

/// One stream: what was sent and may be lost, and what nobody has read yet.
#[derive(Debug, Default)]
pub(super) struct StreamLog {
    last: u64,
    events: VecDeque<(u64, LoggedEvent)>,
    /// The last event that a reader took.
    delivered: u64,
    bytes: usize,
    /// Those of `bytes` that nobody has taken yet.
    waiting_bytes: usize,
    /// Nothing follows.
    pub(super) finished: bool,
    /// Which reader holds it; an older one has been replaced.
    pub(super) reader: u64,
    /// Whether that reader is still there.
    pub(super) attached: bool,
    /// When it was first seen finished and without a reader.
    pub(super) unread_since_ms: Option<u64>,
}

/// State of a stream once a reader has taken everything there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// More may come.
    Open,
    /// Nothing more for this reader.
    Ended,
}

impl StreamLog {
    /// Appends an event and returns its size.
    pub(super) fn push(&mut self, kept: LoggedEvent) -> usize {
        self.last += 1;
        let size = kept.size();
        self.events.push_back((self.last, kept));
        self.bytes += size;
        self.waiting_bytes += size;
        size
    }

    /// Whether an event that nobody has taken yet says the same.
    pub(super) fn is_waiting(&self, message: &Bytes) -> bool {
        let waiting = self.events.iter().rev().take_while(|(number, _)| *number > self.delivered);
        waiting.into_iter().any(|(_, kept)| matches!(kept, LoggedEvent::Message(other) if other == message))
    }

    /// Bytes that nobody has taken yet.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Makes `reader` the one who reads, from the event after `after` if given, else from where the last
    /// reader stopped. Returns the number of the last event that the reader is taken to have.
    pub(super) fn attach(&mut self, reader: u64, after: Option<u64>) -> u64 {
        if let Some(after) = after {
            self.delivered = after.min(self.last);
        }
        self.events.retain(|(_, kept)| !matches!(kept, LoggedEvent::CloseStream(_)));
        let waiting = self.events.iter().filter(|(number, _)| *number > self.delivered);
        self.waiting_bytes = waiting.map(|(_, kept)| kept.size()).sum();
        self.reader = reader;
        self.attached = true;
        self.unread_since_ms = None;
        self.delivered
    }

    /// Moves what `reader` has not had yet into `into`.
    pub(super) fn take(&mut self, reader: u64, into: &mut VecDeque<(u64, LoggedEvent)>) -> After {
        if self.reader != reader || !self.attached {
            return After::Ended;
        }
        let from = self.events.partition_point(|(number, _)| *number <= self.delivered);
        for (number, kept) in self.events.iter().skip(from) {
            self.delivered = *number;
            self.waiting_bytes -= kept.size();
            into.push_back((*number, kept.clone()));
            if matches!(kept, LoggedEvent::CloseStream(_)) {
                self.attached = false;
                return After::Ended;
            }
        }
        if self.finished { After::Ended } else { After::Open }
    }

    /// Drops the oldest event if a reader took it already; returns its size.
    pub(super) fn drop_delivered(&mut self) -> Option<usize> {
        let (number, _) = self.events.front()?;
        if *number > self.delivered { None } else { self.drop_oldest() }
    }

    /// Drops the oldest event; returns its size.
    pub(super) fn drop_oldest(&mut self) -> Option<usize> {
        let (number, kept) = self.events.pop_front()?;
        let size = kept.size();
        self.bytes -= size;
        if number > self.delivered {
            self.waiting_bytes -= size;
        }
        Some(size)
    }

    /// Drops the oldest event but never the last of a finished stream, which is the result.
    pub(super) fn drop_but_result(&mut self) -> Option<usize> {
        if self.finished && self.events.len() <= 1 { None } else { self.drop_oldest() }
    }

    /// Bytes kept in all.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str) -> LoggedEvent {
        LoggedEvent::Message(Bytes::from_static(text.as_bytes()))
    }

    fn taken(log: &mut StreamLog, reader: u64) -> (Vec<u64>, After) {
        let mut into = VecDeque::new();
        let after = log.take(reader, &mut into);
        (into.into_iter().map(|(number, _)| number).collect(), after)
    }

    #[test]
    fn an_event_id_reads_back_and_nothing_else_does() {
        let id = EventId { stream: 12, number: 7 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "1", "1-", "-1", "a-1", "1-+2", "1-2-3", "99999999999999999999999-1"] {
            assert_eq!(bad.parse::<EventId>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn a_reader_that_returns_gets_what_followed_the_event_it_names() {
        let mut log = StreamLog::default();
        log.attach(1, None);
        for text in ["a", "b", "c"] {
            log.push(message(text));
        }
        assert_eq!(taken(&mut log, 1), (vec![1, 2, 3], After::Open));
        log.attach(2, Some(1));
        assert_eq!(taken(&mut log, 1), (vec![], After::Ended), "the replaced reader still got something");
        assert_eq!(taken(&mut log, 2), (vec![2, 3], After::Open));
        log.finished = true;
        assert_eq!(taken(&mut log, 2), (vec![], After::Ended));
    }

    #[test]
    fn a_hangup_ends_its_connection_and_is_never_replayed() {
        let mut log = StreamLog::default();
        log.attach(1, None);
        log.push(LoggedEvent::CloseStream(10));
        log.push(message("result"));
        log.finished = true;
        assert_eq!(taken(&mut log, 1), (vec![1], After::Ended));
        log.attach(2, Some(0));
        assert_eq!(taken(&mut log, 2), (vec![2], After::Ended));
    }

    #[test]
    fn bytes_are_counted_through_every_turn() {
        let mut log = StreamLog::default();
        let counts = |log: &StreamLog| (log.bytes(), log.waiting_bytes());
        log.attach(1, None);
        for text in ["a", "bb", "ccc"] {
            log.push(message(text));
        }
        assert_eq!(counts(&log), (6, 6));
        taken(&mut log, 1);
        assert_eq!(counts(&log), (6, 0));
        log.attach(2, Some(1));
        assert_eq!(counts(&log), (6, 5));
        assert_eq!((log.drop_delivered(), counts(&log)), (Some(1), (5, 5)));
        assert_eq!((log.drop_oldest(), counts(&log)), (Some(2), (3, 3)));
        taken(&mut log, 2);
        assert_eq!(counts(&log), (3, 0));
    }

    #[test]
    fn the_result_outlives_what_preceded_it() {
        let mut log = StreamLog::default();
        log.push(message("progress"));
        log.push(message("result"));
        log.finished = true;
        assert_eq!(log.drop_delivered(), None);
        assert_eq!(log.drop_but_result(), Some(8));
        assert_eq!(log.drop_but_result(), None);
    }
}
