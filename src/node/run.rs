//! The life of a node, from its configuration to its end.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use erlmcp_quota::Settings;
use erlmcp_raft::{ClusterSecret, Identity, PeerRoutes, Replica};
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bind::Bound;
use super::drain;
use super::error::NodeError;
use super::stop::{self, Signals};
use super::{options, upstreams};
use crate::admin::{Admin, AdminOptions, AdminToken, Readiness, StatusSource, node_tools};
use crate::admission::Gate;
use crate::cli::Launch;
use crate::clock::Clock;
use crate::config::ServiceConfig;
use crate::exchange::LISTENERS_MAX;
use crate::mcp::{Provider, SealKey};
use crate::monitor::Recorder;
use crate::quota::{SavedSession, ShareKeeper, ShareOptions};
use crate::router::{Router, TaskKey};
use crate::transport::{Ending, HttpService, HttpServiceOptions, listener};
use crate::upstream::Upstreams;

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
    let bound = {
        let _inside = data.enter();
        Bound::bind(config)?
    };
    data.block_on(run_node(launch, bound, control.handle()))
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

async fn run_node(launch: Launch, bound: Bound, control: &Handle) -> Result<(), NodeError> {
    let mut signals = Signals::take()?;
    let config = &launch.config;
    let (identity, secret) = load_identity(&launch)?;
    let token = AdminToken::open(&config.admin_token_file)?;
    let seal = SealKey::derive(&secret.derive("request state"), "request state");
    let task_key = TaskKey::derive(&secret.derive("task ids"));
    let me = options::quota_identity(&launch, &identity);
    let options = options::replica(&launch, identity, secret, bound.peer, PeerRoutes::default());
    let replica = spawn_on(control, Replica::start(options)).await??;
    let files = options::files(&launch);
    let upstreams = Arc::new(upstreams::start(config, &files)?);
    let ending = Ending::default();
    let readiness = Readiness::new(options::lease_ms(config), ending.state.clone());
    let service = Arc::new(options::service(&launch, &files));
    // The data directory is locked by now.
    let saved = SavedSession::new(&config.node_dir, me.incarnation);
    let ceiling = service.http.connections_max;
    let gate = Gate::new(Settings { identity: me, saved: saved.read(), ceiling }, Clock::new());
    let share = ShareKeeper::default();
    control.spawn(share.run(ShareOptions {
        gate: gate.clone(),
        replica: replica.handle(),
        identity: me,
        saved,
        drain: ending.state.clone(),
        configured: options::limits(config),
    }));
    let source = status_source(&launch, gate, &replica, readiness, upstreams.clone());
    let source = Arc::new(source);
    let mut tasks = JoinSet::new();
    tasks.spawn(sample(source.clone(), ending.drain.clone()));
    let following = drain::follow(config.node_id, replica.handle().view(), ending.state.clone());
    tasks.spawn(ending.drain.clone().run_until_cancelled_owned(following).map(|_| ()));
    serve(
        &launch,
        bound.http,
        &mut tasks,
        &ending,
        Parts { service, source, upstreams: upstreams.clone(), token, seal, task_key },
    );
    tracing::info!(node = config.node_id, http = %config.http_listen, peers = %config.peer_listen, "started");

    let outcome = stop::wait(&mut signals, replica.fatal()).await;
    ending.state.stop();
    let in_order = async {
        if let Ok(signal) = &outcome {
            tracing::info!(signal, "stopping; the same again stops at once");
            tokio::time::sleep(Duration::from_millis(config.sections.drain.notice_ms)).await;
        }
        ending.drain.cancel();
        share.stop();
        ending.drained.cancelled().await;
        // Only now, when no connection is open.
        tokio::join!(upstreams.stop(), share.given_back());
    };
    tokio::select! {
        () = in_order => {
            spawn_on(control, replica.stop()).await??;
            // Last of all: until then balancers and orchestrators are answered.
            ending.close.cancel();
            while tasks.join_next().await.is_some() {}
        }
        signal = signals.next() => {
            tracing::warn!(signal, "stopping at once");
            spawn_on(control, replica.stop_at_once()).await??;
        }
    }
    outcome.map(|_| ())
}

