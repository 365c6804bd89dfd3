//! Questions to legacy clients, and cancellation.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::client::Client;
use crate::handler::{Ask, ElicitForm, SampleParams, Server, ServerLimits, Tool, ToolCall, ToolError};
use crate::mcp::{Era, Id, RawObject, Response};

fn server() -> Server {
    Server::new("test", "1.0.0")
        .tool(Tool::new("name"), |call: ToolCall| async move {
            let form = ElicitForm::new("Name?").required("name", json!({ "type": "string" }));
            Ok(format!("Hello {}", call.elicit("name", form).await?.text("name").unwrap_or("nobody")))
        })
        .tool(Tool::new("both"), |call: ToolCall| async move {
            let asks = [Ask::sample("a", SampleParams::prompt("?", 10)), Ask::roots("b")];
            let answers = call.inputs(asks).await?;
            Ok(format!("{} {}", answers.sampled("a")?.text(), answers.roots("b")?[0].uri))
        })
        .tool(Tool::new("by_hand"), |call: ToolCall| async move {
            match call.response("k") {
                Some(answer) => Ok(answer.get().to_owned()),
                None => {
                    call.set_state(&7)?;
                    Err(ToolError::input_required(vec![Ask::elicit("k", ElicitForm::new("?"))]))
                }
            }
        })
        .tool(Tool::new("forever"), |_: ToolCall| async {
            Err::<&str, _>(ToolError::input_required(vec![Ask::elicit("k", ElicitForm::new("?"))]))
        })
}

fn client(server: Server, capabilities: &Value) -> Arc<Client> {
    Arc::new(Client::of(server, Era::Legacy, capabilities))
}

fn answer(client: &Client, question: &RawObject, result: &Value) {
    let id = Id::from_raw(question.get("id").unwrap());
    let result = RawValue::from_string(result.to_string()).unwrap();
    assert!(client.asks.as_ref().unwrap().answer(Response { id, outcome: Ok(result) }));
}

/// Calls `tool` and answers each question by `reply`.
async fn call(client: &Client, tool: &str, reply: impl Fn(&str) -> Value) -> Value {
    let (responder, mut wire) = client.responder();
    let called = client.ask_on(&responder, "tools/call", json!({ "name": tool }));
    tokio::pin!(called);
    loop {
        tokio::select! {
            biased;
            result = &mut called => return result.unwrap_or_else(|fault| json!({ "fault": fault.code })),
            question = wire.message() => {
                let method = question.text("method").unwrap();
                answer(client, &question, &reply(&method));
            }
        }
    }
}

fn reply(method: &str) -> Value {
    match method {
        "elicitation/create" => json!({ "action": "accept", "content": { "name": "Ann" } }),
        "sampling/createMessage" => {
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "hi" } })
        }
        _ => json!({ "roots": [{ "uri": "file:///x" }] }),
    }
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {result}"))
}

#[tokio::test]
async fn a_legacy_client_is_asked_in_mid_call() {
    let all = json!({ "elicitation": {}, "sampling": {}, "roots": {} });
    let client = client(server(), &all);
    assert_eq!(text(&call(&client, "name", reply).await), "Hello Ann");
    assert_eq!(text(&call(&client, "both", reply).await), "hi file:///x");
    assert!(text(&call(&client, "by_hand", reply).await).contains("Ann"));
    assert_eq!(text(&call(&client, "name", |_| json!({ "action": "decline" })).await), "Hello nobody");
}

#[tokio::test]
async fn a_legacy_client_that_cannot_be_asked_or_answers_nonsense_is_a_failure() {
    let result = call(&client(server(), &json!({})), "name", reply).await;
    assert_eq!(result["isError"], true);
    assert!(text(&result).contains("does not offer elicitation/create"), "{result}");
    let result = call(&client(server(), &json!({ "elicitation": {} })), "name", |_| json!({})).await;
    assert_eq!(result["isError"], true);
}

#[tokio::test]
async fn a_handler_that_asks_forever_is_stopped() {
    let result = call(&client(server(), &json!({ "elicitation": {} })), "forever", reply).await;
    assert_eq!(result, json!({ "fault": -32603 }));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_answers_is_not_waited_for_forever() {
    let limits = ServerLimits { input_wait_ms: 1_000, ..ServerLimits::default() };
    let client = client(server().limits(limits), &json!({ "elicitation": {} }));
    let result = client.call("name", json!({})).await.unwrap();
    assert!(text(&result).contains("no answer from the client in 1000 ms"), "{result}");
}

#[tokio::test]
async fn a_cancelled_call_is_dropped_and_its_token_says_so() {
    let (started, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (starts, ends) = (started.clone(), ended.clone());
    let server = Server::new("test", "1").tool(Tool::new("waits"), move |call: ToolCall| {
        let (starts, ends, token) = (starts.clone(), ends.clone(), call.cancelled().clone());
        tokio::spawn(async move {
            token.cancelled().await;
            ends.notify_one();
        });
        async move {
            starts.notify_one();
            std::future::pending::<Result<&str, ToolError>>().await
        }
    });
    let client = client(server, &json!({}));
    let (responder, wire) = client.responder();
    let call = client.ask_on(&responder, "tools/call", json!({ "name": "waits" }));
    let cancel = async {
        started.notified().await;
        wire.cancel.cancel();
    };
    let (result, ()) = tokio::join!(call, cancel);
    assert_eq!(result.unwrap_err().code, -32603);
    tokio::time::timeout(Duration::from_secs(10), ended.notified()).await.unwrap();
}
