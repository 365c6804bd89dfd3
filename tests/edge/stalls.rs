//! HTTP/2 streams whose client does not read: each is reset alone, and the work behind it goes on and ends.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::fake::{bytes, in_time};
use crate::server::Server;

/// A client takes so many bytes of a stream, and no more until it reads.
const WINDOW: u32 = 10;
const STALL: Duration = Duration::from_millis(400);

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driving: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

async fn connect(server: &Server) -> Connection {
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let driving = tokio::spawn(async move {
        let _ = connection.await;
    });
    Connection { sender, driving }
}

impl Connection {
    async fn call(&mut self, tool: &str, arguments: &Value) -> hyper::Response<Incoming> {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": tool, "arguments": arguments, "_meta": {
                "io.modelcontextprotocol/logLevel": "info",
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {} } } });
        let request = hyper::Request::post("http://localhost/mcp")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .body(Full::new(bytes(&call.to_string())))
            .unwrap();
        self.sender.send_request(request).await.unwrap()
    }

    async fn livez(&mut self) -> Bytes {
        let request = hyper::Request::get("http://localhost/livez").body(Full::new(Bytes::new())).unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes()
    }
}

async fn server() -> Server {
    Server::with(|config| config.connections.write_stall_ms = STALL.as_millis().try_into().unwrap()).await
}

/// Takes what the window has room for, and then nothing: hyper gives back the window as it is read.
async fn is_reset(answer: hyper::Response<Incoming>) -> bool {
    tokio::time::sleep(2 * STALL).await;
    let mut body = answer.into_body();
    while let Some(frame) =
        timeout(Duration::from_secs(10), body.frame()).await.expect("neither data nor end")
    {
        if frame.is_err() {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_reset_alone() {
    let server = server().await;
    let mut connection = connect(&server).await;
    let large = connection.call("echo", &json!({ "text": "x".repeat(50_000) })).await;
    assert_eq!(large.status(), 200);
    assert_eq!(connection.livez().await, "ok\n");
    assert!(is_reset(large).await, "the whole answer came though nobody read it in time");
    assert_eq!(connection.livez().await, "ok\n", "another stream of the same connection");
    let small = connection.call("echo", &json!({ "text": "x".repeat(50_000) })).await;
    let read = in_time("a client that reads", small.into_body().collect()).await.unwrap().to_bytes();
    assert!(read.len() > 50_000);
}

#[tokio::test]
async fn a_call_whose_stream_nobody_reads_goes_on_and_ends() {
    let server = server().await;
    let mut connection = connect(&server).await;
    let stream = connection.call("flood", &json!({ "count": 4 })).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    server.fake.gate.add_permits(1);
    let start = Instant::now();
    server.fake.until_finished(1).await;
    assert!(start.elapsed() < STALL, "it ended with its stream, {:?} later", start.elapsed());
    assert!(is_reset(stream).await);
}

#[tokio::test]
async fn a_stream_that_waits_for_us_is_not_reset() {
    let server = server().await;
    let mut connection = connect(&server).await;
    let answer = connection.call("flood", &json!({ "count": 1 })).await;
    let reading = tokio::spawn(answer.into_body().collect());
    tokio::time::sleep(3 * STALL).await;
    server.fake.gate.add_permits(1);
    let read = in_time("the result", reading).await.unwrap().expect("reset though it was read").to_bytes();
    assert!(read.windows(6).any(|part| part == b"waited"), "{read:?}");
}
