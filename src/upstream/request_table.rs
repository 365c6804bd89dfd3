//! Requests that are at one peer until it answers them, and their owners.
//!
//! A peer that many clients share (a child process, an HTTP upstream without session ids) says things without
//! saying for which request: questions, log lines. Such a message belongs to a client only if every request
//! that is at the peer is this client's; else it belongs to nobody. A request that its client gave up stays
//! until the peer answers it, however late, as the peer may still speak of it. So does a task that came of
//! one, until it is over.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;

use crate::mcp::{Caller, RawObject, SessionPort};

use super::inbox::InboxSender;
use super::open_tasks::OpenTasks;
use super::places::Place;

/// Whose a request is.
#[derive(Clone)]
pub(super) enum Owner {
    /// A legacy session; all its requests have one reader.
    Session(Arc<dyn SessionPort>),
    /// A request without session: it stands for itself.
    Alone,
    /// The node, in the name of clients (subscriptions, log levels): what is said of it is nobody's.
    Clients,
    /// The node, of itself (lists, handshakes): it hides nothing of a client.
    Node,
}

impl Owner {
    /// Whose a request of `caller` is.
    pub(super) fn of(caller: &Caller) -> Owner {
        caller.session.as_ref().map_or(Owner::Alone, |session| Owner::Session(session.clone()))
    }

    /// Whether two different requests have the same reader.
    fn is_one_with(&self, other: &Owner) -> bool {
        match (self, other) {
            (Owner::Session(one), Owner::Session(other)) => one.key() == other.key(),
            _ => false,
        }
    }
}

/// Whose a message is that names no request.
pub(super) enum Attribution {
    /// Nobody's: no request of a client is there.
    Nobody,
    /// Of this owner, who reads it here: the newest of its requests that it still waits for.
    Client(Owner, InboxSender),
    /// Of one owner, who waits for nothing any more.
    Gone,
    /// It could be of several.
    Several {
        /// Requests that are there, and tasks that came of others.
        calls: usize,
        /// Those of them that were given up and never answered.
        abandoned: usize,
    },
}

struct OpenRequest<A> {
    owner: Owner,
    /// `None`: it was given up.
    answer: Option<A>,
    /// `None` for requests of the node, and for those given up.
    inbox: Option<InboxSender>,
    place: Option<Place>,
}

/// Owners of requests that were given up and whose answers cannot be seen.
#[derive(Default)]
enum UnseenOwners {
    #[default]
    None,
    One(Owner),
    Several,
}

struct TableState<A> {
    last_id: u64,
    calls: HashMap<u64, OpenRequest<A>>,
    abandoned: usize,
    at_work: OpenTasks,
    lost: UnseenOwners,
    /// Set once: nothing is taken any more.
    over: Option<Arc<str>>,
}

impl<A> TableState<A> {
    /// Something of `owner` is there whose end will not be seen.
    fn lose(&mut self, owner: Owner) {
        self.lost = match (std::mem::take(&mut self.lost), owner) {
            (lost, Owner::Node) => lost,
            (UnseenOwners::None, owner) => UnseenOwners::One(owner),
            (UnseenOwners::One(one), owner) if one.is_one_with(&owner) => UnseenOwners::One(one),
            _ => UnseenOwners::Several,
        };
    }
}

/// The requests at one peer. `A`: how their answers reach those who wait.
pub(super) struct RequestTable<A> {
    open: Mutex<TableState<A>>,
}

impl<A> RequestTable<A> {
    /// None yet.
    pub(super) fn new() -> RequestTable<A> {
        RequestTable {
            open: Mutex::new(TableState {
                last_id: 0,
                calls: HashMap::new(),
                abandoned: 0,
                at_work: OpenTasks::default(),
                lost: UnseenOwners::None,
                over: None,
            }),
        }
    }

    /// One more, under an id that was never used here.
    ///
    /// # Errors
    /// Why nothing is taken any more.
    pub(super) fn open(
        &self,
        owner: Owner,
        answer: A,
        inbox: Option<InboxSender>,
        place: Option<Place>,
    ) -> Result<u64, Arc<str>> {
        let mut open = self.open.lock();
        if let Some(why) = &open.over {
            return Err(why.clone());
        }
        open.last_id += 1;
        let id = open.last_id;
        open.calls.insert(id, OpenRequest { owner, answer: Some(answer), inbox, place });
        Ok(id)
    }

