//! Clients of the shared children: their sessions, subscriptions and log levels.
//!
//! A shared child knows one client. Subscriptions are joined before it sees them, and told to it again after
//! a restart; messages that belong to no running request are told to nobody.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::mcp::{Caller, LogLevel, Method, Notification, RawObject, raw};
use crate::upstream::inbox::NotificationSink;
use crate::upstream::list_changes::ListChanges;
use crate::upstream::options::START_TIMEOUT;
use crate::upstream::subscriptions::ResourceSubscriptions;
use crate::upstream::upstream_state::UpstreamState;

use super::connection::StdioConnection;

/// Most (resource, session) pairs kept for one upstream.
const SUBSCRIPTIONS_MAX: usize = 100_000;

/// Most sessions that are remembered, to be counted.
const SESSIONS_MAX: usize = 10_000;

#[derive(Default)]
struct SharedClientsState {
    sessions: HashSet<Box<str>>,
    subscriptions: HashMap<Box<str>, HashSet<Box<str>>>,
    /// The same by session.
    by_session: HashMap<Box<str>, HashSet<Box<str>>>,
    pairs: usize,
    levels: HashMap<Box<str>, LogLevel>,
}

impl SharedClientsState {
    /// Takes a session's subscription to `uri` back; true if nobody is left who wants it.
    fn take_back(&mut self, key: &str, uri: &str) -> bool {
        let Some(keys) = self.subscriptions.get_mut(uri) else { return true };
        self.pairs -= usize::from(keys.remove(key));
        let last = keys.is_empty();
        if last {
            self.subscriptions.remove(uri);
        }
        last
    }
}

/// Everybody behind the shared children of one upstream.
pub(super) struct SharedClients {
    state: Arc<UpstreamState>,
    inner: Mutex<SharedClientsState>,
    /// What modern clients listen for.
    pub(super) subscriptions: ResourceSubscriptions,
}

impl SharedClients {
    pub(super) fn new(state: Arc<UpstreamState>) -> SharedClients {
        SharedClients { state, inner: Mutex::default(), subscriptions: ResourceSubscriptions::new() }
    }

    /// Remembers the session of a legacy caller.
    pub(super) fn joins(&self, caller: &Caller) {
        let Some(session) = &caller.session else { return };
        let mut inner = self.inner.lock();
        // Its end may have come before, and comes only once.
        let is_new = inner.sessions.len() < SESSIONS_MAX && !inner.sessions.contains(session.key());
        if is_new && !session.ended().is_cancelled() {
            inner.sessions.insert(session.key().into());
        }
    }

    /// How many sessions are remembered.
    pub(super) fn sessions(&self) -> usize {
        self.inner.lock().sessions.len()
    }

    /// Records a subscription; `None` if there are too many, false if the session had it already.
    fn subscribe(&self, key: &str, uri: &str) -> Option<bool> {
        let mut inner = self.inner.lock();
        if inner.by_session.get(key).is_some_and(|uris| uris.contains(uri)) {
            return Some(false);
        }
        if inner.pairs >= SUBSCRIPTIONS_MAX {
            return None;
        }
        inner.pairs += 1;
        inner.by_session.entry(key.into()).or_default().insert(uri.into());
        inner.subscriptions.entry(uri.into()).or_default().insert(key.into());
        Some(true)
    }

    /// Takes a subscription back; true if nobody is left who wants `uri`.
    pub(super) fn unsubscribe(&self, key: &str, uri: &str) -> bool {
        let mut inner = self.inner.lock();
        if let Some(uris) = inner.by_session.get_mut(key) {
            uris.remove(uri);
            if uris.is_empty() {
                inner.by_session.remove(key);
            }
        }
        inner.take_back(key, uri)
    }

    /// Whether anybody waits for updates of a resource.
    pub(super) fn is_subscribed(&self) -> bool {
        !self.inner.lock().subscriptions.is_empty() || !self.subscriptions.watch().borrow().is_empty()
    }

    /// Records a session's log level. Returns the most talkative of all, which is what the child has to be
    /// set to.
    pub(super) fn level(&self, key: &str, level: LogLevel) -> LogLevel {
        let mut inner = self.inner.lock();
        inner.levels.insert(key.into(), level);
        inner.levels.values().copied().min().unwrap_or(level)
    }

    /// Forgets a session. Returns the resources that nobody wants any more.
    pub(super) fn leaves(&self, key: &str) -> Vec<String> {
        let mut inner = self.inner.lock();
        inner.sessions.remove(key);
        inner.levels.remove(key);
        let uris = inner.by_session.remove(key).unwrap_or_default();
        uris.into_iter().filter(|uri| inner.take_back(key, uri)).map(String::from).collect()
    }

    /// Tells a child just started what it does not know yet: subscriptions and the log level.
    pub(super) fn restore(&self, connection: &Arc<StdioConnection>) {
        let (uris, level) = {
            let inner = self.inner.lock();
            let uris: Vec<String> = inner.subscriptions.keys().map(|uri| uri.to_string()).collect();
            (uris, inner.levels.values().copied().min())
        };
        if uris.is_empty() && level.is_none() {
            return;
        }
        let (connection, within) = (connection.clone(), START_TIMEOUT);
        // Ends with the conversation at the latest.
        tokio::spawn(async move {
            if let Some(level) = level {
                let _ = connection.ask_within(&Method::SetLevel, &one("level", &level), within).await;
            }
            for uri in uris {
                let _ = connection.ask_within(&Method::ResourcesSubscribe, &one("uri", &uri), within).await;
            }
        });
    }
}

/// A subscription of a session that the child has not accepted yet: forgotten again when dropped, so that
/// what it refuses is not told to the next one.
pub(super) struct PendingSubscription<'a> {
    clients: &'a SharedClients,
    key: &'a str,
    uri: String,
    is_new: bool,
}

impl<'a> PendingSubscription<'a> {
    /// `None` if there are too many.
    pub(super) fn new(
        clients: &'a SharedClients,
        key: &'a str,
        uri: String,
    ) -> Option<PendingSubscription<'a>> {
        let is_new = clients.subscribe(key, &uri)?;
        Some(PendingSubscription { clients, key, uri, is_new })
    }

    /// It was accepted.
    pub(super) fn supervise(mut self) {
        self.is_new = false;
    }
}

impl Drop for PendingSubscription<'_> {
    fn drop(&mut self) {
        if self.is_new {
            self.clients.unsubscribe(self.key, &self.uri);
        }
    }
}

/// Params with one member.
pub(super) fn one<T: serde::Serialize>(key: &str, value: &T) -> RawObject {
    let mut params = RawObject::new();
    params.set(key, raw(value));
    params
}

/// Hears one shared child.
pub(super) struct SharedSink {
    pub(super) clients: Arc<SharedClients>,
    pub(super) changes: Arc<ListChanges>,
}

impl NotificationSink for SharedSink {
    fn on_notification(&self, notification: Notification) {
        let Notification { method, params } = notification;
        if method == Method::ListenAcknowledged {
            return;
        }
        if self.changes.note_announced(&method) || self.clients.state.on_event(&method, &params) {
            return;
        }
        // A log line while no request runs, or what we do not know: it could be of any of the clients.
        self.clients.state.unowned(&method);
    }
}
