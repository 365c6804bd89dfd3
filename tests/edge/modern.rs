//! Modern clients: each request stands alone, and closing its stream cancels it.

use erlmcp::mcp::{Event, TaskName};
use serde_json::{Value, json};

use crate::server::Server;
use crate::wire::{Answer, Wire};

const VERSION: &str = "2026-07-28";

fn meta() -> Value {
    json!({ "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {} })
}

fn body(method: &str, mut params: Value) -> String {
    params["_meta"] = match params.get("_meta") {
        Some(more) => {
            let mut meta = meta();
            meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            meta
        }
        None => meta(),
    };
    json!({ "jsonrpc": "2.0", "id": "q", "method": method, "params": params }).to_string()
}

fn headers<'a>(method: &'a str, name: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![("mcp-protocol-version", VERSION), ("mcp-method", method)];
    headers.extend(name.map(|name| ("mcp-name", name)));
    headers
}

pub async fn send(wire: &mut Wire, method: &str, params: Value) {
    let name = params.get("name").or(params.get("uri")).and_then(Value::as_str).map(ToOwned::to_owned);
    wire.send_post(&headers(method, name.as_deref()), &body(method, params)).await;
}

pub async fn ask(wire: &mut Wire, method: &str, params: Value) -> Answer {
    send(wire, method, params).await;
    wire.answer().await
}

pub fn tool(name: &str, arguments: Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

#[tokio::test]
async fn discover_list_and_call_need_no_session() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let answer = ask(&mut wire, "server/discover", json!({})).await;
    assert_eq!(answer.header("mcp-session-id"), None);
    let result = answer.json()["result"].clone();
    assert_eq!(result["supportedVersions"], json!([VERSION]));
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["capabilities"]["tools"]["listChanged"], true);
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "test");
    assert!(result["ttlMs"].is_u64() && result["cacheScope"].is_string(), "{result}");
    let tools = ask(&mut wire, "tools/list", json!({})).await.json();
    assert_eq!(tools["result"]["tools"][0]["name"], "echo");
    assert!(tools["result"]["ttlMs"].is_u64());
    let called = ask(&mut wire, "tools/call", tool("echo", json!({ "a": 1 }))).await;
    assert_eq!((called.status, called.header("content-type")), (200, Some("application/json")));
    assert_eq!(called.json()["result"]["echo"], json!({ "a": 1 }));
    assert_eq!(called.json()["result"]["resultType"], "complete");
    assert_eq!(server.edge.exchange().sessions().len(), 0);
}

#[tokio::test]
async fn a_list_that_has_changed_is_shown_and_each_answer_has_its_own_id() {
    let server = Server::start().await;
    let (session, mut wire) = (server.session().await, server.wire().await);
    let mut named = async |name: &str, id: u64| {
        let legacy = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" }).to_string();
        let answers = [ask(&mut wire, "tools/list", json!({})).await, wire.legacy(&session, &legacy).await];
        assert_eq!(answers[1].json()["id"], id);
        answers.iter().all(|answer| answer.json()["result"]["tools"][0]["name"] == name)
    };
    assert!(named("echo", 1).await && named("echo", 2).await);
    server.fake.offer_tools([json!({ "name": "new", "inputSchema": { "type": "object" } })].into_iter());
    let mut id = 3;
    while !named("new", id).await {
        id += 1;
        assert!(id < 1_000, "the list is still the old one");
    }
}

#[tokio::test]
async fn removed_unknown_and_unoffered_methods_are_404() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "nonsense",
        "completion/complete",
    ] {
        let params = json!({ "uri": "test://one" });
        wire.send_post(&headers(method, None), &body(method, params)).await;
        let answer = wire.answer().await;
        assert_eq!((answer.fault(), &answer.json()["id"]), ((404, -32_601), &json!("q")), "{method}");
    }
}

