//! The limits of connections, heads and bodies: one below, at and above each, and who dawdles is closed.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

use crate::fake::{bytes, call, until};
use crate::server::{Server, initialize};

/// An `initialize` of exactly so many bytes.
fn padded(size: usize) -> String {
    let body = initialize("2025-11-25");
    let pad = size - body.len();
    body.replacen('{', &format!("{{{}", " ".repeat(pad)), 1)
}

#[tokio::test]
async fn a_body_may_have_the_limit_and_not_one_byte_more() {
    let server = Server::with(|config| config.http.body_bytes_max = 1024).await;
    for (size, status) in [(1023, 200), (1024, 200), (1025, 413), (1 << 20, 413)] {
        let mut wire = server.wire().await;
        wire.send_post(&[], "").await;
        wire.answer().await;
        let body = padded(size);
        let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        wire.send(&format!("{head}content-length: {size}\r\n\r\n")).await;
        // An oversize body may be refused before it was sent.
        let _ = wire.try_send(body.as_bytes()).await;
        assert_eq!(wire.answer().await.status, status, "{size} bytes, announced");

        let mut wire = server.wire().await;
        wire.send(&format!("{head}transfer-encoding: chunked\r\n\r\n{size:x}\r\n")).await;
        let _ = wire.try_send(format!("{body}\r\n0\r\n\r\n").as_bytes()).await;
        assert_eq!(wire.answer().await.status, status, "{size} bytes, in chunks");
    }
    assert_eq!(server.wire().await.post(&[], &initialize("2025-11-25")).await.status, 200);
}

