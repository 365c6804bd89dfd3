//! Rates over the last second, ten seconds and minute, from totals sampled once a second.

use std::collections::VecDeque;

/// Samples kept: a minute and the one before it.
const SAMPLES_MAX: usize = 61;

/// A growing total, sampled.
#[derive(Debug, Default)]
pub struct Rates {
    /// `(monotonic ms, total)`, oldest first.
    samples: VecDeque<(u64, u64)>,
}

impl Rates {
    /// Notes the total at `now_ms`; call it about once a second.
    pub fn sample(&mut self, now_ms: u64, total: u64) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((now_ms, total));
    }

    /// Events per second over about the last `seconds`; over what there is if that is less, 0 without two
    /// samples.
    #[must_use]
    pub fn per_second(&self, seconds: u64) -> f64 {
        let Some(&(end_ms, end)) = self.samples.back() else { return 0.0 };
        let from = self.samples.iter().find(|(at, _)| end_ms - at <= seconds * 1000);
        let Some(&(start_ms, start)) = from else { return 0.0 };
        if end_ms == start_ms {
            return 0.0;
        }
        #[allow(clippy::cast_precision_loss, reason = "a minute's events are far below 2^53")]
        let rate = (end - start) as f64 * 1000.0 / (end_ms - start_ms) as f64;
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_cover_their_own_span() {
        let mut rates = Rates::default();
        (0..=60).for_each(|second| {
            rates.sample(second * 1000, if second > 50 { (second - 50) * 100 } else { 0 })
        });
        assert!((rates.per_second(1) - 100.0).abs() < 0.001);
        assert!((rates.per_second(10) - 100.0).abs() < 0.001);
        assert!((rates.per_second(60) - 1000.0 / 60.0).abs() < 0.001);
    }
}
