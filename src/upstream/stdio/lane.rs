//! One shared child, kept running: started, read, watched, ended, started again after a pause.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::mcp::{Era, ListKind};
use crate::upstream::backoff::{Backoff, chance};
use crate::upstream::collect::collect;
use crate::upstream::health::State;
use crate::upstream::hello;
use crate::upstream::options::{HEALTHY_AFTER, START_TIMEOUT};
use crate::upstream::seats::Seat;
use crate::upstream::stock::{KINDS, Lists};

use super::pipe::Pipe;
use super::running::{PipeAsker, Running};
use super::shared::Shared;

/// How long requests that run at a child which is to be replaced may take to end.
const REPLACE_WAIT: Duration = Duration::from_secs(10);

/// Why a child is not watched any more.
enum End {
    /// It cannot be talked to, or must not be any more.
    Over(&'static str),
    /// Nobody uses it.
    Idle,
    /// It has left too many requests unanswered that were given up.
    Worn,
}

/// One shared child and the eras that it serves.
pub(super) struct Lane {
    pub(super) eras: Vec<Era>,
    first: Option<Running>,
}

impl Lane {
    /// A lane for `eras`; `first` is a child with these handshakes made already.
    pub(super) fn new(eras: &[Era], first: Option<Running>) -> Lane {
        Lane { eras: eras.to_vec(), first }
    }

    /// Keeps the child running until the node stops.
    pub(super) async fn run(mut self, shared: Arc<Shared>) {
        let pulse = shared.base.pulse();
        let options = &shared.base.options;
        let step = Duration::from_millis(options.stop_step_ms);
        let mut backoff = Backoff::new(options.upstream.restart_min_ms, options.upstream.restart_max_ms);
        let mut retiring: Option<Running> = None;
        loop {
            let opened = tokio::select! {
                opened = self.open(&shared) => opened,
                () = shared.stop.cancelled() => return pulse.set(State::Stopped),
            };
            if let Some(old) = retiring.take() {
                shared.tasks.spawn(retire(old, shared.stop.clone(), step));
            }
            let why = match opened {
                Ok(running) => {
                    pulse.set(State::Ready);
                    match self.watch(&shared, &running, &mut backoff).await {
                        End::Idle => {
                            pulse.set(State::Asleep);
                            running.end("nobody used it", step).await;
                            self.sleep(&shared).await;
                            pulse.set(State::Starting);
                            continue;
                        }
                        End::Worn => {
                            tracing::warn!(
                                upstream = shared.base.name(),
                                pid = running.pipe.pid(),
                                "an upstream has left too many requests unanswered that were given up; its \
                                 child is replaced"
                            );
                            // It serves until the next one does.
                            retiring = Some(running);
                            continue;
                        }
                        End::Over(why) => {
                            self.set_seats(&shared, &Seat::Shut(format!("it is down: {why}").into()));
                            running.end(why, step).await
                        }
                    }
                }
                Err(why) => why,
            };
            if shared.stop.is_cancelled() {
                return pulse.set(State::Stopped);
            }
            let pause = backoff.pause(chance());
            tracing::warn!(
                upstream = shared.base.name(),
                why,
                pause_ms = pause.as_millis(),
                "an upstream is down"
            );
            pulse.failed(&why);
            self.set_seats(&shared, &Seat::Shut(format!("it is down: {why}").into()));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shared.stop.cancelled() => return pulse.set(State::Stopped),
            }
            pulse.restarting();
        }
    }

    fn set_seats(&self, shared: &Shared, seat: &Seat<Arc<Pipe>>) {
        for era in &self.eras {
            shared.seats.set(*era, seat.clone());
        }
    }

    /// Until somebody wants it, or the node stops.
    async fn sleep(&self, shared: &Shared) {
        tokio::select! {
            () = shared.seats.wanted(&self.eras) => self.set_seats(shared, &Seat::Waiting),
            () = shared.stop.cancelled() => {}
        }
    }

    /// Resolves when nobody has used the child for long enough, with its seats asleep.
    async fn idle(&self, shared: &Shared, pipe: &Arc<Pipe>) {
        const STEPS: u32 = 4;
        let step = Duration::from_secs(shared.base.options.upstream.idle_s) / STEPS;
        let (mut quiet, mut calls) = (0, 0);
        while quiet < STEPS || !self.fall_asleep(shared, pipe) {
            tokio::time::sleep(step).await;
            let now = shared.base.counts.calls.load(Ordering::Relaxed);
            let is_used = now != calls || shared.base.running() > 0 || shared.audience.is_subscribed();
            calls = now;
            quiet = if is_used { 0 } else { quiet + 1 };
        }
    }

    /// False if somebody came while it fell asleep.
    fn fall_asleep(&self, shared: &Shared, pipe: &Arc<Pipe>) -> bool {
        self.set_seats(shared, &Seat::Asleep);
        // Who found the seat open before the line above runs now, and is counted.
        let is_idle = shared.base.running() == 0;
        if !is_idle {
            self.set_seats(shared, &Seat::Open(pipe.clone()));
        }
        is_idle
    }

