//! The clock of this crate: the only file that reads one.
//!
//! Wall time is read once and then follows the monotonic clock, so that setting the machine's clock by an hour moves
//! nothing here. No caller may compare it with another node's beyond what `peer_auth` allows for.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A wall clock that never jumps while the process lives.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    unix_at_start: Duration,
    start: Instant,
}

impl Clock {
    /// Reads the machine's clock, once.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        let unix_at_start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix_at_start, start: Instant::now() }
    }

    /// Milliseconds since 1970, as of the start plus the time passed since.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        u64::try_from((self.unix_at_start + self.start.elapsed()).as_millis()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the start of the process's clock.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
