//! Connections that carry nothing end after `connections.idle_timeout_s`, whatever they asked for before.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, timeout};

use crate::fake::in_time;
use crate::server::{Server, initialize};

const IDLE: Duration = Duration::from_secs(1);
/// A busy machine needs some of it.
const LATEST: Duration = Duration::from_secs(4);

async fn server() -> Server {
    Server::with(|config| config.connections.idle_timeout_s = IDLE.as_secs()).await
}

/// Sends one request on a connection of its own, and returns after how long that is closed.
async fn closed_after(server: &Server, method: &str, path: &str, body: &str) -> Duration {
    let mut wire = server.wire().await;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    wire.send(&head).await;
    let answer = wire.answer().await;
    let start = Instant::now();
    timeout(LATEST, wire.closed()).await.unwrap_or_else(|_| panic!("{method} {path}: open after {answer:?}"));
    start.elapsed()
}

#[tokio::test]
async fn a_connection_that_once_asked_livez_or_nonsense_ends_like_any_other() {
    let server = server().await;
    let initialize = initialize("2025-11-25");
    let asked = [
        ("GET", "/livez", ""),
        ("GET", "/nowhere", ""),
        ("GET", "/mcp", ""),
        ("OPTIONS", "/mcp", ""),
        ("PUT", "/mcp", ""),
        ("POST", "/cluster/echo", "x"),
        ("POST", "/mcp", "{}"),
        ("POST", "/mcp", &initialize),
    ];
    let all = asked.map(|(method, path, body)| closed_after(&server, method, path, body));
    for (took, asked) in futures_util::future::join_all(all).await.into_iter().zip(asked) {
        assert!(took > IDLE - Duration::from_millis(100), "{asked:?}: closed after {took:?}");
    }
}

#[tokio::test]
async fn a_connection_that_listens_is_not_idle() {
    let server = server().await;
    let session = server.session().await;
    let mut wire = server.wire().await;
    wire.send_other("GET", &[("mcp-session-id", &session)]).await;
    assert_eq!(wire.head().await.status, 200);
    let read_on = async { while wire.event().await.is_some() {} };
    assert!(timeout(2 * IDLE, read_on).await.is_err(), "the stream ended");
}

#[tokio::test]
async fn pings_keep_no_http2_connection_open() {
    let server = server().await;
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_millis(100))
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let driving = tokio::spawn(connection);
    let request = hyper::Request::get("http://localhost/livez").body(Full::new(Bytes::new())).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok\n");
    let start = Instant::now();
    let _ = timeout(LATEST, in_time("the end", driving)).await.expect("open for ever");
    assert!(start.elapsed() > IDLE - Duration::from_millis(100), "{:?}", start.elapsed());
}
