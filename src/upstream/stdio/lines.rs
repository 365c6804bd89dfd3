//! Lines of a child's output, each at most as long as the limit; a longer one is skipped to its end, never
//! kept.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Buffer space asked for with each read.
const READ_BYTES: usize = 16 * 1024;
/// A buffer that grew beyond this for one line is given back.
const KEEP_BYTES: usize = 256 * 1024;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// One line without its end.
    Whole(Bytes),
    /// A line longer than the limit: its first bytes.
    TooLong(Bytes),
}

/// A bounded line reader. [`Lines::next`] may be cancelled without loss.
pub(super) struct Lines<R> {
    from: R,
    buffer: BytesMut,
    scanned: usize,
    skipping: bool,
    bytes_max: usize,
    head_bytes: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads lines of at most `bytes_max`; of longer ones only `head_bytes` are handed out.
    pub(super) fn new(from: R, bytes_max: usize, head_bytes: usize) -> Lines<R> {
        Lines { from, buffer: BytesMut::new(), scanned: 0, skipping: false, bytes_max, head_bytes }
    }

    /// The next line; `None` at the end or when reading fails. What follows the last line end counts as a
    /// line.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(line) = self.take_line() {
                return Some(line);
            }
            if self.buffer.is_empty() && self.buffer.capacity() > KEEP_BYTES {
                self.buffer = BytesMut::new();
            }
            self.buffer.reserve(READ_BYTES);
            match self.from.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return self.take_rest(),
                Ok(_) => {}
            }
        }
    }

    fn take_line(&mut self) -> Option<Line> {
        loop {
            let end =
                self.buffer[self.scanned..].iter().position(|b| *b == b'\n').map(|at| self.scanned + at);
            if self.skipping {
                let Some(end) = end else {
                    self.buffer.clear();
                    self.scanned = 0;
                    return None;
                };
                let _ = self.buffer.split_to(end + 1);
                (self.skipping, self.scanned) = (false, 0);
                continue;
            }
            let Some(end) = end else {
                self.scanned = self.buffer.len();
                if self.buffer.len() > self.bytes_max {
                    let head = Bytes::copy_from_slice(&self.buffer[..self.head_bytes.min(self.bytes_max)]);
                    self.buffer.clear();
                    (self.skipping, self.scanned) = (true, 0);
                    return Some(Line::TooLong(head));
                }
                return None;
            };
            self.scanned = 0;
            let mut line = self.buffer.split_to(end + 1);
            line.truncate(end);
            if line.last() == Some(&b'\r') {
                line.truncate(end - 1);
            }
            if line.len() > self.bytes_max {
                line.truncate(self.head_bytes.min(self.bytes_max));
                return Some(Line::TooLong(line.freeze()));
            }
            if !line.is_empty() {
                return Some(Line::Whole(line.freeze()));
            }
        }
    }

    fn take_rest(&mut self) -> Option<Line> {
        self.scanned = 0;
        let rest = self.buffer.split().freeze();
        (!self.skipping && !rest.is_empty() && rest.len() <= self.bytes_max).then_some(Line::Whole(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(bytes: &[u8], max: usize) -> Vec<Line> {
        let mut lines = Lines::new(bytes, max, 2);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push(line);
        }
        all
    }

    fn whole(text: &'static str) -> Line {
        Line::Whole(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn lines_come_without_their_ends_and_empty_ones_not_at_all() {
        assert_eq!(all(b"a\r\n\n\nbc\nd", 9).await, [whole("a"), whole("bc"), whole("d")]);
    }

    #[tokio::test]
    async fn the_limit_holds_one_below_at_and_above() {
        assert_eq!(
            all(b"ab\nabc\nabcd\nx\n", 3).await,
            [whole("ab"), whole("abc"), Line::TooLong(Bytes::from_static(b"ab")), whole("x"),]
        );
    }

    #[tokio::test]
    async fn a_line_without_end_is_skipped_in_bounded_memory() {
        let mut flood = vec![b'a'; 1_000_000];
        flood.extend_from_slice(b"\nok\n");
        let mut lines = Lines::new(&flood[..], 1_000, 2);
        assert_eq!(lines.next().await, Some(Line::TooLong(Bytes::from_static(b"aa"))));
        assert_eq!(lines.next().await, Some(whole("ok")));
        assert!(lines.buffer.capacity() < 100_000, "{}", lines.buffer.capacity());
    }
}
