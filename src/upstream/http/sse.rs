//! Server-sent events from bytes, each at most as long as the limit; a longer one is skipped to its end,
//! never kept.

use bytes::{Buf, Bytes, BytesMut};

/// A buffer that grew beyond this for one line is given back.
const KEEP_BYTES: usize = 256 * 1024;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SseEvent {
    /// `id:`, if it had one.
    pub(super) id: Option<String>,
    /// `retry:`, if it had one.
    pub(super) retry_ms: Option<u64>,
    /// `data:`, its lines joined by spaces (JSON allows a space where it allows a line end); empty if it had
    /// none.
    pub(super) data: Bytes,
    /// It was longer than the limit; `data` is empty then.
    pub(super) is_too_long: bool,
}

/// Reads events out of chunks.
pub(super) struct SseParser {
    bytes_max: usize,
    buffer: BytesMut,
    scanned: usize,
    /// A line too long to keep is being skipped.
    skipping: bool,
    /// The last line ended with CR: a LF that follows belongs to it.
    after_cr: bool,
    event: SseEvent,
    data: BytesMut,
    has_any: bool,
}

impl SseParser {
    /// Keeps at most `bytes_max` of one event.
    pub(super) fn new(bytes_max: usize) -> SseParser {
        SseParser {
            bytes_max,
            buffer: BytesMut::new(),
            scanned: 0,
            skipping: false,
            after_cr: false,
            event: SseEvent::default(),
            data: BytesMut::new(),
            has_any: false,
        }
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole event, if it is there.
    pub(super) fn next(&mut self) -> Option<SseEvent> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                if std::mem::take(&mut self.has_any) {
                    return Some(self.finish());
                }
                continue;
            }
            self.field(&line);
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP_BYTES {
            self.buffer = BytesMut::new();
        }
        None
    }

    fn finish(&mut self) -> SseEvent {
        let mut event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data).freeze();
        if !event.is_too_long {
            event.data = data;
        }
        event
    }

    fn line(&mut self) -> Option<Bytes> {
        if self.after_cr && !self.buffer.is_empty() {
            self.after_cr = false;
            if self.buffer[0] == b'\n' {
                self.buffer.advance(1);
            }
        }
        let end = self.buffer[self.scanned..].iter().position(|b| matches!(b, b'\n' | b'\r'));
        let Some(end) = end.map(|at| self.scanned + at) else {
            self.scanned = self.buffer.len();
            if self.skipping || self.buffer.len() > self.bytes_max {
                self.skip();
                self.buffer.clear();
                (self.skipping, self.scanned) = (true, 0);
            }
            return None;
        };
        self.after_cr = self.buffer[end] == b'\r';
        self.scanned = 0;
        let line = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        if std::mem::take(&mut self.skipping) {
            // What is left of it must not be taken for a line of its own.
            return Some(Bytes::from_static(b":"));
        }
        Some(line)
    }

    fn skip(&mut self) {
        self.has_any = true;
        self.event.is_too_long = true;
        self.data.clear();
    }

    fn field(&mut self, line: &Bytes) {
        let at = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let name = &line[..at];
        let value = line.get(at + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name.strip_prefix("\u{feff}".as_bytes()).unwrap_or(name) {
            b"data" if self.data.len() + value.len() > self.bytes_max => self.skip(),
            b"data" if self.event.is_too_long => {}
            b"data" => {
                self.has_any = true;
                if !self.data.is_empty() {
                    self.data.extend_from_slice(b" ");
                }
                self.data.extend_from_slice(value);
            }
            b"id" if !value.contains(&0) => {
                self.has_any = true;
                self.event.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" => {
                self.has_any = true;
                self.event.retry_ms = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &[&[u8]], max: usize) -> Vec<SseEvent> {
        let mut parser = SseParser::new(max);
        let mut all = Vec::new();
        for chunk in chunks {
            parser.feed(chunk);
            while let Some(event) = parser.next() {
                all.push(event);
            }
        }
        all
    }

    fn data(text: &str) -> SseEvent {
        SseEvent { data: Bytes::copy_from_slice(text.as_bytes()), ..SseEvent::default() }
    }

    #[test]
    fn the_three_line_ends_and_any_cut_give_the_same_events() {
        for end in ["\n", "\r\n", "\r"] {
            let text = "\u{feff}: hello~id: 7~retry: 250~data:~~event: message~data: {\"a\":~data: 1}~~"
                .replace('~', end);
            let events = [
                SseEvent { id: Some("7".into()), retry_ms: Some(250), ..SseEvent::default() },
                data("{\"a\": 1}"),
            ];
            for cut in 0..text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                assert_eq!(all(&[head, tail], 100), events, "{end:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn the_limit_holds_at_and_above_and_the_next_event_is_whole() {
        let event = |n: usize| format!("data: {}\n\n", "x".repeat(n));
        let text = format!("{}{}data: y\n\n", event(20), event(21));
        let events = all(&[text.as_bytes()], 20);
        assert_eq!(events[0], data(&"x".repeat(20)));
        assert!(events[1].is_too_long && events[1].data.is_empty());
        assert_eq!(events[2], data("y"));
    }

    #[test]
    fn a_line_without_end_is_skipped_in_bounded_memory() {
        let mut parser = SseParser::new(1_000);
        parser.feed(b"data: ");
        for _ in 0..1_000 {
            parser.feed(&[b'x'; 1_000]);
            assert_eq!(parser.next(), None);
        }
        assert!(parser.buffer.capacity() < 10_000, "{}", parser.buffer.capacity());
        parser.feed(b"\n\ndata: y\n\n");
        assert!(parser.next().unwrap().is_too_long);
        assert_eq!(parser.next(), Some(data("y")));
    }

    #[test]
    fn an_event_that_the_end_cuts_off_is_none() {
        assert_eq!(all(&[b"data: a\n\ndata: b\n"], 100), [data("a")]);
    }
}
