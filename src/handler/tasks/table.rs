//! The tasks of one server: bounded in number and in time.
//!
//! This table decides what a client may see: an unknown id and the id of another principal look alike.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::entry::{Status, TaskEntry};
use crate::handler::input::Ask;
use crate::handler::settings::ServerLimits;
use crate::handler::tool_error::ToolError;
use crate::mcp::{Caller, Event, Method, RawObject, RpcError, TaskName};
use crate::random;
use crate::refusal::Refusal;

/// Bytes of a task's id before hex.
const ID_BYTES: usize = 16;

/// An unguessable name.
pub(in crate::handler) fn random_id() -> String {
    random::hex::<ID_BYTES>()
}

/// All tasks.
pub(in crate::handler) struct TaskTable {
    limits: ServerLimits,
    clock: fn() -> u64,
    events: broadcast::Sender<Event>,
    entries: Mutex<HashMap<Arc<str>, TaskEntry>>,
    running: Mutex<JoinSet<()>>,
}

impl TaskTable {
    pub(in crate::handler) fn new(
        limits: ServerLimits,
        clock: fn() -> u64,
        events: broadcast::Sender<Event>,
    ) -> Arc<TaskTable> {
        let (entries, running) = (Mutex::default(), Mutex::default());
        Arc::new(TaskTable { limits, clock, events, entries, running })
    }

    /// A new task of `caller`; `stop` is cancelled when it is to end early.
    ///
    /// # Errors
    /// [`Refusal::TasksFull`], or [`Refusal::ClientTasksFull`] when the clients at its address hold half.
    pub(in crate::handler) fn create(
        self: &Arc<Self>,
        caller: &Caller,
        stop: &CancellationToken,
    ) -> Result<TaskRef, RpcError> {
        let (id, now): (Arc<str>, _) = (random_id().into(), (self.clock)());
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| entry.ends_ms() > now);
        let of_client = entries.values().filter(|entry| entry.address == caller.address).count();
        let refused = |refusal: Refusal| {
            RpcError::new(refusal.code(), refusal.to_string()).with_status(refusal.status())
        };
        if entries.len() >= self.limits.tasks_max {
            return Err(refused(Refusal::TasksFull));
        }
        if of_client >= self.limits.tasks_max.div_ceil(2) {
            return Err(refused(Refusal::ClientTasksFull));
        }
        let (ttl, poll) = (self.limits.task_ttl_ms, self.limits.task_poll_ms);
        entries.insert(id.clone(), TaskEntry::new(caller, stop.clone(), now, ttl, poll));
        drop(entries);
        Ok(TaskRef { id, table: self.clone() })
    }

    /// Runs the rest of a call as `task`, until it ends, is cancelled or its time is over.
    pub(in crate::handler) fn run(
        self: &Arc<Self>,
        task: TaskRef,
        work: impl Future<Output = Result<Box<RawValue>, RpcError>> + Send + 'static,
        stop: CancellationToken,
    ) {
        let ttl = Duration::from_millis(self.limits.task_ttl_ms);
        let mut running = self.running.lock();
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                outcome = work => Some(outcome),
                () = tokio::time::sleep(ttl) => None,
            };
            match ended {
                Some(outcome) => task.end(outcome),
                None => task.cancel(),
            }
            stop.cancel();
        });
    }

    /// The task `id` of `principal`, as `tasks/get` answers.
    ///
    /// # Errors
    /// -32602 if there is no such task for this principal.
    pub(super) fn view(&self, id: &str, principal: &str) -> Result<RawObject, RpcError> {
        self.with(id, principal, |entry, _| Ok(entry.detailed(id)))
    }

    /// Hands answers to a task.
    ///
    /// # Errors
    /// -32602 for no such task, or answers of another shape.
    pub(super) fn answer(&self, id: &str, principal: &str, responses: &RawObject) -> Result<(), RpcError> {
        self.with(id, principal, |entry, now| {
            if entry.answer(responses, now)? {
                self.notify(id, entry);
            }
            Ok(())
        })
    }

    /// Cancels a task; does nothing if it has ended.
    ///
    /// # Errors
    /// -32602 for no such task.
    pub(super) fn cancel(&self, id: &str, principal: &str) -> Result<(), RpcError> {
        self.with(id, principal, |entry, now| {
            if entry.end(Status::Cancelled, None, now) {
                entry.stop.cancel();
                self.notify(id, entry);
            }
            Ok(())
        })
    }

    /// Cancels all of them.
    pub(in crate::handler) fn cancel_all(&self) {
        let now = (self.clock)();
        for (id, entry) in self.entries.lock().iter_mut() {
            if entry.end(Status::Cancelled, None, now) {
                entry.stop.cancel();
                self.notify(id, entry);
            }
        }
    }

    /// How many are held, ended ones too.
    pub(in crate::handler) fn held(&self) -> usize {
        self.entries.lock().len()
    }

    fn with<T>(
        &self,
        id: &str,
        principal: &str,
        act: impl FnOnce(&mut TaskEntry, u64) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        let now = (self.clock)();
        let mut entries = self.entries.lock();
        let known = entries.get_mut(id).filter(|entry| *entry.principal == *principal);
        match known.filter(|entry| entry.ends_ms() > now) {
            Some(entry) => act(entry, now),
            None => Err(RpcError::invalid_params(format!("unknown task {id:?}"))),
        }
    }

    fn notify(&self, id: &str, entry: &TaskEntry) {
        let event = Event::TaskChanged {
            task: TaskName { upstream: None, own: id.into() },
            method: Method::TaskChanged,
            params: Arc::from(entry.detailed(id).to_raw()),
        };
        // Nobody listens: fine.
        let _ = self.events.send(event);
    }
}

