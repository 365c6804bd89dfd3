//! Section `session`: how long MCP sessions last, and how many there may be.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use serde::Deserialize;

use super::key::Key;
use super::sections::defaults;

/// MCP sessions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub idle_s: u64,
    pub per_node_max: u32,
    pub per_principal_max: u32,
    pub bytes_max: usize,
    pub replay_bytes_max: usize,
    pub client_info_bytes_max: usize,
    pub capabilities_bytes_max: usize,
    pub elicitation_timeout_s: u64,
}

impl Default for Session {
    fn default() -> Self {
        defaults("session")
    }
}

/// The keys of this section, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[
    Key::int(
        "session.idle_s",
        1800,
        (1, 604_800),
        "seconds",
        "A session without requests ends after this; an open stream keeps it alive.",
    ),
    Key::int(
        "session.per_node_max",
        100_000,
        (1, 10_000_000),
        "sessions",
        "Sessions this node holds. A session without a connection costs memory only, so it has its own \
         limit.",
    ),
    Key::int(
        "session.per_principal_max",
        10_000,
        (1, 10_000_000),
        "sessions",
        "Sessions of one credential on this node. Clients without one are many under one name and have only \
         per_node_max; a session that its client never used ends after a minute.",
    ),
    Key::int(
        "session.bytes_max",
        134_217_728,
        (65_536, 1_099_511_627_776),
        "bytes",
        "All that the sessions of this node keep: what clients say of themselves, URIs they subscribe to, \
         events for streams that broke. When it or per_node_max is used up, the address that holds most \
         loses the session that is idle longest, never one with a stream. A host or container with less \
         memory lowers it to an eighth of that.",
    ),
    Key::int(
        "session.replay_bytes_max",
        262_144,
        (0, 67_108_864),
        "bytes",
        "Events kept for a stream that broke, for each session. 0 keeps none: a reconnect then misses \
         events.",
    ),
    Key::int(
        "session.client_info_bytes_max",
        4_096,
        (256, 65_536),
        "bytes",
        "clientInfo of initialize, which is kept as long as the session.",
    ),
    Key::int(
        "session.capabilities_bytes_max",
        16_384,
        (256, 262_144),
        "bytes",
        "The capabilities that a client says it has, kept as long.",
    ),
    Key::int(
        "session.elicitation_timeout_s",
        600,
        (1, 86_400),
        "seconds",
        "How long a question to the user may stay open. The Erlang system: form_timeout.",
    ),
];