#[tokio::test]
async fn each_missing_or_differing_header_has_its_code() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let list = body("tools/list", json!({}));
    let called = body("tools/call", tool("echo", json!({})));
    let version = ("mcp-protocol-version", VERSION);
    for (sent, body) in [
        (vec![("mcp-method", "tools/list")], &list),
        (vec![version], &list),
        (vec![version, ("mcp-method", "prompts/list")], &list),
        (vec![version, ("mcp-method", "Tools/List")], &list),
        (vec![("mcp-protocol-version", "2025-11-25"), ("mcp-method", "tools/list")], &list),
        (vec![version, ("mcp-method", "tools/call")], &called),
        (vec![version, ("mcp-method", "tools/call"), ("mcp-name", "other")], &called),
    ] {
        let answer = wire.post(&sent, body).await;
        assert_eq!((answer.fault(), &answer.json()["id"]), ((400, -32_020), &json!("q")), "{sent:?}");
    }
    assert_eq!(wire.post(&headers("tools/call", Some("  echo ")), &called).await.status, 200);
}

#[tokio::test]
async fn a_malformed_claim_is_an_error_and_never_another_era() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let with_meta = |meta: Value| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": meta } }).to_string()
    };
    let (version, capabilities) =
        ("io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities");
    for (meta, code) in [
        (json!({}), -32_602),
        (json!({ capabilities: {} }), -32_602),
        (json!({ version: VERSION }), -32_602),
        (json!({ version: 7, capabilities: {} }), -32_602),
        (json!({ version: VERSION, capabilities: [] }), -32_602),
        (json!([]), -32_602),
        (json!({ version: "v999", capabilities: {} }), -32_020),
    ] {
        let answer = wire.post(&headers("tools/list", None), &with_meta(meta.clone())).await;
        assert_eq!((answer.fault(), answer.json()["id"].as_u64()), ((400, code), Some(1)), "{meta}");
    }
    let unknown = with_meta(json!({ version: "v999", capabilities: {} }));
    let sent = [("mcp-protocol-version", "v999"), ("mcp-method", "tools/list")];
    let answer = wire.post(&sent, &unknown).await;
    assert_eq!(answer.fault(), (400, -32_022));
    assert_eq!(answer.json()["error"]["data"], json!({ "supported": [VERSION], "requested": "v999" }));
}

#[tokio::test]
async fn annotated_parameters_must_be_in_the_headers() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let called = body("tools/call", tool("region", json!({ "region": "Hello" })));
    let mut sent = headers("tools/call", Some("region"));
    assert_eq!(wire.post(&sent, &called).await.fault(), (400, -32_020));
    sent.push(("Mcp-Param-Region", "=?base64?SGVsbG8=?="));
    // It gets through to the provider, which knows no such tool.
    assert_eq!(wire.post(&sent, &called).await.fault(), (200, -32_602));
    let mut sent = headers("tools/call", Some("params"));
    sent.push(("Mcp-Param-Other", "x"));
    let passed = wire.post(&sent, &body("tools/call", tool("params", json!({})))).await;
    assert_eq!(passed.json()["result"]["content"][0]["text"], r#"[("other", "x")]"#);
}

#[tokio::test]
async fn methods_of_sessions_are_not_allowed_and_notifications_are_accepted() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    for method in ["GET", "DELETE"] {
        let answer = wire.other(method, &[("mcp-protocol-version", VERSION)]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST, OPTIONS")), "{method}");
    }
    let version = [("mcp-protocol-version", VERSION)];
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(wire.post(&version, cancelled).await.status, 202);
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(wire.post(&version, response).await.fault(), (400, -32_600));
}

#[tokio::test]
async fn messages_before_the_result_make_a_stream_without_ids() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    send(&mut wire, "tools/call", tool("progress", json!({ "count": 1 }))).await;
    wire.stream().await;
    let progress = wire.event().await.unwrap();
    assert_eq!(
        (progress.id.as_deref(), &progress.json()["method"]),
        (None, &json!("notifications/progress"))
    );
    assert_eq!(wire.event().await.unwrap().json()["result"]["resultType"], "complete");
    assert_eq!(wire.event().await, None);
}

