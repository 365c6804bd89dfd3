//! Section `limits`: what one client may have at once, judged on this node.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use serde::Deserialize;

use super::key::Key;
use super::sections::defaults;

/// Rates of one client or address, judged here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub requests_in_flight: u32,
}

impl Default for Limits {
    fn default() -> Self {
        defaults("limits")
    }
}

/// The keys of this section, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[Key::int(
    "limits.requests_in_flight",
    100,
    (1, 100_000),
    "requests",
    "Unanswered requests of one session or connection. The Erlang system: max_pending_requests.",
)];
