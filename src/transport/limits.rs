//! Bounds of connections, requests and streams, and the proxies that the edge believes.

use crate::client_address::TrustedProxies;
use crate::exchange::ExchangeLimits;

/// Limits of the edge; the defaults are those of `config/*.toml`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Limits of what happens to a message once it is read.
    pub exchange: ExchangeLimits,
    /// Connections at once; one more is answered 503 and closed.
    pub connections_max: usize,
    /// Time for the head of a request, in milliseconds.
    pub header_ms: u64,
    /// Bytes of the head of a request; more is answered 431.
    pub header_bytes_max: usize,
    /// From connecting to the end of the first head, and for any whole body, in milliseconds.
    pub first_message_ms: u64,
    /// A connection without any traffic is closed after this, in milliseconds.
    pub idle_ms: u64,
    /// A write that makes no progress for this long closes the connection, in milliseconds.
    pub write_stall_ms: u64,
    /// Bytes of one message from a client; more is answered 413.
    pub body_bytes_max: usize,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Unread bytes that a client may send on one stream.
    pub http2_stream_window_bytes: u32,
    /// Unread bytes that a client may send on all streams of a connection.
    pub http2_connection_window_bytes: u32,
    /// Answers that wait for a slow reader of one HTTP/2 stream, in bytes.
    pub http2_send_bytes_max: usize,
    /// A comment goes out on a stream that was quiet for this long, in milliseconds.
    pub sse_keepalive_ms: u64,
    /// Pause that clients are told to make before they reconnect a stream, in milliseconds.
    pub sse_retry_ms: u64,
    /// A legacy answer that takes longer becomes a stream, so that it survives its connection, in
    /// milliseconds.
    pub sse_after_ms: u64,
    /// Time for running requests once the node drains, in milliseconds.
    pub drain_ms: u64,
    /// Proxies whose word about the client's address counts.
    pub trusted_proxies: TrustedProxies,
    /// Send small messages at once.
    pub tcp_nodelay: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            exchange: ExchangeLimits::default(),
            connections_max: 25_000,
            header_ms: 10_000,
            header_bytes_max: 65_536,
            first_message_ms: 10_000,
            idle_ms: 300_000,
            write_stall_ms: 10_000,
            body_bytes_max: 1_048_576,
            http2_streams_max: 100,
            http2_stream_window_bytes: 65_536,
            http2_connection_window_bytes: 1_048_576,
            http2_send_bytes_max: 65_536,
            sse_keepalive_ms: 15_000,
            sse_retry_ms: 3_000,
            sse_after_ms: 1_000,
            drain_ms: 10_000,
            trusted_proxies: TrustedProxies::default(),
            tcp_nodelay: true,
        }
    }
}
