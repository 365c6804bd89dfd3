//! A node without a free slot: probes and the operator reach it, clients are refused, silence locks nobody
//! out.

use std::time::Duration;

use tokio::time::Instant;

use crate::server::{Server, initialize};
use crate::wire::{Answer, Wire};

/// Connections that are kept beyond the limit.
const PLACES: usize = 16;
/// Far below the second that a silent connection may take; a busy machine needs some of it.
const SOON: Duration = Duration::from_millis(500);

/// A node whose slots are all taken by the connections that come with it.
async fn full() -> (Server, Vec<Wire>) {
    let server = Server::with(|config| config.http.connections_max = 3).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut wire = server.wire().await;
        assert_eq!(wire.post(&[], &initialize("2025-11-25")).await.status, 200);
        idle.push(wire);
    }
    (server, idle)
}

async fn ask(server: &Server, method: &str, path: &str, body: &str) -> Answer {
    let mut wire = server.wire().await;
    let length = body.len();
    wire.send(&format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"))
        .await;
    let answer = wire.answer().await;
    wire.closed().await;
    answer
}

#[tokio::test]
async fn probes_and_orders_are_served_at_a_full_node_and_closed() {
    let (server, mut idle) = full().await;
    for (method, path, body) in [
        ("GET", "/livez", "ok\n"),
        ("GET", "/readyz?x=1", "ready\n"),
        ("POST", "/cluster/echo", "{\"node\":1}"),
    ] {
        let start = Instant::now();
        let answer = ask(&server, method, path, if method == "POST" { body } else { "" }).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
        assert_eq!(answer.header("connection"), Some("close"), "{path}");
        assert!(start.elapsed() < SOON, "{path}: {:?}", start.elapsed());
    }
    assert_eq!(server.recorder.totals().connections, 3, "the operator was counted as a client");
    assert_eq!(idle[0].post(&[], &initialize("2025-11-25")).await.status, 200);
}

#[tokio::test]
async fn everything_else_is_refused_at_a_full_node() {
    let (server, _idle) = full().await;
    for path in ["/mcp", "/", "/livezz", "/clusters"] {
        let answer = ask(&server, "POST", path, &initialize("2025-11-25")).await;
        assert_eq!(answer.fault(), (503, 50_301), "{path}");
        assert_eq!(answer.header("connection"), Some("close"), "{path}");
        assert!(answer.header("retry-after").is_some(), "{path}");
    }
}

#[tokio::test]
async fn an_order_has_at_most_4096_bytes_at_a_full_node() {
    let (server, _idle) = full().await;
    for (size, status) in [(4095, 200), (4096, 200), (4097, 413)] {
        assert_eq!(ask(&server, "POST", "/cluster/echo", &"x".repeat(size)).await.status, status, "{size}");
    }
}

#[tokio::test]
async fn silent_connections_do_not_keep_the_next_probe_out() {
    let (server, _idle) = full().await;
    let mut silent = Vec::new();
    for n in 0..PLACES {
        let mut wire = server.wire().await;
        // Some say nothing, some begin a head, some begin an order.
        let begun =
            ["", "GET /li", "POST /cluster/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"][n % 3];
        wire.send(begun).await;
        silent.push(wire);
    }
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(ask(&server, "GET", "/livez", "").await.status, 200);
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    }
    assert_eq!(silent[0].answer().await.fault(), (503, 50_301), "who waited longest makes room");
    let mut last = silent.pop().unwrap();
    let start = Instant::now();
    last.closed().await;
    assert!(start.elapsed() > Duration::from_millis(500), "one made room for whom there was room");
}

#[tokio::test]
async fn a_silent_connection_at_a_full_node_is_told_after_a_second() {
    let (server, _idle) = full().await;
    let start = Instant::now();
    let mut wire = server.wire().await;
    assert_eq!(wire.answer().await.fault(), (503, 50_301));
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
}

#[tokio::test]
async fn of_many_probes_at_once_each_is_answered() {
    let (server, _idle) = full().await;
    let probes = (0..3 * PLACES).map(|_| ask(&server, "GET", "/livez", ""));
    for answer in futures_util::future::join_all(probes).await {
        assert_eq!(answer.status, 200);
    }
}
