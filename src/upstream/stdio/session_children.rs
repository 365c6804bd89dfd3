//! Children that belong to one legacy session each (`instances = "session"`).
//!
//! Started with the first request of the session, initialised as the client initialised with us, ended with
//! the session. Their questions and messages have one possible receiver, so several requests may run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::mcp::{Caller, Method, Notification, RpcError, SessionPort, encode_notification};
use crate::upstream::backoff::{Backoff, jitter};
use crate::upstream::forwarder::wants;
use crate::upstream::handshake;
use crate::upstream::health::Counts;
use crate::upstream::inbox::NotificationSink;
use crate::upstream::options::START_TIMEOUT;
use crate::upstream::session_slots::{InUse, SessionSlots, Taken, in_turn};

use super::child_client::ChildClient;
use super::connection::StdioConnection;
use super::shared_children::SharedChildren;
use super::shared_clients::one;

/// Children that are ended at once while the node serves: an end takes a processor too.
const ENDS_AT_ONCE: usize = 2;

/// What one session has.
pub(super) struct SessionChild {
    availability: tokio::sync::Mutex<StartAttempts>,
    newest: Mutex<Option<Arc<StdioConnection>>>,
    ended: CancellationToken,
}

impl SessionChild {
    fn connection_now(&self) -> Option<Arc<StdioConnection>> {
        self.newest.lock().clone().filter(|connection| connection.over().is_none())
    }
}

struct StartAttempts {
    backoff: Backoff,
    /// A start failed a moment ago: this long nothing is tried.
    resting: Arc<AtomicBool>,
    why: String,
}

/// All of them.
pub(super) struct SessionChildren {
    shared: Arc<SharedChildren>,
    slots: SessionSlots<SessionChild>,
    ends: Arc<Semaphore>,
}

impl SessionChildren {
    pub(super) fn new(shared: Arc<SharedChildren>) -> SessionChildren {
        let gateway = &shared.state.options.gateway;
        let slots = SessionSlots::new(gateway.children_max as usize, gateway.client_percent_max);
        SessionChildren { shared, slots, ends: Arc::new(Semaphore::new(ENDS_AT_ONCE)) }
    }

    /// How many sessions have one.
    pub(super) fn sessions(&self) -> usize {
        self.slots.count()
    }

    /// The session's conversation, if its child runs.
    pub(super) fn connection_now(&self, key: &str) -> Option<Arc<StdioConnection>> {
        self.slots.get(key)?.connection_now()
    }

    /// Ends the session's child, if there is one.
    pub(super) fn session_ended(&self, key: &str) {
        if let Some(slot) = self.slots.remove(key) {
            slot.ended.cancel();
        }
    }

