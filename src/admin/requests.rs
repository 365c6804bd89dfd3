//! Operator actions: drain, hand over, remove. Any node takes them and passes them to the leader.
//! The order that sets the limit is in `quota_order`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::routes::Admin;
use crate::api::{Complaint, Drain, Drained, Remove, Removed, Transfer, Transferred};
use crate::client_address::ClientAddress;
use erlmcp_raft::AdminError;

/// Address that sent the order, as the listener found it.
pub(super) type Sender = Option<Extension<ClientAddress>>;

/// `POST /cluster/drain {"node":N,"draining":true}`.
pub(super) async fn drain(
    State(admin): State<Arc<Admin>>,
    sender: Sender,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let order: Drain = match read(&admin, &headers, &body) {
        Ok(order) => order,
        Err(refused) => return *refused,
    };
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
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let order: Transfer = match read(&admin, &headers, &body) {
        Ok(order) => order,
        Err(refused) => return *refused,
    };
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
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let order: Remove = match read(&admin, &headers, &body) {
        Ok(order) => order,
        Err(refused) => return *refused,
    };
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

/// The order in `body`, if the token is right and the whole of it is understood.
pub(super) fn read<T: DeserializeOwned>(
    admin: &Admin,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<T, Box<Response>> {
    if !admin.token.admits(headers) {
        let mut refused =
            refuse(StatusCode::UNAUTHORIZED, "this needs the admin token: Authorization: Bearer <token>");
        refused.headers_mut().insert("www-authenticate", axum::http::HeaderValue::from_static("Bearer"));
        return Err(Box::new(refused));
    }
    serde_json::from_slice(body)
        .map_err(|error| Box::new(refuse(StatusCode::BAD_REQUEST, &format!("body: {error}"))))
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
