//! A node that an operator drains: new clients are refused, those it has are served wherever they come from.

use erlmcp::transport::Ending;
use serde_json::json;

use crate::fake::{call, request, until};
use crate::modern::{ask, send, tool};
use crate::server::{Server, initialize};
use crate::wire::{Answer, Wire};

async fn start() -> (Server, Ending) {
    let ending = Ending::default();
    (Server::ending(|_| {}, ending.clone()).await, ending)
}

/// A connection that the node has accepted.
async fn accepted(server: &Server) -> Wire {
    let before = server.recorder.totals().connections_total;
    let wire = server.wire().await;
    until("it is accepted", || server.recorder.totals().connections_total > before).await;
    wire
}

async fn is_refused(wire: &mut Wire, answer: Answer) {
    assert_eq!(answer.fault(), (503, 50_305));
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    wire.closed().await;
}

#[tokio::test]
async fn a_drained_node_opens_no_session_on_any_connection() {
    let (server, ending) = start().await;
    let mut old = accepted(&server).await;
    ending.state.set_draining(true);
    let mut new = server.wire().await;
    for wire in [&mut old, &mut new] {
        let answer = wire.post(&[], &initialize("2025-11-25")).await;
        assert_eq!(answer.json()["id"], 0);
        is_refused(wire, answer).await;
    }
    assert_eq!(server.recorder.totals().sessions, 0);
    ending.state.set_draining(false);
    assert_eq!(server.wire().await.post(&[], &initialize("2025-11-25")).await.status, 200);
    assert_eq!(server.recorder.totals().sessions, 1);
}

#[tokio::test]
async fn a_drained_node_serves_its_sessions_on_new_connections() {
    let (server, ending) = start().await;
    let session = server.session().await;
    ending.state.set_draining(true);
    let mut wire = server.wire().await;
    let answer = wire.legacy(&session, &call(1, "echo", &json!({}))).await;
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    let mut busy = server.wire().await;
    busy.send_post(&[("mcp-session-id", &session)], &call(2, "wait", &json!({}))).await;
    server.fake.until_running(1).await;
    let totals = server.recorder.totals();
    assert_eq!((totals.sessions, totals.calls), (1, 1), "what is left");
    server.fake.gate.add_permits(1);
    assert_eq!(busy.answer().await.status, 200);
    let ended = wire.other("DELETE", &[("mcp-session-id", &session)]).await;
    assert_eq!(ended.status, 204);
    let totals = server.recorder.totals();
    assert_eq!((totals.sessions, totals.calls), (0, 0), "nothing is left");
}

#[tokio::test]
async fn a_drained_node_serves_modern_calls_on_connections_from_before_only() {
    let (server, ending) = start().await;
    let (mut old, mut unused) = (server.wire().await, accepted(&server).await);
    assert_eq!(ask(&mut old, "tools/call", tool("echo", json!({}))).await.status, 200);
    ending.state.set_draining(true);
    for method in ["tools/list", "server/discover", "subscriptions/listen"] {
        let mut new = server.wire().await;
        let answer = ask(&mut new, method, json!({})).await;
        assert_eq!(answer.json()["id"], "q");
        is_refused(&mut new, answer).await;
    }
    for wire in [&mut old, &mut unused] {
        let answer = ask(wire, "tools/call", tool("echo", json!({}))).await;
        assert_eq!((answer.status, answer.header("connection")), (200, None));
    }
    ending.state.set_draining(false);
    let mut within = server.wire().await;
    assert_eq!(ask(&mut within, "tools/list", json!({})).await.status, 200);
    ending.state.set_draining(true);
    assert_eq!(ask(&mut within, "tools/list", json!({})).await.status, 200, "it is older than this drain");
}

#[tokio::test]
async fn a_call_that_began_before_the_drain_is_answered() {
    let (server, ending) = start().await;
    let mut wire = server.wire().await;
    send(&mut wire, "tools/call", tool("wait", json!({}))).await;
    server.fake.until_running(1).await;
    ending.state.set_draining(true);
    server.fake.gate.add_permits(1);
    assert_eq!(wire.answer().await.status, 200);
}

#[tokio::test]
async fn tasks_of_a_drained_node_can_be_asked_for_on_new_connections() {
    let (server, ending) = start().await;
    ending.state.set_draining(true);
    let answer = ask(&mut server.wire().await, "tasks/get", json!({ "taskId": "none" })).await;
    assert_ne!(answer.fault().1, 50_305, "{answer:?}");
}

#[tokio::test]
async fn without_a_session_a_drained_node_says_what_it_always_says() {
    let (server, ending) = start().await;
    ending.state.set_draining(true);
    let answer = server.wire().await.post(&[], &request(1, "ping", &json!({}))).await;
    assert_eq!(answer.status, 400);
}
