//! Pauses between starts of an upstream that fails: doubling, bounded, with jitter so that nodes do not start
//! in step.
//!
//! Pure: chance is an argument. Who holds it decides when the time without failure is long enough for
//! [`Backoff::reset`].

use std::time::Duration;

use crate::random;

/// The pauses of one upstream.
#[derive(Debug)]
pub(super) struct Backoff {
    min_ms: u64,
    max_ms: u64,
    next_ms: u64,
}

impl Backoff {
    /// Starts at `min_ms`, never passes `max_ms`.
    pub(super) fn new(min_ms: u64, max_ms: u64) -> Backoff {
        Backoff { min_ms, max_ms, next_ms: min_ms }
    }

    /// The next pause: between half of the current value and all of it. `chance` is any number.
    pub(super) fn pause(&mut self, jitter: u64) -> Duration {
        let whole = self.next_ms;
        self.next_ms = whole.saturating_mul(2).min(self.max_ms);
        let half = whole / 2;
        Duration::from_millis(half + jitter % (whole - half + 1))
    }

    /// Back to the first value.
    pub(super) fn reset(&mut self) {
        self.next_ms = self.min_ms;
    }
}

/// A number nobody can foresee.
pub(super) fn jitter() -> u64 {
    u64::from_ne_bytes(random::bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_a_reset() {
        let mut backoff = Backoff::new(100, 350);
        let pauses: Vec<u128> = (0..4).map(|_| backoff.pause(u64::MAX - 15).as_millis()).collect();
        for (pause, whole) in pauses.iter().zip([100_u128, 200, 350, 350]) {
            assert!((whole / 2..=whole).contains(pause), "{pause} of {whole}");
        }
        backoff.reset();
        assert!(backoff.pause(7).as_millis() <= 100);
    }
}
