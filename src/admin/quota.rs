//! The report on the connection limit: what the ledger says of each share, and why a node waits.
//!
//! Pure. What only a clock knows, how long ago a share was renewed, comes in by node and may be missing.

use std::collections::{BTreeMap, BTreeSet};

use erlmcp_ledger::{Ledger, Share};
use erlmcp_quota::grace_ms;

use crate::api::{Lease, NodeShare, Quota, QuotaReport};

/// The report; `renewed_ago_ms` is by node, as far as this process has seen renewals.
pub(super) fn report(ledger: &Ledger, renewed_ago_ms: &BTreeMap<u64, u64>) -> QuotaReport {
    let (limits, budget, shares) = (ledger.limits(), ledger.budget(), ledger.shares());
    let nodes: BTreeSet<u64> = ledger.members().keys().chain(shares.keys()).copied().collect();
    let of_node = |node: u64| NodeShare {
        node,
        name: ledger.members().get(&node).map(|member| member.name.clone()).filter(|name| !name.is_empty()),
        state: state(ledger, node).to_owned(),
        ..shares.get(&node).map_or_else(no_share, |share| {
            let ago_ms = renewed_ago_ms.get(&node).copied();
            row(ledger, node, share, ago_ms)
        })
    };
    QuotaReport {
        limits: Quota {
            connections: Some(limits.connections.into()),
            messages_per_second: Some(budget.messages_per_second.into()),
            burst: Some(budget.burst.into()),
        },
        lease_ms: Some(limits.lease_ms.into()),
        granted: Some(ledger.granted()),
        free: Some(ledger.free().into()),
        in_use: Some(in_use(ledger)),
        is_over: Some(ledger.is_over()),
        nodes: nodes.into_iter().map(of_node).collect(),
    }
}

/// Connections in use, as the nodes last said when they renewed.
pub(super) fn in_use(ledger: &Ledger) -> u64 {
    ledger.shares().values().map(|share| u64::from(share.in_use.connections)).sum()
}

fn no_share() -> NodeShare {
    NodeShare { granted: Some(0), in_use: Some(0), wanted: Some(0), ..NodeShare::default() }
}

fn row(ledger: &Ledger, node: u64, share: &Share, renewed_ago_ms: Option<u64>) -> NodeShare {
    let grace = grace_ms(ledger.limits(), share.lease_ms);
    NodeShare {
        granted: Some(share.granted.connections.into()),
        in_use: Some(share.in_use.connections.into()),
        wanted: Some(share.want.connections.into()),
        ceiling: Some(share.ceiling.into()),
        target: share.target.map(u64::from),
        lease_ms: Some(Lease::from(share.lease_ms)),
        renewed_ago_ms,
        expires_in_ms: grace.zip(renewed_ago_ms).map(|(grace, ago)| grace.saturating_sub(ago)),
        waits_because: waits_because(ledger, node, share),
        ..NodeShare::default()
    }
}

fn state(ledger: &Ledger, node: u64) -> &'static str {
    let is_draining = ledger.members().get(&node).is_some_and(|member| member.draining);
    match ledger.shares().get(&node) {
        Some(share) if share.orphan => "orphan",
        _ if is_draining => "draining",
        Some(_) => "live",
        None => "none",
    }
}

/// Why the next renewal of the node would not be given more, though it wants more than it has.
fn waits_because(ledger: &Ledger, node: u64, share: &Share) -> Option<String> {
    let granted = share.granted.connections;
    if share.orphan || share.want.connections <= granted {
        return None;
    }
    let words = if state(ledger, node) == "draining" {
        "it is drained"
    } else if ledger.unmet(node, share) == 0 {
        "its own ceiling is reached"
    } else if ledger.is_over() {
        "the limit was lowered below what is granted"
    } else if let Some(target) = share.target {
        return Some(format!("it is asked to come down to {target} first"));
    } else if ledger.free() == 0 {
        "the limit is used up"
    } else if granted >= ledger.fair_share(share) && ledger.reserved(node) >= ledger.free() {
        "it holds more than its part while another node waits"
    } else {
        return None;
    };
    Some(words.to_owned())
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
