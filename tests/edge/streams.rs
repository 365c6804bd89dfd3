//! Server-sent events of legacy sessions: what they carry, how they break and go on.

use erlmcp::mcp::Event;
use serde_json::json;

use crate::fake::{call, request, until};
use crate::server::Server;
use crate::wire::{SseEvent, Wire};

fn session_headers(session: &str) -> [(&str, &str); 2] {
    [("mcp-session-id", session), ("mcp-protocol-version", "2025-11-25")]
}

/// Opens the session's own stream and reads its first event.
async fn listen(server: &Server, session: &str) -> (Wire, SseEvent) {
    resume(server, session, None).await
}

async fn resume(server: &Server, session: &str, after: Option<&str>) -> (Wire, SseEvent) {
    let mut wire = server.wire().await;
    let mut headers = session_headers(session).to_vec();
    headers.extend(after.map(|id| ("last-event-id", id)));
    wire.send_other("GET", &headers).await;
    let head = wire.stream().await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("cache-control"), Some("no-cache, no-store"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    let opening = wire.event().await.unwrap();
    (wire, opening)
}

#[tokio::test]
async fn messages_before_the_result_make_a_primed_stream_that_ends_with_it() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    wire.send_post(&session_headers(&session), &call(1, "progress", &json!({ "count": 2 }))).await;
    wire.stream().await;
    let priming = wire.event().await.unwrap();
    assert_eq!((priming.data.as_deref(), priming.retry), (Some(""), Some(3000)));
    assert_eq!(priming.id.as_deref(), Some("1-0"));
    let mut ids = Vec::new();
    for n in 0..2 {
        let event = wire.event().await.unwrap();
        assert_eq!(event.json()["params"]["progress"], n);
        ids.push(event.id.unwrap());
    }
    let result = wire.event().await.unwrap();
    assert_eq!(result.json()["id"], 1);
    ids.push(result.id.unwrap());
    assert_eq!(ids, ["1-1", "1-2", "1-3"]);
    assert_eq!(wire.event().await, None);
    let next = wire.legacy(&session, &call(2, "echo", &json!({}))).await;
    assert_eq!(next.status, 200, "the connection did not survive its stream");
}

#[tokio::test]
async fn clients_that_do_not_know_priming_events_get_none() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session_of("2025-06-18").await, server.wire().await);
    wire.send_post(&[("mcp-session-id", &session)], &call(1, "progress", &json!({}))).await;
    wire.stream().await;
    let opening = wire.event().await.unwrap();
    assert_eq!((opening.id, opening.data, opening.retry), (None, None, Some(3000)));
}

#[tokio::test]
async fn a_slow_answer_becomes_a_stream_that_survives_its_connection() {
    let server = Server::with(|config| config.http.sse_after_ms = 20).await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    wire.send_post(&session_headers(&session), &call(1, "wait", &json!({}))).await;
    wire.stream().await;
    let priming = wire.event().await.unwrap().id.unwrap();
    drop(wire);
    server.fake.gate.add_permits(1);
    server.fake.until_finished(1).await;
    let (mut wire, _) = resume(&server, &session, Some(&priming)).await;
    assert_eq!(wire.message().await.unwrap().json()["result"]["content"][0]["text"], "waited");
    assert_eq!(wire.event().await, None);
    let (mut again, _) = resume(&server, &session, Some(&priming)).await;
    assert_eq!(again.message().await.unwrap().json()["id"], 1, "a result that was lost on the way is gone");
}

#[tokio::test]
async fn a_dropped_connection_is_not_a_cancel_even_before_the_answer_is_a_stream() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    wire.send_post(&session_headers(&session), &call(1, "wait", &json!({}))).await;
    server.fake.until_running(1).await;
    drop(wire);
    until("the call is adopted", || server.edge.exchange().sessions().tasks() == 1).await;
    server.fake.gate.add_permits(1);
    server.fake.until_finished(1).await;
}

#[tokio::test]
async fn a_dropped_call_goes_on_though_it_speaks_and_asks_before_its_end() {
    let server = Server::start().await;
    let session = server.session().await;
    let mut wire = server.wire().await;
    let headers = session_headers(&session);
    wire.send_post(&headers, &call(1, "speak_late", &json!({}))).await;
    server.fake.until_running(1).await;
    drop(wire);
    until("the call is adopted", || server.edge.exchange().sessions().tasks() == 1).await;
    server.fake.gate.add_permits(1);
    server.fake.until_finished(1).await;
}

