//! Questions to modern clients: rounds, and the state that travels with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::client::Client;
use crate::handler::{Ask, ElicitForm, Prompt, PromptCall, Server, ServerLimits, Tool, ToolCall, ToolError};
use crate::mcp::{Era, RpcError, SealKey};

static NOW_MS: AtomicU64 = AtomicU64::new(1_000_000);

fn form() -> ElicitForm {
    ElicitForm::new("?").required("name", json!({ "type": "string" }))
}

fn server(secret: &[u8]) -> Server {
    Server::new("test", "1.0.0")
        .seal_key(Arc::new(SealKey::derive(secret, "state")))
        .tool(Tool::new("two"), |call: ToolCall| async move {
            let first = call.elicit("first", form()).await?;
            call.set_state(&json!({ "seen": first.text("name") }))?;
            let second = call.elicit("second", form()).await?;
            let state: Value = call.state()?.unwrap_or_default();
            Ok(format!("{} {} {state}", first.text("name").unwrap(), second.text("name").unwrap()))
        })
        .tool(Tool::new("other"), |call: ToolCall| async move {
            call.elicit("first", form()).await?;
            Ok("x")
        })
        .tool(Tool::new("huge"), |call: ToolCall| async move {
            call.set_state(&"x".repeat(70_000))?;
            call.elicit("first", form()).await?;
            Ok("x")
        })
        .tool(Tool::new("undeclared"), |_: ToolCall| async {
            Err::<&str, _>(ToolError::input_required(vec![Ask::roots("r")]))
        })
        .prompt(Prompt::new("asks"), |call: PromptCall| async move {
            Ok(call.elicit("first", form()).await?.text("name").unwrap_or("none").to_owned())
        })
}

fn modern(server: Server) -> Client {
    Client::of(server, Era::Modern, &json!({ "elicitation": {} }))
}

fn accept(name: &str) -> Value {
    json!({ "action": "accept", "content": { "name": name } })
}

async fn retry(client: &Client, tool: &str, responses: Value, state: &Value) -> Result<Value, RpcError> {
    let mut params = json!({ "name": tool, "inputResponses": responses, "arguments": { "a": 1 } });
    if !state.is_null() {
        params["requestState"] = state.clone();
    }
    client.ask("tools/call", params).await
}

async fn start(client: &Client, tool: &str) -> Value {
    let first = client.call(tool, json!({ "a": 1 })).await.unwrap();
    assert_eq!(first["resultType"], "input_required");
    first["requestState"].clone()
}

