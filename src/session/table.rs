//! The sessions that this node holds, within their limits, and who listens to which resource.
//!
//! A session ends in one place, whoever ends it, and gives everything back there.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::account::{Account, Budget};
use super::holders::{Holders, Shortage};
use super::id::{ID_LENGTH_MAX, mint};
use super::session::{Session, SessionParams};
use crate::client_address::address_block;
use crate::config::ServiceConfig;
use crate::mcp::ANONYMOUS;
use crate::refusal::Refusal;

/// Parts of the table, each with its own lock.
const SHARDS: usize = 32;
type Shard = Mutex<HashMap<Arc<str>, Arc<Session>>>;
type BySession = HashMap<Arc<str>, Arc<Session>>;

/// All sessions of this node.
pub struct Sessions {
    node_id: u64,
    config: Arc<ServiceConfig>,
    shards: Box<[Shard]>,
    counts: Mutex<Counts>,
    listeners: Mutex<HashMap<Arc<str>, BySession>>,
    budget: Arc<Budget>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_principal: HashMap<Arc<str>, usize>,
    holders: Holders,
}

impl Sessions {
    /// No sessions; ids will name `node_id` as their home.
    #[must_use]
    pub fn new(node_id: u64, config: Arc<ServiceConfig>) -> Sessions {
        Sessions {
            node_id,
            budget: Budget::new(config.session.bytes_max),
            config,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            counts: Mutex::default(),
            listeners: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`Refusal::SessionsFull`], [`Refusal::SessionBytesFull`] or [`Refusal::PrincipalSessionsFull`]; of the
    /// first two [`Sessions::first_to_go`] knows who gives way.
    pub fn open(&self, params: SessionParams, now_ms: u64) -> Result<Arc<Session>, Refusal> {
        let session = {
            let (mut counts, limits) = (self.counts.lock(), &self.config.session);
            if counts.all >= limits.per_node_max as usize {
                return Err(Refusal::SessionsFull);
            }
            if !self.budget.has_room(params.described_bytes) {
                return Err(Refusal::SessionBytesFull);
            }
            let of_principal = counts.by_principal.entry(params.principal.clone()).or_default();
            if *of_principal >= limits.per_principal_max as usize && &*params.principal != ANONYMOUS {
                return Err(Refusal::PrincipalSessionsFull);
            }
            *of_principal += 1;
            counts.all += 1;
            let (number, kept) =
                (counts.holders.number(), counts.holders.kept(address_block(params.address)));
            let account = Account::new(self.budget.clone(), kept.clone());
            let (id, config, tasks) = (mint(self.node_id), self.config.clone(), self.tasks.clone());
            let session = Arc::new(Session::new(id, params, config, account, tasks, (now_ms, number)));
            counts.holders.insert(session.clone(), kept);
            session
        };
        self.shard(session.id()).lock().insert(session.id().clone(), session.clone());
        Ok(session)
    }

    /// The session that has to go for want of places or bytes: of the address that holds most, the one that
    /// is idle longest. `None` if none of that address is idle.
    #[must_use]
    pub fn first_to_go(&self, shortage: Shortage, now_ms: u64) -> Option<Arc<Session>> {
        self.counts.lock().holders.first_to_go(shortage, now_ms)
    }

    /// Whether sessions may keep more bytes than they do.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.budget.has_room(0)
    }

