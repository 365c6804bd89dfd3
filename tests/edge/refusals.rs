//! Refusals before anything is served: each status and code, and that node and connection are unharmed.

use serde_json::json;

use crate::fake::{call, request};
use crate::server::{Server, initialize};

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_and_others_are_not() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let hello = initialize("2025-11-25");
    for bad in [
        [("host", "evil.example.com"), ("accept", "*/*")],
        [("host", "evil.example.com"), ("origin", "http://evil.example.com")],
        [("host", "localhost"), ("origin", "http://evil.example.com")],
        [("host", "localhost"), ("origin", "null")],
    ] {
        let answer = wire.post(&bad, &hello).await;
        assert_eq!(answer.fault(), (403, -32_600), "{bad:?}");
        assert_eq!(answer.json().get("id"), None);
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    for good in [
        [("host", "localhost:1"), ("origin", "http://localhost:3000")],
        [("host", "mcp.example.com"), ("origin", "https://app.example.com")],
        [("host", "[::1]:8080"), ("origin", "http://127.0.0.1")],
    ] {
        let answer = wire.post(&good, &hello).await;
        assert_eq!(answer.status, 200, "{good:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(good[1].1));
        assert!(answer.header("access-control-expose-headers").unwrap().contains("Mcp-Session-Id"));
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    assert_eq!(server.fake.served(), 0);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_ask_first() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let asked = [
        ("origin", "http://localhost:3000"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type, mcp-param-region"),
    ];
    let answer = wire.other("OPTIONS", &asked).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, DELETE, OPTIONS"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("content-type, mcp-param-region"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:3000"));
    assert_eq!(wire.other("OPTIONS", &[("origin", "http://evil.example.com")]).await.status, 403);
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    for method in ["PUT", "PATCH", "TRACE"] {
        let answer = wire.other(method, &[]).await;
        assert_eq!(answer.fault(), (405, -32_600), "{method}");
        assert_eq!(answer.header("allow"), Some("GET, POST, DELETE, OPTIONS"));
    }
    wire.send("GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(wire.answer().await.status, 404);
}

#[tokio::test]
async fn content_type_and_accept_are_checked() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let hello = initialize("2025-11-25");
    for bad in ["text/plain", "application/jsonx", "-"] {
        assert_eq!(wire.post(&[("content-type", bad)], &hello).await.fault(), (415, -32_600), "{bad}");
    }
    assert_eq!(wire.post(&[("content-encoding", "gzip")], &hello).await.fault(), (415, -32_600));
    for bad in ["application/json", "text/event-stream", "text/html", "application/*, text/html"] {
        assert_eq!(wire.post(&[("accept", bad)], &hello).await.fault(), (406, -32_600), "{bad}");
    }
    for good in ["*/*", "-", "Application/JSON;q=0.9, text/*", "application/*,text/event-stream"] {
        assert_eq!(wire.post(&[("accept", good)], &hello).await.status, 200, "{good}");
    }
    assert_eq!(wire.post(&[("content-type", "Application/Json; charset=utf-8")], &hello).await.status, 200);
    let session = server.session().await;
    let json_only = [("mcp-session-id", session.as_str()), ("accept", "application/json")];
    assert_eq!(wire.other("GET", &json_only).await.fault(), (406, -32_600));
}

#[tokio::test]
async fn malformed_messages_have_their_codes_and_the_connection_goes_on() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}{}}}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    for (body, code, id) in [
        ("{", -32_700, json!(null)),
        ("", -32_700, json!(null)),
        ("nonsense", -32_700, json!(null)),
        (&deep, -32_700, json!(null)),
        ("7", -32_600, json!(null)),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32_600, json!(null)),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32_600, json!(1)),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32_600, json!(null)),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32_600, json!(1)),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32_600, json!(1)),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32_600, json!(null)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#, -32_602, json!(1)),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            -32_602,
            json!(1),
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"a":1,"a":2}}}"#, -32_602, json!(1)),
    ] {
        let answer = wire.legacy(&session, body).await;
        let shown = &body[..body.len().min(80)];
        assert_eq!(answer.fault(), (400, code), "{shown}");
        assert_eq!(answer.json()["id"], id, "{shown}");
    }
    assert_eq!(wire.legacy(&session, &call(2, "echo", &json!({}))).await.status, 200);
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_refused() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let body = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}";
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    wire.send(&head).await;
    wire.try_send(body).await.unwrap();
    assert_eq!(wire.answer().await.fault(), (400, -32_700));
    assert_eq!(wire.post(&[], &initialize("2025-11-25")).await.status, 200);
}

#[tokio::test]
async fn a_header_of_an_unknown_version_is_refused_in_every_method() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    let headers = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "1999-01-01")];
    let answer = wire.post(&headers, &request(1, "tools/list", &json!({}))).await;
    assert_eq!((answer.fault(), answer.json()["id"].as_u64()), ((400, -32_022), Some(1)));
    assert_eq!(wire.other("GET", &headers).await.fault(), (400, -32_022));
    assert_eq!(wire.other("DELETE", &headers).await.fault(), (400, -32_022));
    let modern = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2026-07-28")];
    assert_eq!(wire.post(&modern, &request(1, "tools/list", &json!({}))).await.fault(), (400, -32_602));
    let other = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-06-18")];
    assert_eq!(wire.post(&other, &request(1, "tools/list", &json!({}))).await.status, 200);
    assert_eq!(wire.post(&[("mcp-session-id", &session)], &request(1, "ping", &json!({}))).await.status, 200);
}
