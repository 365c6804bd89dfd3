//! The sessions that clients have at an HTTP upstream: one for each of theirs with us, opened with their
//! first request.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::iter;
use parking_lot::Mutex;

use crate::mcp::{Caller, Method, Notification, RpcError, SessionPort, encode_notification, raw};
use crate::upstream::forwarder::wants;
use crate::upstream::handshake;
use crate::upstream::health::Counts;
use crate::upstream::inbox::NotificationSink;
use crate::upstream::options::START_TIMEOUT;
use crate::upstream::session_slots::{InUse, SessionSlot, SessionSlots, Taken};

use super::notification_queue::NotificationQueue;
use super::session::HttpSession;
use super::stream;
use super::upstream::HttpUpstream;

/// Sessions that are ended at once when the node stops.
const ENDS_AT_ONCE: usize = 64;

/// What one session has.
pub(super) struct ClientSession {
    availability: tokio::sync::Mutex<()>,
    open: Mutex<Option<Arc<HttpSession>>>,
    /// Resources the client subscribed to; told again when a session had to be replaced.
    uris: Mutex<HashSet<String>>,
    notices: Arc<NotificationQueue>,
}

impl ClientSession {
    fn now(&self) -> Option<Arc<HttpSession>> {
        let open = self.open.lock();
        open.clone().filter(|session| !session.is_lost())
    }
}

/// All of them.
pub(super) struct Sessions {
    upstream: Arc<HttpUpstream>,
    slots: SessionSlots<ClientSession>,
}

impl Sessions {
    pub(super) fn new(upstream: Arc<HttpUpstream>) -> Sessions {
        let gateway = &upstream.state.options.gateway;
        let slots = SessionSlots::new(gateway.sessions_max as usize, gateway.client_percent_max);
        Sessions { upstream, slots }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.slots.count()
    }

    /// The client's session, if it has one now.
    pub(super) fn now(&self, key: &str) -> Option<Arc<HttpSession>> {
        self.slots.get(key)?.now()
    }

    /// Passes a notification on to the client's session, if it has one now.
    pub(super) fn notify(&self, key: &str, message: Bytes) {
        let Some(slot) = self.slots.get(key) else { return };
        if let Some(session) = slot.now() {
            slot.notices.clone().send(&self.upstream, session, message);
        }
    }

    /// The place of the client's session, so that it stays while it is used.
    ///
    /// # Errors
    /// A refusal: there is no room, and nobody idle who would have to go.
    pub(super) fn hold(
        &self,
        caller: &Caller,
        port: &Arc<dyn SessionPort>,
        method: &str,
    ) -> Result<InUse<ClientSession>, RpcError> {
        let new = || ClientSession {
            availability: tokio::sync::Mutex::new(()),
            open: Mutex::default(),
            uris: Mutex::default(),
            notices: Arc::default(),
        };
        let state = &self.upstream.state;
        let taken = self.slots.take(port.key(), caller.address, new);
        let Taken { slot, displaced } =
            taken.map_err(|none| state.no_session(method, none, &self.slots, "gateway.sessions_max"))?;
        if let Some(displaced) = displaced {
            Counts::add(&state.counts.displaced);
            self.end(&displaced);
        }
        // Its end may have come before the slot, and comes only once.
        if port.ended().is_cancelled() {
            self.ended(port.key());
            return Err(state.fault(method, "the session ended"));
        }
        Ok(slot)
    }

    /// The client's session; opened if there is none, in bounded time.
    ///
    /// # Errors
    /// A fault that says why `method` cannot be served.
    pub(super) async fn open(
        &self,
        slot: &SessionSlot<ClientSession>,
        caller: &Caller,
        port: &Arc<dyn SessionPort>,
        method: &str,
    ) -> Result<Arc<HttpSession>, RpcError> {
        if let Some(session) = slot.now() {
            return Ok(session);
        }
        // One opens, the others wait for it.
        let _seat = slot.availability.lock().await;
        if let Some(session) = slot.now() {
            return Ok(session);
        }
        let state = &self.upstream.state;
        let sink = Arc::new(HttpSessionSink { upstream: self.upstream.clone(), caller: caller.clone() });
        let within = START_TIMEOUT;
        let hello = handshake::initialize_for(caller);
        let upstream = &*self.upstream;
        let opened =
            HttpSession::open(state, &upstream.endpoint, &hello, sink, &upstream.calls, &upstream.stop).await;
        let session = opened.map_err(|fault| state.fault(method, &fault.message))?;
        if session.has_id() {
            self.upstream.tasks.spawn(stream::hold(session.clone()));
        }
        self.restore(&session, port, slot, within).await;
        *slot.open.lock() = Some(session.clone());
        if !self.slots.has(port.key(), slot) {
            // The client's session ended meanwhile.
            let ending = session.clone();
            self.upstream.tasks.spawn(async move { ending.end().await });
        }
        Ok(session)
    }

    /// Tells a new session what the client said before.
    async fn restore(
        &self,
        session: &Arc<HttpSession>,
        port: &Arc<dyn SessionPort>,
        slot: &ClientSession,
        within: Duration,
    ) {
        if let Some(level) = port.log_level().filter(|_| session.description.offers("logging")) {
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

    /// Remembers or forgets a subscription that the upstream has accepted.
    pub(super) fn subscribed(&self, key: &str, uri: String, is_wanted: bool) {
        let Some(slot) = self.slots.get(key) else { return };
        let mut uris = slot.uris.lock();
        if is_wanted {
            uris.insert(uri)
        } else {
            uris.remove(&uri)
        };
    }

    /// Ends the client's session at the upstream, in a task.
    pub(super) fn ended(&self, key: &str) {
        if let Some(slot) = self.slots.remove(key) {
            self.end(&slot);
        }
    }

    fn end(&self, slot: &ClientSession) {
        let open = slot.open.lock().take();
        if let Some(session) = open {
            self.upstream.tasks.spawn(async move { session.end().await });
        }
    }

    /// Ends all of them when the node stops, in bounded time.
    pub(super) async fn end_with_the_node(self: Arc<Self>) {
        self.upstream.stop.cancelled().await;
        let sessions = self.slots.take_all().into_iter().filter_map(|slot| slot.now());
        let ends =
            iter(sessions).for_each_concurrent(ENDS_AT_ONCE, |session| async move { session.end().await });
        let within = Duration::from_millis(self.upstream.state.options.stop_step_ms).saturating_mul(3);
        let _ = tokio::time::timeout(within, ends).await;
    }
}

/// Hears the session of one client.
struct HttpSessionSink {
    upstream: Arc<HttpUpstream>,
    caller: Caller,
}

impl NotificationSink for HttpSessionSink {
    fn on_notification(&self, notification: Notification) {
        let Notification { method, params } = notification;
        if self.upstream.changes.note_announced(&method) {
            return;
        }
        match self.caller.session.as_ref() {
            Some(session) if method != Method::LogMessage || wants(&self.caller, &params) => {
                session.push(encode_notification(&method, Some(&params.to_raw())));
            }
            _ => {
                Counts::add(&self.upstream.state.counts.dropped);
            }
        }
    }
}
