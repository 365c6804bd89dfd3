//! The clocks: the only file of this crate that reads one.
//!
//! Everyone else takes time as an argument, so that tests own it. Two clocks, for two questions: "how
//! long?" is answered by a monotonic clock that also counts while the machine sleeps (a lease must end
//! during a suspend), "when?" by the calendar. The calendar may jump; nothing that grants or expires
//! may ask it.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// A handle on the clocks of this machine. Costs nothing to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// The handle.
    #[must_use]
    pub const fn new() -> Self {
        Clock
    }

    /// Milliseconds since the machine started, counting suspend (`CLOCK_BOOTTIME`). Never goes back.
    #[must_use]
    pub fn monotonic_ms(&self) -> u64 {
        millis(clock_gettime(ClockId::Boottime))
    }

    /// Microseconds on the same clock, for measuring latencies.
    #[must_use]
    pub fn monotonic_us(&self) -> u64 {
        u64::try_from(since_zero(clock_gettime(ClockId::Boottime)).as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since 1970 UTC by the calendar, which may jump.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        millis(clock_gettime(ClockId::Realtime))
    }

    /// Seconds since 1970 UTC by the calendar, which may jump.
    #[must_use]
    pub fn unix_s(&self) -> u64 {
        since_zero(clock_gettime(ClockId::Realtime)).as_secs()
    }
}

fn millis(time: Timespec) -> u64 {
    u64::try_from(since_zero(time).as_millis()).unwrap_or(u64::MAX)
}

/// A calendar before 1970 reads as 1970.
fn since_zero(time: Timespec) -> Duration {
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_never_goes_back() {
        let clock = Clock::new();
        let mut last = clock.monotonic_us();
        for _ in 0..1000 {
            let now = clock.monotonic_us();
            assert!(now >= last, "{now} came after {last}");
            last = now;
        }
    }

    #[test]
    fn the_units_agree_with_each_other() {
        let clock = Clock::new();
        let (ms, us) = (clock.monotonic_ms(), clock.monotonic_us());
        assert!(us / 1000 - ms < 1000, "{ms} ms and {us} us");
        let (s, ms) = (clock.unix_s(), clock.unix_ms());
        assert!(ms / 1000 - s <= 1, "{s} s and {ms} ms");
        assert!(s > 1_700_000_000, "the calendar says {s}, before this was written");
    }
}
