//! Calls in a row, to be counted by `scripts/instructions.py`: the difference of two runs is what one costs.

use serde_json::json;

use crate::server::Server;

/// Calls of a run, as the script asks for.
fn calls() -> usize {
    std::env::var("ERLMCP_CALLS").ok().and_then(|calls| calls.parse().ok()).unwrap_or(1)
}

#[tokio::test]
#[ignore = "counted by scripts/instructions.py"]
async fn native_legacy() {
    let server = Server::start().await;
    let session = server.session().await;
    let mut wire = server.wire().await;
    for id in 0..calls() {
        let call = json!({ "jsonrpc": "2.0", "id": id + 1000, "method": "tools/call",
            "params": { "name": "echo", "arguments": { "text": "hello" } } });
        assert_eq!(wire.legacy(&session, &call.to_string()).await.status, 200);
    }
}

#[tokio::test]
#[ignore = "counted by scripts/instructions.py"]
async fn native_modern() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let headers =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "echo")];
    for id in 0..calls() {
        let call = json!({ "jsonrpc": "2.0", "id": id + 1000, "method": "tools/call",
            "params": { "name": "echo", "arguments": { "text": "hello" }, "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {} } } });
        assert_eq!(wire.post(&headers, &call.to_string()).await.status, 200);
    }
}
