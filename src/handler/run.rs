//! Runs a handler to its end: in the request, in rounds, or on as a task.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::call::HandlerCall;
use super::input::requests;
use super::rounds::{ROUNDS_MAX, binding};
use super::tasks::undeclared;
use super::tool::TaskSupport;
use super::tool_error::{InputRequired, ToolError};
use crate::mcp::{Era, RawObject, RpcError, raw};

pub(super) type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;
/// A handler, whatever it serves: from the call to the raw result.
pub(super) type HandlerFn =
    Arc<dyn Fn(HandlerCall) -> Future<Result<Box<RawValue>, ToolError>> + Send + Sync>;

/// Runs `work` and answers the request, until the result is there or the call has become a task.
///
/// Dropping this future cancels the call, unless it has become a task.
///
/// # Errors
/// The handler's fault; -32021 where the tool must be a task and the client knows none; -32603 for failures
/// and panics.
pub(super) async fn serve(
    work: HandlerFn,
    call: HandlerCall,
    support: TaskSupport,
) -> Result<Box<RawValue>, RpcError> {
    let stop = call.0.stop.clone().drop_guard();
    let wanted = offer_task(&call, support)?;
    let mut running = complete(work, call.clone()).boxed();
    let adopted = tokio::select! {
        biased;
        result = &mut running => return result,
        Some(adopted) = wanted => adopted,
        () = call.0.responder.cancelled().cancelled() => {
            return Err(RpcError::internal("the request was cancelled"));
        }
    };
    let table = &call.0.shared.tasks;
    let task = table.create(call.caller(), &call.0.stop)?;
    let created = task.created().to_raw();
    assert!(call.0.task.set(task.clone()).is_ok(), "a call becomes a task once");
    table.run(task, running, stop.disarm());
    // The handler waits for this word; it is dropped only with the future that the table now holds.
    let _ = adopted.send(());
    Ok(created)
}

/// Lets the call become a task where tool and client allow it; the word that it wants to comes out.
fn offer_task(
    call: &HandlerCall,
    support: TaskSupport,
) -> Result<impl std::future::Future<Output = Option<oneshot::Sender<()>>> + use<>, RpcError> {
    let knows_tasks =
        call.caller().era() == Era::Modern && call.client().has_extension(super::TASKS_EXTENSION);
    let mut wants = None;
    match (support, knows_tasks) {
        (TaskSupport::Required, false) => return Err(undeclared()),
        (TaskSupport::Forbidden, _) | (_, false) => {}
        (TaskSupport::Optional | TaskSupport::Required, true) => {
            let (sender, receiver) = oneshot::channel();
            *call.0.task_requested.lock() = Some(sender);
            wants = Some(receiver);
        }
    }
    Ok(async move {
        match wants {
            Some(wants) => wants.await.ok(),
            None => std::future::pending().await,
        }
    })
}

/// The handler with its rounds.
async fn complete(work: HandlerFn, call: HandlerCall) -> Result<Box<RawValue>, RpcError> {
    for _ in 0..=ROUNDS_MAX {
        let ended = AssertUnwindSafe(work(call.clone())).catch_unwind().await;
        let stop = match ended {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(stop)) => stop,
            Err(_) => return Err(RpcError::internal("the handler panicked")),
        };
        let wanted = match stop {
            ToolError::Rpc(fault) => return Err(fault),
            ToolError::Failed(text) => return Err(RpcError::internal(text)),
            ToolError::InputRequired(wanted) => wanted,
        };
        if !call.answers_in_place() {
            return input_required(&call, &wanted);
        }
        match call.gather_checked(&wanted.asks).await {
            Ok(()) => {}
            Err(ToolError::Rpc(fault)) => return Err(fault),
            Err(ToolError::Failed(text)) => return Err(RpcError::internal(text)),
            Err(ToolError::InputRequired(_)) => unreachable!("a question in place has an answer or fails"),
        }
    }
    Err(RpcError::internal(format!("more than {ROUNDS_MAX} rounds of questions")))
}

/// The result that asks a modern client for input.
fn input_required(call: &HandlerCall, wanted: &InputRequired) -> Result<Box<RawValue>, RpcError> {
    if let Some(needs) = wanted.asks.iter().find_map(|ask| ask.lacks(call.client())) {
        return Err(RpcError::capability_missing(&needs));
    }
    let (shared, request) = (&call.0.shared, call.request());
    let bound = binding(&shared.name, &call.caller().principal, &request.method, &request.params);
    let state = call.rounds().clone().seal(&shared.settings, &bound)?;
    let mut members = RawObject::new();
    members.set("resultType", raw("input_required"));
    if !wanted.asks.is_empty() {
        members.set("inputRequests", requests(wanted.asks.iter().map(|ask| (ask.key(), ask))));
    }
    members.set("requestState", raw(&state));
    Ok(members.to_raw())
}
