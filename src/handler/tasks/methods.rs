//! The requests of the tasks extension: `tasks/get`, `tasks/update`, `tasks/cancel`.

use std::sync::Arc;

use serde_json::json;
use serde_json::value::RawValue;

use super::TASKS_EXTENSION;
use super::table::TaskTable;
use crate::mcp::{Caller, Era, Method, RawObject, Request, RpcError};

/// The fault of a client that has not declared the extension.
pub(in crate::handler) fn undeclared() -> RpcError {
    RpcError::capability_missing(&json!({ "extensions": { TASKS_EXTENSION: {} } }))
}

/// Serves a request of the extension.
///
/// # Errors
/// -32601 for other methods and for legacy clients, -32021 without the extension, -32602 for an unknown task.
pub(in crate::handler) fn serve(
    table: &Arc<TaskTable>,
    request: &Request,
    caller: &Caller,
) -> Result<Box<RawValue>, RpcError> {
    let method = &request.method;
    let is_known = matches!(method, Method::TasksGet | Method::TasksUpdate | Method::TasksCancel);
    if caller.era() == Era::Legacy || !is_known {
        return Err(RpcError::method_not_found(caller.era(), method));
    }
    if !caller.capabilities.has_extension(TASKS_EXTENSION) {
        return Err(undeclared());
    }
    let id = request.params.required("taskId")?;
    match method {
        Method::TasksGet => table.view(&id, &caller.principal).map(|members| members.to_raw()),
        Method::TasksUpdate => {
            let responses = request.params.read::<RawObject>("inputResponses");
            let responses =
                responses.map_err(|error| RpcError::invalid_params(format!("inputResponses: {error}")))?;
            table.answer(&id, &caller.principal, &responses.unwrap_or_default())?;
            Ok(RawObject::new().to_raw())
        }
        _ => {
            table.cancel(&id, &caller.principal)?;
            Ok(RawObject::new().to_raw())
        }
    }
}
