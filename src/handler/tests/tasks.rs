//! Calls that become tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast};

use super::client::Client;
use crate::handler::{
    Ask, ElicitForm, Server, ServerLimits, TASKS_EXTENSION, TaskSupport, Tool, ToolCall, ToolError,
};
use crate::mcp::{Era, Event, Provider, RpcError};

fn knows_tasks() -> Value {
    json!({ "elicitation": {}, "extensions": { TASKS_EXTENSION: {} } })
}

fn job(name: &str) -> Tool {
    Tool::new(name).task_support(TaskSupport::Optional)
}

/// `go` lets the job `waits` end.
fn server(go: &Arc<Notify>) -> Server {
    let go = go.clone();
    Server::new("test", "1.0.0")
        .tool(job("waits"), move |call: ToolCall| {
            let go = go.clone();
            async move {
                let is_task = call.start_task().await;
                call.progress(1.0, None, Some("half-way")).await;
                go.notified().await;
                Ok(format!("task: {is_task}"))
            }
        })
        .tool(job("fails"), |call: ToolCall| async move {
            call.start_task().await;
            Err::<&str, _>(ToolError::failed("no luck"))
        })
        .tool(job("breaks"), |call: ToolCall| async move {
            call.start_task().await;
            Err::<&str, _>(ToolError::Rpc(RpcError::internal("broken")))
        })
        .tool(job("asks"), |call: ToolCall| async move {
            let name = call.elicit("name", form()).await?;
            call.start_task().await;
            let answers = call.inputs([Ask::elicit("a", form()), Ask::elicit("b", form())]).await?;
            let (a, b) = (answers.elicited("a")?, answers.elicited("b")?);
            Ok([&name, &a, &b].map(|answer| answer.text("name").unwrap_or("?").to_owned()).join(" "))
        })
        .tool(Tool::new("must").task_support(TaskSupport::Required), |_: ToolCall| async { Ok("at once") })
        .tool(Tool::new("never"), |call: ToolCall| async move { Ok(format!("{}", call.start_task().await)) })
}

fn form() -> ElicitForm {
    ElicitForm::new("?").required("name", json!({ "type": "string" }))
}

fn accept(name: &str) -> Value {
    json!({ "action": "accept", "content": { "name": name } })
}

fn client(server: Server) -> Client {
    Client::of(server, Era::Modern, &knows_tasks())
}

async fn get(client: &Client, id: &Value) -> Result<Value, RpcError> {
    client.ask("tasks/get", json!({ "taskId": id })).await
}

