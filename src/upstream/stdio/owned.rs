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
use crate::upstream::backoff::{Backoff, chance};
use crate::upstream::health::Counts;
use crate::upstream::hello;
use crate::upstream::inbox::Outside;
use crate::upstream::options::START_TIMEOUT;
use crate::upstream::passage::wants;
use crate::upstream::session_slots::{InUse, SessionSlots, Taken, in_turn};

use super::audience::one;
use super::pipe::Pipe;
use super::running::Running;
use super::shared::Shared;

/// Children that are ended at once while the node serves: an end takes a processor too.
const ENDS_AT_ONCE: usize = 2;

/// What one session has.
pub(super) struct OwnChild {
    seat: tokio::sync::Mutex<Seat>,
    newest: Mutex<Option<Arc<Pipe>>>,
    ended: CancellationToken,
}

impl OwnChild {
    fn pipe_now(&self) -> Option<Arc<Pipe>> {
        self.newest.lock().clone().filter(|pipe| pipe.over().is_none())
    }
}

struct Seat {
    backoff: Backoff,
    /// A start failed a moment ago: this long nothing is tried.
    resting: Arc<AtomicBool>,
    why: String,
}

/// All of them.
pub(super) struct Owned {
    shared: Arc<Shared>,
    slots: SessionSlots<OwnChild>,
    ends: Arc<Semaphore>,
}

impl Owned {
    pub(super) fn new(shared: Arc<Shared>) -> Owned {
        let gateway = &shared.base.options.gateway;
        let slots = SessionSlots::new(gateway.children_max as usize, gateway.client_percent_max);
        Owned { shared, slots, ends: Arc::new(Semaphore::new(ENDS_AT_ONCE)) }
    }

    /// How many sessions have one.
    pub(super) fn sessions(&self) -> usize {
        self.slots.count()
    }

    /// The session's conversation, if its child runs.
    pub(super) fn pipe_now(&self, key: &str) -> Option<Arc<Pipe>> {
        self.slots.get(key)?.pipe_now()
    }

    /// Ends the session's child, if there is one.
    pub(super) fn session_ended(&self, key: &str) {
        if let Some(slot) = self.slots.remove(key) {
            slot.ended.cancel();
        }
    }

    /// The session's conversation; its child is started if it does not run, in bounded time. The child stays
    /// as long as the slot is held.
    pub(super) async fn pipe(
        &self,
        caller: &Caller,
        session: &Arc<dyn SessionPort>,
        method: &str,
    ) -> Result<(Arc<Pipe>, InUse<OwnChild>), RpcError> {
        let base = &self.shared.base;
        let slot = self.slot(caller, session, method)?;
        let mut seat = slot.seat.lock().await;
        if let Some(pipe) = slot.pipe_now() {
            drop(seat);
            return Ok((pipe, slot));
        }
        if seat.resting.load(Ordering::Relaxed) {
            return Err(base.fault(method, &format!("it is down: {}", seat.why)));
        }
        match slot.in_turn(self.start(caller, session, &slot.ended)).await {
            Ok(pipe) => {
                *slot.newest.lock() = Some(pipe.clone());
                seat.backoff.reset();
                drop(seat);
                Ok((pipe, slot))
            }
            Err(why) => {
                let (resting, pause) = (seat.resting.clone(), seat.backoff.pause(chance()));
                resting.store(true, Ordering::Relaxed);
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    resting.store(false, Ordering::Relaxed);
                });
                let fault = base.fault(method, &format!("it does not start: {why}"));
                seat.why = why;
                Err(fault)
            }
        }
    }

    fn slot(
        &self,
        caller: &Caller,
        session: &Arc<dyn SessionPort>,
        method: &str,
    ) -> Result<InUse<OwnChild>, RpcError> {
        let base = &self.shared.base;
        let upstream = &base.options.upstream;
        let new = || {
            let backoff = Backoff::new(upstream.restart_min_ms, upstream.restart_max_ms);
            let seat = Seat { backoff, resting: Arc::default(), why: String::new() };
            let ended = session.ended().child_token();
            OwnChild { seat: tokio::sync::Mutex::new(seat), newest: Mutex::default(), ended }
        };
        let taken = self.slots.take(session.key(), caller.address, new);
        let Taken { slot, displaced } =
            taken.map_err(|none| base.no_session(method, none, &self.slots, "gateway.children_max"))?;
        if let Some(displaced) = displaced {
            Counts::add(&base.counts.displaced);
            displaced.ended.cancel();
        }
        // Its end may have come before the slot, and comes only once.
        if session.ended().is_cancelled() {
            self.session_ended(session.key());
            return Err(base.fault(method, "the session ended"));
        }
        Ok(slot)
    }

    async fn start(
        &self,
        caller: &Caller,
        session: &Arc<dyn SessionPort>,
        ended: &CancellationToken,
    ) -> Result<Arc<Pipe>, String> {
        let shared = &self.shared;
        let within = START_TIMEOUT;
        if ended.is_cancelled() {
            return Err("the session ended".to_owned());
        }
        let outside = Arc::new(OneEar { shared: shared.clone(), caller: caller.clone() });
        let started = {
            let changes = Arc::default();
            Running::start(&shared.base, &shared.spawner, changes, outside).await
        };
        let mut running = started?;
        let made = running.initialize(&hello::initialize_for(caller), within).await;
        if let Err((_, why)) = made {
            let why = running.pipe.over().map_or(why, |over| over.to_string());
            running.pipe.close(&why);
            return Err(why);
        }
        let pipe = running.pipe.clone();
        if let Some(level) = session.log_level() {
            let _ = pipe.ask_within(&Method::SetLevel, &one("level", &level), within).await;
        }
        let (ended, stop) = (ended.clone(), shared.stop.clone());
        let step = Duration::from_millis(shared.base.options.stop_step_ms);
        let ends = self.ends.clone();
        shared.tasks.spawn(async move {
            let why = tokio::select! {
                () = running.over() => "its process ended",
                () = ended.cancelled() => "the session ended",
                () = stop.cancelled() => "the node is stopping",
                () = worn(&running.pipe, step) => "it has left too many requests unanswered",
            };
            let end = running.end(why, step);
            let mut end = std::pin::pin!(in_turn(&ends, end));
            if stop.run_until_cancelled(end.as_mut()).await.is_none() {
                // Nobody is served any more: all at once.
                ends.close();
                end.await;
            }
        });
        Ok(pipe)
    }
}

/// Resolves when the child is to be replaced and, as far as can be waited, nobody waits for it.
async fn worn(pipe: &Pipe, within: Duration) {
    pipe.worn().cancelled().await;
    let _ = tokio::time::timeout(within, pipe.unused()).await;
}

/// Hears the child of one session.
struct OneEar {
    shared: Arc<Shared>,
    caller: Caller,
}

impl Outside for OneEar {
    fn heard(&self, notification: Notification) {
        let Notification { method, params } = notification;
        if method.ends_with("/list_changed") {
            // The lists are those of the shared child, and it may well have the same news.
            return self.shared.heard_change(&method);
        }
        match self.caller.session.as_ref() {
            Some(session) if method != Method::LogMessage || wants(&self.caller, &params) => {
                session.push(encode_notification(&method, Some(&params.to_raw())));
            }
            _ => {
                Counts::add(&self.shared.base.counts.dropped);
            }
        }
    }
}