/// Service for clients and operators.
struct Parts {
    service: Arc<ServiceConfig>,
    source: Arc<StatusSource>,
    upstreams: Arc<Upstreams>,
    token: AdminToken,
    seal: SealKey,
    task_key: TaskKey,
}

/// Puts providers, router, edge and admin surface together behind the HTTP port.
fn serve(launch: &Launch, http: TcpListener, tasks: &mut JoinSet<()>, ending: &Ending, parts: Parts) {
    let config = &launch.config;
    let behind = parts.upstreams.providers();
    let own = node_tools(&parts.source, Arc::new(parts.seal), !behind.is_empty());
    let mut providers: Vec<Arc<dyn Provider>> = vec![Arc::new(own)];
    providers.extend(behind);
    let (recorder, gate) = (parts.source.recorder.clone(), parts.source.gate.clone());
    let edge = HttpService::new(HttpServiceOptions {
        router: Router::start(providers, 1, options::naming(config), parts.task_key, &ending.drain),
        recorder: recorder.clone(),
        server_info: options::server_info(),
        node_id: config.node_id,
        config: parts.service.clone(),
        listeners_max: LISTENERS_MAX,
        address: config.http_listen,
        clock: parts.source.clock,
        drain: ending.state.clone(),
        stop: ending.drain.clone(),
    });
    let (guarding, service) = (edge.clone(), parts.service);
    let admin = Admin::routes(AdminOptions {
        source: parts.source,
        token: parts.token,
        is_own: Box::new(move |uri, headers| guarding.host_check().check(uri, headers).is_ok()),
    });
    let routes = edge.routes().merge(admin);
    let ending = ending.clone();
    tasks.spawn(async move {
        if let Err(error) = listener::serve(http, routes, &service, gate, recorder, ending).await {
            tracing::error!(%error, "cannot serve HTTP");
        }
    });
}

/// The identity of the data directory and the secret of the cluster.
fn load_identity(launch: &Launch) -> Result<(Identity, ClusterSecret), NodeError> {
    let config = &launch.config;
    if !Identity::exists(&config.node_dir) {
        return Err(NodeError::NotInitialised { dir: config.node_dir.clone(), node_id: config.node_id });
    }
    let identity = Identity::open(&config.node_dir)?;
    if identity.node_id != config.node_id {
        return Err(erlmcp_raft::RaftError::OtherIdentity {
            dir: config.node_dir.clone(),
            found: format!("node {}", identity.node_id),
            wanted: format!("node {}", config.node_id),
        }
        .into());
    }
    Ok((identity, ClusterSecret::open(&config.secret_file, false)?))
}

fn status_source(
    launch: &Launch,
    gate: Gate,
    replica: &Replica,
    readiness: Readiness,
    upstreams: Arc<Upstreams>,
) -> StatusSource {
    let (config, clock) = (&launch.config, Clock::new());
    StatusSource {
        replica: replica.handle(),
        recorder: Arc::new(Recorder::default()),
        rates: Mutex::default(),
        readiness,
        clock,
        cluster_name: config.sections.cluster.name.clone(),
        http_address: options::advertised_http(config),
        peer_address: config.peer_advertise.clone(),
        gate,
        started_unix_ms: clock.unix_ms(),
        started_ms: clock.monotonic_ms(),
        upstreams_wait_ms: config.sections.gateway.start_wait_ms,
        untried_upstreams: {
            let upstreams = upstreams.clone();
            Box::new(move || upstreams.untried())
        },
        upstreams: Box::new(move || serde_json::to_value(upstreams.health()).unwrap_or_default()),
    }
}

/// Runs what belongs to the group on its own threads, where no storm of clients delays it.
async fn spawn_on<T: Send + 'static>(
    control: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, NodeError> {
    let failed = |error| NodeError::System {
        what: "run on the control threads",
        source: std::io::Error::other(error),
    };
    control.spawn(work).await.map_err(failed)
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