#[tokio::test]
async fn a_client_that_names_streams_first_gets_a_stream_and_faults_keep_their_status() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    for (accept, is_stream) in [
        ("text/event-stream, application/json", true),
        ("application/json;q=0.5, text/event-stream", true),
        ("application/json, text/event-stream", false),
        ("text/event-stream;q=0.9, application/json", false),
        ("*/*", false),
    ] {
        let mut headers = headers("tools/call", Some("echo"));
        headers.push(("accept", accept));
        wire.send_post(&headers, &body("tools/call", tool("echo", json!({ "a": 1 })))).await;
        if is_stream {
            wire.stream().await;
            assert_eq!(wire.event().await.unwrap().json()["result"]["echo"], json!({ "a": 1 }), "{accept}");
            assert_eq!(wire.event().await, None);
        } else {
            assert_eq!(wire.answer().await.header("content-type"), Some("application/json"), "{accept}");
        }
    }
    for method in ["tools/list", "server/discover"] {
        let mut headers = headers(method, None);
        headers.push(("accept", "text/event-stream, application/json"));
        wire.send_post(&headers, &body(method, json!({}))).await;
        wire.stream().await;
        assert_eq!(wire.event().await.unwrap().json()["result"]["resultType"], "complete", "{method}");
        assert_eq!(wire.event().await, None);
    }
    let mut headers = headers("nonsense", None);
    headers.push(("accept", "text/event-stream, application/json"));
    assert_eq!(wire.post(&headers, &body("nonsense", json!({}))).await.fault(), (404, -32601));
}

#[tokio::test]
async fn no_log_without_a_level_and_none_below_it() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let answer = ask(&mut wire, "tools/call", tool("log", json!({}))).await;
    assert_eq!(answer.json()["result"]["content"][0]["text"], "logged");
    let mut params = tool("log", json!({}));
    params["_meta"] = json!({ "io.modelcontextprotocol/logLevel": "info" });
    send(&mut wire, "tools/call", params).await;
    wire.stream().await;
    assert_eq!(wire.message().await.unwrap().json()["params"]["level"], "warning");
    assert_eq!(wire.message().await.unwrap().json()["id"], "q");
}

#[tokio::test]
async fn closing_the_connection_cancels_before_and_within_the_stream() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    send(&mut wire, "tools/call", tool("wait", json!({}))).await;
    server.fake.until_running(1).await;
    drop(wire);
    server.fake.until_running(0).await;
    let mut wire = server.wire().await;
    let mut params = tool("flood", json!({}));
    params["_meta"] = json!({ "io.modelcontextprotocol/logLevel": "info" });
    send(&mut wire, "tools/call", params).await;
    wire.stream().await;
    server.fake.until_running(1).await;
    drop(wire);
    server.fake.until_running(0).await;
    assert_eq!(*server.fake.finished.borrow(), 0);
}

#[tokio::test]
async fn a_request_is_answered_at_its_deadline() {
    let server = Server::with(|config| config.http.request_timeout_ms = 50).await;
    let answer = ask(&mut server.wire().await, "tools/call", tool("wait", json!({}))).await;
    assert_eq!(answer.fault(), (200, -32_603));
    assert_eq!(answer.json()["error"]["data"]["timeoutMs"], 50);
    server.fake.until_running(0).await;
}

#[tokio::test]
async fn a_result_with_line_breaks_is_passed_on_whole() {
    let server = Server::start().await;
    let answer = ask(&mut server.wire().await, "resources/read", json!({ "uri": "test://one" })).await;
    assert_eq!(answer.json()["result"]["contents"], json!([]));
    let answer = ask(&mut server.wire().await, "resources/read", json!({ "uri": "test://no" })).await;
    assert_eq!(
        (answer.fault(), &answer.json()["error"]["data"]["uri"]),
        ((200, -32_602), &json!("test://no"))
    );
}

fn tag(message: &Value) -> &Value {
    &message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]
}

