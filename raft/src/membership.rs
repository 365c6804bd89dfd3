//! Who should vote: the next step from the membership as it is to the one the ledger asks for.
//!
//! A plain function of facts, so that every rule can be tested without a cluster. One step at a time, always an odd
//! number of voters, and no step that the remaining healthy nodes could not finish. It never takes a vote away because
//! a node is silent unless another is ready to take its place.

use std::collections::{BTreeMap, BTreeSet};

use erlmcp_ledger::{Incarnation, NodeId};

/// What is known of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// For how long it has answered without a gap; `None` when it is silent now.
    pub(crate) healthy_ms: Option<u64>,
    /// For how long it has been silent.
    pub(crate) silent_ms: u64,
    /// Log entries it is behind; `None` when unknown.
    pub(crate) lag: Option<u64>,
}

/// A member as the ledger wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) incarnation: Incarnation,
    pub(crate) draining: bool,
}

/// What a leader knows when it plans.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) me: NodeId,
    /// The members of the ledger.
    pub(crate) wanted: BTreeMap<NodeId, Wanted>,
    /// The voters of the membership: two sets while a change is under way.
    pub(crate) configs: Vec<BTreeSet<NodeId>>,
    /// All nodes of the membership.
    pub(crate) nodes: BTreeMap<NodeId, Incarnation>,
    pub(crate) health: BTreeMap<NodeId, Health>,
    /// The group has never had three voters: nothing to protect yet, so be quick.
    pub(crate) is_forming: bool,
    pub(crate) promote_after_ms: u64,
    pub(crate) replace_after_ms: u64,
    pub(crate) lag_max: u64,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Finish a change of voters that was interrupted.
    Finish,
    /// Let another voter lead.
    HandOver(NodeId),
    /// Change the voters.
    Vote(BTreeSet<NodeId>),
    /// Stop sending the log to a node.
    Forget(NodeId),
    /// Begin to send the log to a node.
    Learn(NodeId),
}

/// How many should vote in a group of `members`.
pub(crate) fn voters_for(members: usize) -> usize {
    match members {
        0..=2 => 1,
        3..=5 => 3,
        _ => 5,
    }
}

/// The next step, if there is any.
pub(crate) fn plan(facts: &Facts) -> Option<Step> {
    let [voters] = facts.configs.as_slice() else {
        return (facts.configs.len() > 1).then_some(Step::Finish);
    };
    let must_go = facts.wanted.get(&facts.me).is_none_or(|me| me.draining);
    if must_go && let Some(successor) = successor(facts, voters) {
        return Some(Step::HandOver(successor));
    }
    let desired = desired_voters(facts, voters);
    if desired != *voters && !desired.is_empty() {
        return Some(Step::Vote(desired));
    }
    let is_member = |node: &NodeId| {
        facts.wanted.get(node).is_some_and(|wanted| facts.nodes.get(node) == Some(&wanted.incarnation))
    };
    if let Some(stranger) = facts.nodes.keys().find(|node| !is_member(node) && !voters.contains(node)) {
        return Some(Step::Forget(*stranger));
    }
    facts.wanted.keys().find(|node| !facts.nodes.contains_key(node)).map(|node| Step::Learn(*node))
}

/// The voter best placed to lead instead of this node: healthy, not draining, least behind.
pub(crate) fn successor(facts: &Facts, voters: &BTreeSet<NodeId>) -> Option<NodeId> {
    let fit = voters
        .iter()
        .filter(|node| **node != facts.me && stays(facts, **node) && !is_draining(facts, **node));
    let healthy = fit.filter_map(|node| {
        let health = facts.health.get(node)?;
        health.healthy_ms?;
        Some((health.lag?, *node))
    });
    healthy.min().map(|(_, node)| node)
}

fn desired_voters(facts: &Facts, voters: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let target = voters_for(facts.wanted.len());
    let is_dead = |node: NodeId| node != facts.me && health(facts, node).silent_ms > facts.replace_after_ms;
    let (mut desired, mut dead): (BTreeSet<_>, BTreeSet<_>) = (BTreeSet::new(), BTreeSet::new());
    // A removed voter holds its place only while a learner is on the way to take it.
    let is_relief_coming = facts.nodes.keys().any(|node| {
        !voters.contains(node) && may_vote(facts, *node) && health(facts, *node).healthy_ms.is_some()
    });
    for node in voters.iter().copied() {
        match stays(facts, node) {
            true if !is_dead(node) => desired.insert(node),
            true => dead.insert(node),
            false => is_relief_coming && dead.insert(node),
        };
    }
    while desired.len() > target {
        let Some(surplus) = desired.iter().rev().find(|node| **node != facts.me).copied() else { break };
        desired.remove(&surplus);
    }
    let mut ready =
        facts.nodes.keys().copied().filter(|node| !voters.contains(node) && is_ready(facts, *node));
    // Ready nodes first, then the silent ones keep the places that nobody can take.
    while desired.len() < target {
        let Some(node) = ready.next().or_else(|| dead.pop_first()) else { break };
        desired.insert(node);
    }
    if desired.len().is_multiple_of(2) {
        let is_new = |node: &&NodeId| !voters.contains(*node);
        let newest = desired.iter().rev().find(is_new);
        let last = newest.or_else(|| desired.iter().rev().find(|node| **node != facts.me)).copied();
        if let Some(last) = last {
            desired.remove(&last);
        }
    }
    desired
}

/// In the ledger, in the life that the membership knows.
fn stays(facts: &Facts, node: NodeId) -> bool {
    facts.wanted.get(&node).is_some_and(|wanted| facts.nodes.get(&node) == Some(&wanted.incarnation))
}

fn is_draining(facts: &Facts, node: NodeId) -> bool {
    facts.wanted.get(&node).is_some_and(|wanted| wanted.draining)
}

fn may_vote(facts: &Facts, node: NodeId) -> bool {
    stays(facts, node) && !is_draining(facts, node)
}

/// A learner that may vote now.
fn is_ready(facts: &Facts, node: NodeId) -> bool {
    let health = health(facts, node);
    let patience = if facts.is_forming { 0 } else { facts.promote_after_ms };
    may_vote(facts, node)
        && health.healthy_ms.is_some_and(|time| time >= patience)
        && health.lag.is_some_and(|lag| lag < facts.lag_max)
}

fn health(facts: &Facts, node: NodeId) -> Health {
    facts.health.get(&node).cloned().unwrap_or_default()
}
