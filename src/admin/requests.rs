//! Operator actions: drain, hand over, remove. Any node takes them and passes them to the leader.
//! The order that sets the limit is in `quota_order`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::routes::Admin;
use crate::api::{Complaint, Drain, Drained, Remove, Removed, Transfer, Transferred};
use crate::client_address::ClientAddress;
use erlmcp_raft::AdminError;

/// An order is a few numbers.
const ORDER_BYTES_MAX: usize = 4096;

/// Time for the body of an order.
const ORDER_TIME: Duration = Duration::from_secs(5);

/// Address that sent the order, as the listener found it.
pub(super) type Sender = Option<Extension<ClientAddress>>;

/// `POST /cluster/drain {"node":N,"draining":true}`.
pub(super) async fn drain(
    State(admin): State<Arc<Admin>>,
    sender: Sender,
    Order(order): Order<Drain>,
) -> Response {
    let done = admin.source.replica.set_draining(order.node, order.draining).await;
    tracing::info!(
        node = order.node,
        draining = order.draining,
        done = done.is_ok(),
        from = address(sender),
        "operator sets draining"
    );
    answer(done.map(|()| Drained { draining: order.draining, node: order.node }))
}

/// `POST /cluster/transfer {"to":N|null}`.
pub(super) async fn transfer(
    State(admin): State<Arc<Admin>>,
    sender: Sender,
    Order(order): Order<Transfer>,
) -> Response {
    let done = admin.source.replica.transfer_leader(order.to).await;
    tracing::info!(
        to = order.to,
        done = done.is_ok(),
        from = address(sender),
        "operator moves the leadership"
    );
    answer(done.map(|leader| Transferred { leader }))
}

/// `POST /cluster/remove {"node":N,"dead":bool,"now":bool}`.
pub(super) async fn remove(
    State(admin): State<Arc<Admin>>,
    sender: Sender,
    Order(order): Order<Remove>,
) -> Response {
    if order.now && !order.dead {
        let why = "\"now\" is the word that the node no longer runs, so it needs \"dead\" as well";
        return refuse(StatusCode::BAD_REQUEST, why);
    }
    let done = admin.source.replica.remove(order.node, order.dead, order.now).await;
    tracing::info!(
        node = order.node,
        dead = order.dead,
        now = order.now,
        done = done.is_ok(),
        from = address(sender),
        "operator removes a node"
    );
    answer(done.map(|()| Removed { node: order.node, removed: true }))
}

/// For the log, so that an order can be traced to its sender.
pub(super) fn address(sender: Sender) -> Option<impl tracing::Value> {
    sender.map(|Extension(client)| tracing::field::display(client.0))
}

/// An order as it was sent, if the token is right and the whole of it is understood. The token is asked for
/// before the body is read, which has its own time: nobody else can make us wait for one.
pub(super) struct Order<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Admin>> for Order<T> {
    type Rejection = Response;

    async fn from_request(request: Request, admin: &Arc<Admin>) -> Result<Order<T>, Response> {
        if !admin.token.admits(request.headers()) {
            let why = "this needs the admin token: Authorization: Bearer <token>";
            let mut refused = refuse(StatusCode::UNAUTHORIZED, why);
            refused.headers_mut().insert("www-authenticate", axum::http::HeaderValue::from_static("Bearer"));
            return Err(refused);
        }
        let body = axum::body::to_bytes(request.into_body(), ORDER_BYTES_MAX);
        let body = match tokio::time::timeout(ORDER_TIME, body).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                let why = format!("body: it broke off, or has more than {ORDER_BYTES_MAX} bytes");
                return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &why));
            }
            Err(_) => {
                let why = format!("body: it did not arrive within {} s", ORDER_TIME.as_secs());
                return Err(refuse(StatusCode::REQUEST_TIMEOUT, &why));
            }
        };
        let order = serde_json::from_slice(&body);
        order.map(Order).map_err(|error| refuse(StatusCode::BAD_REQUEST, &format!("body: {error}")))
    }
}

pub(super) fn answer<T: Serialize>(done: Result<T, AdminError>) -> Response {
    match done {
        Ok(value) => Json(value).into_response(),
        Err(error) => {
            let status = match &error {
                AdminError::Refused { .. } | AdminError::NotAVoter { .. } => StatusCode::CONFLICT,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            refuse(status, &error.to_string())
        }
    }
}

pub(super) fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(Complaint::new(why))).into_response()
}
