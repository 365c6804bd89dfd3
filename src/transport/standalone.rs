//! One server over HTTP in this process alone, without a cluster: for examples, tests and tools that need no
//! more.
//!
//! It has no configuration and no credentials; bind it to loopback.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::service::{HttpService, HttpServiceOptions};
use super::{Ending, listener};
use crate::admission::Gate;
use crate::clock::Clock;
use crate::config::ServiceConfig;
use crate::exchange::LISTENERS_MAX;
use crate::mcp::Provider;
use crate::monitor::Recorder;
use crate::router::{Naming, Router, TaskKey};

/// Providers served at one address until this is stopped or dropped.
pub struct StandaloneServer {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

impl StandaloneServer {
    /// Serves `provider` at `address`, under the name and version in `server_info`. Port 0 takes any.
    ///
    /// # Errors
    /// The system's own, for instance that the address is in use.
    pub async fn start(
        provider: impl Provider,
        server_info: Box<RawValue>,
        address: SocketAddr,
    ) -> io::Result<StandaloneServer> {
        let listener = listener::bind(address, listener::BACKLOG)?;
        let address = listener.local_addr()?;
        let (stop, recorder, config) =
            (CancellationToken::new(), Arc::<Recorder>::default(), Arc::<ServiceConfig>::default());
        let ending = Ending::at_once(stop.clone());
        let service = HttpService::new(HttpServiceOptions {
            router: Router::start(vec![Arc::new(provider)], 1, Naming::Never, TaskKey::random(), &stop),
            recorder: recorder.clone(),
            server_info,
            node_id: 1,
            config: config.clone(),
            listeners_max: LISTENERS_MAX,
            address,
            clock: Clock::new(),
            drain: ending.state.clone(),
            stop: stop.clone(),
        });
        let routes = service.routes();
        let gate = Gate::alone(config.http.connections_max, Clock::new());
        let serving =
            tokio::spawn(
                async move { listener::serve(listener, routes, &config, gate, recorder, ending).await },
            );
        Ok(StandaloneServer { address, stop, serving })
    }

    /// Address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// URL that clients connect to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Lets running requests end, then returns.
    ///
    /// # Errors
    /// Why it could not serve.
    pub async fn stop(mut self) -> io::Result<()> {
        self.stop.cancel();
        (&mut self.serving).await.map_err(io::Error::other)?
    }
}

impl Drop for StandaloneServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