#[tokio::test]
async fn a_listener_is_acknowledged_first_and_hears_only_what_it_asked_for() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let wanted = json!({ "toolsListChanged": true, "promptsListChanged": true,
                         "resourceSubscriptions": ["test://one"], "taskIds": ["t1"] });
    send(&mut wire, "subscriptions/listen", json!({ "notifications": wanted })).await;
    wire.stream().await;
    let first = wire.message().await.unwrap().json();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    let honoured =
        json!({ "toolsListChanged": true, "resourceSubscriptions": ["test://one"], "taskIds": ["t1"] });
    assert_eq!(first["params"]["notifications"], honoured, "prompts have no listChanged here");
    assert_eq!(tag(&first), "q");

    server.fake.change_resources();
    server.fake.change_tools();
    let message = wire.message().await.unwrap().json();
    assert_eq!(
        (&message["method"], tag(&message)),
        (&json!("notifications/tools/list_changed"), &json!("q"))
    );
    for uri in ["test://two", "test://one"] {
        server.fake.emit(Event::ResourceUpdated { uri: uri.into() });
    }
    let message = wire.message().await.unwrap().json();
    assert_eq!((&message["params"]["uri"], tag(&message)), (&json!("test://one"), &json!("q")));
    for task in ["t2", "t1"] {
        server.fake.emit(Event::TaskChanged {
            task: TaskName { upstream: None, own: task.into() },
            method: "notifications/tasks".into(),
            params: erlmcp::mcp::raw(&json!({ "taskId": task, "_meta": { "a": 1 } })).into(),
        });
    }
    let message = wire.message().await.unwrap().json();
    assert_eq!((&message["params"]["taskId"], tag(&message)), (&json!("t1"), &json!("q")));
    assert_eq!(message["params"]["_meta"]["a"], 1);
}

#[tokio::test]
async fn a_listener_is_acknowledged_although_one_who_serves_a_resource_takes_long() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let wanted = json!({ "resourceSubscriptions": ["test://one", "test://slow"] });
    send(&mut wire, "subscriptions/listen", json!({ "notifications": wanted })).await;
    wire.stream().await;
    let first = wire.message().await.unwrap().json();
    assert_eq!(first["params"]["notifications"], wanted);
    server.fake.emit(Event::ResourceUpdated { uri: "test://one".into() });
    assert_eq!(wire.message().await.unwrap().json()["params"]["uri"], "test://one");
    server.fake.gate.add_permits(1);
    let late = wire.message().await.unwrap().json();
    assert_eq!(late["method"], "notifications/resources/updated");
    assert_eq!(late["params"]["uri"], "test://slow", "it may have changed since the acknowledgement");
    let served = server.fake.served();
    drop(wire);
    let mut running = server.fake.running.subscribe();
    running.wait_for(|_| server.fake.served() == served + 2).await.unwrap();
}

#[tokio::test]
async fn a_listener_gets_a_result_when_the_node_drains() {
    let mut server = Server::start().await;
    let mut wire = server.wire().await;
    send(&mut wire, "subscriptions/listen", json!({ "notifications": {} })).await;
    wire.stream().await;
    assert_eq!(wire.message().await.unwrap().json()["params"]["notifications"], json!({}));
    server.stop.cancel();
    let result = wire.message().await.unwrap().json();
    assert_eq!((&result["id"], &result["result"]["resultType"]), (&json!("q"), &json!("complete")));
    assert_eq!(result["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "q");
    wire.closed().await;
    (&mut server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn listeners_are_bounded_and_their_place_is_given_back() {
    let server = Server::listening(1).await;
    let listen = || json!({ "notifications": { "resourceSubscriptions": ["a"] } });
    let mut first = server.wire().await;
    send(&mut first, "subscriptions/listen", listen()).await;
    first.stream().await;
    first.message().await.unwrap();
    let refused = ask(&mut server.wire().await, "subscriptions/listen", listen()).await;
    assert_eq!((refused.fault(), refused.header("retry-after").is_some()), ((503, 50_303), true));
    let many: Vec<_> = (0..1_001).map(|n| n.to_string()).collect();
    let many = json!({ "notifications": { "resourceSubscriptions": many } });
    for bad in [many, json!({}), json!({ "notifications": { "toolsListChanged": 1 } })] {
        let answer = ask(&mut server.wire().await, "subscriptions/listen", bad.clone()).await;
        assert_eq!(answer.fault(), (400, -32_602), "{bad}");
    }
    drop(first);
    loop {
        let mut wire = server.wire().await;
        send(&mut wire, "subscriptions/listen", listen()).await;
        if wire.head().await.status == 200 {
            break;
        }
    }
}