    /// The peer answers `id` with `result`, which may be a task: before [`Calls::take`], so that its owner is
    /// known throughout.
    pub(super) fn answered(&self, id: u64, result: &RawValue) {
        let mut open = self.open.lock();
        let Some(owner) = open.calls.get(&id).map(|call| call.owner.clone()) else { return };
        if let Some(owner) = open.at_work.answered(&owner, result) {
            open.lose(owner);
        }
    }

    /// The peer says of its own accord how a task is doing.
    pub(super) fn task_told(&self, task: &RawObject) {
        self.open.lock().at_work.notified(task);
    }

    /// The peer answered `id`, or never saw it: it is not there any more. Returns who waits for it, if
    /// anybody does.
    pub(super) fn take(&self, id: u64) -> Option<(A, Owner)> {
        let mut open = self.open.lock();
        let call = open.calls.remove(&id)?;
        open.abandoned -= usize::from(call.answer.is_none());
        Some((call.answer?, call.owner))
    }

    /// Nobody waits for `id` any more; it stays at the peer. True if somebody waited until now.
    pub(super) fn abandon(&self, id: u64) -> bool {
        let mut open = self.open.lock();
        let Some(call) = open.calls.get_mut(&id) else { return false };
        call.inbox = None;
        let was_waited_for = call.answer.take().is_some();
        open.abandoned += usize::from(was_waited_for);
        was_waited_for
    }

    /// Nobody waits for `id` any more, and its answer will not be seen either: its owner is kept for good.
    pub(super) fn lose(&self, id: u64) {
        let mut open = self.open.lock();
        let Some(call) = open.calls.remove(&id) else { return };
        open.abandoned -= usize::from(call.answer.is_none());
        open.lose(call.owner);
    }

    /// Gives the place of a request back that was given up; its owner stays.
    pub(super) fn free(&self, id: u64) {
        if let Some(call) = self.open.lock().calls.get_mut(&id).filter(|call| call.answer.is_none()) {
            call.place = None;
        }
    }

    /// Whose a message is that names no request.
    pub(super) fn attribution(&self) -> Attribution {
        let open = self.open.lock();
        let several = || {
            let calls = open.calls.values().filter(|call| !matches!(call.owner, Owner::Node)).count();
            let calls = calls + open.at_work.owners().count();
            Attribution::Several { calls, abandoned: open.abandoned }
        };
        let mut only = match &open.lost {
            UnseenOwners::None => None,
            UnseenOwners::One(owner) => Some(owner),
            UnseenOwners::Several => return several(),
        };
        let owners = open.calls.values().map(|call| &call.owner).chain(open.at_work.owners());
        for owner in owners {
            match (owner, only) {
                (Owner::Node, _) => {}
                (Owner::Clients, _) => return several(),
                (owner, Some(one)) if !one.is_one_with(owner) => return several(),
                (owner, _) => only = Some(owner),
            }
        }
        let mut newest: Option<(u64, &InboxSender)> = None;
        for (id, call) in &open.calls {
            if let Some(inbox) = call.inbox.as_ref().filter(|_| newest.is_none_or(|(newest, _)| *id > newest))
            {
                newest = Some((*id, inbox));
            }
        }
        match (only, newest) {
            (None, _) => Attribution::Nobody,
            (Some(owner), Some((_, inbox))) => Attribution::Client(owner.clone(), inbox.clone()),
            (Some(_), None) => Attribution::Gone,
        }
    }

    /// Where the client of `id` reads, if it still waits.
    pub(super) fn inbox(&self, id: u64) -> Option<InboxSender> {
        self.open.lock().calls.get(&id)?.inbox.clone()
    }

    /// Where the clients read that wait.
    pub(super) fn inboxes(&self) -> Vec<InboxSender> {
        self.open.lock().calls.values().filter_map(|call| call.inbox.clone()).collect()
    }

    /// Requests that were given up and not answered yet.
    pub(super) fn abandoned(&self) -> usize {
        self.open.lock().abandoned
    }

    /// Whether a client waits for an answer.
    pub(super) fn is_waited_for(&self) -> bool {
        self.open.lock().calls.values().any(|call| call.inbox.is_some())
    }

    /// Why nothing is taken any more, if so.
    pub(super) fn over(&self) -> Option<Arc<str>> {
        self.open.lock().over.clone()
    }

    /// Takes nothing any more, for the reason that was given first; returns all who wait.
    pub(super) fn close(&self, why: &str) -> Vec<A> {
        let mut open = self.open.lock();
        if open.over.is_none() {
            open.over = Some(why.into());
        }
        open.abandoned = 0;
        std::mem::take(&mut open.calls).into_values().filter_map(|call| call.answer).collect()
    }
}
