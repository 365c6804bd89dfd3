//! The routes: health, the cluster, operator actions.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;

use super::health::NotReady;
use super::quota_order;
use super::requests;
use super::status::StatusSource;
use super::token::AdminToken;
use crate::api::Status;

/// Judges whether a request names this node and comes from one of its pages.
pub type IsOwn = Box<dyn Fn(&Uri, &HeaderMap) -> bool + Send + Sync>;

/// State shared by the routes.
pub struct AdminOptions {
    /// Source of the status.
    pub source: Arc<StatusSource>,
    /// Token that an order must carry.
    pub token: AdminToken,
    /// Whether `Host` and `Origin` of a request are this node's own: a foreign page must not read `/cluster`.
    pub is_own: IsOwn,
}

/// The admin surface of one node.
pub struct Admin {
    pub(super) source: Arc<StatusSource>,
    pub(super) token: AdminToken,
    is_own: IsOwn,
}

impl Admin {
    /// The routes, to be merged with those for clients.
    pub fn routes(options: AdminOptions) -> Router {
        let admin = Arc::new(Admin { source: options.source, token: options.token, is_own: options.is_own });
        let cluster = Router::new()
            .route("/cluster/status", get(|State(admin): State<Arc<Admin>>| part(admin, |s| s)))
            .route("/cluster/members", get(|State(admin): State<Arc<Admin>>| part(admin, |s| s.members)))
            .route(
                "/cluster/connections",
                get(|State(admin): State<Arc<Admin>>| part(admin, |s| s.connections)),
            )
            .route(
                "/cluster/throughput",
                get(|State(admin): State<Arc<Admin>>| part(admin, |s| s.throughput)),
            )
            .route("/cluster/latency", get(|State(admin): State<Arc<Admin>>| part(admin, |s| s.latency)))
            .route("/cluster/quota", get(quota_order::show).post(quota_order::set))
            .route("/cluster/drain", post(requests::drain))
            .route("/cluster/transfer", post(requests::transfer))
            .route("/cluster/remove", post(requests::remove))
            .layer(from_fn_with_state(admin.clone(), refuse_foreign));
        // Probes come from wherever the orchestrator is, under whatever name it uses.
        Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/health", get(ready))
            .merge(cluster)
            .with_state(admin)
    }
}

async fn refuse_foreign(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    if (admin.is_own)(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    let why =
        "this Host or Origin may not ask this node; http.allowed_hosts and http.allowed_origins name others";
    requests::refuse(StatusCode::FORBIDDEN, why)
}

async fn part<T: Serialize>(admin: Arc<Admin>, take: impl FnOnce(Status) -> T) -> Json<T> {
    Json(take(admin.source.status()))
}

/// 200 when new clients may come, else 503 with every reason why not. With `?drain=404` it is 404 while the
/// node drains or stops: such a balancer keeps the clients that are bound to the node, and sends no new ones.
async fn ready(State(admin): State<Arc<Admin>>, uri: Uri) -> Response {
    let reasons = admin.source.not_ready_because();
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n").into_response();
    }
    let lines: String = reasons.iter().map(|why| format!("- {why}\n")).collect();
    let tells_drain = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "drain=404"));
    let status = match reasons.iter().any(NotReady::is_leaving) {
        true if tells_drain => StatusCode::NOT_FOUND,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("not ready\n{lines}")).into_response()
}
