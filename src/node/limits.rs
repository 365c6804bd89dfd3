//! The limits of the edge, from the configuration.

use crate::cli::Launch;
use crate::client_address::TrustedProxies;
use crate::exchange::ExchangeLimits;
use crate::session::SessionLimits;
use crate::transport::Limits;

use super::options;

/// Bounds of connections, requests, streams and sessions of this node.
pub(super) fn edge(launch: &Launch) -> Limits {
    let sections = &launch.config.sections;
    let (http, connections) = (&sections.http, &sections.connections);
    let connections_max = options::connections_max(launch).min(u64::from(http.connections_max));
    Limits {
        exchange: exchange(launch),
        connections_max: usize::try_from(connections_max).unwrap_or(usize::MAX),
        header_ms: http.header_timeout_ms,
        header_bytes_max: http.header_bytes_max,
        first_message_ms: http.first_message_timeout_ms,
        idle_ms: connections.idle_timeout_s * 1000,
        write_stall_ms: connections.write_stall_ms,
        body_bytes_max: http.body_bytes_max,
        http2_streams_max: http.http2_streams_max,
        http2_stream_window_bytes: http.http2_stream_window_bytes,
        http2_connection_window_bytes: http.http2_connection_window_bytes,
        sse_keepalive_ms: http.sse_keepalive_ms,
        sse_retry_ms: http.sse_retry_ms,
        drain_ms: sections.drain.timeout_ms,
        trusted_proxies: TrustedProxies::new(&launch.config.trusted_proxies),
        tcp_nodelay: connections.tcp_nodelay,
        ..Limits::default()
    }
}

fn exchange(launch: &Launch) -> ExchangeLimits {
    let sections = &launch.config.sections;
    let session = &sections.session;
    let count = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
    ExchangeLimits {
        sessions: SessionLimits {
            per_node_max: count(session.per_node_max),
            per_principal_max: count(session.per_principal_max),
            idle_ms: session.idle_s * 1000,
            requests_max: count(sections.limits.requests_in_flight),
            replay_bytes_max: session.replay_bytes_max,
            ..SessionLimits::default()
        },
        request_ms: sections.http.request_timeout_ms,
        drain_ms: sections.drain.timeout_ms / 5 * 4,
        asks_ms: session.elicitation_timeout_s * 1000,
        ..ExchangeLimits::default()
    }
}
