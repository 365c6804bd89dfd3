//! Section `connections`: how many clients, and what a connection may cost.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use erlmcp_ledger::CONNECTIONS_MAX;
use serde::Deserialize;

use super::key::{Fallback, Key, Kind};
use super::sections::defaults;

/// Costs that a connection may cause, on every transport.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    pub global: u32,
    pub per_node: u32,
    pub idle_timeout_s: u64,
    pub make_room_idle_ms: u64,
    pub reserve_files: u32,
    pub write_stall_ms: u64,
    pub tcp_nodelay: bool,
    pub insecure: bool,
}

impl Default for Connections {
    fn default() -> Self {
        defaults("connections")
    }
}

/// The keys of this section, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[
    Key::int(
        "connections.global",
        100_000,
        (1, CONNECTIONS_MAX as i64),
        "connections",
        "The cluster's limit of connections, with which it is founded; afterwards the ledger holds it, \
         and quota set changes it. Each node admits out of its share of it.",
    ),
    Key::int(
        "connections.per_node",
        25_000,
        (1, 1_000_000),
        "connections",
        "The most that this node takes a share for. Lowered at start to what open files allow.",
    ),
    Key::int(
        "connections.idle_timeout_s",
        300,
        (1, 86_400),
        "seconds",
        "A connection on which nothing is being served is closed after this; an open stream counts, pings \
         do not.",
    ),
    Key::int(
        "connections.make_room_idle_ms",
        5_000,
        (100, 3_600_000),
        "milliseconds",
        "Where the node's share is used up, a connection that has carried nothing for this long is closed \
         for a new one, the longest idle first.",
    ),
    Key::int(
        "connections.reserve_files",
        256,
        (32, 65_536),
        "files",
        "Open files kept for store, peers and operators. Of the rest upstreams have what they may hold at \
         once, at most a quarter (gateway.sessions_max and the like); clients get what is left.",
    ),
    Key::int(
        "connections.write_stall_ms",
        10_000,
        (100, 600_000),
        "milliseconds",
        "A write that makes no progress for this long closes the connection; over HTTP/2 it resets the \
         stream.",
    ),
    Key::new(
        "connections.tcp_nodelay",
        Kind::Bool,
        Fallback::Bool(true),
        "Send small messages at once. Without it each answer may wait 40 ms.",
    ),
    Key::new(
        "connections.insecure",
        Kind::Bool,
        Fallback::Bool(false),
        "Allow client ports on addresses that are not loopback although nothing authenticates there. \
         Also --insecure.",
    ),
];
