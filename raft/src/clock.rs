//! The clock of this crate: the only file that reads one.
//!
//! Wall time is read once and then follows the monotonic clock, so that setting the machine's clock by an
//! hour moves nothing here. No caller may compare it with another node's beyond what `peer_auth` allows for.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A wall clock that never jumps while the process lives.
#[derive(Debug, Clone, Copy)]
pub struct PeerClock {
    unix_at_start: Duration,
    start: Instant,
}

impl PeerClock {
    /// Reads the machine's clock, once.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        let unix_at_start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix_at_start, start: Instant::now() }
    }

    /// A clock that is wrong by so much: a test double for a machine whose clock was never set.
    #[must_use]
    pub fn start_off_by(off_ms: i64) -> Self {
        let clock = Self::start();
        let shift = Duration::from_millis(off_ms.unsigned_abs());
        let unix_at_start = match off_ms {
            0.. => clock.unix_at_start.saturating_add(shift),
            _ => clock.unix_at_start.saturating_sub(shift),
        };
        Self { unix_at_start, ..clock }
    }

    /// Milliseconds since 1970, as of the start plus the time passed since.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        u64::try_from((self.unix_at_start + self.start.elapsed()).as_millis()).unwrap_or(u64::MAX)
    }

    /// The time passed since `uptime_ms` was the time.
    #[must_use]
    pub fn since(&self, uptime_ms: u64) -> Duration {
        Duration::from_millis(self.uptime_ms().saturating_sub(uptime_ms))
    }

    /// Milliseconds since the start of the process's clock.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
