//! The life of a node, from its configuration to its end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use erlmcp_raft::{ClusterSecret, Identity, PeerRoutes, Replica};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

use super::bind::Bound;
use super::error::NodeError;
use super::options;
use super::stop::{self, Signals};
use crate::admin::{Admin, AdminOptions, AdminToken, Readiness, StatusSource};
use crate::cli::Launch;
use crate::clock::Clock;
use crate::monitor::Recorder;

/// How often totals are noted for the rates.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the node until a signal ends it.
///
/// # Errors
/// [`NodeError`]: why it could not start, or could not go on.
pub fn run(launch: Launch) -> Result<(), NodeError> {
    let config = &launch.config;
    let control = runtime("control", config.sections.runtime.control_threads, &launch)?;
    let data = runtime("data", options::worker_threads(config), &launch)?;
    let bound = Bound::bind(config)?;
    data.block_on(live(launch, bound, control.handle()))
}

fn runtime(name: &'static str, threads: usize, launch: &Launch) -> Result<Runtime, NodeError> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(launch.config.sections.runtime.blocking_threads)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|source| NodeError::System { what: "start threads", source })
}
