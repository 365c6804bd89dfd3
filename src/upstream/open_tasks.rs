//! Tasks that a peer works on after it has answered the calls that created them, and their owners: it may go
//! on to speak of them.
//!
//! A task is here until the peer says that it is over, in whatever answer or notification.

use serde_json::value::RawValue;

use crate::mcp::{RELATED_TASK, RawObject, created_task, may_name_task};

use super::request_table::Owner;

/// Tasks remembered of one peer; of more, only the owners are.
const AT_WORK_MAX: usize = 1_024;

/// What a peer says of a task.
enum TaskEvent {
    Begun(String),
    Over(String),
}

/// The tasks of one peer.
#[derive(Default)]
pub(super) struct OpenTasks(Vec<(Box<str>, Owner)>);

impl OpenTasks {
    /// The result of a request of `owner`. Returns the owner of a task for which there is no room.
    pub(super) fn answered(&mut self, owner: &Owner, result: &RawValue) -> Option<Owner> {
        match word_of(result)? {
            TaskEvent::Begun(_) if self.0.len() >= AT_WORK_MAX => return Some(owner.clone()),
            TaskEvent::Begun(id) => self.0.push((id.into(), owner.clone())),
            TaskEvent::Over(id) => self.end(&id),
        }
        None
    }

    /// A notification about a task.
    pub(super) fn notified(&mut self, task: &RawObject) {
        if let Some(id) = task.text("taskId").filter(|_| is_over(task)) {
            self.end(&id);
        }
    }

    /// Whose they are, one for each task.
    pub(super) fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.0.iter().map(|(_, owner)| owner)
    }

    fn end(&mut self, id: &str) {
        self.0.retain(|(other, _)| **other != *id);
    }
}

fn is_over(task: &RawObject) -> bool {
    matches!(task.text("status").as_deref(), Some("completed" | "failed" | "cancelled"))
}

fn word_of(result: &RawValue) -> Option<TaskEvent> {
    if !may_name_task(result) {
        return None;
    }
    let result = RawObject::parse(result.get()).ok()?;
    if let Some(task) = created_task(&result) {
        let id = task.text("taskId")?;
        return Some(if is_over(&task) { TaskEvent::Over(id) } else { TaskEvent::Begun(id) });
    }
    if is_over(&result) {
        return result.text("taskId").map(TaskEvent::Over);
    }
    // What came of a task is had once it is over.
    let related = result.read::<RawObject>("_meta").ok()??.read::<RawObject>(RELATED_TASK).ok()??;
    related.text("taskId").map(TaskEvent::Over)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::mcp::raw;

    fn left(results: &[Value]) -> usize {
        let mut at_work = OpenTasks::default();
        for result in results {
            assert!(at_work.answered(&Owner::Alone, &raw(result)).is_none());
        }
        at_work.owners().count()
    }

    #[test]
    fn a_task_is_there_until_any_answer_says_that_it_is_over() {
        let legacy = json!({"task": {"taskId": "a", "status": "working"}});
        let modern = json!({"resultType": "task", "taskId": "a", "status": "input_required"});
        let came_of = json!({"content": [], "_meta": {RELATED_TASK: {"taskId": "a"}}});
        for begun in [legacy, modern] {
            assert_eq!(left(&[begun.clone(), json!({"taskId": "a", "status": "working"})]), 1);
            assert_eq!(left(&[begun.clone(), json!({"taskId": "b", "status": "failed"})]), 1);
            for status in ["completed", "failed", "cancelled"] {
                assert_eq!(left(&[begun.clone(), json!({"taskId": "a", "status": status})]), 0, "{status}");
            }
            assert_eq!(left(&[begun, came_of.clone()]), 0);
        }
        assert_eq!(left(&[json!({"content": [], "taskId": "a"}), json!({"task": "taskId"})]), 0);
        assert_eq!(left(&[json!({"resultType": "task", "taskId": "a", "status": "completed"})]), 0);
    }

    #[test]
    fn of_more_tasks_than_there_is_room_for_the_owners_are_given_back() {
        let mut at_work = OpenTasks::default();
        let begun = |n| raw(&json!({"task": {"taskId": format!("{n}"), "status": "working"}}));
        let refused = (0..AT_WORK_MAX + 3).filter(|n| at_work.answered(&Owner::Alone, &begun(*n)).is_some());
        assert_eq!(refused.count(), 3);
    }
}
