//! Supervision of one shared child: started, its lists read, watched, ended, started again after a pause.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::mcp::{Era, ListKind};
use crate::upstream::availability::Availability;
use crate::upstream::backoff::{Backoff, jitter};
use crate::upstream::catalog_store::{KINDS, Lists};
use crate::upstream::handshake;
use crate::upstream::health::State;
use crate::upstream::list_reader::collect;
use crate::upstream::options::{HEALTHY_AFTER, START_TIMEOUT};

use super::child_client::{ChildClient, StdioRpcClient};
use super::connection::StdioConnection;
use super::shared_children::SharedChildren;

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
pub(super) struct Supervisor {
    pub(super) eras: Vec<Era>,
    first: Option<ChildClient>,
}

impl Supervisor {
    /// Supervises a child for `eras`; `first` is one with these handshakes made already.
    pub(super) fn new(eras: &[Era], first: Option<ChildClient>) -> Supervisor {
        Supervisor { eras: eras.to_vec(), first }
    }

    /// Keeps the child running until the node stops.
    pub(super) async fn run(mut self, shared: Arc<SharedChildren>) {
        let health_cell = shared.state.health_cell();
        let options = &shared.state.options;
        let step = Duration::from_millis(options.stop_step_ms);
        let mut backoff = Backoff::new(options.upstream.restart_min_ms, options.upstream.restart_max_ms);
        let mut retiring: Option<ChildClient> = None;
        loop {
            let opened = tokio::select! {
                opened = self.open(&shared) => opened,
                () = shared.stop.cancelled() => return health_cell.set(State::Stopped),
            };
            if let Some(old) = retiring.take() {
                shared.tasks.spawn(retire(old, shared.stop.clone(), step));
            }
            let why = match opened {
                Ok(running) => {
                    health_cell.set(State::Ready);
                    match self.watch(&shared, &running, &mut backoff).await {
                        End::Idle => {
                            health_cell.set(State::Asleep);
                            running.end("nobody used it", step).await;
                            self.sleep(&shared).await;
                            health_cell.set(State::Starting);
                            continue;
                        }
                        End::Worn => {
                            tracing::warn!(
                                upstream = shared.state.name(),
                                pid = running.connection.pid(),
                                "an upstream has left too many requests unanswered that were given up; its \
                                 child is replaced"
                            );
                            // It serves until the next one does.
                            retiring = Some(running);
                            continue;
                        }
                        End::Over(why) => {
                            self.set_availability(
                                &shared,
                                &Availability::Unavailable(format!("it is down: {why}").into()),
                            );
                            running.end(why, step).await
                        }
                    }
                }
                Err(why) => why,
            };
            if shared.stop.is_cancelled() {
                return health_cell.set(State::Stopped);
            }
            let pause = backoff.pause(jitter());
            tracing::warn!(
                upstream = shared.state.name(),
                why,
                pause_ms = pause.as_millis(),
                "an upstream is down"
            );
            health_cell.failed(&why);
            self.set_availability(&shared, &Availability::Unavailable(format!("it is down: {why}").into()));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shared.stop.cancelled() => return health_cell.set(State::Stopped),
            }
            health_cell.restarting();
        }
    }

    fn set_availability(&self, shared: &SharedChildren, availability: &Availability<Arc<StdioConnection>>) {
        for era in &self.eras {
            shared.availability.set(*era, availability.clone());
        }
    }

    /// Until somebody wants it, or the node stops.
    async fn sleep(&self, shared: &SharedChildren) {
        tokio::select! {
            () = shared.availability.wanted(&self.eras) => {
                self.set_availability(shared, &Availability::Starting);
            }
            () = shared.stop.cancelled() => {}
        }
    }

    /// Resolves when nobody has used the child for long enough, when its eras are set idle.
    async fn idle(&self, shared: &SharedChildren, connection: &Arc<StdioConnection>) {
        const STEPS: u32 = 4;
        let step = Duration::from_secs(shared.state.options.upstream.idle_s) / STEPS;
        let (mut quiet, mut calls) = (0, 0);
        while quiet < STEPS || !self.fall_asleep(shared, connection) {
            tokio::time::sleep(step).await;
            let now = shared.state.counts.calls.load(Ordering::Relaxed);
            let is_used = now != calls || shared.state.running() > 0 || shared.clients.is_subscribed();
            calls = now;
            quiet = if is_used { 0 } else { quiet + 1 };
        }
    }

    /// False if somebody came while it fell asleep.
    fn fall_asleep(&self, shared: &SharedChildren, connection: &Arc<StdioConnection>) -> bool {
        self.set_availability(shared, &Availability::Idle);
        // Who found it ready before the line above runs now, and is counted.
        let is_idle = shared.state.running() == 0;
        if !is_idle {
            self.set_availability(shared, &Availability::Ready(connection.clone()));
        }
        is_idle
    }

    /// Starts the child, makes the handshakes, reads the lists, and lets clients in.
    async fn open(&mut self, shared: &SharedChildren) -> Result<ChildClient, String> {
        let running = match self.first.take() {
            Some(running) => running,
            None => self.start(shared).await?,
        };
        let all = self.read_lists(shared, &running, &KINDS, &[]).await;
        if let Err(why) = all {
            let over = running.connection.over().map_or(why, |over| over.to_string());
            running.connection.close(&over);
            return Err(over);
        }
        if self.eras.contains(&Era::Legacy) {
            shared.note_legacy(running.changes.clone());
            shared.clients.restore(&running.connection);
        }
        self.set_availability(shared, &Availability::Ready(running.connection.clone()));
        Ok(running)
    }

    async fn start(&self, shared: &SharedChildren) -> Result<ChildClient, String> {
        let within = START_TIMEOUT;
        let mut running = shared.start().await?;
        let mut made = Ok(());
        if self.eras.contains(&Era::Modern) {
            made = running.discover(within).await;
        }
        if made.is_ok() && self.eras.contains(&Era::Legacy) {
            made = running.initialize(&handshake::initialize_for_all(), within).await.map_err(|(_, why)| why);
        }
        match made {
            Ok(()) => Ok(running),
            Err(why) => {
                let why = running.connection.over().map_or(why, |over| over.to_string());
                running.connection.close(&why);
                Err(why)
            }
        }
    }

    async fn read_lists(
        &self,
        shared: &SharedChildren,
        running: &ChildClient,
        kinds: &[ListKind],
        announced: &[ListKind],
    ) -> Result<(), String> {
        let state = &shared.state;
        let within = START_TIMEOUT;
        for era in &self.eras {
            let Some(description) = running.description(*era) else { continue };
            let rpc = StdioRpcClient { connection: &running.connection, era: *era, within };
            let newest = state.catalogs.newest(*era);
            let mut lists: Lists = KINDS.map(|kind| newest.list(kind).items.clone());
            collect(&rpc, description, &state.options, kinds, &mut lists).await?;
            state.catalogs.publish(*era, description, &lists, announced);
        }
        Ok(())
    }

    /// Until the child ends or the node stops; says why.
    async fn watch(&self, shared: &SharedChildren, running: &ChildClient, backoff: &mut Backoff) -> End {
        let healthy = tokio::time::sleep(HEALTHY_AFTER);
        tokio::pin!(healthy);
        let listening = self.listen(shared, running);
        let idle = self.idle(shared, &running.connection);
        tokio::pin!(listening, idle);
        loop {
            tokio::select! {
                () = running.over() => return End::Over("its process ended"),
                () = shared.stop.cancelled() => return End::Over("the node is stopping"),
                () = &mut healthy, if !healthy.is_elapsed() => backoff.reset(),
                kinds = running.changes.next() => self.refresh(shared, running, &kinds).await,
                () = &mut idle => return End::Idle,
                () = running.connection.worn().cancelled() => return End::Worn,
                () = &mut listening => unreachable!("listening has no end"),
            }
        }
    }

    async fn refresh(&self, shared: &SharedChildren, running: &ChildClient, kinds: &[ListKind]) {
        tokio::select! {
            read = self.read_lists(shared, running, kinds, kinds) => if let Err(why) = read {
                tracing::warn!(upstream = shared.state.name(), why, "lists of an upstream cannot be read");
            },
            () = running.over() => {}
            () = shared.stop.cancelled() => {}
        }
    }

    /// Holds one `subscriptions/listen` while there is something to listen for. Never ends.
    async fn listen(&self, shared: &SharedChildren, running: &ChildClient) {
        let mut subscriptions = shared.clients.subscriptions.watch();
        let mut pauses = Backoff::new(1_000, 60_000);
        loop {
            let uris: Vec<String> = subscriptions.borrow_and_update().keys().cloned().collect();
            let params =
                running.modern.as_ref().and_then(|description| handshake::listen_params(description, &uris));
            let Some(params) = params.filter(|_| self.eras.contains(&Era::Modern)) else {
                let _ = subscriptions.changed().await;
                continue;
            };
            tokio::select! {
                refused = running.connection.listen(&params) => {
                    tracing::debug!(upstream = shared.state.name(), refused, "a listen stream ended");
                    if refused {
                        let _ = subscriptions.changed().await;
                        continue;
                    }
                    tokio::time::sleep(pauses.pause(jitter())).await;
                    running.changes.anything();
                }
                changed = subscriptions.changed() => if changed.is_err() { std::future::pending().await },
            }
        }
    }
}

/// Ends a child that another has replaced, when nobody waits for it any more or after a while.
async fn retire(running: ChildClient, stop: CancellationToken, step: Duration) {
    let unused = tokio::time::timeout(REPLACE_WAIT, running.connection.unused());
    let _ = stop.run_until_cancelled(unused).await;
    running.end("its child was replaced", step).await;
}
