//! The service: the routes that clients reach, over one exchange.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::routing::any;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::body_budget::BodyBudget;
use super::host_check::HostCheck;
use super::streamable;
use crate::clock::Clock;
use crate::config::ServiceConfig;
use crate::drain::DrainState;
use crate::exchange::{Exchange, ExchangeOptions};
use crate::mcp::ANONYMOUS;
use crate::monitor::Recorder;
use crate::router::Router;

/// Parts of the service.
pub struct HttpServiceOptions {
    /// Way to all providers.
    pub router: Arc<Router>,
    /// Counters of messages and calls.
    pub recorder: Arc<Recorder>,
    /// `serverInfo`, raw: at least name and version.
    pub server_info: Box<RawValue>,
    /// The home that session ids name.
    pub node_id: u64,
    /// Sections of the configuration that bound it and say who may call.
    pub config: Arc<ServiceConfig>,
    /// Open `subscriptions/listen` streams; [`LISTENERS_MAX`](crate::exchange::LISTENERS_MAX) but in tests.
    pub listeners_max: usize,
    /// Address listened on, whose host a `Host` header may carry.
    pub address: SocketAddr,
    /// Time.
    pub clock: Clock,
    /// Whether new clients are let in.
    pub drain: DrainState,
    /// Cancelled to drain: standing streams end, own tasks stop. Running requests go on.
    pub stop: CancellationToken,
}

/// Principal that sends a request, from credentials; a layer that checks them puts it into the request's
/// extensions.
#[derive(Clone, Debug)]
pub struct Principal(pub Arc<str>);

/// The HTTP service.
pub struct HttpService {
    pub(super) exchange: Arc<Exchange>,
    pub(super) host_check: HostCheck,
    pub(super) config: Arc<ServiceConfig>,
    pub(super) clock: Clock,
    pub(super) bodies: BodyBudget,
    pub(super) anonymous: Arc<str>,
}

impl HttpService {
    /// Starts to serve, inside a tokio runtime; its tasks end with `options.stop`.
    #[must_use]
    pub fn new(options: HttpServiceOptions) -> Arc<HttpService> {
        let exchange = Exchange::start(ExchangeOptions {
            router: options.router,
            recorder: options.recorder,
            server_info: options.server_info,
            node_id: options.node_id,
            config: options.config.clone(),
            listeners_max: options.listeners_max,
            clock: options.clock,
            drain: options.drain,
            stop: options.stop,
        });
        Arc::new(HttpService {
            exchange,
            bodies: BodyBudget::new(options.config.http.bodies_bytes_max),
            host_check: HostCheck::new(&options.config, options.address),
            config: options.config,
            clock: options.clock,
            anonymous: ANONYMOUS.into(),
        })
    }

    /// `/mcp`. Other routes may be merged beside it.
    pub fn routes(self: &Arc<Self>) -> Routes {
        Routes::new().route("/mcp", any(handle)).with_state(self.clone())
    }

    /// Exchange that the messages are handed to.
    #[must_use]
    pub fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// Check of Host and Origin; other routes may ask it too.
    #[must_use]
    pub fn host_check(&self) -> &HostCheck {
        &self.host_check
    }
}

async fn handle(State(service): State<Arc<HttpService>>, request: Request) -> axum::response::Response {
    streamable::handle(service, request).await
}
