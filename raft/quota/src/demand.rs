//! Demand: how many connections a node should have free, from how fast they come.
//!
//! A refused connection counts as one that came: a node without a share would otherwise never see that it
//! needs one. Whole numbers, so that a simulation repeats to the byte.

/// Length of one measurement, in milliseconds.
const WINDOW_MS: u64 = 100;

/// Silence after which nothing is expected any more, in milliseconds.
const SILENCE_MS: u64 = 20_000;

/// The most connections kept free on purpose.
pub const HEADROOM_MAX: u32 = 2_500;

/// Rate at which connections come: a moving average that rises fast and falls slowly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Demand {
    begin_ms: u64,
    count: u64,
    /// Connections in a thousand seconds.
    rate: u64,
}

impl Demand {
    /// Counts a connection that came at `now_ms`, admitted or not.
    pub fn count(&mut self, now_ms: u64) {
        self.advance(now_ms);
        self.count += 1;
    }

    /// Closes the windows that are over.
    pub fn advance(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.begin_ms) > SILENCE_MS {
            *self = Self { begin_ms: now_ms, ..Self::default() };
        }
        while now_ms >= self.begin_ms + WINDOW_MS {
            let seen = self.count * 1_000 * (1_000 / WINDOW_MS);
            if seen > self.rate {
                self.rate += (seen - self.rate).div_ceil(4);
            } else {
                self.rate -= (self.rate - seen).div_ceil(16);
            }
            self.begin_ms += WINDOW_MS;
            self.count = 0;
        }
    }

    /// Connections to keep free: those that come in `ms` milliseconds, between `floor` and `max`.
    #[must_use]
    pub fn headroom(&self, ms: u64, floor: u32, max: u32) -> u32 {
        let rest = self.count * ms.min(2 * WINDOW_MS) / (2 * WINDOW_MS);
        let coming = (self.rate * ms / 1_000_000).max(rest);
        u32::try_from(coming).unwrap_or(u32::MAX).min(max).max(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headroom_is_what_comes_in_a_time_between_its_bounds() {
        let mut demand = Demand::default();
        assert_eq!(demand.headroom(2_000, 5, 2_500), 5);
        for ms in 0..10_000 {
            if ms % 10 == 0 {
                demand.count(ms);
            }
        }
        let headroom = demand.headroom(2_000, 5, 2_500);
        assert!((195..=205).contains(&headroom), "{headroom} for 100 a second");
        assert_eq!(demand.headroom(2_000, 5, 30), 30);
        demand.advance(11_600);
        let later = demand.headroom(2_000, 5, 2_500);
        assert!((50..=120).contains(&later), "{later}, falling slowly");
        demand.advance(60_000);
        assert_eq!(demand.headroom(2_000, 5, 2_500), 5, "and forgotten after a long silence");
    }

    #[test]
    fn a_burst_is_seen_before_its_window_ends() {
        let mut demand = Demand::default();
        for _ in 0..500 {
            demand.count(7);
        }
        assert_eq!(demand.headroom(2_000, 1, HEADROOM_MAX), 500);
    }
}