    /// Whether bytes are so few that no session has to go for them.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.budget.is_low()
    }

    /// Resolves when sessions should be ended for want of bytes.
    pub async fn short_of_bytes(&self) {
        self.budget.high().await;
    }

    /// The live session `id` of `principal`. Somebody else's looks as if it did not exist.
    #[must_use]
    pub fn find(&self, id: &str, principal: &str, now_ms: u64) -> Option<Arc<Session>> {
        if id.len() > ID_LENGTH_MAX {
            return None;
        }
        let session = self.shard(id).lock().get(id).cloned()?;
        if *session.params().principal != *principal {
            return None;
        }
        session.touch(now_ms);
        Some(session)
    }

    /// Ends `session` and frees everything it held. False if it had ended already.
    pub fn end(&self, session: &Arc<Session>) -> bool {
        if self.shard(session.id()).lock().remove(session.id()).is_none() {
            return false;
        }
        for uri in session.end() {
            self.unlisten(&uri, session);
        }
        let mut counts = self.counts.lock();
        counts.all -= 1;
        counts.holders.remove(session);
        let principal = &session.params().principal;
        if let Some(count) = counts.by_principal.get_mut(principal) {
            *count -= 1;
            if *count == 0 {
                counts.by_principal.remove(principal);
            }
        }
        true
    }

    /// Ends the sessions of one part of the table that were idle for as long as they may, and returns them;
    /// parts as in [`Sessions::part`].
    pub fn sweep(&self, part: usize, now_ms: u64) -> Option<Vec<Arc<Session>>> {
        let mut sessions = self.part(part)?;
        sessions.retain(|session| session.is_idle(now_ms) && self.end(session));
        Some(sessions)
    }

    /// The sessions of one part of the table; parts are numbered from 0 and end with `None`.
    #[must_use]
    pub fn part(&self, part: usize) -> Option<Vec<Arc<Session>>> {
        self.shards.get(part).map(|shard| shard.lock().values().cloned().collect())
    }

    /// Lets `session` hear of `uri`. Whether it did not before; `None` if it listens to as many as it may.
    #[must_use]
    pub fn subscribe(&self, session: &Arc<Session>, uri: &str) -> Option<bool> {
        let mut listeners = self.listeners.lock();
        let uri = listeners.get_key_value(uri).map_or_else(|| Arc::from(uri), |(known, _)| known.clone());
        let is_new = session.subscribe(&uri)?;
        listeners.entry(uri).or_default().insert(session.id().clone(), session.clone());
        Some(is_new)
    }

    /// Ends that.
    pub fn unsubscribe(&self, session: &Arc<Session>, uri: &str) {
        session.unsubscribe(uri);
        self.unlisten(uri, session);
    }

    /// Sessions that subscribe to `uri`.
    #[must_use]
    pub fn subscribers(&self, uri: &str) -> Vec<Arc<Session>> {
        self.listeners
            .lock()
            .get(uri)
            .map(|sessions| sessions.values().cloned().collect())
            .unwrap_or_default()
    }

    /// All URIs that anyone wants to hear of.
    #[must_use]
    pub fn subscribed_uris(&self) -> Vec<Arc<str>> {
        self.listeners.lock().keys().cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.lock().all
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tasks that run for sessions.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Bytes that sessions keep: what clients said of themselves, URIs, and events for replay.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.budget.used()
    }

    fn unlisten(&self, uri: &str, session: &Session) {
        let mut listeners = self.listeners.lock();
        if let Some(sessions) = listeners.get_mut(uri) {
            sessions.remove(session.id());
            if sessions.is_empty() {
                listeners.remove(uri);
            }
        }
    }

    /// By the id's last byte: ids end with random digits, and strangers' may fall anywhere.
    fn shard(&self, id: &str) -> &Shard {
        let sum = id.bytes().rev().take(4).fold(0_usize, |sum, byte| sum * 31 + usize::from(byte));
        &self.shards[sum % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::mcp::{Id, LEGACY_LATEST, SessionPort};
    use crate::session::{EventId, LoggedEvent};

    fn sessions(session: config::Session) -> Sessions {
        Sessions::new(1, Arc::new(ServiceConfig { session, ..ServiceConfig::default() }))
    }

    fn sweep(sessions: &Sessions, now_ms: u64) -> Vec<Arc<Session>> {
        (0..).map_while(|part| sessions.sweep(part, now_ms)).flatten().collect()
    }

    fn params(principal: &str) -> SessionParams {
        SessionParams {
            principal: principal.into(),
            version: LEGACY_LATEST,
            capabilities: Arc::default(),
            client_info: None,
            described_bytes: 0,
            address: [127, 0, 0, 1].into(),
        }
    }

    #[test]
    fn the_limits_of_node_and_principal_hold_and_are_given_back() {
        let sessions =
            sessions(config::Session { per_node_max: 3, per_principal_max: 2, ..config::Session::default() });
        let first = sessions.open(params("a"), 0).unwrap();
        sessions.open(params("a"), 0).unwrap();
        assert_eq!(sessions.open(params("a"), 0).err(), Some(Refusal::PrincipalSessionsFull));
        sessions.open(params("b"), 0).unwrap();
        assert_eq!(sessions.open(params("c"), 0).err(), Some(Refusal::SessionsFull));
        assert!(sessions.end(&first));
        assert!(!sessions.end(&first), "a session ended twice");
        sessions.open(params("a"), 0).unwrap();
        assert_eq!(sessions.len(), 3);
    }

    #[test]
    fn one_clients_without_credentials_do_not_lock_the_others_out() {
        let sessions = sessions(config::Session { per_principal_max: 1, ..config::Session::default() });
        sessions.open(params(ANONYMOUS), 0).unwrap();
        sessions.open(params(ANONYMOUS), 0).unwrap();
    }

    #[test]
    fn a_session_that_its_client_never_used_ends_sooner() {
        let sessions = sessions(config::Session::default());
        let used = sessions.open(params("a"), 0).unwrap();
        sessions.open(params("a"), 0).unwrap();
        assert!(sessions.find(used.id(), "a", 0).is_some());
        assert_eq!(sweep(&sessions, 59_999).len(), 0);
        let ended = sweep(&sessions, 60_000);
        assert!(ended.len() == 1 && ended[0].id() != used.id());
        assert_eq!(sweep(&sessions, 1_800_000).len(), 1);
    }

    #[test]
    fn a_session_of_somebody_else_looks_as_if_it_did_not_exist() {
        let sessions = sessions(config::Session::default());
        let session = sessions.open(params("alice"), 0).unwrap();
        assert!(sessions.find(session.id(), "alice", 0).is_some());
        assert!(sessions.find(session.id(), "mallory", 0).is_none());
        assert!(sessions.find("1.00", "alice", 0).is_none());
        sessions.end(&session);
        assert!(sessions.find(session.id(), "alice", 0).is_none());
    }

    #[test]
    fn idle_sessions_end_on_time_and_open_streams_or_requests_keep_them() {
        let sessions = sessions(config::Session { idle_s: 1, ..config::Session::default() });
        let idle = sessions.open(params("a"), 0).unwrap();
        let reading = sessions.open(params("a"), 0).unwrap();
        let reader = reading.read(None).unwrap();
        let busy = sessions.open(params("a"), 0).unwrap();
        let running = busy.begin(&Id::from_number(1)).ok().unwrap();
        assert!(sweep(&sessions, 999).is_empty());
        let ended = sweep(&sessions, 1_000);
        assert_eq!(ended.iter().map(|s| s.id().clone()).collect::<Vec<_>>(), [idle.id().clone()]);
        assert!(idle.ended().is_cancelled());
        drop((reader, running));
        assert!(sweep(&sessions, 1_999).is_empty());
        assert_eq!(sweep(&sessions, 2_000).len(), 2);
        assert!(sessions.is_empty());
    }

    #[test]
    fn the_end_of_a_session_frees_streams_subscriptions_and_requests() {
        let sessions = sessions(config::Session::default());
        let session = sessions.open(params("a"), 0).unwrap();
        assert_eq!(sessions.subscribe(&session, "test://x"), Some(true));
        session.push(bytes::Bytes::from_static(b"kept"));
        let running = session.begin(&Id::from_number(1)).ok().unwrap();
        assert_eq!(sessions.kept_bytes(), 4 + "test://x".len() + 256);
        sessions.end(&session);
        assert!(running.cancelled().is_cancelled());
        assert_eq!(sessions.kept_bytes(), 0);
        assert!(sessions.subscribed_uris().is_empty());
        assert_eq!(sessions.subscribe(&session, "test://y"), None, "an ended session subscribed");
        assert!(sessions.subscribed_uris().is_empty());
    }

    #[test]
    fn requests_and_subscriptions_of_a_session_are_bounded() {
        let mut config = ServiceConfig::default();
        config.limits.requests_in_flight = 1;
        let sessions = Sessions::new(1, Arc::new(config));
        let session = sessions.open(params("a"), 0).unwrap();
        let running = session.begin(&Id::from_number(1)).ok().unwrap();
        assert!(session.begin(&Id::from_number(1)).is_err());
        assert!(session.begin(&Id::from_number(2)).is_err());
        drop(running);
        assert!(session.begin(&Id::from_number(2)).is_ok());
        assert!((1..1_000).all(|n| sessions.subscribe(&session, &n.to_string()) == Some(true)));
        assert_eq!(["a", "a"].map(|uri| sessions.subscribe(&session, uri)), [Some(true), Some(false)]);
        assert_eq!(sessions.subscribe(&session, "b"), None);
        sessions.unsubscribe(&session, "a");
        assert_eq!(sessions.subscribe(&session, "b"), Some(true));
    }

    #[tokio::test]
    async fn a_newer_reader_replaces_the_older_and_gets_every_message_once() {
        let sessions = sessions(config::Session::default());
        let session = sessions.open(params("a"), 0).unwrap();
        let mut old = session.read(None).unwrap();
        session.push(bytes::Bytes::from_static(b"1"));
        let first = old.next().await.unwrap();
        assert_eq!(first, (EventId { stream: 0, number: 1 }, LoggedEvent::Message("1".into())));
        let mut new = session.read(None).unwrap();
        session.push(bytes::Bytes::from_static(b"2"));
        assert_eq!(old.next().await, None);
        assert_eq!(new.next().await.unwrap().1, LoggedEvent::Message("2".into()));
        drop(old);
        session.push(bytes::Bytes::from_static(b"3"));
        assert_eq!(new.next().await.unwrap().1, LoggedEvent::Message("3".into()));
        sessions.end(&session);
        assert_eq!(new.next().await, None);
    }

    #[tokio::test]
    async fn a_writer_waits_for_a_reader_that_is_behind_and_not_for_one_that_left() {
        let sessions = sessions(config::Session { replay_bytes_max: 4, ..config::Session::default() });
        let session = sessions.open(params("a"), 0).unwrap();
        let mut reader = session.open_stream();
        let stream = reader.stream();
        let message = || LoggedEvent::Message("12345".into());
        session.write(stream, message(), false).await;
        let mut second = std::pin::pin!(session.write(stream, message(), false));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert!(reader.next().await.is_some());
        second.await;
        drop(reader);
        session.write(stream, message(), false).await;
        session.write(stream, message(), true).await;
    }
}