#[tokio::test]
async fn an_oversize_body_is_refused_although_it_never_ends() {
    let server = Server::with(|config| config.http.body_bytes_max = 1024).await;
    let mut wire = server.wire().await;
    wire.send("POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n").await;
    wire.send("transfer-encoding: chunked\r\n\r\n1000\r\n").await;
    let _ = wire.try_send(&[b' '; 0x1000]).await;
    assert_eq!(wire.answer().await.fault(), (413, -32_600));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let server = Server::with(|config| config.http.header_bytes_max = 8192).await;
    for (size, status) in [(7000, 400), (8192, 431), (100_000, 431)] {
        let mut wire = server.wire().await;
        let fill = "x".repeat(size);
        let head = format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\nx-fill: {fill}\r\n\r\n");
        let _ = wire.try_send(head.as_bytes()).await;
        assert_eq!(wire.head().await.status, status, "{size}");
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_closed() {
    let server = Server::with(|config| {
        config.http.first_message_timeout_ms = 100;
        config.http.header_timeout_ms = 100;
    })
    .await;
    for start in ["", "P", "POST /mcp HTTP/1.1\r\nhost:", "PRI * HTTP/2.0\r\n"] {
        let mut wire = server.wire().await;
        wire.send(start).await;
        wire.closed().await;
    }
    let mut wire = server.wire().await;
    assert_eq!(wire.post(&[], &initialize("2025-11-25")).await.status, 200);
    wire.send("POST /mcp HT").await;
    wire.closed().await;
}

#[tokio::test]
async fn a_client_that_never_finishes_its_body_is_told_and_closed() {
    let server = Server::with(|config| config.http.first_message_timeout_ms = 100).await;
    let mut wire = server.wire().await;
    wire.send("POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n").await;
    wire.send("content-length: 100\r\n\r\n{").await;
    assert_eq!(wire.answer().await.fault(), (408, -32_600));
    wire.closed().await;
}

#[tokio::test]
async fn an_idle_connection_stays_for_its_time_and_no_longer() {
    let server = Server::with(|config| {
        (config.http.first_message_timeout_ms, config.http.header_timeout_ms) = (100, 100);
        config.connections.idle_timeout_s = 1;
    })
    .await;
    let mut wire = server.wire().await;
    assert_eq!(wire.post(&[], &initialize("2025-11-25")).await.status, 200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(wire.post(&[], &initialize("2025-11-25")).await.status, 200, "closed before its time");
    wire.closed().await;
}

#[tokio::test]
async fn one_connection_more_than_the_limit_is_told_to_come_back() {
    let server = Server::with(|config| config.http.connections_max = 2).await;
    let (mut first, mut second) = (server.wire().await, server.wire().await);
    for wire in [&mut first, &mut second] {
        assert_eq!(wire.post(&[], &initialize("2025-11-25")).await.status, 200);
    }
    assert_eq!(server.recorder.totals().connections, 2);
    let mut third = server.wire().await;
    let refused = third.post(&[], &initialize("2025-11-25")).await;
    assert_eq!((refused.fault(), refused.header("retry-after").is_some()), ((503, 50_301), true));
    third.closed().await;
    drop(first);
    until("its slot is free", || server.recorder.totals().connections == 1).await;
    assert_eq!(server.wire().await.post(&[], &initialize("2025-11-25")).await.status, 200);
    assert_eq!(second.post(&[], &initialize("2025-11-25")).await.status, 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    const MANY: u64 = 200;
    for id in 1..=MANY {
        wire.send_post(&[("mcp-session-id", &session)], &call(id, "echo", &json!({}))).await;
    }
    for id in 1..=MANY {
        assert_eq!(wire.answer().await.json()["id"], id);
    }
    let totals = server.recorder.totals();
    assert_eq!((totals.messages_in, totals.faults), (MANY + 1, 0));
}

#[tokio::test]
async fn http2_without_negotiation_carries_many_requests_at_once() {
    let server = Server::start().await;
    let session = server.session().await;
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake::<_, _, Full<bytes::Bytes>>(
        TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    let driving = tokio::spawn(connection);
    let mut answers = Vec::new();
    for id in 1..=50 {
        let request = hyper::Request::post(format!("http://localhost:{}/mcp", server.address.port()))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-session-id", &session)
            .body(Full::new(bytes(&call(id, "wait", &json!({})))))
            .unwrap();
        answers.push(sender.send_request(request));
    }
    server.fake.until_running(50).await;
    server.fake.gate.add_permits(50);
    for answer in answers {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"{\"jsonrpc\""), "{body:?}");
    }
    driving.abort();
}

#[tokio::test]
async fn a_drain_lets_running_requests_finish_and_closes_the_rest() {
    let mut server = Server::with(|config| config.drain.timeout_ms = 600_000).await;
    let (session, mut idle) = (server.session().await, server.wire().await);
    let (mut busy, mut own) = (server.wire().await, server.wire().await);
    idle.legacy(&session, &call(1, "echo", &json!({}))).await;
    busy.send_post(&[("mcp-session-id", &session)], &call(2, "wait", &json!({}))).await;
    own.send_other("GET", &[("mcp-session-id", &session)]).await;
    own.stream().await;
    own.event().await;
    server.fake.until_running(1).await;
    server.stop.cancel();
    idle.closed().await;
    assert_eq!(own.event().await, None, "a standing stream held the drain up");
    server.fake.gate.add_permits(1);
    assert_eq!(busy.answer().await.status, 200);
    (&mut server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_ends_in_time_whatever_runs() {
    let mut server = Server::with(|config| config.drain.timeout_ms = 100).await;
    let (session, mut busy) = (server.session().await, server.wire().await);
    busy.send_post(&[("mcp-session-id", &session)], &call(2, "wait", &json!({}))).await;
    server.fake.until_running(1).await;
    server.stop.cancel();
    (&mut server.serving).await.unwrap().unwrap();
    busy.closed().await;
}

#[tokio::test]
async fn a_request_that_outlasts_a_drain_is_answered_before_its_connection_closes() {
    let mut server = Server::with(|config| config.drain.timeout_ms = 1_000).await;
    let (session, mut busy) = (server.session().await, server.wire().await);
    busy.send_post(&[("mcp-session-id", &session)], &call(2, "wait", &json!({}))).await;
    let mut again = server.wire().await;
    again.send_post(&[("mcp-session-id", &session)], &call(3, "wait_again", &json!({}))).await;
    server.fake.until_running(2).await;
    server.stop.cancel();
    for (mut wire, outcome) in [(busy, "its outcome is unknown"), (again, "it may be repeated")] {
        let answer = wire.answer().await;
        let said = format!("the node is stopping and tools/call has not ended; {outcome}");
        assert_eq!(answer.json()["error"]["message"], said);
    }
    (&mut server.serving).await.unwrap().unwrap();
}
