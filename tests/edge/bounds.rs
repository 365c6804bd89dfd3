//! Bounds on what a message names or describes: at the bound it is taken, one byte beyond it is refused with
//! the member, its size and the key that sets the bound.

use serde_json::{Value, json};

use crate::fake::request;
use crate::server::Server;

/// A string whose JSON has `bytes` bytes.
fn text(bytes: usize) -> String {
    "x".repeat(bytes - 2)
}

async fn status_and_words(server: &Server, body: &str) -> (u16, String) {
    let answer = server.wire().await.post(&[], body).await;
    (answer.status, answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn what_a_client_says_of_itself_has_a_bound() {
    let server = Server::start().await;
    for (member, bound, key) in [
        ("clientInfo", 4_096, "session.client_info_bytes_max"),
        ("capabilities", 16_384, "session.capabilities_bytes_max"),
    ] {
        // {"x":"..."} has 8 bytes beside the text.
        for (bytes, status) in [(bound, 200), (bound + 1, 400)] {
            let mut params = json!({ "protocolVersion": "2025-11-25", "capabilities": {} });
            params[member] = json!({ "x": "x".repeat(bytes - 8) });
            let (got, words) = status_and_words(&server, &request(1, "initialize", &params)).await;
            assert_eq!(got, status, "{member} of {bytes} bytes: {words}");
            if status == 400 {
                let wanted = format!("params.{member} has {bytes} bytes; at most {bound} are taken ({key})");
                assert!(words.contains(&wanted), "{words}");
            }
        }
    }
    assert_eq!(server.edge.exchange().sessions().len(), 2, "a refused initialize left a session");
    assert_eq!(server.edge.exchange().recorder().refusals()["bad_request"], 2);
}

#[tokio::test]
async fn names_have_a_bound_before_anybody_is_asked() {
    const BOUND: usize = 8_192;
    let server = Server::start().await;
    let session = server.session().await;
    let served = server.fake.served();
    let long = text(BOUND + 1);
    let calls: [(&str, Value); 6] = [
        ("resources/subscribe", json!({ "uri": long })),
        ("resources/read", json!({ "uri": long })),
        ("tools/call", json!({ "name": long, "arguments": {} })),
        ("tools/list", json!({ "cursor": long })),
        ("tasks/get", json!({ "taskId": long })),
        ("completion/complete", json!({ "ref": { "type": "ref/prompt", "name": long }, "argument": {} })),
    ];
    let mut wire = server.wire().await;
    for (method, params) in calls {
        let answer = wire.legacy(&session, &request(1, method, &params)).await;
        assert_eq!(answer.fault(), (400, -32602), "{method}");
        assert!(answer.body.contains("(http.name_bytes_max)"), "{method}: {answer:?}");
    }
    assert_eq!(server.fake.served(), served, "the provider was asked");
    let subscribe = request(1, "resources/subscribe", &json!({ "uri": text(BOUND) }));
    assert_eq!(wire.legacy(&session, &subscribe).await.status, 200);
}

#[tokio::test]
async fn a_subscription_beyond_the_sessions_limit_or_refused_is_not_kept_and_the_upstream_not_asked() {
    let server = Server::start().await;
    let session = server.session().await;
    let mut wire = server.wire().await;
    let subscribe = |uri: &str| request(1, "resources/subscribe", &json!({ "uri": uri }));
    assert!(wire.legacy(&session, &subscribe("test://refused")).await.json()["error"].is_object());
    assert!(server.edge.exchange().sessions().subscribed_uris().is_empty(), "what was refused is forgotten");
    for n in 0..1_000 {
        let answer = wire.legacy(&session, &subscribe(&format!("test://{n}"))).await;
        assert_eq!(answer.json()["result"], json!({}), "{n}");
    }
    let served = server.fake.served();
    let answer = wire.legacy(&session, &subscribe("test://one-more")).await;
    assert!(answer.body.contains("as many resources as it may"), "{answer:?}");
    assert_eq!(server.fake.served(), served, "the provider was asked");
}

/// Begins a message of so many bytes and leaves one out.
async fn one_byte_short(server: &Server, bytes: usize) -> crate::wire::Wire {
    let mut wire = server.wire().await;
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    wire.send(&format!("{head}content-length: {bytes}\r\n\r\n")).await;
    wire.send(&" ".repeat(bytes - 1)).await;
    wire
}

#[tokio::test]
async fn bodies_one_byte_short_hold_no_more_than_the_budget_and_the_newcomer_is_served() {
    const BODY: usize = 1 << 20;
    let server = Server::with(|config| config.http.bodies_bytes_max = 4 * BODY).await;
    let mut unfinished = Vec::new();
    for _ in 0..6 {
        unfinished.push(one_byte_short(&server, BODY).await);
    }
    for wire in &mut unfinished[..2] {
        let answer = wire.answer().await;
        assert_eq!(answer.fault(), (408, -32600), "the oldest gives way");
        assert!(answer.body.contains("http.bodies_bytes_max"), "{answer:?}");
    }
    // In two pieces, so that it is charged.
    let call = request(1, "tools/list", &json!({}));
    let session = server.session().await;
    let mut newcomer = server.wire().await;
    let (first, last) = call.split_at(10);
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         mcp-session-id: {session}\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n{first}",
        call.len()
    );
    newcomer.send(&head).await;
    newcomer.send(last).await;
    assert_eq!(newcomer.answer().await.status, 200);
}

#[tokio::test]
async fn who_sends_too_much_without_asking_sees_the_413() {
    let server = Server::start().await;
    let bytes = 5 * 1024 * 1024;
    for _ in 0..20 {
        let mut wire = server.wire().await;
        let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        wire.send(&format!("{head}content-length: {bytes}\r\n\r\n")).await;
        wire.send(&" ".repeat(bytes)).await;
        assert_eq!(wire.answer().await.fault(), (413, -32600));
    }
}
