//! The only file of this crate that reads a clock, for durations alone: how long an fsync took, how long to
//! wait for a lock.
//!
//! Nothing that is stored depends on it.

use std::thread;
use std::time::{Duration, Instant};

/// Runs from its creation on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods)] // the clock file
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    pub(crate) fn elapsed_micros(self) -> u64 {
        u64::try_from(self.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Asks `claim` every few milliseconds until it holds. False if it did not within `limit`.
#[allow(clippy::disallowed_methods)] // only while a store opens or closes, never on a path of requests
pub(crate) fn wait_until(limit: Duration, mut claim: impl FnMut() -> bool) -> bool {
    const STEP: Duration = Duration::from_millis(2);
    let watch = Stopwatch::start();
    while !claim() {
        if watch.elapsed() >= limit {
            return false;
        }
        thread::sleep(STEP);
    }
    true
}
