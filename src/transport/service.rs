//! The service: the routes that clients reach, over one exchange.

use std::sync::Arc;

use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::routing::any;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::host_check::HostCheck;
use super::{Limits, streamable};
use crate::clock::Clock;
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
    /// Bounds of connections, requests and streams.
    pub limits: Limits,
    /// Names, without port, that a `Host` header may carry beside loopback's.
    pub allowed_hosts: Vec<String>,
    /// Origins, such as `https://app.example.com`, whose pages may call beside loopback's.
    pub allowed_origins: Vec<String>,
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
    pub(super) limits: Limits,
    pub(super) clock: Clock,
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
            limits: options.limits.exchange.clone(),
            clock: options.clock,
            drain: options.drain,
            stop: options.stop,
        });
        Arc::new(HttpService {
            exchange,
            host_check: HostCheck::new(&options.allowed_hosts, &options.allowed_origins),
            limits: options.limits,
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
