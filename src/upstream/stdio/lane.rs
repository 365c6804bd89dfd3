//! One shared child, kept running: started, read, watched, ended, started again after a pause.

use std::sync::Arc;
use std::time::Duration;

use crate::mcp::{Era, ListKind};
use crate::upstream::backoff::{Backoff, chance};
use crate::upstream::collect::collect;
use crate::upstream::health::State;
use crate::upstream::hello;
use crate::upstream::seats::Seat;
use crate::upstream::stock::{KINDS, Lists};

use super::running::{PipeAsker, Running};
use super::shared::Shared;

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
        let mut backoff = Backoff::new(options.restart_min_ms, options.restart_max_ms);
        loop {
            let opened = tokio::select! {
                opened = self.open(&shared) => opened,
                () = shared.stop.cancelled() => return pulse.set(State::Stopped),
            };
            let why = match opened {
                Ok(running) => {
                    pulse.set(State::Ready);
                    let why = self.watch(&shared, &running, &mut backoff).await;
                    self.shut(&shared, why);
                    let why = running.end(why, step).await;
                    self.shut(&shared, &why);
                    why
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
            self.shut(&shared, &why);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shared.stop.cancelled() => return pulse.set(State::Stopped),
            }
            pulse.restarting();
        }
    }

    fn shut(&self, shared: &Shared, why: &str) {
        for era in &self.eras {
            shared.seats.set(*era, Seat::Shut(format!("it is down: {why}").into()));
        }
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
        for era in &self.eras {
            shared.seats.set(*era, Seat::Open(running.pipe.clone()));
        }
        Ok(running)
    }

    async fn start(&self, shared: &Shared) -> Result<Running, String> {
        let within = Duration::from_millis(shared.base.options.start_timeout_ms);
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
        let within = Duration::from_millis(base.options.start_timeout_ms);
        for era in &self.eras {
            let Some(greeting) = running.greeting(*era) else { continue };
            let asker = PipeAsker { pipe: &running.pipe, era: *era, within };
            let newest = base.stock.newest(*era);
            let mut lists: Lists = KINDS.map(|kind| newest.list(kind).items.clone());
            collect(&asker, greeting, &base.options.tools, kinds, &mut lists).await?;
            base.stock.publish(*era, greeting, &lists, announced);
        }
        Ok(())
    }

    /// Until the child ends or the node stops; says why.
    async fn watch(&self, shared: &Shared, running: &Running, backoff: &mut Backoff) -> &'static str {
        let healthy = tokio::time::sleep(Duration::from_millis(shared.base.options.healthy_after_ms));
        tokio::pin!(healthy);
        let listening = self.listen(shared, running);
        tokio::pin!(listening);
        loop {
            tokio::select! {
                () = running.over() => return "its process ended",
                () = shared.stop.cancelled() => return "the node is stopping",
                () = &mut healthy, if !healthy.is_elapsed() => backoff.reset(),
                kinds = running.changes.next() => self.refresh(shared, running, &kinds).await,
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
                    tracing::debug!(upstream = shared.base.name(), refused, "a listen stream of an upstream ended");
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