#[tokio::test]
async fn answers_and_state_of_earlier_rounds_come_back() {
    let client = modern(server(b"s"));
    let first = client.call("two", json!({ "a": 1 })).await.unwrap();
    let question = &first["inputRequests"]["first"];
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!(question["params"]["requestedSchema"]["required"], json!(["name"]));
    let second =
        retry(&client, "two", json!({ "first": accept("Ann") }), &first["requestState"]).await.unwrap();
    assert_eq!(second["inputRequests"].as_object().unwrap().keys().collect::<Vec<_>>(), ["second"]);
    assert_ne!(second["requestState"], first["requestState"]);
    let done =
        retry(&client, "two", json!({ "second": accept("Bob") }), &second["requestState"]).await.unwrap();
    assert_eq!(done["content"][0]["text"], r#"Ann Bob {"seen":"Ann"}"#);
    assert_eq!(done.get("requestState"), None);
}

#[tokio::test]
async fn another_node_with_the_key_takes_the_retry_and_one_without_refuses() {
    let state = start(&modern(server(b"shared")), "two").await;
    let responses = json!({ "first": accept("Ann") });
    assert!(retry(&modern(server(b"shared")), "two", responses.clone(), &state).await.is_ok());
    let refused = retry(&modern(server(b"another")), "two", responses, &state).await.unwrap_err();
    assert_eq!(refused.code, -32602);
}

#[tokio::test]
async fn a_state_is_good_for_its_own_request_only() {
    let client = modern(server(b"s"));
    let state = start(&client, "two").await;
    let code = async |client: &Client, method: &str, params: Value| {
        client.ask(method, params).await.map_err(|fault| fault.code).map(|_| ())
    };
    let good = json!({ "name": "two", "arguments": { "a": 1 }, "requestState": state });
    assert_eq!(code(&client, "tools/call", good.clone()).await, Ok(()));
    let mut other_arguments = good.clone();
    other_arguments["arguments"] = json!({ "a": 2 });
    let mut other_tool = good.clone();
    other_tool["name"] = "other".into();
    let mut altered = good.clone();
    altered["requestState"] = format!("{}00", state.as_str().unwrap()).into();
    let mut no_text = good.clone();
    no_text["requestState"] = 7.into();
    for params in [other_arguments, other_tool, altered, no_text] {
        assert_eq!(code(&client, "tools/call", params.clone()).await, Err(-32602), "{params}");
    }
    let prompt = json!({ "name": "asks", "requestState": state });
    assert_eq!(code(&client, "prompts/get", prompt).await, Err(-32602));
    let mut mallory = Client::at(&client.server, Era::Modern, &json!({ "elicitation": {} }));
    mallory.caller.principal = "mallory".into();
    assert_eq!(code(&mallory, "tools/call", good).await, Err(-32602));
}

#[tokio::test]
async fn a_state_ends() {
    let limits = ServerLimits { input_wait_ms: 1_000, ..ServerLimits::default() };
    let client = modern(server(b"s").limits(limits).clock(|| NOW_MS.load(Ordering::Relaxed)));
    let state = start(&client, "two").await;
    NOW_MS.fetch_add(999, Ordering::Relaxed);
    assert!(retry(&client, "two", json!({}), &state).await.is_ok());
    NOW_MS.fetch_add(1, Ordering::Relaxed);
    assert_eq!(retry(&client, "two", json!({}), &state).await.unwrap_err().code, -32602);
}

#[tokio::test]
async fn missing_answers_are_asked_for_again_and_wrong_ones_are_faults() {
    let client = modern(server(b"s"));
    let state = start(&client, "two").await;
    for responses in [json!({}), json!({ "wrong": accept("x") }), Value::Null] {
        let again = retry(&client, "two", responses, &state).await.unwrap();
        assert_eq!(again["resultType"], "input_required");
        assert!(again["inputRequests"]["first"].is_object());
    }
    for responses in [json!(7), json!({ "first": 7 }), json!({ "first": { "action": "perhaps" } })] {
        assert_eq!(retry(&client, "two", responses, &state).await.unwrap_err().code, -32602);
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_not_kept() {
    let client = modern(server(b"s"));
    let state = start(&client, "two").await;
    let both = json!({ "first": accept("Ann"), "never": accept("x"), "second": 7 });
    // The second question comes in the same run, and finds an answer of another shape.
    assert_eq!(retry(&client, "two", both, &state).await.unwrap_err().code, -32602);
    let extra = json!({ "first": accept("Ann"), "never": accept(&"x".repeat(70_000)) });
    assert!(retry(&client, "two", extra, &state).await.is_ok(), "what is not asked for is not sealed");
}

#[tokio::test]
async fn capabilities_that_are_missing_are_named() {
    let client = Client::of(server(b"s"), Era::Modern, &json!({}));
    let fault = client.call("two", json!({})).await.unwrap_err();
    let required = json!({ "requiredCapabilities": { "elicitation": {} } }).to_string();
    assert_eq!((fault.code, fault.status, fault.data.unwrap().get()), (-32021, 400, &*required));
    let fault = modern(server(b"s")).call("undeclared", json!({})).await.unwrap_err();
    assert_eq!(fault.code, -32021);
}

#[tokio::test]
async fn prompts_ask_too_and_a_state_has_a_limit() {
    let client = modern(server(b"s"));
    let first = client.ask("prompts/get", json!({ "name": "asks" })).await.unwrap();
    assert_eq!(first["resultType"], "input_required");
    assert_eq!(client.call("huge", json!({})).await.unwrap_err().code, -32603);
}

#[tokio::test]
async fn rounds_without_end_are_stopped() {
    let server = Server::new("test", "1").tool(Tool::new("more"), |call: ToolCall| async move {
        for n in 0..100 {
            call.elicit(&n.to_string(), form()).await?;
        }
        Ok("done")
    });
    let client = modern(server);
    let (mut state, mut rounds) = (Value::Null, 0);
    let fault = loop {
        match retry(&client, "more", json!({ rounds.to_string(): accept("x") }), &state).await {
            Ok(result) => state = result["requestState"].clone(),
            Err(fault) => break fault,
        }
        rounds += 1;
    };
    assert_eq!((fault.code, rounds), (-32603, 16));
}
