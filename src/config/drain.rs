//! Section `drain`: how a node stops.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use serde::Deserialize;

use super::key::Key;
use super::sections::defaults;

/// How a node stops.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    pub notice_ms: u64,
    pub timeout_ms: u64,
}

impl Default for Drain {
    fn default() -> Self {
        defaults("drain")
    }
}

/// The keys of this section, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[
    Key::int(
        "drain.notice_ms",
        2000,
        (0, 600_000),
        "milliseconds",
        "After SIGTERM /readyz is 503 for this long before anything closes, so that balancers look \
         elsewhere. With ?drain=404 it is 404 instead, for balancers that know \"no new ones\".",
    ),
    Key::int(
        "drain.timeout_ms",
        10_000,
        (0, 3_600_000),
        "milliseconds",
        "Requests in flight get this long to end, while others are refused. A second SIGTERM ends at \
         once.",
    ),
];
