//! Section `http`: where clients connect, and what one request may cost.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use serde::Deserialize;

use super::address::Listen;
use super::key::{Fallback, Key, Kind};
use super::sections::defaults;

/// The HTTP edge.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub listen: Listen,
    pub allowed_hosts: Vec<String>,
    pub allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
    pub header_timeout_ms: u64,
    pub header_bytes_max: usize,
    pub body_bytes_max: usize,
    pub bodies_bytes_max: usize,
    pub name_bytes_max: usize,
    pub first_message_timeout_ms: u64,
    pub request_timeout_ms: u64,
    pub http2_streams_max: u32,
    pub http2_stream_window_bytes: u32,
    pub http2_connection_window_bytes: u32,
    pub sse_keepalive_ms: u64,
    pub sse_retry_ms: u64,
    pub sse_after_ms: u64,
    pub connections_max: u32,
}

impl Default for Http {
    fn default() -> Self {
        defaults("http")
    }
}

/// The keys of this section, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "http.listen",
        Kind::Listen,
        Fallback::Text("auto"),
        "MCP, status, metrics. \"auto\" is 127.0.0.1 and the port of port_base; \"off\" is not \
         possible. An address that is not loopback does not start without connections.insecure.",
    ),
    Key::new(
        "http.allowed_hosts",
        Kind::Texts,
        Fallback::NoTexts,
        "Further names that a Host header may carry, without port. Loopback names and the address \
         listened on are always allowed; the list stops DNS rebinding.",
    ),
    Key::new(
        "http.allowed_origins",
        Kind::Texts,
        Fallback::NoTexts,
        "Further web origins whose pages may call, such as \"https://app.example.com\". Loopback \
         origins are always allowed; others get 403.",
    ),
    Key::new(
        "http.trusted_proxies",
        Kind::Texts,
        Fallback::NoTexts,
        "Proxies by address or block, such as \"10.0.0.0/8\" or \"fd00::1\": whose X-Forwarded-For \
         counts. The client is its last entry that is no such proxy. Of anyone else the header is ignored.",
    ),
    Key::int(
        "http.header_timeout_ms",
        10_000,
        (100, 600_000),
        "milliseconds",
        "Time for all headers of a request. Ends clients that send one byte at a time.",
    ),
    Key::int(
        "http.header_bytes_max",
        65_536,
        (8192, 1_048_576),
        "bytes",
        "All headers of a request together; more answers 431.",
    ),
    Key::int(
        "http.body_bytes_max",
        4_194_304,
        (1024, 67_108_864),
        "bytes",
        "One message from a client, as long as official SDKs take; more answers 413. The Erlang system took \
         16 MiB, which is now for upstreams only.",
    ),
    Key::int(
        "http.bodies_bytes_max",
        67_108_864,
        (1_048_576, 1_099_511_627_776),
        "bytes",
        "All messages together that are arriving or being served. When it is used up, the oldest that still \
         arrives of the address that holds most is answered 408. A host or container with less memory \
         lowers it to a sixteenth of that.",
    ),
    Key::int(
        "http.name_bytes_max",
        8_192,
        (256, 65_536),
        "bytes",
        "A name, URI, cursor or task id in a request, as JSON. Many of them are kept and compared.",
    ),
    Key::int(
        "http.first_message_timeout_ms",
        10_000,
        (100, 600_000),
        "milliseconds",
        "Time from connecting to the end of the first request. A connection that says nothing holds a \
         slot.",
    ),
    Key::int(
        "http.request_timeout_ms",
        30_000,
        (100, 86_400_000),
        "milliseconds",
        "A request not answered by then gets an error. Progress does not extend it; a listening stream \
         is no request.",
    ),
    Key::int(
        "http.http2_streams_max",
        100,
        (1, 10_000),
        "streams",
        "Requests at once on one HTTP/2 connection.",
    ),
    Key::int(
        "http.http2_stream_window_bytes",
        65_536,
        (65_535, 16_777_216),
        "bytes",
        "Unread bytes a client may send on one stream. Bounds memory; Envoy's value.",
    ),
    Key::int(
        "http.http2_connection_window_bytes",
        1_048_576,
        (65_535, 67_108_864),
        "bytes",
        "Unread bytes on all streams of one connection. Not less than one stream's. Envoy's value.",
    ),
    Key::int(
        "http.sse_keepalive_ms",
        15_000,
        (1000, 600_000),
        "milliseconds",
        "A comment on a quiet event stream, so that balancers do not cut it. The Erlang system said 30 \
         s, as long as many balancers wait.",
    ),
    Key::int(
        "http.sse_retry_ms",
        3000,
        (100, 600_000),
        "milliseconds",
        "What we tell a client to wait before it reconnects a stream. Clients give up after two \
         attempts, so it outlives an election.",
    ),
    Key::int(
        "http.sse_after_ms",
        1000,
        (0, 600_000),
        "milliseconds",
        "A session's answer that takes longer becomes an event stream, which survives a lost connection \
         and is kept alive. Until then nothing is sent: less than the first timeout on the way.",
    ),
    Key::int(
        "http.connections_max",
        25_000,
        (1, 1_000_000),
        "connections",
        "HTTP connections of this node, within connections.per_node. 16 more are kept for probes and \
         operators: /livez, /readyz, /health, /cluster/.",
    ),
];