    /// The session's conversation; its child is started if it does not run, in bounded time. The child stays
    /// as long as the slot is held.
    pub(super) async fn connection(
        &self,
        caller: &Caller,
        session: &Arc<dyn SessionPort>,
        method: &str,
    ) -> Result<(Arc<StdioConnection>, InUse<SessionChild>), RpcError> {
        let state = &self.shared.state;
        let slot = self.slot(caller, session, method)?;
        let mut availability = slot.availability.lock().await;
        if let Some(connection) = slot.connection_now() {
            drop(availability);
            return Ok((connection, slot));
        }
        if availability.resting.load(Ordering::Relaxed) {
            return Err(state.fault(method, &format!("it is down: {}", availability.why)));
        }
        match slot.in_turn(self.start(caller, session, &slot.ended)).await {
            Ok(connection) => {
                *slot.newest.lock() = Some(connection.clone());
                availability.backoff.reset();
                drop(availability);
                Ok((connection, slot))
            }
            Err(why) => {
                let (resting, pause) = (availability.resting.clone(), availability.backoff.pause(jitter()));
                resting.store(true, Ordering::Relaxed);
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    resting.store(false, Ordering::Relaxed);
                });
                let fault = state.fault(method, &format!("it does not start: {why}"));
                availability.why = why;
                Err(fault)
            }
        }
    }

    fn slot(
        &self,
        caller: &Caller,
        session: &Arc<dyn SessionPort>,
        method: &str,
    ) -> Result<InUse<SessionChild>, RpcError> {
        let state = &self.shared.state;
        let upstream = &state.options.upstream;
        let new = || {
            let backoff = Backoff::new(upstream.restart_min_ms, upstream.restart_max_ms);
            let availability = StartAttempts { backoff, resting: Arc::default(), why: String::new() };
            let ended = session.ended().child_token();
            SessionChild {
                availability: tokio::sync::Mutex::new(availability),
                newest: Mutex::default(),
                ended,
            }
        };
        let taken = self.slots.take(session.key(), caller.address, new);
        let Taken { slot, displaced } =
            taken.map_err(|none| state.no_session(method, none, &self.slots, "gateway.children_max"))?;
        if let Some(displaced) = displaced {
            Counts::add(&state.counts.displaced);
            displaced.ended.cancel();
        }
        // Its end may have come before the slot, and comes only once.
        if session.ended().is_cancelled() {
            self.session_ended(session.key());
            return Err(state.fault(method, "the session ended"));
        }
        Ok(slot)
    }

    async fn start(
        &self,
        caller: &Caller,
        session: &Arc<dyn SessionPort>,
        ended: &CancellationToken,
    ) -> Result<Arc<StdioConnection>, String> {
        let shared = &self.shared;
        let within = START_TIMEOUT;
        if ended.is_cancelled() {
            return Err("the session ended".to_owned());
        }
        let sink = Arc::new(SessionSink { shared: shared.clone(), caller: caller.clone() });
        let started = {
            let changes = Arc::default();
            ChildClient::start(&shared.state, &shared.spawner, changes, sink).await
        };
        let mut running = started?;
        let made = running.initialize(&handshake::initialize_for(caller), within).await;
        if let Err((_, why)) = made {
            let why = running.connection.over().map_or(why, |over| over.to_string());
            running.connection.close(&why);
            return Err(why);
        }
        let connection = running.connection.clone();
        if let Some(level) = session.log_level() {
            let _ = connection.ask_within(&Method::SetLevel, &one("level", &level), within).await;
        }
        let (ended, stop) = (ended.clone(), shared.stop.clone());
        let step = Duration::from_millis(shared.state.options.stop_step_ms);
        let ends = self.ends.clone();
        shared.tasks.spawn(async move {
            let why = tokio::select! {
                () = running.over() => "its process ended",
                () = ended.cancelled() => "the session ended",
                () = stop.cancelled() => "the node is stopping",
                () = worn(&running.connection, step) => "it has left too many requests unanswered",
            };
            let end = running.end(why, step);
            let mut end = std::pin::pin!(in_turn(&ends, end));
            if stop.run_until_cancelled(end.as_mut()).await.is_none() {
                // Nobody is served any more: all at once.
                ends.close();
                end.await;
            }
        });
        Ok(connection)
    }
}

/// Resolves when the child is to be replaced and, as far as can be waited, nobody waits for it.
async fn worn(connection: &StdioConnection, within: Duration) {
    connection.worn().cancelled().await;
    let _ = tokio::time::timeout(within, connection.unused()).await;
}

/// Hears the child of one session.
struct SessionSink {
    shared: Arc<SharedChildren>,
    caller: Caller,
}

impl NotificationSink for SessionSink {
    fn on_notification(&self, notification: Notification) {
        let Notification { method, params } = notification;
        if method.ends_with("/list_changed") {
            // The lists are those of the shared child, and it may well have the same news.
            return self.shared.on_list_changed(&method);
        }
        match self.caller.session.as_ref() {
            Some(session) if method != Method::LogMessage || wants(&self.caller, &params) => {
                session.push(encode_notification(&method, Some(&params.to_raw())));
            }
            _ => {
                Counts::add(&self.shared.state.counts.dropped);
            }
        }
    }
}
