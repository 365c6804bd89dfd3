//! Legacy clients: sessions, answers, what belongs to whom.

use serde_json::json;

use crate::fake::{call, request};
use crate::server::{Server, initialize};

#[tokio::test]
async fn initialize_lists_and_calls_in_a_session() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let answer = wire.post(&[], &initialize("2025-11-25")).await;
    let result = &answer.json()["result"];
    assert_eq!(result["protocolVersion"], "2025-11-25");
    assert_eq!(result["serverInfo"], json!({ "name": "test", "version": "1" }));
    assert_eq!(result["capabilities"]["tools"]["listChanged"], true);
    assert_eq!(result["instructions"], "Be kind.");
    let session = answer.header("mcp-session-id").unwrap().to_owned();
    assert!(session.starts_with("7.") && session.bytes().all(|b| b.is_ascii_graphic()), "{session}");

    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let answer = wire.legacy(&session, initialized).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));

    let tools = wire.legacy(&session, &request(1, "tools/list", &json!({}))).await.json();
    assert_eq!(tools["result"]["tools"][0]["name"], "echo");
    let answer = wire.legacy(&session, &call(2, "echo", &json!({ "a": 1 }))).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let expected = json!({ "jsonrpc": "2.0", "id": 2, "result": { "content": [], "echo": { "a": 1 } } });
    assert_eq!(answer.json(), expected, "a legacy result got members of the modern era");
    assert_eq!(wire.legacy(&session, &request(3, "ping", &json!({}))).await.json()["result"], json!({}));
}

#[tokio::test]
async fn an_unknown_version_is_answered_with_the_newest_legacy_one() {
    let server = Server::start().await;
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let answer = server.wire().await.post(&[], &initialize(asked)).await.json();
        assert_eq!(answer["result"]["protocolVersion"], agreed, "{asked}");
    }
}

#[tokio::test]
async fn unknown_missing_and_ended_sessions_have_their_codes_and_keep_the_id() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let list = request(5, "tools/list", &json!({}));
    let answer = wire.post(&[], &list).await;
    assert_eq!((answer.fault(), &answer.json()["id"]), ((400, -32_600), &json!(5)));
    let answer = wire.legacy("7.0000", &list).await;
    assert_eq!((answer.fault(), &answer.json()["id"]), ((404, -32_001), &json!(5)));

    let session = server.session().await;
    assert_eq!(wire.legacy(&session, &list).await.status, 200);
    let headers = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    assert_eq!(wire.other("DELETE", &headers).await.status, 204);
    assert_eq!(wire.legacy(&session, &list).await.fault(), (404, -32_001));
    assert_eq!(wire.other("DELETE", &headers).await.fault(), (404, -32_001));
    assert_eq!(wire.other("GET", &headers).await.fault(), (404, -32_001));
    assert_eq!(wire.other("GET", &[]).await.fault(), (400, -32_600));
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(wire.legacy(&session, initialized).await.fault(), (404, -32_001));
    assert_eq!(server.fake.ended.lock().unwrap().as_slice(), [session]);
}

#[tokio::test]
async fn methods_that_are_unknown_or_not_offered_are_not_found() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    for method in ["nonsense", "completion/complete", "server/discover", "tools/nonsense"] {
        let answer = wire.legacy(&session, &request(1, method, &json!({}))).await;
        assert_eq!(answer.fault(), (200, -32_601), "{method}");
    }
    assert_eq!(wire.legacy(&session, &call(1, "nonsense", &json!({}))).await.fault(), (200, -32_602));
    let missing = request(1, "resources/read", &json!({ "uri": "test://none" }));
    assert_eq!(wire.legacy(&session, &missing).await.fault(), (200, -32_002));
}

#[tokio::test]
async fn a_fault_of_a_tool_never_looks_like_the_end_of_the_session() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    assert_eq!(wire.legacy(&session, &call(1, "fail", &json!({}))).await.fault(), (200, -32_603));
}

