//! The sessions that clients have at an HTTP upstream: one for each of theirs with us, opened with their
//! first request.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::iter;
use parking_lot::Mutex;

use crate::mcp::{Caller, Method, Notification, RpcError, SessionPort, encode_notification, raw};
use crate::upstream::health::Counts;
use crate::upstream::hello;
use crate::upstream::inbox::Outside;
use crate::upstream::options::{SESSIONS_MAX, START_TIMEOUT};
use crate::upstream::passage::wants;

use super::core::Core;
use super::notices::Notices;
use super::session::HttpSession;
use super::stream;

/// Sessions that are ended at once when the node stops.
const ENDS_AT_ONCE: usize = 64;

struct Slot {
    seat: tokio::sync::Mutex<()>,
    open: Mutex<Option<Arc<HttpSession>>>,
    /// Resources the client subscribed to; told again when a session had to be replaced.
    uris: Mutex<HashSet<String>>,
    notices: Arc<Notices>,
}

impl Slot {
    fn now(&self) -> Option<Arc<HttpSession>> {
        let open = self.open.lock();
        open.clone().filter(|session| !session.is_lost())
    }
}

/// All of them.
pub(super) struct Sessions {
    core: Arc<Core>,
    slots: Mutex<HashMap<Box<str>, Arc<Slot>>>,
}

impl Sessions {
    pub(super) fn new(core: Arc<Core>) -> Sessions {
        Sessions { core, slots: Mutex::default() }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.slots.lock().len()
    }

    /// The client's session, if it has one now.
    pub(super) fn now(&self, key: &str) -> Option<Arc<HttpSession>> {
        self.slots.lock().get(key)?.clone().now()
    }

    /// Passes a notification on to the client's session, if it has one now.
    pub(super) fn notify(&self, key: &str, message: Bytes) {
        let Some(slot) = self.slots.lock().get(key).cloned() else { return };
        if let Some(session) = slot.now() {
            slot.notices.clone().send(&self.core, session, message);
        }
    }

    /// The client's session; opened if there is none, in bounded time.
    ///
    /// # Errors
    /// A fault that says why `method` cannot be served.
    pub(super) async fn open(
        &self,
        caller: &Caller,
        port: &Arc<dyn SessionPort>,
        method: &str,
    ) -> Result<Arc<HttpSession>, RpcError> {
        let slot = self.slot(port.key(), method)?;
        if let Some(session) = slot.now() {
            return Ok(session);
        }
        // One opens, the others wait for it.
        let _seat = slot.seat.lock().await;
        if let Some(session) = slot.now() {
            return Ok(session);
        }
        let base = &self.core.base;
        let outside = Arc::new(ClientEar { core: self.core.clone(), caller: caller.clone() });
        let within = START_TIMEOUT;
        let hello = hello::initialize_for(caller);
        let core = &*self.core;
        let opened = HttpSession::open(base, &core.endpoint, &hello, outside, &core.calls, &core.stop).await;
        let session = opened.map_err(|fault| base.fault(method, &fault.message))?;
        if session.has_id() {
            self.core.tasks.spawn(stream::hold(session.clone()));
        }
        self.restore(&session, port, &slot, within).await;
        *slot.open.lock() = Some(session.clone());
        if !self.slots.lock().contains_key(port.key()) {
            // The client's session ended meanwhile.
            let ending = session.clone();
            self.core.tasks.spawn(async move { ending.end().await });
        }
        Ok(session)
    }

    /// Tells a new session what the client said before.
    async fn restore(
        &self,
        session: &Arc<HttpSession>,
        port: &Arc<dyn SessionPort>,
        slot: &Slot,
        within: Duration,
    ) {
        if let Some(level) = port.log_level().filter(|_| session.greeting.offers("logging")) {
            let mut params = crate::mcp::RawObject::new();
            params.set("level", raw(&level));
            let _ = session.ask_within(&Method::SetLevel, &params, within).await;
        }
        let uris: Vec<String> = slot.uris.lock().iter().cloned().collect();
        for uri in uris {
            let mut params = crate::mcp::RawObject::new();
            params.set("uri", raw(&uri));
            let _ = session.ask_within(&Method::ResourcesSubscribe, &params, within).await;
        }
    }

    fn slot(&self, key: &str, method: &str) -> Result<Arc<Slot>, RpcError> {
        let max = SESSIONS_MAX;
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(key) {
            return Ok(slot.clone());
        }
        if slots.len() >= max {
            return Err(self.core.base.fault(method, &format!("{max} sessions are open there already")));
        }
        let slot = Arc::new(Slot {
            seat: tokio::sync::Mutex::new(()),
            open: Mutex::default(),
            uris: Mutex::default(),
            notices: Arc::default(),
        });
        slots.insert(key.into(), slot.clone());
        Ok(slot)
    }

    /// Remembers or forgets a subscription that the upstream has accepted.
    pub(super) fn subscribed(&self, key: &str, uri: String, is_wanted: bool) {
        let Some(slot) = self.slots.lock().get(key).cloned() else { return };
        let mut uris = slot.uris.lock();
        if is_wanted {
            uris.insert(uri)
        } else {
            uris.remove(&uri)
        };
    }

    /// Ends the client's session at the upstream, in a task.
    pub(super) fn ended(&self, key: &str) {
        let Some(slot) = self.slots.lock().remove(key) else { return };
        let open = slot.open.lock().take();
        if let Some(session) = open {
            self.core.tasks.spawn(async move { session.end().await });
        }
    }

    /// Ends all of them when the node stops, in bounded time.
    pub(super) async fn end_with_the_node(self: Arc<Self>) {
        self.core.stop.cancelled().await;
        let slots: Vec<Arc<Slot>> = self.slots.lock().drain().map(|(_, slot)| slot).collect();
        let sessions = slots.into_iter().filter_map(|slot| slot.now());
        let ends =
            iter(sessions).for_each_concurrent(ENDS_AT_ONCE, |session| async move { session.end().await });
        let within = Duration::from_millis(self.core.base.options.stop_step_ms).saturating_mul(3);
        let _ = tokio::time::timeout(within, ends).await;
    }
}

/// Hears the session of one client.
struct ClientEar {
    core: Arc<Core>,
    caller: Caller,
}

impl Outside for ClientEar {
    fn heard(&self, notification: Notification) {
        let Notification { method, params } = notification;
        if self.core.changes.heard(&method) {
            return;
        }
        match self.caller.session.as_ref() {
            Some(session) if method != Method::LogMessage || wants(&self.caller, &params) => {
                session.push(encode_notification(&method, Some(&params.to_raw())));
            }
            _ => {
                Counts::add(&self.core.base.counts.dropped);
            }
        }
    }
}
