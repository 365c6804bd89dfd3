//! Tools whose calls become tasks.

use std::time::Duration;

use erlmcp::handler::{Ask, ElicitForm, Server, TaskSupport, Tool, ToolCall, ToolError, ToolResult};
use erlmcp::mcp::RpcError;
use serde::Deserialize;
use serde_json::json;

/// How long the failing jobs work before they fail.
const JOB: Duration = Duration::from_millis(300);

pub(super) fn add(server: Server) -> Server {
    let text = || json!({ "type": "string" });
    let job = |name: &str, support| Tool::new(name).describe("Works for a while").task_support(support);
    server
        .tool(Tool::new("greet").describe("Greets at once").required("name", text()), greet)
        .tool(
            job("slow_compute", TaskSupport::Optional)
                .required("seconds", json!({ "type": "number", "minimum": 0 }))
                .optional("label", text()),
            slow_compute,
        )
        .tool(job("failing_job", TaskSupport::Required), |call: ToolCall| async move {
            call.start_task().await;
            tokio::time::sleep(JOB).await;
            Err::<ToolResult, _>(ToolError::failed("the job failed"))
        })
        .tool(job("protocol_error_job", TaskSupport::Optional), |call: ToolCall| async move {
            call.start_task().await;
            tokio::time::sleep(JOB).await;
            Err::<ToolResult, _>(ToolError::Rpc(RpcError::internal("the job broke")))
        })
        .tool(job("confirm_delete", TaskSupport::Optional).optional("filename", text()), confirm_delete)
        .tool(job("multi_input", TaskSupport::Optional), multi_input)
        .tool(job("test_tool_with_task", TaskSupport::Required), after_input)
}

#[derive(Deserialize)]
struct Greet {
    name: String,
}

async fn greet(call: ToolCall) -> Result<String, ToolError> {
    let Greet { name } = call.arguments()?;
    Ok(format!("Hello, {name}!"))
}

#[derive(Deserialize)]
struct SlowCompute {
    seconds: f64,
    #[serde(default)]
    label: String,
}

async fn slow_compute(call: ToolCall) -> Result<String, ToolError> {
    let SlowCompute { seconds, label } = call.arguments()?;
    let duration = Duration::try_from_secs_f64(seconds)?;
    if !duration.is_zero() {
        call.start_task().await;
    }
    tokio::time::sleep(duration).await;
    Ok(format!("computed {label} in {seconds} s"))
}

#[derive(Deserialize)]
struct Confirm {
    #[serde(default)]
    filename: String,
}

fn confirm(question: String) -> ElicitForm {
    ElicitForm::new(question).required("confirm", json!({ "type": "boolean" }))
}

async fn confirm_delete(call: ToolCall) -> Result<String, ToolError> {
    let Confirm { filename } = call.arguments()?;
    call.start_task().await;
    let answer = call.elicit("confirm", confirm(format!("Delete {filename}?"))).await?;
    Ok(format!("{filename}: {:?}", answer.action))
}

async fn multi_input(call: ToolCall) -> Result<String, ToolError> {
    call.start_task().await;
    let name = ElicitForm::new("What is your name?").required("name", json!({ "type": "string" }));
    let asks = [Ask::elicit("name", name), Ask::elicit("confirm", confirm("Go on?".to_owned()))];
    let answers = call.inputs(asks).await?;
    let name = answers.elicited("name")?;
    Ok(format!("{} said {:?}", name.text("name").unwrap_or("nobody"), answers.elicited("confirm")?.action))
}

async fn after_input(call: ToolCall) -> Result<String, ToolError> {
    let form = ElicitForm::new("What is your name?").required("name", json!({ "type": "string" }));
    let answer = call.elicit("user_name", form).await?;
    call.start_task().await;
    tokio::time::sleep(JOB).await;
    Ok(format!("Hello, {}!", answer.text("name").unwrap_or("stranger")))
}
