//! The life of a node, from its configuration to its end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use erlmcp_raft::{ClusterSecret, Identity, PeerRoutes, Replica};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bind::Bound;
use super::error::NodeError;
use super::stop::{self, Signals};
use super::{limits, options, upstreams};
use crate::admin::{Admin, AdminOptions, AdminToken, Readiness, StatusSource};
use crate::cli::Launch;
use crate::clock::Clock;
use crate::monitor::Recorder;
use crate::router::Router;
use crate::transport::{Edge, EdgeOptions, listener};

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
    if !Identity::exists(&config.node_dir) {
        return Err(NodeError::NotInitialised { dir: config.node_dir.clone(), node_id: config.node_id });
    }
    let identity = Identity::open(&config.node_dir)?;
    let token = AdminToken::open(&config.admin_token_file)?;
    let secret = ClusterSecret::open(&config.secret_file, false)?;
    let options = options::replica(&launch, identity, secret, bound.peer, PeerRoutes::default());
    let replica = on(control, Replica::start(options)).await??;
    let stop = CancellationToken::new();
    let recorder = Arc::new(Recorder::default());
    let upstreams = Arc::new(upstreams::start(config)?);
    let health = upstreams.clone();
    let readiness = Readiness::new(options::lease_ms(config));
    let source = Arc::new(StatusSource {
        replica: replica.handle(),
        recorder: recorder.clone(),
        rates: Mutex::default(),
        readiness: readiness.clone(),
        clock,
        cluster_name: config.sections.cluster.name.clone(),
        http_address: options::advertised_http(config),
        peer_address: config.peer_advertise.clone(),
        connections_max: options::connections_max(&launch),
        started_unix_ms: clock.unix_ms(),
        started_ms: clock.monotonic_ms(),
        upstreams: Box::new(move || serde_json::to_value(health.health()).unwrap_or_default()),
    });
    let router = Router::start(upstreams.providers(), 0, options::naming(config), &stop);
    let limits = limits::edge(&launch);
    let edge = Edge::new(EdgeOptions {
        router,
        recorder: recorder.clone(),
        server_info: options::server_info(),
        node_id: config.node_id,
        limits: limits.clone(),
        allowed_hosts: config.sections.http.allowed_hosts.clone(),
        allowed_origins: config.sections.http.allowed_origins.clone(),
        clock,
        stop: stop.clone(),
    });
    let routes = edge.routes().merge(Admin::routes(AdminOptions { source: source.clone(), token }));
    let mut tasks = JoinSet::new();
    tasks.spawn(sample(source, stop.clone()));
    let serving_stop = stop.clone();
    tasks.spawn(async move {
        let served = listener::serve(bound.http, routes, &limits, recorder, serving_stop).await;
        if let Err(error) = served {
            tracing::error!(%error, "cannot serve HTTP");
        }
    });
    tracing::info!(node = config.node_id, http = %config.http_listen, peers = %config.peer_listen, "started");
    let outcome = stop::wait(&mut signals, replica.fatal()).await;
    readiness.stop();
    stop.cancel();
    tokio::select! {
        () = finish(&mut tasks) => {}
        name = signals.next() => tracing::warn!(signal = name, "stopping at once"),
    }
    upstreams.stop().await;
    on(control, replica.stop()).await??;
    outcome.map(|_| ())
}

async fn finish(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
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
