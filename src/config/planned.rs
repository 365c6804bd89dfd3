//! Keys that are known and do nothing in this release: who sets them is told so, in one line.
//!
//! No struct has a field for them and no shipped file names them. A key that a part of the program begins to
//! read moves from here to its section.

use super::key::{Fallback, Key, Kind};

/// Every such key, by section.
pub const PLANNED: &[Key] = &[
    Key::int(
        "peer.request_timeout_ms",
        5000,
        (100, 600_000),
        "milliseconds",
        "A request to another node that is not Raft's own (join, status) ends after this. The Erlang \
         system: inter_node_pool_timeout.",
    ),
    Key::int(
        "peer.pool_connections",
        4,
        (1, 256),
        "connections",
        "Connections kept to each other node for forwarded messages. The Erlang system: \
         inter_node_pool_size.",
    ),
    Key::int(
        "peer.queue_messages_max",
        10_000,
        (1, 10_000_000),
        "messages",
        "Messages waiting for one other node; a full queue refuses. The Erlang system: \
         max_message_queue.",
    ),
    Key::new(
        "tcp.listen",
        Kind::Listen,
        Fallback::Text("auto"),
        "Raw TCP for MCP clients, one JSON message a line. \"auto\" is 127.0.0.1 and the port of \
         port_base; \"off\" closes it.",
    ),
    Key::int(
        "tcp.message_bytes_max",
        1_048_576,
        (1024, 67_108_864),
        "bytes",
        "One line from a client; a longer one is an error while it is read.",
    ),
    Key::int(
        "tcp.connections_max",
        25_000,
        (1, 1_000_000),
        "connections",
        "TCP connections of this node, within connections.per_node.",
    ),
    Key::new(
        "websocket.enabled",
        Kind::Bool,
        Fallback::Bool(true),
        "Whether /mcp/ws answers. It shares the HTTP port.",
    ),
    Key::int(
        "websocket.ping_interval_ms",
        30_000,
        (1000, 3_600_000),
        "milliseconds",
        "A ping on each connection; two without an answer close it.",
    ),
    Key::int(
        "websocket.message_bytes_max",
        1_048_576,
        (1024, 67_108_864),
        "bytes",
        "One message from a client, all its frames together.",
    ),
    Key::int(
        "websocket.read_buffer_bytes",
        4096,
        (512, 1_048_576),
        "bytes",
        "Held by each open connection. The Erlang system took 100 KiB; the usual default of 128 KiB \
         would be 13 GB at 100,000.",
    ),
    Key::int(
        "websocket.connections_max",
        25_000,
        (1, 1_000_000),
        "connections",
        "WebSocket connections of this node, within connections.per_node.",
    ),
    Key::int(
        "connections.accept_per_second",
        500,
        (1, 1_000_000),
        "connections a second",
        "New connections this node admits; a storm of clients must not starve those that are there.",
    ),
    Key::int(
        "connections.outbox_bytes_max",
        262_144,
        (4096, 67_108_864),
        "bytes",
        "Answers waiting for one slow reader; when full we stop reading from it.",
    ),
    Key::int(
        "connections.socket_buffer_bytes",
        0,
        (0, 67_108_864),
        "bytes",
        "Kernel buffers of each direction; 0 leaves them to the kernel, which grows what is used. The \
         Erlang system fixed 2 MiB, which would allow 400 GB at 100,000 connections.",
    ),
    Key::new(
        "connections.tcp_keepalive",
        Kind::Bool,
        Fallback::Bool(true),
        "Let the kernel find clients that vanished without a word.",
    ),
    Key::int(
        "connections.sync_interval_ms",
        1000,
        (50, 60_000),
        "milliseconds",
        "How often changes of sessions go to the node that would take them over (\"lazy sync\" of the \
         Erlang system).",
    ),
    Key::new(
        "connections.sync",
        Kind::OneOf(&["lazy", "eager"]),
        Fallback::Text("lazy"),
        "\"lazy\" sends them in batches, \"eager\" each at once: slower, and nothing of the last \
         second is lost.",
    ),
    Key::new(
        "limits.enabled",
        Kind::Bool,
        Fallback::Bool(true),
        "Whether the rates of this section apply. Limits per address never apply to loopback.",
    ),
    Key::int(
        "limits.messages_per_second",
        100,
        (1, 1_000_000),
        "messages a second",
        "Of one client; more answers 429 with a time to wait.",
    ),
    Key::int(
        "limits.tool_calls_per_second",
        50,
        (1, 1_000_000),
        "calls a second",
        "Of one client, within its messages.",
    ),
    Key::int(
        "limits.subscriptions_per_second",
        20,
        (1, 1_000_000),
        "subscriptions a second",
        "Of one client, within its messages.",
    ),
    Key::int(
        "limits.connections_per_second_per_address",
        10,
        (1, 1_000_000),
        "connections a second",
        "Of one address (IPv6: one /64). Behind a trusted proxy the forwarded address counts.",
    ),
    Key::int(
        "limits.block_after_violations",
        100,
        (1, 1_000_000),
        "refusals",
        "Refusals of one address after which it is blocked.",
    ),
    Key::int("limits.block_s", 300, (1, 86_400), "seconds", "How long a blocked address stays so."),
    Key::int(
        "session.subscriptions_per_resource_max",
        1000,
        (1, 1_000_000),
        "subscriptions",
        "Listeners of one resource. The Erlang system: max_subscriptions_per_resource.",
    ),
    Key::int(
        "session.progress_tokens_max",
        10_000,
        (1, 1_000_000),
        "tokens",
        "Calls with progress at once on this node. The Erlang system: max_progress_tokens.",
    ),
    Key::int(
        "session.elicitations_max",
        100,
        (1, 100_000),
        "questions",
        "Open questions on this node. The Erlang system: max_concurrent_forms.",
    ),
    Key::new(
        "session.sticky",
        Kind::Bool,
        Fallback::Bool(true),
        "Carry a request to the node that holds its session. false: the node that gets it takes the \
         session over.",
    ),
    Key::new(
        "telemetry.otlp_endpoint",
        Kind::Text { empty: true },
        Fallback::Text(""),
        "Where traces and metrics go by OTLP over HTTP, such as \"http://localhost:4318\". Empty: \
         nowhere. The Erlang system sent to localhost:4318 whether or not someone listened.",
    ),
    Key::new(
        "telemetry.trace_sample_ratio",
        Kind::Float { min: 0.0, max: 1.0 },
        Fallback::Float(0.1),
        "Part of the requests that leave a trace.",
    ),
    Key::int(
        "monitor.sync_interval_ms",
        5000,
        (100, 600_000),
        "milliseconds",
        "How often nodes exchange their figures for the views of the whole cluster.",
    ),
    Key::int(
        "monitor.dashboard_refresh_ms",
        5000,
        (250, 600_000),
        "milliseconds",
        "How often the dashboard draws anew.",
    ),
    Key::int(
        "drain.close_per_second",
        500,
        (1, 1_000_000),
        "connections a second",
        "How fast connections are closed, never faster than the other nodes can admit them.",
    ),
    Key::new(
        "runtime.cpu_binding",
        Kind::OneOf(&["none", "cores"]),
        Fallback::Text("none"),
        "\"cores\" binds each worker to a core; helps where a node owns its machine, hurts where it \
         shares. The Erlang system: +B db and NUMA.",
    ),
];
