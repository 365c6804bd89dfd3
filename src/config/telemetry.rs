//! Section `telemetry`: what the node says of itself, and in which form.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use serde::Deserialize;

use super::key::{Fallback, Key, Kind};
use super::sections::defaults;

/// Logs, traces, metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub log: String,
    pub format: Format,
}

impl Default for Telemetry {
    fn default() -> Self {
        defaults("telemetry")
    }
}

/// The keys of this section, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "telemetry.log",
        Kind::Text { empty: false },
        Fallback::Text("info"),
        "error, warn, info, debug or trace for our own; or directives such as \
         \"info,erlmcp_raft=debug\". Also ERLMCP_LOG.",
    ),
    Key::new(
        "telemetry.format",
        Kind::OneOf(&["text", "json"]),
        Fallback::Text("text"),
        "The form of log lines, on standard error.",
    ),
];

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}