/// Waits for the event that says `status`.
async fn until(events: &mut broadcast::Receiver<Event>, status: &str) -> Value {
    let wait = async {
        loop {
            let Event::TaskChanged { method, params, .. } = events.recv().await.unwrap() else { continue };
            assert_eq!(&*method, "notifications/tasks");
            let params: Value = serde_json::from_str(params.get()).unwrap();
            if params["status"] == status {
                return params;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap()
}

#[tokio::test]
async fn a_task_is_there_at_once_and_ends_with_its_result() {
    let go = Arc::new(Notify::new());
    let client = client(server(&go));
    let mut events = client.server.events();
    let created = client.call("waits", json!({})).await.unwrap();
    assert_eq!((&created["resultType"], &created["status"]), (&json!("task"), &json!("working")));
    assert!(created["ttlMs"].is_u64() && created["pollIntervalMs"].is_u64(), "{created}");
    assert!(created["createdAt"].as_str().unwrap().ends_with('Z'));
    let id = &created["taskId"];
    assert_eq!(get(&client, id).await.unwrap()["status"], "working");
    assert_eq!(until(&mut events, "working").await["statusMessage"], "half-way");
    go.notify_one();
    until(&mut events, "completed").await;
    let done = get(&client, id).await.unwrap();
    assert_eq!(done["result"]["content"][0]["text"], "task: true");
    assert_eq!(done.get("error"), None);
    client.ask("tasks/cancel", json!({ "taskId": id })).await.unwrap();
    assert_eq!(get(&client, id).await.unwrap()["status"], "completed", "an end is an end");
}

#[tokio::test]
async fn a_failed_job_has_completed_and_a_broken_one_has_failed() {
    let client = client(server(&Arc::default()));
    let mut events = client.server.events();
    client.call("fails", json!({})).await.unwrap();
    assert_eq!(until(&mut events, "completed").await["result"]["isError"], true);
    client.call("breaks", json!({})).await.unwrap();
    let failed = until(&mut events, "failed").await;
    assert_eq!(failed["error"], json!({ "code": -32603, "message": "broken" }));
    assert_eq!(failed.get("result"), None);
}

#[tokio::test]
async fn clients_without_tasks_wait_for_the_result() {
    let go = Arc::new(Notify::new());
    let server = Arc::new(server(&go));
    go.notify_one();
    let plain = Client::at(&server, Era::Modern, &json!({}));
    assert_eq!(plain.call("waits", json!({})).await.unwrap()["content"][0]["text"], "task: false");
    let fault = plain.call("must", json!({})).await.unwrap_err();
    assert_eq!(fault.code, -32021);
    assert!(fault.data.unwrap().get().contains(TASKS_EXTENSION));
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        assert_eq!(plain.ask(method, json!({ "taskId": "x" })).await.unwrap_err().code, -32021);
    }
    let legacy = Client::at(&server, Era::Legacy, &knows_tasks());
    assert_eq!(legacy.call("must", json!({})).await.unwrap_err().code, -32602);
    assert_eq!(legacy.ask("tasks/get", json!({ "taskId": "x" })).await.unwrap_err().code, -32601);
    let knowing = Client::at(&server, Era::Modern, &knows_tasks());
    assert_eq!(knowing.call("never", json!({})).await.unwrap()["content"][0]["text"], "false");
    assert_eq!(knowing.call("must", json!({})).await.unwrap()["content"][0]["text"], "at once");
    assert_eq!(knowing.ask("tasks/list", json!({})).await.unwrap_err().code, -32601);
    assert_eq!(knowing.ask("tasks/result", json!({ "taskId": "x" })).await.unwrap_err().code, -32601);
}

#[tokio::test]
async fn a_task_asks_through_itself_and_takes_answers_one_by_one() {
    let client = client(server(&Arc::default()));
    let mut events = client.server.events();
    let params = json!({ "name": "asks", "inputResponses": { "name": accept("Ann") } });
    let created = client.ask("tools/call", params).await.unwrap();
    assert_eq!((&created["resultType"], created.get("requestState")), (&json!("task"), None));
    let id = &created["taskId"];
    let asking = until(&mut events, "input_required").await;
    assert_eq!(asking["inputRequests"].as_object().unwrap().len(), 2);
    let update = async |responses: Value| {
        client.ask("tasks/update", json!({ "taskId": id, "inputResponses": responses })).await
    };
    assert_eq!(update(json!({ "a": 7 })).await.unwrap_err().code, -32602);
    assert_eq!(update(json!({ "a": accept("Bob"), "unknown": 1 })).await.unwrap(), json!({}));
    let partly = get(&client, id).await.unwrap();
    assert_eq!(partly["status"], "input_required");
    assert_eq!(partly["inputRequests"].as_object().unwrap().keys().collect::<Vec<_>>(), ["b"]);
    update(json!({ "b": accept("Cy") })).await.unwrap();
    let done = until(&mut events, "completed").await;
    assert_eq!(done["result"]["content"][0]["text"], "Ann Bob Cy");
}

#[tokio::test]
async fn a_cancelled_task_stays_cancelled() {
    let go = Arc::new(Notify::new());
    let client = client(server(&go));
    let created = client.call("waits", json!({})).await.unwrap();
    let cancel = json!({ "taskId": created["taskId"] });
    for _ in 0..2 {
        assert_eq!(client.ask("tasks/cancel", cancel.clone()).await.unwrap(), json!({}));
        assert_eq!(get(&client, &created["taskId"]).await.unwrap()["status"], "cancelled");
    }
    go.notify_one();
    assert_eq!(get(&client, &created["taskId"]).await.unwrap()["status"], "cancelled");
}

#[tokio::test]
async fn a_task_is_known_to_its_principal_only() {
    let client = client(server(&Arc::default()));
    let created = client.call("waits", json!({})).await.unwrap();
    let mut mallory = Client::at(&client.server, Era::Modern, &knows_tasks());
    mallory.caller.principal = "mallory".into();
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let fault = mallory.ask(method, json!({ "taskId": created["taskId"] })).await.unwrap_err();
        assert_eq!(fault.code, -32602, "{method}");
    }
    assert_eq!(get(&client, &created["taskId"]).await.unwrap()["status"], "working");
}

static NOW_MS: AtomicU64 = AtomicU64::new(0);

#[tokio::test(start_paused = true)]
async fn tasks_are_bounded_in_number_and_in_time() {
    let limits = ServerLimits { tasks_max: 2, task_ttl_ms: 1_000, ..ServerLimits::default() };
    let server = server(&Arc::default()).limits(limits).clock(|| NOW_MS.load(Ordering::Relaxed));
    let mut client = client(server);
    let handle = client.server.handle();
    let mut events = client.server.events();
    let first = client.call("waits", json!({})).await.unwrap();
    assert_eq!(client.call("waits", json!({})).await.unwrap_err().code, 42_905);
    client.caller.address = [127, 0, 0, 2].into();
    client.call("waits", json!({})).await.unwrap();
    client.caller.address = [127, 0, 0, 3].into();
    assert_eq!(client.call("waits", json!({})).await.unwrap_err().code, 50_311);
    NOW_MS.store(999, Ordering::Relaxed);
    assert!(get(&client, &first["taskId"]).await.is_ok());
    NOW_MS.store(1_000, Ordering::Relaxed);
    assert_eq!(get(&client, &first["taskId"]).await.unwrap_err().code, -32602);
    // Its time is over, so it was stopped too.
    until(&mut events, "cancelled").await;
    assert!(client.call("waits", json!({})).await.is_ok());
    assert_eq!(handle.tasks_held(), 1);
}
