//! One session: who opened it, what it asked to hear, what runs in it, and its streams.
//!
//! Nothing here waits but writing to a stream whose reader is behind. A lock is never held across a wait.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::Account;
use super::level::passes;
use super::log::{After, EventId, LoggedEvent};
use super::reader::{Reader, StreamGone};
use super::streams::{OWN, Streams};
use crate::config::ServiceConfig;
use crate::mcp::{ClientCapabilities, Id, LogLevel, ServerRequests, SessionPort, Version};
use crate::refusal::Refusal;

/// Resources that one session may subscribe to: what a person or an agent can follow, so that no session
/// fills the node's index.
const SUBSCRIPTIONS_MAX: usize = 1_000;
/// Bytes that one subscription takes beside its URI: entries in the session, the table and the upstream.
const SUBSCRIPTION_BYTES: usize = 256;
/// A session whose client said nothing after `initialize` ends after this, in milliseconds: clients that
/// only look in are many.
const UNUSED_MS: u64 = 60_000;
/// A finished stream that nobody reads is forgotten after this, in milliseconds: a client that wants its rest
/// reconnects sooner.
const REPLAY_KEEP_MS: u64 = 300_000;

/// Description that a client gave of itself when it opened the session.
#[derive(Clone)]
pub struct SessionParams {
    /// Owner of the session: only the same principal may use it.
    pub principal: Arc<str>,
    /// The revision agreed on.
    pub version: Version,
    /// Questions that the client takes.
    pub capabilities: Arc<ClientCapabilities>,
    /// `clientInfo`, raw.
    pub client_info: Option<Arc<RawValue>>,
    /// Bytes of both as they came.
    pub described_bytes: usize,
    /// The client that opened it.
    pub address: IpAddr,
}

/// The place of a session among those of its address.
pub(super) struct PlaceInQueue {
    /// When it was used last, as far as the queue knows; changed only with the queue.
    pub(super) queued_ms: AtomicU64,
    pub(super) number: u64,
}

/// One legacy session.
pub struct Session {
    id: Arc<str>,
    params: SessionParams,
    asks: Arc<ServerRequests>,
    ended: CancellationToken,
    used_ms: AtomicU64,
    /// Its client said something after `initialize`.
    is_used: AtomicBool,
    state: Mutex<State>,
    pub(super) changed: Notify,
    tasks: TaskTracker,
    config: Arc<ServiceConfig>,
    account: Account,
    pub(super) place: PlaceInQueue,
}

struct State {
    log_level: Option<LogLevel>,
    subscriptions: BTreeSet<Arc<str>>,
    running: HashMap<Id, CancellationToken>,
    streams: Streams,
}

impl State {
    /// Whether somebody reads from the session or waits for an answer.
    fn is_busy(&self) -> bool {
        self.streams.is_read() || !self.running.is_empty()
    }
}

fn subscription_bytes(uri: &str) -> usize {
    uri.len() + SUBSCRIPTION_BYTES
}

