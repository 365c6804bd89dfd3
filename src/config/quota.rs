//! Sections `budget` and `quota`: what the cluster is founded with beside `connections.global`.
//!
//! The ranges are those of the ledger, which would refuse to be founded with anything else.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use erlmcp_ledger::{DRIFT_PPM_MAX, LEASE_MS_MAX, LEASE_MS_MIN, MARGIN_MS_MAX, RATE_MAX};
use serde::Deserialize;

use super::key::{Fallback, Key, Kind};
use super::sections::defaults;

/// Rates of the whole cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub messages_per_second: u32,
    pub burst_messages: u32,
}

impl Default for Budget {
    fn default() -> Self {
        defaults("budget")
    }
}

/// How shares of the limits are leased.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    pub lease_ms: Lease,
    pub drift_ppm: u32,
    pub margin_ms: u64,
}

impl Default for Quota {
    fn default() -> Self {
        defaults("quota")
    }
}

/// The keys of these sections, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[
    Key::int(
        "budget.messages_per_second",
        150_000,
        (1, RATE_MAX as i64),
        "messages a second",
        "The rate of the whole cluster, with which it is founded; afterwards the ledger holds it and status \
         shows it. No node is held to it yet. The Erlang system said 10,000, which forbids the 125,000 that \
         it promises.",
    ),
    Key::int(
        "budget.burst_messages",
        150_000,
        (1, RATE_MAX as i64),
        "messages",
        "What the cluster would take at once after a quiet time, founded and held likewise. In any w \
         seconds: rate x w + burst.",
    ),
    Key::new(
        "quota.lease_ms",
        Kind::IntOr { min: LEASE_MS_MIN as i64, max: LEASE_MS_MAX as i64, word: "never" },
        Fallback::Int(30_000),
        "How long a node admits by its share without renewing it, in milliseconds, with which the cluster is \
         founded; quota set changes it. /readyz is 503 after half of it; then the node closes its \
         connections. \"never\": it never does, and the share of a lost host stays taken.",
    ),
    Key::int(
        "quota.drift_ppm",
        10_000,
        (0, DRIFT_PPM_MAX as i64),
        "millionths",
        "How much the clocks of two nodes may differ in speed, for the lease with which the cluster is \
         founded. Real ones stay under 500.",
    ),
    Key::int(
        "quota.margin_ms",
        500,
        (0, MARGIN_MS_MAX as i64),
        "milliseconds",
        "Added to the wait before a silent node's share goes to others; the cluster is founded with it.",
    ),
];

/// How long a share may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Lease {
    /// So many milliseconds after it was asked for.
    Ms(u64),
    /// For ever.
    Word(Never),
}

/// The word `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Never {
    /// Without end.
    Never,
}