    /// Starts the child, makes the handshakes, reads the lists, and lets clients in.
    async fn open(&mut self, shared: &Shared) -> Result<Running, String> {
        let running = match self.first.take() {
            Some(running) => running,
            None => self.start(shared).await?,
        };
        let all = self.read_lists(shared, &running, &KINDS, &[]).await;
        if let Err(why) = all {
            let over = running.pipe.over().map_or(why, |over| over.to_string());
            running.pipe.close(&over);
            return Err(over);
        }
        if self.eras.contains(&Era::Legacy) {
            shared.note_legacy(running.changes.clone());
            shared.audience.restore(&running.pipe);
        }
        self.set_seats(shared, &Seat::Open(running.pipe.clone()));
        Ok(running)
    }

    async fn start(&self, shared: &Shared) -> Result<Running, String> {
        let within = START_TIMEOUT;
        let mut running = shared.start().await?;
        let mut made = Ok(());
        if self.eras.contains(&Era::Modern) {
            made = running.discover(within).await;
        }
        if made.is_ok() && self.eras.contains(&Era::Legacy) {
            made = running.initialize(&hello::initialize_for_all(), within).await.map_err(|(_, why)| why);
        }
        match made {
            Ok(()) => Ok(running),
            Err(why) => {
                let why = running.pipe.over().map_or(why, |over| over.to_string());
                running.pipe.close(&why);
                Err(why)
            }
        }
    }

    async fn read_lists(
        &self,
        shared: &Shared,
        running: &Running,
        kinds: &[ListKind],
        announced: &[ListKind],
    ) -> Result<(), String> {
        let base = &shared.base;
        let within = START_TIMEOUT;
        for era in &self.eras {
            let Some(greeting) = running.greeting(*era) else { continue };
            let asker = PipeAsker { pipe: &running.pipe, era: *era, within };
            let newest = base.stock.newest(*era);
            let mut lists: Lists = KINDS.map(|kind| newest.list(kind).items.clone());
            collect(&asker, greeting, &base.options, kinds, &mut lists).await?;
            base.stock.publish(*era, greeting, &lists, announced);
        }
        Ok(())
    }

    /// Until the child ends or the node stops; says why.
    async fn watch(&self, shared: &Shared, running: &Running, backoff: &mut Backoff) -> End {
        let healthy = tokio::time::sleep(HEALTHY_AFTER);
        tokio::pin!(healthy);
        let listening = self.listen(shared, running);
        let idle = self.idle(shared, &running.pipe);
        tokio::pin!(listening, idle);
        loop {
            tokio::select! {
                () = running.over() => return End::Over("its process ended"),
                () = shared.stop.cancelled() => return End::Over("the node is stopping"),
                () = &mut healthy, if !healthy.is_elapsed() => backoff.reset(),
                kinds = running.changes.next() => self.refresh(shared, running, &kinds).await,
                () = &mut idle => return End::Idle,
                () = running.pipe.worn().cancelled() => return End::Worn,
                () = &mut listening => unreachable!("listening has no end"),
            }
        }
    }

    async fn refresh(&self, shared: &Shared, running: &Running, kinds: &[ListKind]) {
        tokio::select! {
            read = self.read_lists(shared, running, kinds, kinds) => if let Err(why) = read {
                tracing::warn!(upstream = shared.base.name(), why, "lists of an upstream cannot be read");
            },
            () = running.over() => {}
            () = shared.stop.cancelled() => {}
        }
    }

    /// Holds one `subscriptions/listen` while there is something to listen for. Never ends.
    async fn listen(&self, shared: &Shared, running: &Running) {
        let mut wishes = shared.audience.wishes.watch();
        let mut pauses = Backoff::new(1_000, 60_000);
        loop {
            let uris: Vec<String> = wishes.borrow_and_update().keys().cloned().collect();
            let params = running.modern.as_ref().and_then(|greeting| hello::listen_params(greeting, &uris));
            let Some(params) = params.filter(|_| self.eras.contains(&Era::Modern)) else {
                let _ = wishes.changed().await;
                continue;
            };
            tokio::select! {
                refused = running.pipe.listen(&params) => {
                    tracing::debug!(upstream = shared.base.name(), refused, "a listen stream ended");
                    if refused {
                        let _ = wishes.changed().await;
                        continue;
                    }
                    tokio::time::sleep(pauses.pause(chance())).await;
                    running.changes.anything();
                }
                changed = wishes.changed() => if changed.is_err() { std::future::pending().await },
            }
        }
    }
}

/// Ends a child that another has replaced, when nobody waits for it any more or after a while.
async fn retire(running: Running, stop: CancellationToken, step: Duration) {
    let unused = tokio::time::timeout(REPLACE_WAIT, running.pipe.unused());
    let _ = stop.run_until_cancelled(unused).await;
    running.end("its child was replaced", step).await;
}
