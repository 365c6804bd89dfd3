//! `/cluster/quota`: the report on the connection limit, and the operator's order that sets it.
//!
//! Any node takes the order and puts it to the ledger; its answer is read from the ledger in which the order
//! is applied. Never touches a connection: nodes follow the ledger by themselves.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use erlmcp_ledger::{Command, Ledger, Limits};
use erlmcp_raft::{AdminError, ReplicaHandle};

use super::quota;
use super::requests::{self, Order, Sender, refuse};
use super::routes::Admin;
use crate::api::{Lease, QuotaChange, QuotaReport, SetQuota};

/// The longest wait for each command, and then for this node to apply it: three of them are within the time
/// that the command line waits for an action.
const STEP_TIME: Duration = Duration::from_secs(5);

/// `GET /cluster/quota`.
pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Json<QuotaReport> {
    let replica = &admin.source.replica;
    let view = replica.view().borrow().clone();
    Json(quota::report(&view.ledger, &replica.renewed_ago_ms()))
}

/// `POST /cluster/quota {"connections":N,"lease_ms":MS|"never"}`, one of them or both.
pub(super) async fn set(
    State(admin): State<Arc<Admin>>,
    sender: Sender,
    Order(order): Order<SetQuota>,
) -> Response {
    let replica = &admin.source.replica;
    let before = replica.view().borrow().ledger.limits().clone();
    let wanted = match wanted(&before, &order) {
        Ok(wanted) => wanted,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
    };
    let done = carry_out(replica, &order, &wanted).await;
    tracing::info!(
        connections = order.connections,
        lease = order.lease_ms.map(tracing::field::display),
        done = done.is_ok(),
        from = requests::address(sender),
        "operator sets the connection limit"
    );
    match done {
        Ok(ledger) => Json(change(&before, &ledger)).into_response(),
        Err(refused) => refused,
    }
}

/// The limits as they should become, or what is wrong with the order: the value and its range.
fn wanted(known: &Limits, order: &SetQuota) -> Result<Limits, String> {
    if *order == SetQuota::default() {
        return Err("there is nothing to set: give connections, lease_ms or both".to_owned());
    }
    // A number beyond 32 bits is as much out of range as the largest of them.
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let mut limits = known.clone();
    if let Some(connections) = order.connections {
        limits.connections = number(connections);
        if let Some(problem) = limits.problem() {
            return Err(format!("{problem}; {connections} is not"));
        }
    }
    if let Some(lease) = order.lease_ms {
        limits.lease_ms = match lease {
            Lease::Ms(ms) => Some(number(ms)),
            Lease::Word(_) => None,
        };
        if let Some(problem) = limits.problem() {
            return Err(format!("{problem}; {lease} is not"));
        }
    }
    Ok(limits)
}

/// Puts what is ordered to the ledger, and returns the ledger once this node has applied it.
async fn carry_out(
    replica: &ReplicaHandle,
    order: &SetQuota,
    wanted: &Limits,
) -> Result<Arc<Ledger>, Response> {
    let limit = Command::SetLimit { tenant: None, connections: Some(wanted.connections) };
    let lease = Command::SetLease {
        lease_ms: wanted.lease_ms,
        drift_ppm: wanted.drift_ppm,
        margin_ms: wanted.margin_ms,
    };
    let mut index = 0;
    for command in [order.connections.map(|_| limit), order.lease_ms.map(|_| lease)].into_iter().flatten() {
        index = match put(replica, command).await {
            Ok(written) => written,
            Err(error) if index == 0 => return Err(requests::answer::<()>(Err(error))),
            Err(error) => {
                let why = format!("connections is {} now, but the lease: {error}", wanted.connections);
                return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, &why));
            }
        };
    }
    let mut views = replica.view();
    let applied = views.wait_for(|view| view.applied >= index);
    match tokio::time::timeout(STEP_TIME, applied).await {
        Ok(Ok(view)) => Ok(view.ledger.clone()),
        Ok(Err(_)) | Err(_) => {
            let why = format!(
                "it is set (log entry {index}), but this node has not applied it within {} ms; look at: \
                 erlmcp-node quota show",
                STEP_TIME.as_millis()
            );
            Err(refuse(StatusCode::SERVICE_UNAVAILABLE, &why))
        }
    }
}

/// Puts one command to the ledger and returns its log index.
async fn put(replica: &ReplicaHandle, command: Command) -> Result<u64, AdminError> {
    let written = replica.propose_within(command, STEP_TIME).await?;
    written.receipt.into_result()?;
    Ok(written.index)
}

/// The change that came of the order, and what follows.
fn change(before: &Limits, ledger: &Ledger) -> QuotaChange {
    let (now, granted, in_use) = (ledger.limits(), ledger.granted(), quota::in_use(ledger));
    let mut notices = Vec::new();
    if ledger.is_over() || in_use > now.connections.into() {
        notices.push(format!(
            "{granted} connections are granted and {in_use} in use, more than the limit of {}: nobody is \
             shed, it takes effect as connections end",
            now.connections
        ));
    }
    if now.lease_ms.is_none() {
        notices.push(
            "a lease that never ends: the share of a node that is lost comes back only by erlmcp-node remove \
             --id N --dead --now"
                .to_owned(),
        );
    }
    QuotaChange {
        connections_before: Some(before.connections.into()),
        connections: Some(now.connections.into()),
        lease_ms_before: Some(before.lease_ms.into()),
        lease_ms: Some(now.lease_ms.into()),
        granted: Some(granted),
        in_use: Some(in_use),
        notices,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(order: &str) -> String {
        wanted(&Limits::default(), &serde_json::from_str(order).unwrap()).unwrap_err()
    }

    #[test]
    fn an_order_changes_what_it_names_and_keeps_the_rest() {
        let known = Limits { drift_ppm: 7, margin_ms: 8, ..Limits::default() };
        let of = |order: &str| wanted(&known, &serde_json::from_str(order).unwrap()).unwrap();
        assert_eq!(of(r#"{"connections":5}"#), Limits { connections: 5, ..known.clone() });
        assert_eq!(of(r#"{"lease_ms":3000}"#), Limits { lease_ms: Some(3000), ..known.clone() });
        assert_eq!(of(r#"{"lease_ms":"never"}"#), Limits { lease_ms: None, ..known.clone() });
        for edge in [1, 1_000_000_000] {
            assert_eq!(of(&format!(r#"{{"connections":{edge}}}"#)).connections, edge);
        }
    }

    #[test]
    fn a_value_out_of_range_is_named_with_the_range() {
        for value in [0, 1_000_000_001, u64::MAX] {
            let wanted = format!("connections must be between 1 and 1000000000; {value} is not");
            assert_eq!(problem(&format!(r#"{{"connections":{value}}}"#)), wanted);
        }
        let lease = problem(r#"{"connections":5,"lease_ms":2999}"#);
        assert_eq!(lease, "lease_ms must be between 3000 and 3600000, or never; 2999 ms is not");
        assert!(problem("{}").contains("nothing to set"));
    }
}
