//! Keys of the edge: where clients connect and what one connection may cost.

use erlmcp_ledger::CONNECTIONS_MAX;

use super::super::key::{Fallback, Key, Kind};

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
        1_048_576,
        (1024, 67_108_864),
        "bytes",
        "One message from a client; more answers 413. The Erlang system took 16 MiB, which at 100,000 \
         connections no machine holds; 16 MiB is now for upstreams only.",
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
        "http.connections_max",
        25_000,
        (1, 1_000_000),
        "connections",
        "HTTP connections of this node, within connections.per_node. 16 more are kept for probes and \
         operators: /livez, /readyz, /health, /cluster/.",
    ),
    Key::int(
        "connections.global",
        100_000,
        (1, CONNECTIONS_MAX as i64),
        "connections",
        "The cluster's limit of connections, with which it is founded; afterwards the ledger holds it and \
         status shows it. No node is held to a share of it yet: per_node bounds what is admitted.",
    ),
    Key::int(
        "connections.per_node",
        25_000,
        (1, 1_000_000),
        "connections",
        "What this node admits at most, whatever its share. Lowered at start to what open files allow.",
    ),
    Key::int(
        "connections.idle_timeout_s",
        300,
        (1, 86_400),
        "seconds",
        "A connection without any traffic is closed after this; the answer to a keep-alive counts as \
         traffic.",
    ),
    Key::int(
        "connections.reserve_files",
        256,
        (32, 65_536),
        "files",
        "Open files kept for store, peers, upstreams and operators; clients get the rest.",
    ),
    Key::int(
        "connections.write_stall_ms",
        10_000,
        (100, 600_000),
        "milliseconds",
        "A write that makes no progress for this long closes the connection.",
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
