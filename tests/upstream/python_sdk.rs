//! The official Python SDK as upstream, over both transports and in both eras.
//!
//! Needs a Python with `mcp==2.*`: `ERLMCP_TEST_PYTHON=/path/to/venv/bin/python`, and is ignored without
//! being asked for, as a fresh machine has none.

use std::process::Stdio;

use erlmcp::config::{Gateway, Upstream};
use erlmcp::mcp::{Era, LogLevel};
use erlmcp::upstream::UpstreamOptions;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::support::{Client, at_url, catalog_where, names, start_one};

fn python() -> String {
    std::env::var("ERLMCP_TEST_PYTHON").expect("ERLMCP_TEST_PYTHON names a Python with mcp==2.*")
}

fn server() -> String {
    format!("{}/tests/e2e/python/upstream_server.py", env!("CARGO_MANIFEST_DIR"))
}

fn stdio() -> UpstreamOptions {
    let args = vec![server(), "--transport".into(), "stdio".into()];
    let upstream = Upstream { command: Some(python()), args, ..Upstream::new("py") };
    UpstreamOptions::new(upstream, Gateway::default())
}

async fn http() -> (Child, UpstreamOptions) {
    let mut child = tokio::process::Command::new(python())
        .args([&server(), "--transport", "http", "--port", "0"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.next_line().await.unwrap().unwrap();
    (child, at_url("py", &url))
}

const COUNT: &str = r#"{"name":"count","arguments":{"to":3},"_meta":{"progressToken":"tok"}}"#;

async fn speaks_like_itself(options: UpstreamOptions) {
    let (upstreams, provider) = start_one(options);
    for era in [Era::Legacy, Era::Modern] {
        let catalog = catalog_where(&provider, era, |catalog| !catalog.tools.items.is_empty()).await;
        assert_eq!(
            names(&catalog),
            ["add", "pid", "fail", "count", "greet", "sleep", "log", "grow"],
            "{era:?}"
        );
        assert_eq!(&*catalog.resources.items[0].key, "note://static");
        assert_eq!(&*catalog.templates.items[0].key, "note://{id}/text");
        assert_eq!(&*catalog.prompts.items[0].key, "review");
        assert_eq!(catalog.instructions.as_deref(), Some("Tools for tests."));
    }
    for mut client in [Client::legacy(), Client::modern()] {
        client.caller.log_level = Some(LogLevel::Info);
        let era = client.caller.era();
        let sum = client.call(&provider, "add", r#"{"a":123456789012345678901234567890,"b":1}"#).await;
        assert!(sum.outcome.as_ref().unwrap().get().contains("123456789012345678901234567891"), "{sum:?}");
        let answer = client.send(&provider, "tools/call", COUNT).await;
        assert_eq!(
            (answer.text().as_str(), answer.methods()),
            ("counted to 3", vec!["notifications/progress"; 3]),
            "{era:?}"
        );
        assert!(answer.frames.iter().all(|frame| frame["params"]["progressToken"] == "tok"));
        assert_eq!(client.call(&provider, "fail", r#"{"why":"so"}"#).await.result()["isError"], true);
        let memo = client.send(&provider, "resources/read", r#"{"uri":"note://static"}"#).await.result();
        assert_eq!(memo["contents"][0]["text"], "a static note");
        let missing = client.send(&provider, "resources/read", r#"{"uri":"note://none/x/y"}"#).await;
        assert_eq!(missing.fault().data.as_ref().unwrap().get(), r#"{"uri":"note://none/x/y"}"#);
        let prompt =
            client.send(&provider, "prompts/get", r#"{"name":"review","arguments":{"code":"Ada"}}"#).await;
        assert_eq!(prompt.result()["messages"][0]["content"]["text"], "Review this: Ada");
        assert_eq!(client.call(&provider, "log", "{}").await.methods(), ["notifications/message"], "{era:?}");
    }
    asks(&provider).await;
    changes(&provider).await;
    let counts = upstreams.health()[0].counts;
    assert_eq!((counts.failures, counts.invalid, counts.unasked), (0, 0, 0));
    upstreams.stop().await;
}

async fn asks(provider: &std::sync::Arc<dyn erlmcp::mcp::Provider>) {
    let client = Client::legacy().answering(|question| {
        assert_eq!(question["method"], "elicitation/create");
        Some(json!({"result": {"action": "accept", "content": {"name": "Ada"}}}))
    });
    assert_eq!(client.call(provider, "greet", "{}").await.text(), "Hello, Ada!");
    let client = Client::modern();
    let first = client.call(provider, "greet", "{}").await.result();
    assert_eq!(first["resultType"], "input_required", "{first}");
    let key = first["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let mut params = json!({"name": "greet", "arguments": {},
        "inputResponses": {key: {"action": "accept", "content": {"name": "Grace"}}}});
    if let Some(state) = first.get("requestState").filter(|state| **state != Value::Null) {
        params["requestState"] = state.clone();
    }
    let second = client.send(provider, "tools/call", &params.to_string()).await;
    assert_eq!(second.text(), "Hello, Grace!");
}

async fn changes(provider: &std::sync::Arc<dyn erlmcp::mcp::Provider>) {
    let has = |name: &'static str| {
        move |catalog: &erlmcp::mcp::Catalog| catalog.tools.items.iter().any(|item| &*item.key == name)
    };
    Client::legacy().call(provider, "grow", r#"{"name":"new_legacy"}"#).await.result();
    catalog_where(provider, Era::Legacy, has("new_legacy")).await;
    Client::modern().call(provider, "grow", r#"{"name":"new_modern"}"#).await;
    catalog_where(provider, Era::Modern, has("new_modern")).await;
}

#[tokio::test]
#[ignore = "needs ERLMCP_TEST_PYTHON"]
async fn a_server_on_stdio_is_passed_through_in_both_eras() {
    speaks_like_itself(stdio()).await;
}

#[tokio::test]
#[ignore = "needs ERLMCP_TEST_PYTHON"]
async fn a_server_on_http_is_passed_through_in_both_eras() {
    let (mut child, options) = http().await;
    speaks_like_itself(options).await;
    child.kill().await.unwrap();
}
