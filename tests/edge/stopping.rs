//! A node that stops: clients go first, probes are answered until the port closes.

use erlmcp::config::ServiceConfig;
use erlmcp::transport::Ending;
use serde_json::json;

use crate::fake::{call, in_time, until};
use crate::server::{Server, initialize};
use crate::wire::{Answer, Wire};

async fn start(change: impl FnOnce(&mut ServiceConfig)) -> (Server, Ending) {
    let ending = Ending::default();
    (Server::ending(change, ending.clone()).await, ending)
}

async fn livez(wire: &mut Wire) -> Answer {
    wire.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    wire.answer().await
}

fn is_sent_away(answer: &Answer) {
    assert_eq!(answer.fault(), (503, 50_304));
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
}

#[tokio::test]
async fn probes_are_answered_through_the_drain_and_after_it_until_the_port_closes() {
    let (mut server, ending) = start(|config| config.drain.timeout_ms = 600_000).await;
    let (session, mut busy) = (server.session().await, server.wire().await);
    busy.send_post(&[("mcp-session-id", &session)], &call(1, "wait", &json!({}))).await;
    server.fake.until_running(1).await;
    ending.drain.cancel();
    for _ in 0..40 {
        let mut probe = server.wire().await;
        let answer = livez(&mut probe).await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    }
    is_sent_away(&server.wire().await.post(&[], &initialize("2025-11-25")).await);
    is_sent_away(&server.wire().await.other("GET", &[("mcp-session-id", &session)]).await);
    assert!(!ending.drained.is_cancelled(), "a call still runs");
    server.fake.gate.add_permits(1);
    assert_eq!(busy.answer().await.status, 200);
    in_time("the drain", ending.drained.cancelled()).await;
    assert_eq!(livez(&mut server.wire().await).await.status, 200);
    ending.close.cancel();
    (&mut server.serving).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn probes_are_answered_although_no_slot_is_free_in_the_drain() {
    let (server, ending) = start(|config| {
        config.http.connections_max = 1;
        config.drain.timeout_ms = 600_000;
    })
    .await;
    let session = server.session().await;
    until("the slot is free", || server.recorder.totals().connections == 0).await;
    let mut busy = server.wire().await;
    busy.send_post(&[("mcp-session-id", &session)], &call(1, "wait", &json!({}))).await;
    server.fake.until_running(1).await;
    ending.drain.cancel();
    assert_eq!(livez(&mut server.wire().await).await.status, 200);
    is_sent_away(&server.wire().await.post(&[], &initialize("2025-11-25")).await);
    server.fake.gate.add_permits(1);
    assert_eq!(busy.answer().await.status, 200);
}

#[tokio::test]
async fn who_has_connected_just_before_the_drain_is_answered() {
    let (server, ending) = start(|config| config.drain.timeout_ms = 600_000).await;
    let (mut probe, mut client, mut silent) = (server.wire().await, server.wire().await, server.wire().await);
    until("all are accepted", || server.recorder.totals().connections == 3).await;
    ending.drain.cancel();
    tokio::task::yield_now().await;
    assert_eq!(livez(&mut probe).await.status, 200);
    is_sent_away(&client.post(&[], &initialize("2025-11-25")).await);
    silent.closed().await;
    in_time("the drain", ending.drained.cancelled()).await;
}

#[tokio::test]
async fn a_stopping_node_serves_and_asks_each_client_to_connect_elsewhere() {
    let (server, ending) = start(|_| {}).await;
    let session = server.session().await;
    let (mut busy, mut idle) = (server.wire().await, server.wire().await);
    let ping = crate::fake::request(1, "ping", &json!({}));
    let answer = busy.legacy(&session, &ping).await;
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    busy.send_post(&[("mcp-session-id", &session)], &call(2, "wait", &json!({}))).await;
    server.fake.until_running(1).await;
    ending.state.stop();
    server.fake.gate.add_permits(1);
    for (wire, sent) in [(&mut busy, true), (&mut idle, false)] {
        if !sent {
            wire.send_post(&[("mcp-session-id", &session)], &ping).await;
        }
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        wire.closed().await;
    }
    let answer = server.wire().await.post(&[], &initialize("2025-11-25")).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
}

#[tokio::test]
async fn whoever_has_come_when_the_port_closes_is_answered() {
    let (mut server, ending) = start(|_| {}).await;
    ending.drain.cancel();
    in_time("the drain", ending.drained.cancelled()).await;
    let mut probes = Vec::new();
    for _ in 0..20 {
        let mut probe = server.wire().await;
        probe.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        probes.push(probe);
    }
    ending.close.cancel();
    for probe in &mut probes {
        assert_eq!(probe.answer().await.status, 200);
    }
    (&mut server.serving).await.unwrap().unwrap();
}
