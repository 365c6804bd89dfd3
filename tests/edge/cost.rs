//! Costs. Calls in a row, to be counted by `scripts/instructions.py`: the difference of two runs is what one
//! costs. And the gate beside the accept that it follows.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use erlmcp::admission::Gate;
use erlmcp::clock::Clock;
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

/// A server that offers 1,000 tools of about 250 bytes.
async fn large_server() -> Server {
    let server = Server::start().await;
    let tools = (0..1000).map(|n| {
        let schema = json!({ "type": "object", "properties": {
            "path": { "type": "string", "description": "A file below the root, with slashes" } } });
        json!({ "name": format!("tool{n}"), "description": "Reads a file and says how large it is",
            "inputSchema": schema, "annotations": { "readOnlyHint": true } })
    });
    server.fake.offer_tools(tools);
    server
}

#[tokio::test]
#[ignore = "counted by scripts/instructions.py"]
async fn list_legacy() {
    let server = large_server().await;
    let session = server.session().await;
    let mut wire = server.wire().await;
    for id in 0..calls() {
        let call = json!({ "jsonrpc": "2.0", "id": id + 1000, "method": "tools/list" });
        assert!(wire.legacy(&session, &call.to_string()).await.body.len() > 200_000);
    }
}

#[tokio::test]
#[ignore = "counted by scripts/instructions.py"]
async fn list_modern() {
    let server = large_server().await;
    let mut wire = server.wire().await;
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
    for id in 0..calls() {
        let call = json!({ "jsonrpc": "2.0", "id": id + 1000, "method": "tools/list", "params": { "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {} } } });
        assert!(wire.post(&headers, &call.to_string()).await.body.len() > 200_000);
    }
}

/// Nanoseconds of one `act`, the best of some rounds.
fn nanoseconds(times: u32, mut act: impl FnMut()) -> u128 {
    let round = |_| {
        #[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
        let start = Instant::now();
        (0..times).for_each(|_| act());
        start.elapsed()
    };
    (0..5).map(round).min().unwrap_or(Duration::MAX).as_nanos() / u128::from(times)
}

/// `cargo test --release --test edge cost_of_the_gate -- --ignored --nocapture`
#[test]
#[ignore = "a benchmark: needs a release build and a quiet machine"]
fn cost_of_the_gate() {
    let gate = Gate::alone(100_000, Clock::new());
    let alone = nanoseconds(1_000_000, || drop(gate.admit()));
    let two = std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| nanoseconds(1_000_000, || drop(gate.admit()))));
        both.map(|thread| thread.join().unwrap()).into_iter().max().unwrap()
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients = Vec::with_capacity(100);
    let mut accepts = Duration::ZERO;
    for _ in 0..100 {
        clients.extend((0..100).map(|_| TcpStream::connect(address).unwrap()));
        #[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
        let start = Instant::now();
        (0..100).for_each(|_| drop(listener.accept().unwrap()));
        accepts += start.elapsed();
        clients.clear();
    }
    let accept = accepts.as_nanos() / 10_000;
    println!(
        "admit and give back: {alone} ns; by two threads at once: {two} ns; accept and close: {accept} ns"
    );
    assert!(alone < accept, "the gate costs more than the accept");
}
