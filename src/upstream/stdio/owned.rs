//! Children that belong to one legacy session each (`instances = "session"`).
//!
//! Started with the first request of the session, initialised as the client initialised with us, ended with
//! the session. Their questions and messages have one possible receiver, so several requests may run at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::mcp::{Caller, Method, Notification, RpcError, SessionPort, encode_notification};
use crate::upstream::backoff::{Backoff, chance};
use crate::upstream::health::Counts;
use crate::upstream::hello;
use crate::upstream::inbox::Outside;
use crate::upstream::options::{SESSIONS_MAX, START_TIMEOUT};
use crate::upstream::passage::wants;

use super::audience::one;
use super::pipe::Pipe;
use super::running::Running;
use super::shared::Shared;

struct Slot {
    seat: tokio::sync::Mutex<Seat>,
    newest: Mutex<Option<Arc<Pipe>>>,
    ended: CancellationToken,
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
    slots: Mutex<HashMap<Box<str>, Arc<Slot>>>,
}

impl Owned {
    pub(super) fn new(shared: Arc<Shared>) -> Owned {
        Owned { shared, slots: Mutex::default() }
    }

    /// How many sessions have one.
    pub(super) fn sessions(&self) -> usize {
        self.slots.lock().len()
    }

    /// The session's conversation, if its child runs.
    pub(super) fn pipe_now(&self, key: &str) -> Option<Arc<Pipe>> {
        let slot = self.slots.lock().get(key)?.clone();
        let newest = slot.newest.lock();
        newest.clone().filter(|pipe| pipe.over().is_none())
    }

    /// Ends the session's child, if there is one.
    pub(super) fn session_ended(&self, key: &str) {
        if let Some(slot) = self.slots.lock().remove(key) {
            slot.ended.cancel();
        }
    }

    /// The session's conversation; its child is started if it does not run. In bounded time.
    pub(super) async fn pipe(
        &self,
        caller: &Caller,
        session: &Arc<dyn SessionPort>,
        method: &str,
    ) -> Result<Arc<Pipe>, RpcError> {
        let base = &self.shared.base;
        let slot = self.slot(session, method)?;
        let mut seat = slot.seat.lock().await;
        if let Some(pipe) = self.pipe_now(session.key()) {
            return Ok(pipe);
        }
        if seat.resting.load(Ordering::Relaxed) {
            return Err(base.fault(method, &format!("it is down: {}", seat.why)));
        }
        match self.start(caller, session, &slot.ended).await {
            Ok(pipe) => {
                *slot.newest.lock() = Some(pipe.clone());
                seat.backoff.reset();
                Ok(pipe)
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

    fn slot(&self, session: &Arc<dyn SessionPort>, method: &str) -> Result<Arc<Slot>, RpcError> {
        let options = &self.shared.base.options;
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(session.key()) {
            return Ok(slot.clone());
        }
        if slots.len() >= SESSIONS_MAX {
            let why = format!("{} sessions have a child there already", SESSIONS_MAX);
            return Err(self.shared.base.fault(method, &why));
        }
        let seat = Seat {
            backoff: Backoff::new(options.upstream.restart_min_ms, options.upstream.restart_max_ms),
            resting: Arc::default(),
            why: String::new(),
        };
        let ended = session.ended().child_token();
        let slot = Arc::new(Slot { seat: tokio::sync::Mutex::new(seat), newest: Mutex::default(), ended });
        slots.insert(session.key().into(), slot.clone());
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
        shared.tasks.spawn(async move {
            let why = tokio::select! {
                () = running.over() => "its process ended",
                () = ended.cancelled() => "the session ended",
                () = stop.cancelled() => "the node is stopping",
                () = worn(&running.pipe, step) => "it has left too many requests unanswered",
            };
            running.end(why, step).await;
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
