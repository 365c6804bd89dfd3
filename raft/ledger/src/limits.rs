//! Limits and budgets: the cluster's ceilings, in whole numbers.
//!
//! Slots of connections and tokens of a rate, for the whole cluster and for single tenants. A tenant's number
//! is never above the cluster's.

use serde::{Deserialize, Serialize};

/// The largest rate or burst; leaves room to multiply by a microsecond in 64 bits.
pub const RATE_MAX: u32 = 1_000_000_000;

/// The most tenants with numbers of their own; bounds the state.
pub const TENANTS_MAX: usize = 100_000;

/// The largest limit of connections.
pub const CONNECTIONS_MAX: u32 = 1_000_000_000;

/// The shortest lease: below it a share ends before a slow renewal returns.
pub const LEASE_MS_MIN: u32 = 3_000;

/// The longest lease: an hour. Longer is spelled "never".
pub const LEASE_MS_MAX: u32 = 3_600_000;

/// The largest clock drift that a lease can allow for: 10 %.
pub const DRIFT_PPM_MAX: u32 = 100_000;

/// The largest extra wait before a share expires.
pub const MARGIN_MS_MAX: u32 = 60_000;

/// The ceiling of connection slots and the terms of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// Slots of the whole cluster.
    pub connections: u32,
    /// How long a share lasts without renewal, in milliseconds; `None` means it never ends.
    pub lease_ms: Option<u32>,
    /// The difference of clock rates that leases allow for, in parts per million.
    pub drift_ppm: u32,
    /// Extra wait before a share expires, in milliseconds.
    pub margin_ms: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 100_000, lease_ms: Some(30_000), drift_ppm: 10_000, margin_ms: 500 }
    }
}

impl Limits {
    /// The first value out of its range, in words.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        if self.connections == 0 || self.connections > CONNECTIONS_MAX {
            return Some("connections must be between 1 and 1000000000");
        }
        if self.lease_ms.is_some_and(|ms| !(LEASE_MS_MIN..=LEASE_MS_MAX).contains(&ms)) {
            return Some("lease_ms must be between 3000 and 3600000, or never");
        }
        if self.drift_ppm > DRIFT_PPM_MAX {
            return Some("drift_ppm must be at most 100000");
        }
        if self.margin_ms > MARGIN_MS_MAX {
            return Some("margin_ms must be at most 60000");
        }
        None
    }
}

/// The ceiling of a message rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Budget {
    /// Messages a second in the long run.
    pub messages_per_second: u32,
    /// Messages that may come at once beyond the rate.
    pub burst: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { messages_per_second: 150_000, burst: 150_000 }
    }
}

impl Budget {
    /// The first value out of its range, in words.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        if self.messages_per_second == 0 || self.messages_per_second > RATE_MAX {
            return Some("messages_per_second must be between 1 and 1000000000");
        }
        if self.burst == 0 || self.burst > RATE_MAX {
            return Some("burst must be between 1 and 1000000000");
        }
        None
    }

    /// Whether both numbers are within the other's.
    #[must_use]
    pub fn is_within(&self, whole: &Budget) -> bool {
        self.messages_per_second <= whole.messages_per_second && self.burst <= whole.burst
    }
}
