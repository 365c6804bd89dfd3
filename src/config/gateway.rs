//! Sections `gateway` and `upstream`: the servers behind this node, together and one by one.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use std::collections::BTreeMap;

use serde::Deserialize;

use super::key::{Fallback, Key, Kind};
use super::sections::{defaults, defaults_beside};

/// Settings common to all upstreams.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    pub names: Names,
    pub message_bytes_max: usize,
    pub connect_timeout_ms: u64,
    pub pool_connections: u32,
    pub queue_requests_max: u32,
    pub sessions_max: u32,
    pub children_max: u32,
    pub client_percent_max: u32,
    pub start_wait_ms: u64,
}

impl Default for Gateway {
    fn default() -> Self {
        defaults("gateway")
    }
}

/// One server behind the node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    pub name: String,
    pub command: Option<String>,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: Option<String>,
    pub url: Option<String>,
    pub timeout_ms: u64,
    pub idle_s: u64,
    pub restart_min_ms: u64,
    pub restart_max_ms: u64,
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    pub instances: Instances,
}

impl Upstream {
    /// The upstream of this name as it is when nobody sets anything else; a command or a url is to follow.
    #[must_use]
    pub fn new(name: &str) -> Upstream {
        defaults_beside("upstream", [("name".to_owned(), name.into())].into_iter().collect())
    }
}

/// The keys of these sections, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "gateway.names",
        Kind::OneOf(&["on_conflict", "always", "never"]),
        Fallback::Text("on_conflict"),
        "When a tool, prompt or resource is called <upstream>__<name>: when two upstreams offer the \
         same name, always, or never (then the first in the file wins).",
    ),
    Key::int(
        "gateway.message_bytes_max",
        16_777_216,
        (1024, 268_435_456),
        "bytes",
        "One message from an upstream, which is ours and may send more than a client may. A longer one \
         is skipped, and its request gets an error.",
    ),
    Key::int(
        "gateway.connect_timeout_ms",
        5000,
        (100, 600_000),
        "milliseconds",
        "Time to reach an upstream by URL.",
    ),
    Key::int(
        "gateway.pool_connections",
        100,
        (1, 10_000),
        "connections",
        "Idle connections kept to one upstream by URL. The Erlang system: pool_size.",
    ),
    Key::int(
        "gateway.queue_requests_max",
        1000,
        (1, 1_000_000),
        "requests",
        "Requests at one upstream at once; more are answered with an error. The Erlang system: \
         pool_queue_size.",
    ),
    Key::int(
        "gateway.sessions_max",
        10_000,
        (1, 1_000_000),
        "sessions",
        "Sessions open at one upstream by URL at once, each with an open file; more displace those that \
         are idle longest. Lowered at start to what open files allow.",
    ),
    Key::int(
        "gateway.children_max",
        100,
        (1, 100_000),
        "children",
        "Children of one upstream with instances = \"session\", five open files each; more displace \
         those that are idle longest.",
    ),
    Key::int(
        "gateway.client_percent_max",
        50,
        (1, 100),
        "percent",
        "The most that the clients at one address (IPv6: one /64) take of an upstream's requests, \
         sessions or children at once. Behind a balancer set http.trusted_proxies, or all clients are one.",
    ),
    Key::int(
        "gateway.start_wait_ms",
        8_000,
        (0, 600_000),
        "milliseconds",
        "How long after its start a node is not ready because an upstream has not answered or failed once; \
         one that has is not waited for again.",
    ),
    Key::new(
        "upstream.name",
        Kind::Name,
        Fallback::Required,
        "Its name in prefixes, status and logs. Unique.",
    ),
    Key::new(
        "upstream.command",
        Kind::Text { empty: false },
        Fallback::Absent,
        "The program of a child that speaks MCP on stdin and stdout. Either command or url.",
    ),
    Key::new("upstream.args", Kind::Texts, Fallback::NoTexts, "Its arguments; no shell reads them."),
    Key::new("upstream.env", Kind::TextMap, Fallback::NoMap, "Variables added to its environment."),
    Key::new("upstream.cwd", Kind::Text { empty: false }, Fallback::Absent, "Its working directory."),
    Key::new(
        "upstream.url",
        Kind::Text { empty: false },
        Fallback::Absent,
        "The address of a Streamable HTTP server, http:// or https://.",
    ),
    Key::int(
        "upstream.timeout_ms",
        30_000,
        (100, 86_400_000),
        "milliseconds",
        "A request that it does not answer by then gets an error.",
    ),
    Key::int(
        "upstream.idle_s",
        600,
        (1, 604_800),
        "seconds",
        "A child that nobody used for this long is ended; the next request starts it again.",
    ),
    Key::int(
        "upstream.restart_min_ms",
        200,
        (10, 600_000),
        "milliseconds",
        "Wait before the first restart of a child that died; doubles each time.",
    ),
    Key::int(
        "upstream.restart_max_ms",
        30_000,
        (10, 3_600_000),
        "milliseconds",
        "The longest such wait. Not less than restart_min_ms.",
    ),
    Key::new(
        "upstream.allow",
        Kind::Texts,
        Fallback::NoTexts,
        "If given, only tools of these names are offered; a * at the end matches the rest.",
    ),
    Key::new(
        "upstream.deny",
        Kind::Texts,
        Fallback::NoTexts,
        "Tools of these names are not offered, even if allowed.",
    ),
    Key::new(
        "upstream.instances",
        Kind::OneOf(&["shared", "session"]),
        Fallback::Text("shared"),
        "One child for all clients, or one for each session.",
    ),
];

/// When names get the prefix of their upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// When two upstreams offer the same.
    OnConflict,
    /// Always.
    Always,
    /// Never; the first in the file wins.
    Never,
}

/// How many children an upstream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instances {
    /// One for all.
    Shared,
    /// One for each session.
    Session,
}
