//! Tools that just answer: kinds of content, errors, progress, logs, changes.

use std::time::Duration;

use erlmcp::handler::{Content, Contents, Server, Tool, ToolCall, ToolError, ToolResult};
use erlmcp::mcp::LogLevel;
use serde::Deserialize;
use serde_json::json;

use super::{PNG, WAV};

/// The suite asks for about this much between two messages.
const STEP: Duration = Duration::from_millis(50);

pub(super) fn add(server: Server) -> Server {
    let server = server
        .tool(Tool::new("test_simple_text").describe("Answers with text"), |_: ToolCall| async {
            Ok("This is a simple text response for testing.")
        })
        .tool(Tool::new("test_image_content").describe("Answers with a picture"), |_: ToolCall| async {
            Ok(Content::image(PNG, "image/png"))
        })
        .tool(Tool::new("test_audio_content").describe("Answers with a sound"), |_: ToolCall| async {
            Ok(Content::audio(WAV, "audio/wav"))
        })
        .tool(Tool::new("test_embedded_resource").describe("Answers with a resource"), embedded)
        .tool(Tool::new("test_multiple_content_types").describe("Answers with three kinds"), mixed)
        .tool(Tool::new("test_error_handling").describe("Fails"), |_: ToolCall| async {
            Err::<ToolResult, _>(ToolError::failed("This tool intentionally returns an error for testing"))
        })
        .tool(Tool::new("test_tool_with_logging").describe("Logs three times"), logging)
        .tool(Tool::new("test_tool_with_progress").describe("Tells how far it is"), progress)
        .tool(Tool::new("test_logging_tool").describe("Logs once"), |call: ToolCall| async move {
            call.log(LogLevel::Info, Some("fixture"), "a log message").await;
            Ok("logged")
        })
        .tool(Tool::new("test_reconnection").describe("Closes its stream half-way"), reconnection);
    schemas(changes(server))
}

async fn embedded(_: ToolCall) -> Result<Content, ToolError> {
    let contents = Contents::text("This is an embedded resource content.");
    Ok(Content::resource(contents.of("test://embedded-resource").mime("text/plain")))
}

async fn mixed(_: ToolCall) -> Result<ToolResult, ToolError> {
    let contents = Contents::text(json!({ "test": "data", "value": 123 }).to_string());
    let resource = contents.of("test://mixed-content-resource").mime("application/json");
    Ok(ToolResult::text("Multiple content types test:")
        .and(Content::image(PNG, "image/png"))
        .and(Content::resource(resource)))
}

async fn logging(call: ToolCall) -> Result<&'static str, ToolError> {
    for text in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
        call.log(LogLevel::Info, None, text).await;
        tokio::time::sleep(STEP).await;
    }
    Ok("logged three times")
}

async fn progress(call: ToolCall) -> Result<&'static str, ToolError> {
    for done in [0.0, 50.0, 100.0] {
        call.progress(done, Some(100.0), None).await;
        tokio::time::sleep(STEP).await;
    }
    Ok("done")
}

async fn reconnection(call: ToolCall) -> Result<&'static str, ToolError> {
    call.close_stream(500).await;
    tokio::time::sleep(2 * STEP).await;
    Ok("the result came after the stream was closed")
}

/// Tools that change what the server offers.
fn changes(server: Server) -> Server {
    server
        .tool(
            Tool::new("test_trigger_tool_change").describe("Changes the tools"),
            |call: ToolCall| async move {
                call.handle().notify_tools_changed();
                Ok("changed")
            },
        )
        .tool(
            Tool::new("test_trigger_prompt_change").describe("Changes the prompts"),
            |call: ToolCall| async move {
                call.handle().notify_prompts_changed();
                Ok("changed")
            },
        )
}

#[derive(Deserialize)]
struct Value {
    #[serde(default)]
    value: String,
}

/// Tools whose schemas the suite looks at.
fn schemas(server: Server) -> Server {
    let header = Tool::new("test_custom_header")
        .describe("Says what its header said")
        .required("value", json!({ "type": "string", "x-mcp-header": "Value" }));
    let modern = Tool::new("json_schema_2020_12_tool")
        .describe("Tool with JSON Schema 2020-12 features")
        .input_schema(schema_2020_12());
    server
        .tool(header, |call: ToolCall| async move {
            let Value { value } = call.arguments()?;
            Ok(value)
        })
        .tool(modern, |_: ToolCall| async { Ok("ok") })
}

fn schema_2020_12() -> serde_json::Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": { "street": { "type": "string" }, "city": { "type": "string" } }
            }
        },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" }
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false
    })
}
