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

async fn live(launch: Launch, bound: Bound, control: &Handle) -> Result<(), NodeError> {
    let clock = Clock::new();
    let config = &launch.config;
    let mut signals = Signals::take()?;
    let token = AdminToken::open(&config.admin_token_file)?;
    let identity = Identity::open(&config.node_dir)?;
    let secret = ClusterSecret::open(&config.secret_file, false)?;
    let options = options::replica(&launch, identity, secret, bound.peer, PeerRoutes::default());
    let replica = on(control, Replica::start(options)).await??;
    let stop = CancellationToken::new();
    let readiness = Readiness::new(options::lease_ms(config));
    let source = Arc::new(StatusSource {
        replica: replica.handle(),
        recorder: Arc::new(Recorder::default()),
        rates: Mutex::default(),
        readiness: readiness.clone(),
        clock,
        cluster_name: config.sections.cluster.name.clone(),
        http_address: options::advertised_http(config),
        peer_address: config.peer_advertise.clone(),
        connections_max: options::connections_max(&launch),
        started_unix_ms: clock.unix_ms(),
        started_ms: clock.monotonic_ms(),
        upstreams: Box::new(|| serde_json::Value::Null),
    });
    let sampling = tokio::spawn(sample(source.clone(), stop.clone()));
    let routes = Admin::routes(AdminOptions { source, token });
    let listener = tokio::net::TcpListener::from_std(bound.http)
        .map_err(|source| NodeError::System { what: "take the HTTP port", source })?;
    let ended = stop.clone();
    let serving = tokio::spawn(async move {
        let _ = axum::serve(listener, routes)
            .with_graceful_shutdown(async move { ended.cancelled().await })
            .await;
    });
    let outcome = stop::wait(&mut signals, replica.fatal(), std::future::pending()).await;
    readiness.stop();
    stop.cancel();
    let _ = serving.await;
    let _ = sampling.await;
    on(control, replica.stop()).await??;
    outcome.map(|_| ())
}

async fn on<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, NodeError> {
    let joined = runtime.spawn(work).await;
    joined.map_err(|error| NodeError::System {
        what: "run on the control threads",
        source: std::io::Error::other(error),
    })
}

async fn sample(source: Arc<StatusSource>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => source.sample(),
            () = stop.cancelled() => return,
        }
    }
}