/// A task as its own handler holds it.
#[derive(Clone)]
pub(in crate::handler) struct TaskRef {
    id: Arc<str>,
    table: Arc<TaskTable>,
}

impl TaskRef {
    /// Object that the client gets in place of a result.
    pub(in crate::handler) fn created(&self) -> RawObject {
        let mut members =
            self.table.entries.lock().get(&self.id).map(|entry| entry.members(&self.id)).unwrap_or_default();
        members.set("resultType", crate::mcp::raw("task"));
        members
    }

    /// Says what the task is doing.
    pub(in crate::handler) fn say(&self, message: &str) {
        self.change(|entry, now| entry.say(message, now));
    }

    /// Puts questions to the client and waits for all answers, in the order of `asks`.
    ///
    /// # Errors
    /// A failure if the task has ended.
    pub(in crate::handler) async fn ask(&self, asks: &[Ask]) -> Result<Vec<Box<RawValue>>, ToolError> {
        let mut waits = Vec::with_capacity(asks.len());
        let mut open = OpenQuestions { task: self, keys: Vec::with_capacity(asks.len()) };
        self.change(|entry, now| {
            for ask in asks {
                if let Some((key, wait)) = entry.open(ask, now) {
                    open.keys.push(key);
                    waits.push(wait);
                }
            }
            true
        });
        let mut answers = Vec::with_capacity(waits.len());
        for wait in waits {
            answers.push(wait.await.map_err(|_| ToolError::failed("the task has ended"))?);
        }
        if answers.len() < asks.len() {
            return Err(ToolError::failed("the task has ended"));
        }
        Ok(answers)
    }

    fn end(&self, outcome: Result<Box<RawValue>, RpcError>) {
        let end = if outcome.is_ok() { Status::Completed } else { Status::Failed };
        self.change(|entry, now| entry.end(end, Some(outcome), now));
    }

    fn cancel(&self) {
        self.change(|entry, now| entry.end(Status::Cancelled, None, now));
    }

    /// Changes the entry, and tells listeners if `act` says that it did.
    fn change(&self, act: impl FnOnce(&mut TaskEntry, u64) -> bool) {
        let now = (self.table.clock)();
        let mut entries = self.table.entries.lock();
        if let Some(entry) = entries.get_mut(&self.id)
            && act(entry, now)
        {
            self.table.notify(&self.id, entry);
        }
    }
}

/// Takes questions back that nobody waits for any more.
struct OpenQuestions<'a> {
    task: &'a TaskRef,
    keys: Vec<String>,
}

impl Drop for OpenQuestions<'_> {
    fn drop(&mut self) {
        let now = (self.task.table.clock)();
        if let Some(entry) = self.task.table.entries.lock().get_mut(&self.task.id) {
            for key in &self.keys {
                entry.close(key, now);
            }
        }
    }
}