impl Session {
    pub(super) fn new(
        id: Arc<str>,
        params: SessionParams,
        config: Arc<ServiceConfig>,
        account: Account,
        tasks: TaskTracker,
        (now_ms, number): (u64, u64),
    ) -> Session {
        let asks = ServerRequests::new(&format!("{}-", id.split('.').next().unwrap_or_default()));
        let state = State {
            log_level: None,
            subscriptions: BTreeSet::new(),
            running: HashMap::new(),
            streams: Streams::new(config.session.replay_bytes_max, account.clone()),
        };
        account.charge(params.described_bytes);
        Session {
            id,
            params,
            asks: Arc::new(asks),
            ended: CancellationToken::new(),
            used_ms: AtomicU64::new(now_ms),
            is_used: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Notify::new(),
            tasks,
            config,
            account,
            place: PlaceInQueue { queued_ms: AtomicU64::new(now_ms), number },
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Opener of the session, and the description it gave.
    #[must_use]
    pub fn params(&self) -> &SessionParams {
        &self.params
    }

    /// The questions to its client that are open.
    #[must_use]
    pub fn asks(&self) -> &Arc<ServerRequests> {
        &self.asks
    }

    /// Notes that its client was here.
    pub fn touch(&self, now_ms: u64) {
        self.used_ms.fetch_max(now_ms, Ordering::Relaxed);
        self.is_used.store(true, Ordering::Relaxed);
    }

    /// Sets the least severe log message wanted.
    pub fn set_log_level(&self, level: LogLevel) {
        self.state.lock().log_level = Some(level);
    }

    /// Starts a request; it runs until the returned guard is dropped.
    ///
    /// # Errors
    /// [`NotBegun`]: the id runs already, or too many requests do.
    pub fn begin(self: &Arc<Self>, id: &Id) -> Result<RunningRequest, NotBegun> {
        let mut state = self.state.lock();
        // It may have ended since it was found.
        if self.ended.is_cancelled() {
            return Err(NotBegun::Ended);
        }
        if state.running.contains_key(id) {
            return Err(NotBegun::SameId);
        }
        if state.running.len() >= self.config.limits.requests_in_flight as usize {
            return Err(NotBegun::Refused(Refusal::RequestsFull));
        }
        let cancelled = self.ended.child_token();
        state.running.insert(id.clone(), cancelled.clone());
        Ok(RunningRequest { session: self.clone(), id: id.clone(), cancelled })
    }

    /// Cancels the request `id` if it runs.
    pub fn cancel(&self, id: &Id) {
        if let Some(cancelled) = self.state.lock().running.get(id) {
            cancelled.cancel();
        }
    }

    /// Runs `work` until it ends or the session does.
    pub fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = ended.cancelled() => {}
            }
        });
    }

    /// Opens the stream of one request with its reader.
    #[must_use]
    pub fn open_stream(self: &Arc<Self>) -> Reader {
        let (stream, number) = self.state.lock().streams.open();
        Reader::new(self.clone(), stream, number, 0)
    }

    /// Reads the session's own stream, or the one that `after` names from the event after it.
    ///
    /// # Errors
    /// [`StreamGone`] if nothing is kept of that stream.
    pub fn read(self: &Arc<Self>, after: Option<EventId>) -> Result<Reader, StreamGone> {
        let stream = after.map_or(OWN, |id| id.stream);
        let attached = self.state.lock().streams.attach(stream, after.map(|id| id.number));
        self.changed.notify_waiters();
        let (number, start) = attached.ok_or(StreamGone)?;
        Ok(Reader::new(self.clone(), stream, number, start))
    }

    /// Appends to a request's stream; waits while its reader is behind. `last`: nothing follows.
    pub async fn write(&self, stream: u64, kept: LoggedEvent, last: bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.state.lock();
                if last || state.streams.has_room(stream) {
                    state.streams.push(stream, kept, last);
                    break;
                }
            }
            changed.await;
        }
        self.changed.notify_waiters();
    }

    /// Sends `message` on the session's own stream unless the same one waits there already.
    pub fn push_level(&self, message: Bytes) {
        self.state.lock().streams.push_level(message);
        self.changed.notify_waiters();
    }

    /// Whether it had not subscribed before; `None` if it has as many as it may, or has ended.
    pub(super) fn subscribe(&self, uri: &Arc<str>) -> Option<bool> {
        let mut state = self.state.lock();
        let full = state.subscriptions.len() >= SUBSCRIPTIONS_MAX;
        if self.ended.is_cancelled() || full && !state.subscriptions.contains(uri) {
            return None;
        }
        let is_new = state.subscriptions.insert(uri.clone());
        if is_new {
            self.account.charge(subscription_bytes(uri));
        }
        Some(is_new)
    }

    pub(super) fn unsubscribe(&self, uri: &str) {
        if self.state.lock().subscriptions.remove(uri) {
            self.account.free(subscription_bytes(uri));
        }
    }

    /// The address whose share it takes.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.account.address()
    }

    /// When it was used last; `None` while it is busy.
    pub(super) fn idle_since_ms(&self) -> Option<u64> {
        let is_busy = self.state.lock().is_busy();
        (!is_busy).then(|| self.used_ms.load(Ordering::Relaxed))
    }

    pub(super) fn take(&self, stream: u64, reader: u64, into: &mut VecDeque<(u64, LoggedEvent)>) -> After {
        let after = self.state.lock().streams.take(stream, reader, into);
        if !into.is_empty() {
            self.changed.notify_waiters();
        }
        after
    }

    pub(super) fn detach(&self, stream: u64, reader: u64) {
        self.state.lock().streams.detach(stream, reader);
        self.changed.notify_waiters();
    }

    pub(super) fn ended_token(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Whether it has had no request and no reader for as long as it may.
    pub(super) fn is_idle(&self, now_ms: u64) -> bool {
        let mut state = self.state.lock();
        state.streams.sweep(now_ms, REPLAY_KEEP_MS);
        if state.is_busy() {
            self.touch(now_ms);
            return false;
        }
        let is_used = self.is_used.load(Ordering::Relaxed);
        let idle_ms = self.config.session.idle_s * 1_000;
        let idle_ms = if is_used { idle_ms } else { UNUSED_MS.min(idle_ms) };
        now_ms.saturating_sub(self.used_ms.load(Ordering::Relaxed)) >= idle_ms
    }

    /// Ends everything in it, once, and returns what it had subscribed to.
    pub(super) fn end(&self) -> BTreeSet<Arc<str>> {
        self.ended.cancel();
        let mut state = self.state.lock();
        state.streams.clear();
        let subscriptions = std::mem::take(&mut state.subscriptions);
        let kept: usize = subscriptions.iter().map(|uri| subscription_bytes(uri)).sum();
        self.account.free(self.params.described_bytes + kept);
        drop(state);
        self.changed.notify_waiters();
        subscriptions
    }
}

impl SessionPort for Session {
    fn key(&self) -> &str {
        &self.id
    }

    fn push(&self, message: Bytes) {
        let wanted = SessionPort::log_level(self).unwrap_or(LogLevel::Debug);
        if !passes(&message, Some(wanted)) {
            return;
        }
        let mut state = self.state.lock();
        state.streams.push(OWN, LoggedEvent::Message(message), false);
        drop(state);
        self.changed.notify_waiters();
    }

    fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    fn log_level(&self) -> Option<LogLevel> {
        self.state.lock().log_level
    }
}

/// Why a request does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBegun {
    /// The session has ended.
    Ended,
    /// A request of that id runs in the session already.
    SameId,
    /// The session may not run more.
    Refused(Refusal),
}

/// One request that runs in a session; dropping it frees its id.
pub struct RunningRequest {
    session: Arc<Session>,
    id: Id,
    cancelled: CancellationToken,
}

impl RunningRequest {
    /// Cancelled by the client, or by the end of the session.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.session.state.lock().running.remove(&self.id);
    }
}