#[tokio::test]
async fn a_cancelled_call_stops_and_its_request_ends() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    let headers = [("mcp-session-id", session.as_str())];
    wire.send_post(&headers, &call(9, "wait", &json!({}))).await;
    server.fake.until_running(1).await;
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}"#;
    assert_eq!(server.wire().await.legacy(&session, cancel).await.status, 202);
    server.fake.until_running(0).await;
    assert_eq!(wire.answer().await.fault(), (200, -32_800));
    assert_eq!(*server.fake.finished.borrow(), 0);
}

#[tokio::test]
async fn an_id_may_be_used_again_only_after_its_answer() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    let headers = [("mcp-session-id", session.as_str())];
    wire.send_post(&headers, &call(1, "wait", &json!({}))).await;
    server.fake.until_running(1).await;
    let mut second = server.wire().await;
    assert_eq!(second.legacy(&session, &call(1, "echo", &json!({}))).await.fault(), (400, -32_600));
    server.fake.gate.add_permits(1);
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(second.legacy(&session, &call(1, "echo", &json!({}))).await.status, 200);
}

#[tokio::test]
async fn requests_of_one_session_are_bounded() {
    let server = Server::with(|config| config.limits.requests_in_flight = 1).await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    wire.send_post(&[("mcp-session-id", &session)], &call(1, "wait", &json!({}))).await;
    server.fake.until_running(1).await;
    let mut second = server.wire().await;
    let refused = second.legacy(&session, &call(2, "echo", &json!({}))).await;
    assert_eq!((refused.fault(), refused.json()["id"].as_u64()), ((429, 42_902), Some(2)));
    assert!(refused.header("retry-after").is_some());
    server.fake.gate.add_permits(1);
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(second.legacy(&session, &call(2, "echo", &json!({}))).await.status, 200);
}

#[tokio::test]
async fn notifications_reach_the_provider_and_responses_nobody_waits_for_are_accepted() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    let unknown = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    assert_eq!(wire.legacy(&session, unknown).await.status, 202);
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
    assert_eq!(wire.legacy(&session, changed).await.status, 202);
    server.fake.heard_one.notified().await;
    assert_eq!(server.fake.heard.lock().unwrap().as_slice(), ["notifications/roots/list_changed"]);
    let response = r#"{"jsonrpc":"2.0","id":"7-99","result":{}}"#;
    assert_eq!(wire.legacy(&session, response).await.status, 202);
    assert_eq!(wire.post(&[], response).await.fault(), (400, -32_600));
}

#[tokio::test]
async fn sessions_are_bounded_and_refused_with_the_requests_id() {
    let server = Server::with(|config| config.session.per_node_max = 1).await;
    // A session without a stream would give way.
    let (session, mut stream) = (server.session().await, server.wire().await);
    stream.send_other("GET", &[("accept", "text/event-stream"), ("mcp-session-id", &session)]).await;
    assert_eq!(stream.head().await.status, 200);
    let refused = server.wire().await.post(&[], &initialize("2025-11-25")).await;
    assert_eq!((refused.fault(), refused.json()["id"].as_u64()), ((503, 50_302), Some(0)));
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test]
async fn the_log_level_filters_what_a_call_sends() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    let set = request(1, "logging/setLevel", &json!({ "level": "warning" }));
    assert_eq!(wire.legacy(&session, &set).await.json()["result"], json!({}));
    wire.send_post(&[("mcp-session-id", &session)], &call(2, "log", &json!({}))).await;
    wire.stream().await;
    let message = wire.message().await.unwrap().json();
    assert_eq!(message["params"]["level"], "warning");
    assert_eq!(wire.message().await.unwrap().json()["id"], 2);
    let bad = request(3, "logging/setLevel", &json!({ "level": "loud" }));
    assert_eq!(server.wire().await.legacy(&session, &bad).await.fault(), (200, -32_602));
}
