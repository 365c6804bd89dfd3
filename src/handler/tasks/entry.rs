//! One task: its state, its open questions, and how clients see it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::time::rfc3339;
use crate::handler::input::{Ask, requests};
use crate::mcp::{Caller, RawObject, RpcError, raw};

/// State of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::handler) enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    fn is_end(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }
}

/// A question that waits for its answer.
struct Pending {
    key: String,
    ask: Ask,
    answer: oneshot::Sender<Box<RawValue>>,
}

/// One task.
pub(super) struct TaskEntry {
    pub(super) principal: Arc<str>,
    pub(super) address: IpAddr,
    pub(super) stop: CancellationToken,
    created_ms: u64,
    updated_ms: u64,
    ttl_ms: u64,
    poll_ms: u64,
    end: Option<Status>,
    message: Option<String>,
    outcome: Option<Result<Box<RawValue>, RpcError>>,
    pending: Vec<Pending>,
    /// Keys ever used: one is never asked twice, so that a late answer cannot count for another question.
    keys: HashSet<String>,
}

impl TaskEntry {
    pub(super) fn new(caller: &Caller, stop: CancellationToken, now: u64, ttl: u64, poll: u64) -> TaskEntry {
        TaskEntry {
            principal: caller.principal.clone(),
            address: caller.address,
            stop,
            created_ms: now,
            updated_ms: now,
            ttl_ms: ttl,
            poll_ms: poll,
            end: None,
            message: None,
            outcome: None,
            pending: Vec::new(),
            keys: HashSet::new(),
        }
    }

    /// When it is forgotten.
    pub(super) fn ends_ms(&self) -> u64 {
        self.created_ms.saturating_add(self.ttl_ms)
    }

    pub(super) fn status(&self) -> Status {
        match self.end {
            Some(end) => end,
            None if self.pending.is_empty() => Status::Working,
            None => Status::InputRequired,
        }
    }

    /// Says what it is doing; false once it has ended.
    pub(super) fn say(&mut self, message: &str, now: u64) -> bool {
        if self.end.is_some() {
            return false;
        }
        self.message = Some(message.to_owned());
        self.updated_ms = now;
        true
    }

    /// Opens a question under a key of its own; `None` once it has ended.
    pub(super) fn open(&mut self, ask: &Ask, now: u64) -> Option<(String, oneshot::Receiver<Box<RawValue>>)> {
        if self.end.is_some() {
            return None;
        }
        let mut key = ask.key().to_owned();
        let mut again = 1_u32;
        while !self.keys.insert(key.clone()) {
            again += 1;
            key = format!("{}-{again}", ask.key());
        }
        let (answer, answered) = oneshot::channel();
        self.pending.push(Pending { key: key.clone(), ask: ask.clone(), answer });
        self.updated_ms = now;
        Some((key, answered))
    }

    /// Takes a question back.
    pub(super) fn close(&mut self, key: &str, now: u64) {
        let before = self.pending.len();
        self.pending.retain(|pending| pending.key != key);
        if self.pending.len() != before {
            self.updated_ms = now;
        }
    }

    /// Hands over the answers to open questions; keys that are not open are ignored.
    ///
    /// # Errors
    /// -32602 for an answer of another shape; then none is taken.
    pub(super) fn answer(&mut self, responses: &RawObject, now: u64) -> Result<bool, RpcError> {
        let responses: Vec<_> = responses.iter().collect();
        let find = |key: &str| responses.iter().find(|(own, _)| *own == key).map(|(_, answer)| *answer);
        for pending in &self.pending {
            if let Some(answer) = find(&pending.key) {
                let checked = pending.ask.check(answer);
                checked.map_err(|why| RpcError::invalid_params(format!("inputResponses: {why}")))?;
            }
        }
        let (answered, open): (Vec<_>, Vec<_>) =
            self.pending.drain(..).partition(|pending| find(&pending.key).is_some());
        self.pending = open;
        let any = !answered.is_empty();
        for pending in answered {
            if let Some(answer) = find(&pending.key) {
                // Nobody waits any more: the handler gave up on the question.
                let _ = pending.answer.send(answer.to_owned());
            }
        }
        if any {
            self.updated_ms = now;
        }
        Ok(any)
    }

    /// Ends it; false if it has ended before.
    pub(super) fn end(
        &mut self,
        end: Status,
        outcome: Option<Result<Box<RawValue>, RpcError>>,
        now: u64,
    ) -> bool {
        assert!(end.is_end(), "{end:?} is no end");
        if self.end.is_some() {
            return false;
        }
        self.end = Some(end);
        self.outcome = outcome;
        self.pending.clear();
        self.updated_ms = now;
        true
    }

    /// The members that every view of it has.
    pub(super) fn members(&self, id: &str) -> RawObject {
        let mut members = RawObject::new();
        members.set("taskId", raw(id));
        members.set("status", raw(&self.status()));
        if let Some(message) = &self.message {
            members.set("statusMessage", raw(message));
        }
        members.set("createdAt", raw(&rfc3339(self.created_ms)));
        members.set("lastUpdatedAt", raw(&rfc3339(self.updated_ms)));
        members.set("ttlMs", raw(&self.ttl_ms));
        members.set("pollIntervalMs", raw(&self.poll_ms));
        members
    }

    /// All of it: with its result, error or open questions.
    pub(super) fn detailed(&self, id: &str) -> RawObject {
        let mut members = self.members(id);
        if self.status() == Status::InputRequired {
            let open = self.pending.iter().map(|pending| (pending.key.as_str(), &pending.ask));
            members.set("inputRequests", requests(open));
        }
        match &self.outcome {
            Some(Ok(result)) => members.set("result", result.clone()),
            Some(Err(fault)) => members.set("error", error(fault)),
            None => {}
        }
        members
    }
}

fn error(fault: &RpcError) -> Box<RawValue> {
    let mut members = RawObject::new();
    members.set("code", raw(&fault.code));
    members.set("message", raw(&fault.message));
    if let Some(data) = &fault.data {
        members.set("data", data.clone());
    }
    members.to_raw()
}
