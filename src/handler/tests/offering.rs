//! Offers, answers and changes of a server.

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use crate::handler::{
    CompleteCall, Content, Contents, Prompt, PromptCall, ReadCall, Resource, Server, TaskSupport, Template,
    Tool, ToolCall, ToolError, ToolResult,
};
use crate::mcp::{Era, Event, LogLevel, Provider};

#[derive(Deserialize)]
struct Add {
    a: f64,
    b: f64,
}

async fn add(call: ToolCall) -> Result<ToolResult, ToolError> {
    let Add { a, b } = call.arguments()?;
    Ok(ToolResult::structured(&json!({ "sum": a + b }))?)
}

fn server() -> Server {
    Server::new("test", "1.0.0")
        .tool(Tool::new("add").required("a", json!({ "type": "number" })).meta("x", 1), add)
        .tool(Tool::new("panics"), |_: ToolCall| async { panic_now() })
        .tool(Tool::new("works"), |call: ToolCall| async move {
            for (done, text) in [(1.0, Some("one")), (0.5, None), (2.5, None)] {
                call.progress(done, Some(3.0), text).await;
            }
            call.log(LogLevel::Debug, None, "too fine").await;
            call.log(LogLevel::Error, Some("unit"), &json!({ "n": 1 })).await;
            Ok("done")
        })
        .resource(Resource::new("t://text", "text").mime("text/plain"), |_: ReadCall| async { Ok("hello") })
        .resource(Resource::new("t://bytes", "bytes"), |_: ReadCall| async { Ok(vec![0_u8, 255]) })
        .template(Template::new("t://item/{id}", "item"), |call: ReadCall| async move {
            match call.variable("id") {
                "none" => Err(call.not_found()),
                id => Ok(Contents::text(id)),
            }
        })
        .prompt(
            Prompt::new("greet").required("who", "whom to greet").optional("how", "in which words"),
            |call: PromptCall| async move {
                Ok(format!("{}Hello {}", call.argument("how"), call.argument("who")))
            },
        )
        .complete_prompt("greet", "who", |call: CompleteCall| async move {
            Ok(call.matching(["World", "work", "mum"]))
        })
        .complete_template("t://item/{id}", "id", |_: CompleteCall| async {
            Ok((0..150).map(|n| n.to_string()).collect::<Vec<_>>())
        })
}

fn panic_now() -> Result<&'static str, ToolError> {
    panic!("a bug in a tool")
}

fn legacy() -> Client {
    Client::of(server(), Era::Legacy, &json!({}))
}