#[tokio::test]
async fn a_server_may_hang_up_and_deliver_the_rest_later() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    wire.send_post(&session_headers(&session), &call(1, "hang_up", &json!({}))).await;
    wire.stream().await;
    let priming = wire.event().await.unwrap().id.unwrap();
    assert_eq!(wire.event().await.unwrap().retry, Some(10));
    assert_eq!(wire.event().await, None);
    let (mut wire, _) = resume(&server, &session, Some(&priming)).await;
    server.fake.gate.add_permits(1);
    assert_eq!(wire.message().await.unwrap().json()["id"], 1);
    assert_eq!(wire.event().await, None);
}

#[tokio::test]
async fn a_resumed_stream_replays_only_itself_and_only_what_followed() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    for id in [1, 2] {
        wire.send_post(&session_headers(&session), &call(id, "progress", &json!({ "count": 2 }))).await;
        wire.stream().await;
        while wire.event().await.is_some() {}
    }
    let (mut wire, opening) = resume(&server, &session, Some("2-1")).await;
    assert_eq!(opening.id.as_deref(), Some("2-1"));
    assert_eq!(wire.message().await.unwrap().json()["params"]["progress"], 1);
    assert_eq!(wire.message().await.unwrap().json()["id"], 2);
    assert_eq!(wire.event().await, None);
    for (unknown, code) in [("99-0", -32_600), ("x", -32_600)] {
        let mut headers = session_headers(&session).to_vec();
        headers.push(("last-event-id", unknown));
        assert_eq!(server.wire().await.other("GET", &headers).await.fault(), (400, code), "{unknown}");
    }
}

#[tokio::test]
async fn a_question_to_the_client_is_answered_by_its_own_post() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    wire.send_post(&session_headers(&session), &call(1, "ask", &json!({}))).await;
    wire.stream().await;
    let question = wire.message().await.unwrap().json();
    assert_eq!(question["method"], "elicitation/create");
    let answer =
        json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept" } }).to_string();
    assert_eq!(server.wire().await.legacy(&session, &answer).await.status, 202);
    let result = wire.message().await.unwrap().json();
    assert_eq!(result["result"]["content"][0]["text"], r#"{"action":"accept"}"#);
}

#[tokio::test]
async fn the_time_that_a_question_takes_does_not_count() {
    let server = Server::with(|config| config.http.request_timeout_ms = 50).await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    wire.send_post(&session_headers(&session), &call(1, "ask", &json!({}))).await;
    wire.stream().await;
    let question = wire.message().await.unwrap().json();
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "error": { "code": 1, "message": "no" } });
    assert_eq!(server.wire().await.legacy(&session, &answer.to_string()).await.status, 202);
    let result = wire.message().await.unwrap().json();
    let text = result["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains(r#"{"code":1,"message":"no"}"#), "{text}");
}

#[tokio::test]
async fn a_question_that_nobody_answers_ends_in_time() {
    let server = Server::with(|config| {
        config.http.request_timeout_ms = 20;
        config.session.elicitation_timeout_s = 1;
    })
    .await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    wire.send_post(&session_headers(&session), &call(1, "ask", &json!({}))).await;
    wire.stream().await;
    wire.message().await.unwrap();
    assert_eq!(wire.message().await.unwrap().json()["error"]["code"], -32_603);
}

