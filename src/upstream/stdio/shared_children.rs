//! Children that all clients of one upstream share: which eras they speak, and how they are started.
//!
//! Probed once after the node's start: one child speaks both eras on its connection, or each era gets a child
//! of its own, or there is one era only. Each child is then kept running, with growing pauses between starts
//! that fail.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::mcp::Era;
use crate::upstream::availability::{Availability, EraAvailability};
use crate::upstream::backoff::{Backoff, jitter};
use crate::upstream::handshake;
use crate::upstream::health::State;
use crate::upstream::list_changes::ListChanges;
use crate::upstream::options::{EraSupport, START_TIMEOUT};
use crate::upstream::upstream_state::UpstreamState;

use super::child::Spawner;
use super::child_client::ChildClient;
use super::connection::StdioConnection;
use super::shared_clients::{SharedClients, SharedSink};
use super::supervisor::Supervisor;

/// The shared children of one upstream.
pub(super) struct SharedChildren {
    pub(super) state: Arc<UpstreamState>,
    pub(super) spawner: Arc<Spawner>,
    pub(super) clients: Arc<SharedClients>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) availability: EraAvailability<Arc<StdioConnection>>,
    legacy_changes: Mutex<Option<Arc<ListChanges>>>,
}

impl SharedChildren {
    pub(super) fn new(
        state: Arc<UpstreamState>,
        spawner: Arc<Spawner>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Arc<SharedChildren> {
        let clients = Arc::new(SharedClients::new(state.clone()));
        let availability = EraAvailability::new();
        Arc::new(SharedChildren {
            state,
            spawner,
            clients,
            stop,
            tasks,
            availability,
            legacy_changes: Mutex::default(),
        })
    }

    /// The legacy lists are those of the child that notes its changes in `changes`.
    pub(super) fn note_legacy(&self, changes: Arc<ListChanges>) {
        *self.legacy_changes.lock() = Some(changes);
    }

    /// A child of one session announces a change of its lists: those of the shared child are read again.
    pub(super) fn on_list_changed(&self, method: &str) {
        if let Some(changes) = &*self.legacy_changes.lock() {
            changes.note_announced(method);
        }
    }

    /// Process ids of the children that run.
    pub(super) fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = [Era::Modern, Era::Legacy]
            .iter()
            .filter_map(|era| self.availability.now(*era))
            .map(|p| p.pid())
            .collect();
        pids.dedup();
        pids
    }

    /// Finds out what the upstream speaks, then keeps its children running until the node stops.
    pub(super) async fn supervise(self: Arc<SharedChildren>) {
        let health_cell = self.state.health_cell();
        let options = &self.state.options;
        let mut backoff = Backoff::new(options.upstream.restart_min_ms, options.upstream.restart_max_ms);
        loop {
            let probed = tokio::select! {
                probed = self.probe() => probed,
                () = self.stop.cancelled() => return health_cell.set(State::Stopped),
            };
            let why = match probed {
                Ok(supervisors) => {
                    health_cell.set(State::Stopped);
                    return self.start_supervisors(supervisors);
                }
                Err(why) => why,
            };
            let pause = backoff.pause(jitter());
            tracing::warn!(
                upstream = self.state.name(),
                why,
                pause_ms = pause.as_millis(),
                "an upstream does not start"
            );
            health_cell.failed(&why);
            self.availability.set_unavailable(&format!("it does not start: {why}"));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return health_cell.set(State::Stopped),
            }
            health_cell.restarting();
        }
    }

    fn start_supervisors(self: Arc<SharedChildren>, supervisors: Vec<Supervisor>) {
        for era in [Era::Modern, Era::Legacy] {
            if !supervisors.iter().any(|supervisor| supervisor.eras.contains(&era)) {
                self.state.catalogs.unspoken(era);
                self.availability
                    .set(era, Availability::Unavailable(format!("it does not speak the {era:?} era").into()));
            } else {
                self.availability.set(era, Availability::Starting);
            }
        }
        for supervisor in supervisors {
            let tasks = self.tasks.clone();
            tasks.spawn(supervisor.run(self.clone()));
        }
    }

    pub(super) async fn start(&self) -> Result<ChildClient, String> {
        let changes = Arc::new(ListChanges::default());
        let ear = Arc::new(SharedSink { clients: self.clients.clone(), changes: changes.clone() });
        ChildClient::start(&self.state, &self.spawner, changes, ear).await
    }

    /// Which children to keep, with the first of them started where the probe left it useful.
    async fn probe(&self) -> Result<Vec<Supervisor>, String> {
        let within = START_TIMEOUT;
        let mut running = self.start().await?;
        let era_support = self.state.options.era_support;
        let modern = match era_support {
            EraSupport::Legacy => Err("not tried".to_owned()),
            EraSupport::Both | EraSupport::Modern => running.discover(within).await,
        };
        if era_support == EraSupport::Modern {
            modern.map_err(|why| running.connection.over().map_or(why, |over| over.to_string()))?;
            return Ok(vec![Supervisor::new(&[Era::Modern], Some(running))]);
        }
        let hello = handshake::initialize_for_all();
        let mut legacy = running.initialize(&hello, within).await;
        if modern.is_err() && matches!(legacy, Err((true, _))) {
            // The answer to the probe came too late for us, but it made the child modern.
            running.discover(within).await?;
        }
        if running.modern.is_some() {
            // One connection for both only if both still work on it.
            if legacy.is_ok() && running.discover(within).await.is_ok() {
                return Ok(vec![Supervisor::new(&[Era::Modern, Era::Legacy], Some(running))]);
            }
            return self.probe_apart(running, within).await;
        }
        if legacy.is_err() {
            // Some servers end at a first message that they do not know.
            running = self.start().await?;
            legacy = running.initialize(&hello, within).await;
        }
        legacy.map_err(|(_, why)| why)?;
        Ok(vec![Supervisor::new(&[Era::Legacy], Some(running))])
    }

    /// A child that was discovered, and one of its own for the other era if that works.
    async fn probe_apart(
        &self,
        mut modern: ChildClient,
        within: Duration,
    ) -> Result<Vec<Supervisor>, String> {
        if modern.legacy.is_some() {
            modern = self.start().await?;
            modern.discover(within).await?;
        }
        let mut supervisors = vec![Supervisor::new(&[Era::Modern], Some(modern))];
        let mut legacy = self.start().await?;
        if legacy.initialize(&handshake::initialize_for_all(), within).await.is_ok() {
            supervisors.push(Supervisor::new(&[Era::Legacy], Some(legacy)));
        }
        Ok(supervisors)
    }
}
