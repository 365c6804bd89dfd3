//! The children that all clients of one upstream share: which eras they speak, their starts, ends and lists.
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
use crate::upstream::backoff::{Backoff, chance};
use crate::upstream::base::Base;
use crate::upstream::changes::Changes;
use crate::upstream::health::State;
use crate::upstream::hello;
use crate::upstream::options::{START_TIMEOUT, Speaks};
use crate::upstream::seats::{Seat, Seats};

use super::audience::{Audience, Ear};
use super::child::Spawner;
use super::lane::Lane;
use super::pipe::Pipe;
use super::running::Running;

/// The shared children of one upstream.
pub(super) struct Shared {
    pub(super) base: Arc<Base>,
    pub(super) spawner: Arc<Spawner>,
    pub(super) audience: Arc<Audience>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) seats: Seats<Arc<Pipe>>,
    legacy_changes: Mutex<Option<Arc<Changes>>>,
}

impl Shared {
    pub(super) fn new(
        base: Arc<Base>,
        spawner: Arc<Spawner>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Arc<Shared> {
        let audience = Arc::new(Audience::new(base.clone()));
        let seats = Seats::new();
        Arc::new(Shared { base, spawner, audience, stop, tasks, seats, legacy_changes: Mutex::default() })
    }

    /// The legacy lists are those of the child that notes its changes in `changes`.
    pub(super) fn note_legacy(&self, changes: Arc<Changes>) {
        *self.legacy_changes.lock() = Some(changes);
    }

    /// A child of one session announces a change of its lists: those of the shared child are read again.
    pub(super) fn heard_change(&self, method: &str) {
        if let Some(changes) = &*self.legacy_changes.lock() {
            changes.heard(method);
        }
    }

    /// Process ids of the children that run.
    pub(super) fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = [Era::Modern, Era::Legacy]
            .iter()
            .filter_map(|era| self.seats.now(*era))
            .map(|p| p.pid())
            .collect();
        pids.dedup();
        pids
    }

    /// Finds out what the upstream speaks, then keeps its children running until the node stops.
    pub(super) async fn keep(self: Arc<Shared>) {
        let pulse = self.base.pulse();
        let options = &self.base.options;
        let mut backoff = Backoff::new(options.upstream.restart_min_ms, options.upstream.restart_max_ms);
        loop {
            let probed = tokio::select! {
                probed = self.probe() => probed,
                () = self.stop.cancelled() => return pulse.set(State::Stopped),
            };
            let why = match probed {
                Ok(lanes) => {
                    pulse.set(State::Stopped);
                    return self.open_lanes(lanes);
                }
                Err(why) => why,
            };
            let pause = backoff.pause(chance());
            tracing::warn!(
                upstream = self.base.name(),
                why,
                pause_ms = pause.as_millis(),
                "an upstream does not start"
            );
            pulse.failed(&why);
            self.seats.shut(&format!("it does not start: {why}"));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return pulse.set(State::Stopped),
            }
            pulse.restarting();
        }
    }

    fn open_lanes(self: Arc<Shared>, lanes: Vec<Lane>) {
        for era in [Era::Modern, Era::Legacy] {
            if !lanes.iter().any(|lane| lane.eras.contains(&era)) {
                self.base.stock.unspoken(era);
                self.seats.set(era, Seat::Shut(format!("it does not speak the {era:?} era").into()));
            } else {
                self.seats.set(era, Seat::Waiting);
            }
        }
        for lane in lanes {
            let tasks = self.tasks.clone();
            tasks.spawn(lane.run(self.clone()));
        }
    }

    pub(super) async fn start(&self) -> Result<Running, String> {
        let changes = Arc::new(Changes::default());
        let ear = Arc::new(Ear { audience: self.audience.clone(), changes: changes.clone() });
        Running::start(&self.base, &self.spawner, changes, ear).await
    }

    /// Which children to keep, with the first of them started where the probe left it useful.
    async fn probe(&self) -> Result<Vec<Lane>, String> {
        let within = START_TIMEOUT;
        let mut running = self.start().await?;
        let speaks = self.base.options.speaks;
        let modern = match speaks {
            Speaks::Legacy => Err("not tried".to_owned()),
            Speaks::Both | Speaks::Modern => running.discover(within).await,
        };
        if speaks == Speaks::Modern {
            modern.map_err(|why| running.pipe.over().map_or(why, |over| over.to_string()))?;
            return Ok(vec![Lane::new(&[Era::Modern], Some(running))]);
        }
        let hello = hello::initialize_for_all();
        let mut legacy = running.initialize(&hello, within).await;
        if modern.is_err() && matches!(legacy, Err((true, _))) {
            // The answer to the probe came too late for us, but it made the child modern.
            running.discover(within).await?;
        }
        if running.modern.is_some() {
            // One connection for both only if both still work on it.
            if legacy.is_ok() && running.discover(within).await.is_ok() {
                return Ok(vec![Lane::new(&[Era::Modern, Era::Legacy], Some(running))]);
            }
            return self.probe_apart(running, within).await;
        }
        if legacy.is_err() {
            // Some servers end at a first message that they do not know.
            running = self.start().await?;
            legacy = running.initialize(&hello, within).await;
        }
        legacy.map_err(|(_, why)| why)?;
        Ok(vec![Lane::new(&[Era::Legacy], Some(running))])
    }

    /// A child that was discovered, and one of its own for the other era if that works.
    async fn probe_apart(&self, mut modern: Running, within: Duration) -> Result<Vec<Lane>, String> {
        if modern.legacy.is_some() {
            modern = self.start().await?;
            modern.discover(within).await?;
        }
        let mut lanes = vec![Lane::new(&[Era::Modern], Some(modern))];
        let mut legacy = self.start().await?;
        if legacy.initialize(&hello::initialize_for_all(), within).await.is_ok() {
            lanes.push(Lane::new(&[Era::Legacy], Some(legacy)));
        }
        Ok(lanes)
    }
}
