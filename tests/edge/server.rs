//! A running edge and what a test needs of it.

use std::net::SocketAddr;
use std::sync::Arc;

use erlmcp::admission::Gate;
use erlmcp::client_address::ClientAddress;
use erlmcp::clock::Clock;
use erlmcp::config::ServiceConfig;
use erlmcp::exchange::LISTENERS_MAX;
use erlmcp::mcp::{Provider, raw};
use erlmcp::monitor::Recorder;
use erlmcp::router::{Naming, Router, TaskKey};
use erlmcp::transport::{Ending, HttpService, HttpServiceOptions, listener};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;
use crate::wire::Wire;

/// One edge on its own port; it stops when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub edge: Arc<HttpService>,
    pub fake: Arc<Fake>,
    pub recorder: Arc<Recorder>,
    pub stop: CancellationToken,
    pub serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    pub async fn start() -> Server {
        Server::with(|_| {}).await
    }

    /// One of whose configuration the test changes something.
    pub async fn with(change: impl FnOnce(&mut ServiceConfig)) -> Server {
        Server::ending(change, Ending::at_once(CancellationToken::new())).await
    }

    /// One whose end is in the hands of the test.
    pub async fn ending(change: impl FnOnce(&mut ServiceConfig), ending: Ending) -> Server {
        Server::bounded(change, LISTENERS_MAX, ending).await
    }

    /// One that lets so many clients listen.
    pub async fn listening(listeners_max: usize) -> Server {
        Server::bounded(|_| {}, listeners_max, Ending::at_once(CancellationToken::new())).await
    }

    async fn bounded(
        change: impl FnOnce(&mut ServiceConfig),
        listeners_max: usize,
        ending: Ending,
    ) -> Server {
        let mut config = ServiceConfig::default();
        config.http.allowed_hosts = vec!["mcp.example.com".to_owned()];
        config.http.allowed_origins = vec!["https://app.example.com".to_owned()];
        change(&mut config);
        let config = Arc::new(config);
        let socket = listener::bind("127.0.0.1:0".parse().unwrap(), 64).unwrap();
        let address = socket.local_addr().unwrap();
        let fake = Fake::new();
        let stop = ending.drain.clone();
        let recorder = Arc::new(Recorder::default());
        let router = Router::start(
            vec![fake.clone() as Arc<dyn Provider>],
            1,
            Naming::OnConflict,
            TaskKey::random(),
            &stop,
        );
        let edge = HttpService::new(HttpServiceOptions {
            router,
            recorder: recorder.clone(),
            server_info: raw(&json!({ "name": "test", "version": "1" })),
            node_id: 7,
            config: config.clone(),
            listeners_max,
            address,
            clock: Clock::new(),
            drain: ending.state.clone(),
            stop: stop.clone(),
        });
        let (routes, counting) = (edge.routes().merge(about_the_node()), recorder.clone());
        let gate = Gate::alone(config.http.connections_max, Clock::new());
        let serving =
            tokio::spawn(
                async move { listener::serve(socket, routes, &config, gate, counting, ending).await },
            );
        Server { address, edge, fake, recorder, stop, serving }
    }

    pub async fn wire(&self) -> Wire {
        Wire::connect(self.address).await
    }

    /// Opens a legacy session and returns its id.
    pub async fn session(&self) -> String {
        self.session_of("2025-11-25").await
    }

    pub async fn session_of(&self, version: &str) -> String {
        let mut wire = self.wire().await;
        let answer = wire.post(&[], &initialize(version)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("mcp-session-id").unwrap().to_owned()
    }
}

/// Stands in for the routes of the operator.
fn about_the_node() -> axum::Router {
    use axum::Extension;
    use axum::routing::{get, post};
    axum::Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ready\n" }))
        .route(
            "/cluster/client",
            get(|Extension(client): Extension<ClientAddress>| async move { client.0.to_string() }),
        )
        .route("/cluster/echo", post(|body: String| async { body }))
}

pub fn initialize(version: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": { "elicitation": {} },
        "clientInfo": { "name": "test", "version": "1" } } })
    .to_string()
}
