//! Tools that ask the client in the middle of a call, as legacy sessions do; the modern era asks the same
//! by rounds.

use erlmcp::handler::{ElicitForm, Elicited, SampleParams, Server, Tool, ToolCall, ToolError};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn add(server: Server) -> Server {
    let text = || json!({ "type": "string" });
    server
        .tool(
            Tool::new("test_sampling").describe("Asks the client's model").required("prompt", text()),
            sampling,
        )
        .tool(
            Tool::new("test_elicitation").describe("Asks the user").required("message", text()),
            elicitation,
        )
        .tool(Tool::new("test_elicitation_sep1034_defaults").describe("A form with defaults"), defaults)
        .tool(Tool::new("test_elicitation_sep1330_enums").describe("A form with choices"), choices)
        .tool(Tool::new("test_missing_capability").describe("Needs sampling"), |call: ToolCall| async move {
            Ok(call.sample("answer", SampleParams::prompt("Say hello", 50)).await?.text())
        })
        .tool(
            Tool::new("test_streaming_elicitation").describe("Asks the user"),
            |call: ToolCall| async move {
                let form = ElicitForm::new("Go on?").required("ok", json!({ "type": "boolean" }));
                Ok(said("Elicited", &call.elicit("confirm", form).await?))
            },
        )
}

#[derive(Deserialize)]
struct Sampling {
    #[serde(default)]
    prompt: String,
}

#[derive(Deserialize)]
struct Elicitation {
    #[serde(default)]
    message: String,
}

async fn sampling(call: ToolCall) -> Result<String, ToolError> {
    let Sampling { prompt } = call.arguments()?;
    let answer = call.sample("response", SampleParams::prompt(prompt, 100)).await?;
    Ok(format!("LLM response: {}", answer.text()))
}

async fn elicitation(call: ToolCall) -> Result<String, ToolError> {
    let Elicitation { message } = call.arguments()?;
    let response = json!({ "type": "string", "description": "User's response" });
    let answer = call.elicit("response", ElicitForm::new(message).required("response", response)).await?;
    Ok(said("User response", &answer))
}

fn said(what: &str, answer: &Elicited) -> String {
    let content = Value::Object(answer.content.clone().unwrap_or_default());
    let action = json!(answer.action);
    format!("{what}: action={}, content={content}", action.as_str().unwrap_or_default())
}

async fn defaults(call: ToolCall) -> Result<String, ToolError> {
    let form = ElicitForm::new("Please review and update the form fields with defaults")
        .optional("name", json!({ "type": "string", "description": "User name", "default": "John Doe" }))
        .optional("age", json!({ "type": "integer", "description": "User age", "default": 30 }))
        .optional("score", json!({ "type": "number", "description": "User score", "default": 95.5 }))
        .optional(
            "status",
            json!({ "type": "string", "enum": ["active", "inactive", "pending"], "default": "active" }),
        )
        .optional("verified", json!({ "type": "boolean", "description": "Verified", "default": true }));
    Ok(said("Elicitation completed", &call.elicit("form", form).await?))
}

async fn choices(call: ToolCall) -> Result<String, ToolError> {
    let plain = json!(["option1", "option2", "option3"]);
    let titled = json!([
        { "const": "value1", "title": "First Option" },
        { "const": "value2", "title": "Second Option" },
        { "const": "value3", "title": "Third Option" },
    ]);
    let form = ElicitForm::new("Please select options from the enum fields")
        .optional("untitledSingle", json!({ "type": "string", "enum": plain }))
        .optional("titledSingle", json!({ "type": "string", "oneOf": titled }))
        .optional(
            "legacyEnum",
            json!({
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            }),
        )
        .optional("untitledMulti", json!({ "type": "array", "items": { "type": "string", "enum": plain } }))
        .optional("titledMulti", json!({ "type": "array", "items": { "anyOf": titled } }));
    Ok(said("Elicitation completed", &call.elicit("form", form).await?))
}
