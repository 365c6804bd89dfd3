//! All upstreams of the node: started together, asked for their health, ended together.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::mcp::Provider;

use super::health::Health;
use super::http::HttpProvider;
use super::options::UpstreamOptions;
use super::stdio::StdioProvider;
use super::stdio::child::Spawner;
use super::upstream_state::UpstreamState;

/// Steps of an orderly end (see [`UpstreamOptions::stop_step_ms`]) that an upstream may take one after the
/// other.
const STOP_STEPS_MAX: u64 = 5;

/// What upstreams need of the node.
#[derive(Clone, Debug)]
pub struct UpstreamDeps {
    /// Program (and arguments) to which `upstream-exec PARENT -- command` is appended to start a child that
    /// dies with the node; `None` starts commands directly.
    pub launcher: Option<Vec<OsString>>,
    /// Unix time in milliseconds, for health only.
    pub now_unix_ms: fn() -> u64,
}

/// Why upstreams cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// An option is wrong.
    #[error("{0}")]
    Option(String),
    /// Two have the same name.
    #[error("two upstreams are named {0:?}")]
    Twice(String),
    /// The thread that starts children.
    #[error("cannot start the thread that starts upstreams: {0}")]
    Thread(#[from] std::io::Error),
}

enum Upstream {
    Stdio(Arc<StdioProvider>),
    Http(Arc<HttpProvider>),
}

/// All upstreams.
pub struct Upstreams {
    all: Vec<Upstream>,
    stop: CancellationToken,
    tasks: TaskTracker,
    stop_max: Duration,
}

impl Upstreams {
    /// Starts all of them without waiting for any: what they offer appears in their catalogs. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`UpstreamError`]; nothing was started then.
    pub fn start(options: Vec<UpstreamOptions>, deps: &UpstreamDeps) -> Result<Upstreams, UpstreamError> {
        for (at, one) in options.iter().enumerate() {
            one.check().map_err(UpstreamError::Option)?;
            if options[..at].iter().any(|other| other.upstream.name == one.upstream.name) {
                return Err(UpstreamError::Twice(one.upstream.name.clone()));
            }
        }
        let step_ms = options.iter().map(|one| one.stop_step_ms).max().unwrap_or_default();
        let stop_max = Duration::from_millis(STOP_STEPS_MAX.saturating_mul(step_ms).saturating_add(1_000));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let spawner = Spawner::start(deps.launcher.clone())?;
        let start = |options: UpstreamOptions| {
            let state = Arc::new(UpstreamState::new(options, deps.now_unix_ms));
            let (stop, tasks) = (stop.clone(), tasks.clone());
            match state.options.upstream.url {
                None => Upstream::Stdio(StdioProvider::start(state, spawner.clone(), stop, tasks)),
                Some(_) => Upstream::Http(HttpProvider::start(state, stop, tasks)),
            }
        };
        let all = options.into_iter().map(start).collect();
        Ok(Upstreams { all, stop: stop.clone(), tasks: tasks.clone(), stop_max })
    }

    /// All of them, in their order.
    #[must_use]
    pub fn providers(&self) -> Vec<Arc<dyn Provider>> {
        let provider = |upstream: &Upstream| -> Arc<dyn Provider> {
            match upstream {
                Upstream::Stdio(stdio) => stdio.clone(),
                Upstream::Http(http) => http.clone(),
            }
        };
        self.all.iter().map(provider).collect()
    }

    /// How each is doing.
    #[must_use]
    pub fn health(&self) -> Vec<Health> {
        let health = |upstream: &Upstream| match upstream {
            Upstream::Stdio(stdio) => stdio.health(),
            Upstream::Http(http) => http.health(),
        };
        self.all.iter().map(health).collect()
    }

    /// The names of those whose first start is not over.
    #[must_use]
    pub fn untried(&self) -> Vec<String> {
        let state = |upstream: &Upstream| match upstream {
            Upstream::Stdio(stdio) => stdio.state().clone(),
            Upstream::Http(http) => http.state().clone(),
        };
        let bases = self.all.iter().map(state);
        bases.filter(|state| !state.has_been_tried()).map(|state| state.name().to_owned()).collect()
    }

    /// Ends all of them in bounded time: children and their groups are gone, sessions ended.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(self.stop_max, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "upstreams have not ended in time; they are killed");
        }
    }
}

impl Drop for Upstreams {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
