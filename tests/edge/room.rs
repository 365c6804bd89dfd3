//! Room for newcomers at a node whose share is used up: idle connections leave for them, used ones never do.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{Instant, sleep};

use crate::fake::until;
use crate::server::{Server, initialize};
use crate::wire::Wire;

/// Connections that the node may have.
const PLACES: u32 = 3;
/// A connection that has carried nothing for so long leaves.
const IDLE_MS: u64 = 50;

async fn served(server: &Server) -> Wire {
    let mut wire = server.wire().await;
    assert_eq!(wire.post(&[], &initialize("2025-11-25")).await.status, 200);
    wire
}

async fn small() -> Server {
    Server::with(|config| {
        config.http.connections_max = PLACES;
        config.connections.make_room_idle_ms = IDLE_MS;
    })
    .await
}

async fn age() {
    sleep(Duration::from_millis(IDLE_MS + 10)).await;
}

#[tokio::test]
async fn the_longest_idle_connection_makes_room_for_a_newcomer() {
    let server = small().await;
    let mut first = served(&server).await;
    // Ages are in milliseconds.
    sleep(Duration::from_millis(5)).await;
    let (mut second, mut third) = (served(&server).await, served(&server).await);
    age().await;
    assert_eq!(second.post(&[], &initialize("2025-11-25")).await.status, 200);
    let start = Instant::now();
    let mut newcomer = served(&server).await;
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    first.closed().await;
    for kept in [&mut second, &mut third, &mut newcomer] {
        assert_eq!(kept.post(&[], &initialize("2025-11-25")).await.status, 200);
    }
    until("three connections", || server.recorder.totals().connections == u64::from(PLACES)).await;
}

#[tokio::test]
async fn a_connection_that_listens_or_was_used_just_now_keeps_its_place() {
    let server = small().await;
    let mut sessions = Vec::new();
    for _ in 0..PLACES {
        sessions.push(server.session().await);
        until("its connection is closed", || server.recorder.totals().connections == 0).await;
    }
    let session = sessions.pop().unwrap();
    let mut listening = Vec::new();
    for session in sessions {
        let mut wire = server.wire().await;
        wire.send_other("GET", &[("mcp-session-id", &session)]).await;
        assert_eq!(wire.head().await.status, 200);
        listening.push(wire);
    }
    let mut used = served(&server).await;
    age().await;
    assert_eq!(used.legacy(&session, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await.status, 200);
    let refused = server.wire().await.post(&[], &initialize("2025-11-25")).await;
    assert_eq!(refused.fault(), (503, 50_301), "nobody is idle");
    assert_eq!(used.legacy(&session, r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#).await.status, 200);
    // The node looks for idle ones ten times a second.
    age().await;
    age().await;
    served(&server).await;
    used.closed().await;
    assert_eq!(server.recorder.totals().connections, u64::from(PLACES), "those that listen are still there");
}

#[tokio::test]
async fn of_newcomers_at_once_each_gets_the_place_of_another() {
    let server = small().await;
    let mut idle = Vec::new();
    for _ in 0..PLACES {
        idle.push(served(&server).await);
    }
    age().await;
    let newcomers = (0..PLACES).map(|_| served(&server));
    let newcomers = futures_util::future::join_all(newcomers).await;
    for mut wire in idle {
        wire.closed().await;
    }
    assert_eq!(newcomers.len(), PLACES as usize);
    assert_eq!(server.recorder.totals().connections, u64::from(PLACES));
}

async fn ask(
    sender: &mut SendRequest<Full<Bytes>>,
    session: &str,
    body: Option<&'static str>,
) -> hyper::Response<Incoming> {
    let request = match body {
        Some(_) => hyper::Request::post("http://localhost/mcp"),
        None => hyper::Request::get("http://localhost/mcp"),
    };
    let request = request
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-session-id", session)
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .unwrap();
    sender.send_request(request).await.unwrap()
}

#[tokio::test]
async fn each_stream_of_an_http2_connection_beyond_the_first_takes_a_place() {
    const PING: Option<&str> = Some(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    let server = small().await;
    let mut sessions = Vec::new();
    for _ in 0..=PLACES {
        sessions.push(server.session().await);
    }
    until("all of them are closed", || server.recorder.totals().connections == 0).await;
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driving = tokio::spawn(connection);

    let mut streams = Vec::new();
    for session in &sessions[..PLACES as usize] {
        let answer = ask(&mut sender, session, None).await;
        assert_eq!(answer.status(), 200);
        streams.push(answer);
    }
    let refused = ask(&mut sender, &sessions[PLACES as usize], None).await;
    assert_eq!(refused.status(), 503);
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    assert!(body.windows(5).any(|part| part == b"50301"), "{body:?}");
    assert_eq!(ask(&mut sender, &sessions[0], PING).await.status(), 200, "a call needs no place");
    let newcomer = server.wire().await.post(&[], &initialize("2025-11-25")).await;
    assert_eq!(newcomer.fault(), (503, 50_301));

    drop(streams.pop());
    let start = Instant::now();
    while ask(&mut sender, &sessions[PLACES as usize], None).await.status() != 200 {
        assert!(start.elapsed() < Duration::from_secs(10), "the place is not given back");
        tokio::task::yield_now().await;
    }
    driving.abort();
}