#[tokio::test]
async fn the_sessions_own_stream_gets_list_changes_and_what_it_subscribed_to() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    let (mut stream, opening) = listen(&server, &session).await;
    assert_eq!(opening.id.as_deref(), Some("0-0"));
    server.fake.change_tools();
    assert_eq!(stream.message().await.unwrap().json()["method"], "notifications/tools/list_changed");
    server.fake.change_resources();
    assert_eq!(stream.message().await.unwrap().json()["method"], "notifications/resources/list_changed");

    let subscribe = |verb: &str| request(1, &format!("resources/{verb}"), &json!({ "uri": "test://one" }));
    let updated = |uri: &str| Event::ResourceUpdated { uri: uri.into() };
    assert_eq!(wire.legacy(&session, &subscribe("subscribe")).await.json()["result"], json!({}));
    server.fake.emit(updated("test://other"));
    server.fake.emit(updated("test://one"));
    let message = stream.message().await.unwrap().json();
    assert_eq!(
        (&message["method"], &message["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!("test://one"))
    );

    wire.legacy(&session, &subscribe("unsubscribe")).await;
    server.fake.emit(updated("test://one"));
    server.fake.change_tools();
    assert_eq!(stream.message().await.unwrap().json()["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn what_nobody_heard_waits_for_the_stream_and_comes_exactly_once() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    wire.legacy(&session, &call(1, "push", &json!({ "count": 3 }))).await;
    let (mut first, _) = listen(&server, &session).await;
    for n in 0..3 {
        assert_eq!(first.message().await.unwrap().json()["params"]["n"], n);
    }
    let (mut second, opening) = listen(&server, &session).await;
    assert_eq!(opening.id.as_deref(), Some("0-3"));
    assert_eq!(first.event().await, None, "the replaced stream went on");
    wire.legacy(&session, &call(2, "push", &json!({}))).await;
    assert_eq!(second.message().await.unwrap().json()["params"]["n"], 0);
    let (mut third, _) = resume(&server, &session, Some("0-2")).await;
    assert_eq!(third.message().await.unwrap().json()["params"]["n"], 2);
    assert_eq!(third.message().await.unwrap().json()["params"]["n"], 0);
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_is_alive() {
    let server = Server::with(|config| config.http.sse_keepalive_ms = 20).await;
    let session = server.session().await;
    let (mut stream, _) = listen(&server, &session).await;
    for _ in 0..2 {
        assert_eq!(stream.event().await.unwrap(), SseEvent { comment: true, ..SseEvent::default() });
    }
}

#[tokio::test]
async fn the_end_of_a_session_frees_its_streams_calls_and_memory() {
    let server = Server::with(|config| config.http.sse_after_ms = 20).await;
    let sessions = server.edge.exchange().sessions();
    let (session, mut wire) = (server.session().await, server.wire().await);
    let (mut own, _) = listen(&server, &session).await;
    wire.legacy(&session, &call(1, "push", &json!({ "count": 3 }))).await;
    wire.send_post(&session_headers(&session), &call(2, "wait", &json!({}))).await;
    wire.stream().await;
    server.fake.until_running(1).await;
    assert_eq!((sessions.len(), sessions.tasks()), (1, 1));
    assert!(sessions.kept_bytes() > 0);
    assert_eq!(server.wire().await.other("DELETE", &session_headers(&session)).await.status, 204);
    while own.event().await.is_some() {}
    while wire.event().await.is_some() {}
    server.fake.until_running(0).await;
    until("its tasks end", || sessions.tasks() == 0).await;
    assert_eq!((sessions.len(), sessions.kept_bytes()), (0, 0));
    assert_eq!(server.fake.ended.lock().unwrap().as_slice(), [session]);
}

#[tokio::test]
async fn idle_sessions_end_unless_their_stream_is_open() {
    let server = Server::start().await;
    let exchange = server.edge.exchange();
    let (idle, listening) = (server.session().await, server.session().await);
    let (stream, _) = listen(&server, &listening).await;
    let later = erlmcp::clock::Clock::new().monotonic_ms() + 1_800_001;
    exchange.sweep(later).await;
    assert_eq!(server.fake.ended.lock().unwrap().as_slice(), std::slice::from_ref(&idle));
    assert_eq!(server.wire().await.legacy(&idle, &call(1, "echo", &json!({}))).await.status, 404);
    assert_eq!(server.wire().await.legacy(&listening, &call(1, "echo", &json!({}))).await.status, 200);
    drop(stream);
}

#[tokio::test]
async fn a_client_that_does_not_read_bounds_what_is_kept_for_it() {
    let server = Server::with(|config| {
        config.connections.write_stall_ms = 200;
        config.session.replay_bytes_max = 16 * 1024;
    })
    .await;
    let sessions = server.edge.exchange().sessions();
    let (session, mut wire) = (server.session().await, server.wire().await);
    wire.send_post(&session_headers(&session), &call(1, "flood", &json!({ "count": 20_000 }))).await;
    server.fake.until_running(1).await;
    // 20 MB are written although nobody reads: the stalled connection is closed, then the oldest of the
    // stream are dropped.
    server.fake.gate.add_permits(1);
    server.fake.until_finished(1).await;
    assert!(sessions.kept_bytes() <= 64 * 1024, "{} bytes are kept", sessions.kept_bytes());
    drop(wire);
}
