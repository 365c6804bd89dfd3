//! Task ids in the messages of an upstream, in both eras: only they are replaced.
//!
//! An id that hides (a key written with escapes, a message with repeated keys) stays the upstream's own,
//! which no client can use.

use crate::mcp::{Method, RELATED_TASK, RawObject, is_new_task, may_name_task, raw};

/// Relation of a message to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It may be a new one: the result of a call.
    MayCreate,
    /// It is one: results of `tasks/get`, `tasks/cancel`, `tasks/update`, an entry of a list, a notification.
    IsTask,
    /// The outcome of one: the result of `tasks/result`.
    CameOf,
}

impl Says {
    /// Relation of results of `method` to a task.
    pub(super) fn in_result_of(method: &Method) -> Says {
        match method {
            Method::TasksResult => Says::CameOf,
            method if method.is_about_task() => Says::IsTask,
            _ => Says::MayCreate,
        }
    }

    /// Replaces each task id in `message` by `show` of it.
    pub(super) fn show(self, message: &mut RawObject, show: &dyn Fn(&str) -> String) {
        let is_task = match self {
            Says::IsTask => true,
            Says::MayCreate => is_new_task(message),
            Says::CameOf => false,
        };
        if is_task {
            replace(message, show);
            within(message, "result", &|result| related(result, show));
        } else if self == Says::MayCreate {
            within(message, "task", &|task| replace(task, show));
        }
        related(message, show);
    }
}

fn related(message: &mut RawObject, show: &dyn Fn(&str) -> String) {
    within(message, "_meta", &|meta| within(meta, RELATED_TASK, &|task| replace(task, show)));
}

fn replace(task: &mut RawObject, show: &dyn Fn(&str) -> String) {
    if let Some(own) = task.text("taskId") {
        task.set("taskId", raw(&show(&own)));
    }
}

fn within(message: &mut RawObject, key: &str, change: &dyn Fn(&mut RawObject)) {
    let Some(value) = message.get(key).filter(|value| may_name_task(value)) else { return };
    if let Ok(mut members) = RawObject::parse(value.get()) {
        change(&mut members);
        message.set(key, members.to_raw());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(method: &str, json: &str) -> String {
        let mut members = RawObject::parse(json).unwrap();
        Says::in_result_of(&method.into()).show(&mut members, &|own| format!("sealed {own}"));
        members.to_raw().get().to_owned()
    }

    #[test]
    fn only_ids_change_and_everything_else_stays_as_it_was_written() {
        for (method, json) in [
            (
                "tools/call",
                r#"{"task":{"z":123456789012345678901234567890,"taskId":"a","ttl":1.0},"k":{"b": 1}}"#,
            ),
            ("tools/call", r#"{"resultType":"task","taskId":"a","ttlMs":123456789012345678901234567890}"#),
            (
                "tasks/get",
                r#"{"x":1.0,"result":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"a"}}}}"#,
            ),
            ("tasks/cancel", r#"{"taskId":"a","x":1.0}"#),
            (
                "tasks/result",
                r#"{"_meta":{"x":1.0,"io.modelcontextprotocol/related-task":{"taskId":"a"}},"content":[]}"#,
            ),
        ] {
            assert_eq!(shown(method, json), json.replace(r#""taskId":"a""#, r#""taskId":"sealed a""#));
        }
        for (method, json) in [
            ("tools/call", r#"{"taskId":"mine","content":[],"structuredContent":{"taskId":"mine"}}"#),
            ("tasks/result", r#"{"taskId":"mine","task":{"taskId":"mine"}}"#),
            ("tools/call", r#"{"task":"taskId","_meta":["taskId"]}"#),
            ("tasks/get", r#"{"taskId":123456789012345678901234567890}"#),
        ] {
            assert_eq!(shown(method, json), json);
        }
    }
}
