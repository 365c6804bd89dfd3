//! Calls in a row, to be counted by `scripts/instructions.py`: the difference of two runs is what one costs.

use std::sync::Arc;

use erlmcp::mcp::Provider;

use crate::fake_http::serve;
use crate::support::{Client, at_url, fake, quick, start_one};

/// Calls of a run, as the script asks for.
fn calls() -> usize {
    std::env::var("ERLMCP_CALLS").ok().and_then(|calls| calls.parse().ok()).unwrap_or(1)
}

async fn call(provider: &Arc<dyn Provider>, client: &Client) {
    for _ in 0..calls() {
        client.call(provider, "echo", r#"{"text":"hello"}"#).await.result();
    }
}

#[tokio::test]
#[ignore = "counted by scripts/instructions.py"]
async fn http_legacy() {
    let server = serve("legacy").await;
    let (upstreams, provider) = start_one(quick(at_url("web", &server.url)));
    call(&provider, &Client::legacy()).await;
    upstreams.stop().await;
}

#[tokio::test]
#[ignore = "counted by scripts/instructions.py"]
async fn http_modern() {
    let server = serve("modern").await;
    let (upstreams, provider) = start_one(quick(at_url("web", &server.url)));
    call(&provider, &Client::modern()).await;
    upstreams.stop().await;
}

#[tokio::test]
#[ignore = "counted by scripts/instructions.py"]
async fn stdio_legacy() {
    let (upstreams, provider) = start_one(fake("fake", &[]));
    call(&provider, &Client::legacy()).await;
    upstreams.stop().await;
}
