//! How results say which task they are about, in both eras.

use serde_json::value::RawValue;

use super::raw_object::RawObject;

/// Member of `_meta` that ties a message to a task (2025-11-25).
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// Whether `text` can hold a task id at all; most results cannot, and need not be read.
#[must_use]
pub fn may_name_task(text: &RawValue) -> bool {
    text.get().contains("taskId")
}

/// Whether this result of a call is a task that it creates (2026-07-28).
#[must_use]
pub fn is_new_task(result: &RawObject) -> bool {
    result.text("resultType").as_deref() == Some("task")
}

/// The task that this result of a call creates: `{"task":{"taskId":..}}` (2025-11-25), or the result itself
/// with `taskId` beside `"resultType":"task"` (2026-07-28).
#[must_use]
pub fn created_task(result: &RawObject) -> Option<RawObject> {
    let task = if is_new_task(result) { Some(result.clone()) } else { result.read("task").ok().flatten() };
    task.filter(|task: &RawObject| task.text("taskId").is_some())
}
