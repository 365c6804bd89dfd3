//! Latencies in log-linear buckets, so that histograms of threads and nodes add up exactly.
//!
//! 16 buckets for each power of two: a percentile is at most 6.25 % above the true value. Values are
//! microseconds.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::api::Latency;

const SUB_BITS: u32 = 4;
const SUBS: u64 = 1 << SUB_BITS;
/// Longest latency told apart: 2^32 us, over an hour.
const TOP: u32 = 32;
const BUCKETS: usize = ((TOP - SUB_BITS + 1) as usize) << SUB_BITS;

/// Counts by bucket of latency, in microseconds.
pub struct Histogram {
    counts: Box<[AtomicU64]>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&self, micros: u64) {
        self.counts[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// Adds all counts of `other`.
    pub fn add(&self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter().zip(&other.counts) {
            mine.fetch_add(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The percentiles of everything counted so far; 0 without any value.
    #[must_use]
    pub fn percentiles(&self) -> Latency {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let at = |per_mille: u64| {
            let rank = (total * per_mille).div_ceil(1000).max(1);
            let mut seen = 0;
            for (place, count) in counts.iter().enumerate() {
                seen += count;
                if seen >= rank {
                    return millis(upper_bound(place));
                }
            }
            0.0
        };
        Latency {
            p50_ms: Some(at(500)),
            p90_ms: Some(at(900)),
            p95_ms: Some(at(950)),
            p99_ms: Some(at(990)),
            p999_ms: Some(at(999)),
            max_ms: Some(at(1000)),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "an hour in microseconds is far below 2^53")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn bucket(micros: u64) -> usize {
    let value = micros.min((1 << TOP) - 1);
    let bits = 64 - value.leading_zeros();
    let place = if bits <= SUB_BITS {
        value
    } else {
        let shift = bits - SUB_BITS - 1;
        (u64::from(shift + 1) << SUB_BITS) + (value >> shift) - SUBS
    };
    usize::try_from(place).unwrap_or(BUCKETS - 1).min(BUCKETS - 1)
}

/// The largest value that falls into the bucket.
fn upper_bound(place: usize) -> u64 {
    let place = place as u64;
    let (row, sub) = (place >> SUB_BITS, place & (SUBS - 1));
    match row.checked_sub(1) {
        None => sub,
        Some(shift) => ((SUBS + sub + 1) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_at_most_a_sixteenth_below_its_buckets_bound() {
        let mut last = 0;
        for value in (0..5_000).chain((13..32).map(|bits| 1 << bits)).chain([(1 << 32) - 1]) {
            let place = bucket(value);
            let bound = upper_bound(place);
            assert!(place >= last, "{value} went back to bucket {place}");
            assert!(value <= bound && bound - value <= value / 16, "{value} in a bucket up to {bound}");
            last = place;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_of_a_known_set() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.record(value * 1000));
        let found = histogram.percentiles();
        for (is, want) in
            [(found.p50_ms, 500.0), (found.p95_ms, 950.0), (found.p99_ms, 990.0), (found.max_ms, 1000.0)]
        {
            assert!(is >= Some(want) && is <= Some(want * 1.0625), "{is:?} for {want}");
        }
        let empty = Histogram::default().percentiles();
        assert_eq!((empty.p50_ms, empty.max_ms), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn histograms_add_up() {
        let (one, two) = (Histogram::default(), Histogram::default());
        one.record(10);
        two.record(1_000_000);
        one.add(&two);
        let found = one.percentiles();
        assert!(found.max_ms >= Some(1000.0) && found.p50_ms <= Some(0.011), "{found:?}");
    }
}