#[tokio::test]
async fn a_call_gets_typed_arguments_and_answers_in_both_forms() {
    let result = legacy().call("add", json!({ "a": 1, "b": 2.5, "more": true })).await.unwrap();
    assert_eq!(result["structuredContent"], json!({ "sum": 3.5 }));
    assert_eq!(result["content"], json!([{ "type": "text", "text": r#"{"sum":3.5}"# }]));
    assert_eq!(result.get("isError"), None);
}

#[tokio::test]
async fn wrong_arguments_are_told_to_the_model_and_no_object_is_a_fault() {
    let client = legacy();
    let result = client.call("add", json!({ "a": 1 })).await.unwrap();
    assert_eq!(result["isError"], true);
    assert_eq!(result["content"][0]["text"], "invalid arguments: missing field `b`");
    assert_eq!(client.call("add", json!([1])).await.unwrap_err().code, -32602);
    assert_eq!(client.call("nothing", json!({})).await.unwrap_err().code, -32602);
    assert_eq!(client.ask("tools/call", json!({})).await.unwrap_err().code, -32602);
    assert_eq!(client.ask("nonsense", json!({})).await.unwrap_err().code, -32601);
}

#[tokio::test]
async fn a_panic_ends_its_own_call_only() {
    let client = legacy();
    assert_eq!(client.call("panics", json!({})).await.unwrap_err().code, -32603);
    assert!(client.call("add", json!({ "a": 1, "b": 1 })).await.is_ok());
}

#[tokio::test]
async fn progress_only_grows_and_needs_a_token_and_logs_have_a_level() {
    let client = legacy();
    let (responder, wire) = client.responder();
    let params = json!({ "name": "works", "_meta": { "progressToken": 12345678901234567890_u64 } });
    client.ask_on(&responder, "tools/call", params).await.unwrap();
    let messages = wire.messages();
    assert_eq!(
        messages.iter().map(|message| message["params"].clone()).collect::<Vec<_>>(),
        [
            json!({ "progressToken": 12345678901234567890_u64, "progress": 1, "total": 3, "message": "one" }),
            json!({ "progressToken": 12345678901234567890_u64, "progress": 2.5, "total": 3 }),
            json!({ "level": "error", "logger": "unit", "data": { "n": 1 } }),
        ]
    );
    let (responder, wire) = client.responder();
    client.ask_on(&responder, "tools/call", json!({ "name": "works" })).await.unwrap();
    assert_eq!(wire.messages().len(), 1);
}

#[tokio::test]
async fn resources_are_read_by_uri_and_by_template() {
    let client = legacy();
    let read = async |uri: &str| client.ask("resources/read", json!({ "uri": uri })).await;
    let text = read("t://text").await.unwrap();
    assert_eq!(text["contents"], json!([{ "uri": "t://text", "mimeType": "text/plain", "text": "hello" }]));
    assert_eq!(read("t://bytes").await.unwrap()["contents"], json!([{ "uri": "t://bytes", "blob": "AP8=" }]));
    let item = read("t://item/a%20b").await.unwrap();
    assert_eq!(item["contents"], json!([{ "uri": "t://item/a%20b", "text": "a b" }]));
    for uri in ["t://item/none", "t://item/a/b", "other://"] {
        let fault = read(uri).await.unwrap_err();
        assert_eq!((fault.code, fault.data.unwrap().get()), (-32002, &*json!({ "uri": uri }).to_string()));
    }
    for (uri, is_there) in [("t://text", true), ("t://item/7", true), ("other://", false)] {
        let answer = client.ask("resources/subscribe", json!({ "uri": uri })).await;
        assert_eq!(answer.is_ok(), is_there, "{uri}");
    }
}

#[tokio::test]
async fn a_prompt_wants_its_arguments() {
    let client = legacy();
    let get = async |arguments: Value| {
        client.ask("prompts/get", json!({ "name": "greet", "arguments": arguments })).await
    };
    let text = get(json!({ "who": "World" })).await.unwrap();
    let message = json!({ "role": "user", "content": { "type": "text", "text": "Hello World" } });
    assert_eq!(text["messages"], json!([message]));
    assert_eq!(get(json!({ "how": "x" })).await.unwrap_err().code, -32602);
    assert_eq!(get(json!({ "who": 7 })).await.unwrap_err().code, -32602);
}

#[tokio::test]
async fn completions_are_found_by_reference_and_cut_at_the_limit() {
    let client = legacy();
    let complete = async |reference: Value, name: &str, value: &str| {
        let argument = json!({ "name": name, "value": value });
        client.ask("completion/complete", json!({ "ref": reference, "argument": argument })).await
    };
    let prompt = json!({ "type": "ref/prompt", "name": "greet" });
    let found = complete(prompt.clone(), "who", "WO").await.unwrap();
    assert_eq!(found["completion"], json!({ "values": ["World", "work"] }));
    assert_eq!(complete(prompt, "how", "").await.unwrap()["completion"], json!({ "values": [] }));
    let template = json!({ "type": "ref/resource", "uri": "t://item/{id}" });
    let found = complete(template, "id", "").await.unwrap();
    let completion = &found["completion"];
    assert_eq!(completion["values"].as_array().unwrap().len(), 100);
    assert_eq!((&completion["total"], &completion["hasMore"]), (&json!(150), &json!(true)));
    let unknown = json!({ "type": "ref/prompt", "name": "nobody" });
    assert_eq!(complete(unknown, "x", "").await.unwrap_err().code, -32602);
}

#[tokio::test]
async fn a_change_is_published_to_both_eras_and_can_be_used_at_once() {
    let client = legacy();
    let handle = client.server.handle();
    let mut legacy = client.server.catalog(Era::Legacy).unwrap();
    let mut modern = client.server.catalog(Era::Modern).unwrap();
    let before = legacy.borrow_and_update().tools.version;
    modern.borrow_and_update();
    handle.add_tool(Tool::new("new"), |_: ToolCall| async { Ok(Content::text("new")) }).unwrap();
    assert!(legacy.has_changed().unwrap() && modern.has_changed().unwrap());
    let after = legacy.borrow_and_update().clone();
    assert!(after.tools.version > before);
    assert!(after.tools.items.last().unwrap().raw.get().contains(r#""name":"new""#));
    assert!(client.call("new", json!({})).await.is_ok());
    assert!(handle.remove_tool("add") && !handle.remove_tool("add"));
    assert_eq!(client.call("add", json!({})).await.unwrap_err().code, -32602);
    assert!(client.call("new", json!({})).await.is_ok());
    let version = legacy.borrow_and_update().tools.version;
    handle.notify_tools_changed();
    assert!(legacy.borrow_and_update().tools.version > version);
}

#[tokio::test]
async fn an_updated_resource_is_an_event() {
    let client = legacy();
    let mut events = client.server.events();
    client.server.handle().resource_updated("t://text");
    assert!(matches!(events.try_recv(), Ok(Event::ResourceUpdated { uri }) if &*uri == "t://text"));
}

#[tokio::test]
async fn capabilities_follow_from_what_is_offered() {
    let names = |server: &Server, era| {
        let catalog = server.catalog(era).unwrap().borrow().clone();
        catalog.offers.0.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let server = server();
    assert_eq!(names(&server, Era::Modern), ["logging", "tools", "prompts", "resources", "completions"]);
    let job = Tool::new("job").task_support(TaskSupport::Required);
    let server = Server::new("jobs", "1").tool(job, |_: ToolCall| async { Ok("x") });
    assert_eq!(names(&server, Era::Modern), ["logging", "tools", "extensions"]);
    assert_eq!(names(&server, Era::Legacy), ["logging", "tools"]);
    let listed = |era| server.catalog(era).unwrap().borrow().tools.items.len();
    assert_eq!((listed(Era::Legacy), listed(Era::Modern)), (0, 1));
}

#[test]
fn what_the_protocol_does_not_allow_cannot_be_offered() {
    let handle = Server::new("test", "1").handle();
    let ok = |_: ToolCall| async { Ok("x") };
    for name in ["", "a b", "ä", &"x".repeat(129)] {
        assert!(handle.add_tool(Tool::new(name), ok).is_err(), "{name:?}");
    }
    assert!(handle.add_tool(Tool::new("x".repeat(128)), ok).is_ok());
    let schema = json!({ "type": "array" });
    assert!(handle.add_tool(Tool::new("x").input_schema(schema), ok).is_err());
    let template = Template::new("t://{+x}", "x");
    assert!(handle.add_template(template, |_: ReadCall| async { Ok("x") }).is_err());
}
