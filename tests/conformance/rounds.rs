//! Tools and a prompt that need input from the client before they can answer (multi round-trip requests).

use erlmcp::handler::{Ask, ElicitForm, Prompt, PromptCall, SampleParams, Server, Tool, ToolCall, ToolError};
use serde_json::json;

pub(super) fn add(server: Server) -> Server {
    let tool = |name: &str| Tool::new(format!("test_input_required_result_{name}")).describe("Needs input");
    server
        .tool(tool("elicitation"), |call: ToolCall| async move {
            let answer = call.elicit("user_name", name_form("What is your name?")).await?;
            Ok(format!("Hello, {}!", answer.text("name").unwrap_or("stranger")))
        })
        .tool(tool("sampling"), |call: ToolCall| async move {
            let question = SampleParams::prompt("What is the capital of France?", 100);
            Ok(call.sample("capital_question", question).await?.text())
        })
        .tool(tool("list_roots"), |call: ToolCall| async move {
            let roots = call.roots("client_roots").await?;
            Ok(format!(
                "{} roots: {}",
                roots.len(),
                roots.iter().map(|r| &*r.uri).collect::<Vec<_>>().join(" ")
            ))
        })
        .tool(tool("request_state"), request_state)
        .tool(tool("tampered_state"), request_state)
        .tool(tool("multiple_inputs"), multiple_inputs)
        .tool(tool("multi_round"), multi_round)
        .tool(tool("capabilities"), capabilities)
        .prompt(
            Prompt::new("test_input_required_result_prompt").describe("Needs input"),
            |call: PromptCall| async move {
                let form = ElicitForm::new("What context should the prompt use?")
                    .required("context", json!({ "type": "string" }));
                let answer = call.elicit("user_context", form).await?;
                Ok(format!("Use this context: {}", answer.text("context").unwrap_or("none")))
            },
        )
}

fn name_form(message: &str) -> ElicitForm {
    ElicitForm::new(message).required("name", json!({ "type": "string" }))
}

async fn request_state(call: ToolCall) -> Result<String, ToolError> {
    let kept: Option<String> = call.state()?;
    if kept.is_none() {
        call.set_state("kept since the first round")?;
    }
    let form = ElicitForm::new("Please confirm").required("ok", json!({ "type": "boolean" }));
    let answer = call.elicit("confirm", form).await?;
    let word = if kept.is_some() { "state-ok" } else { "state-missing" };
    Ok(format!("{word}: {:?}", answer.action))
}

async fn multiple_inputs(call: ToolCall) -> Result<String, ToolError> {
    let answers = call
        .inputs([
            Ask::elicit("user_name", name_form("What is your name?")),
            Ask::sample("greeting", SampleParams::prompt("Generate a greeting", 50)),
            Ask::roots("client_roots"),
        ])
        .await?;
    let name = answers.elicited("user_name")?;
    let (greeting, roots) = (answers.sampled("greeting")?.text(), answers.roots("client_roots")?);
    Ok(format!("{greeting} {} with {} roots", name.text("name").unwrap_or("stranger"), roots.len()))
}

async fn multi_round(call: ToolCall) -> Result<String, ToolError> {
    let name = call.elicit("step1", name_form("Step 1: What is your name?")).await?;
    let form = ElicitForm::new("Step 2: What is your favorite color?")
        .required("color", json!({ "type": "string" }));
    let color = call.elicit("step2", form).await?;
    let (name, color) = (name.text("name").unwrap_or("?"), color.text("color").unwrap_or("?"));
    Ok(format!("{name} likes {color}"))
}

/// Asks only for what the client has declared.
async fn capabilities(call: ToolCall) -> Result<String, ToolError> {
    let mut asks = Vec::new();
    if call.client().has("elicitation") {
        asks.push(Ask::elicit("user_name", name_form("What is your name?")));
    }
    if call.client().has("sampling") {
        asks.push(Ask::sample("greeting", SampleParams::prompt("Generate a greeting", 50)));
    }
    if call.client().has("roots") {
        asks.push(Ask::roots("client_roots"));
    }
    let count = asks.len();
    call.inputs(asks).await?;
    Ok(format!("{count} answers"))
}
