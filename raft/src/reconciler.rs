//! Brings the membership of the log in line with the ledger, on the leader.
//!
//! Each round gathers facts, asks [`plan`] for one step and takes it. Steps that fail are taken again in a
//! later round, which also finishes what a former leader left half done; not at once, and longer each time,
//! because every heartbeat that is answered begins a round. Runs on every node and rests where it does not
//! lead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use erlmcp_ledger::{Command, NodeId};
use openraft::async_runtime::WatchReceiver as _;
use openraft::{ChangeMembers, Instant as _};
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::core::{Core, Since};
use crate::join::REMOVED;
use crate::membership::{Facts, Health, Step, Wanted, plan};
use crate::peer_client::{PeerChannel, Target};
use crate::types::{MemberNode, Metrics};

/// Changes come in bursts; a round is not worth more often than this.
const ROUND_PAUSE: Duration = Duration::from_millis(20);

/// The longest one step may take: a change of voters commits two entries.
const STEP_TIME: Duration = Duration::from_secs(10);

/// The longest pause before a step that failed is taken again.
const RETRY_MAX: Duration = Duration::from_secs(4);

/// How long to try to tell a node that it was removed.
const TELL_TIME: Duration = Duration::from_secs(2);

/// Voters from which on a group is formed.
const FORMED_VOTERS: usize = 3;

/// Memory of a leader about its steps.
#[derive(Debug, Default)]
struct Memory {
    last: Option<Last>,
}

/// A step that was taken, and how it went.
#[derive(Debug, PartialEq, Eq)]
struct Last {
    /// `None` is the foundation of the group.
    step: Option<Step>,
    /// How often it failed in a row.
    failures: u32,
    /// When it failed last, in milliseconds of our clock.
    failed_ms: u64,
}

impl Memory {
    /// Whether `step` has failed so short a time ago that it has to wait.
    fn has_to_wait(&self, step: Option<&Step>, now_ms: u64, first: Duration) -> bool {
        self.last.as_ref().is_some_and(|last| {
            let pause = first.saturating_mul(1 << last.failures.saturating_sub(1).min(16)).min(RETRY_MAX);
            last.failures > 0 && last.step.as_ref() == step && now_ms < last.failed_ms + millis(pause)
        })
    }

    /// Whether `step` is another one than the last.
    fn is_new(&self, step: Option<&Step>) -> bool {
        self.last.as_ref().is_none_or(|last| last.step.as_ref() != step)
    }

    /// Whether the first time that it failed has just passed.
    fn note(&mut self, step: Option<Step>, now_ms: u64, is_done: bool) -> bool {
        let before = match self.last.take() {
            Some(last) if last.step == step => last.failures,
            _ => 0,
        };
        let failures = if is_done { 0 } else { before.saturating_add(1) };
        self.last = Some(Last { step, failures, failed_ms: now_ms });
        failures == 1
    }
}

/// Runs until `closing`.
pub(crate) async fn run(core: Arc<Core>, closing: CancellationToken) {
    let mut memory = Memory::default();
    let mut metrics = core.raft.metrics();
    let mut view = core.view.clone();
    let mut is_forming = core.began_empty;
    loop {
        let news = core.metrics();
        let voters = news.membership_config.membership().voter_ids().count();
        is_forming &= voters < FORMED_VOTERS;
        if news.state.is_leader() {
            let facts = gather(&core, &news, is_forming);
            round(&core, &news, &facts, &mut memory).await;
        } else {
            memory.last = None;
        }
        tokio::select! {
            () = closing.cancelled() => return,
            () = tokio::time::sleep(core.timing.reconcile) => {}
            changed = metrics.changed() => if changed.is_err() { return },
            changed = view.changed() => if changed.is_err() { return },
        }
        tokio::select! {
            () = closing.cancelled() => return,
            () = tokio::time::sleep(ROUND_PAUSE) => {}
        }
    }
}

async fn round(core: &Arc<Core>, metrics: &Metrics, facts: &Facts, memory: &mut Memory) {
    let step = if facts.wanted.is_empty() { None } else { plan(facts) };
    if step.is_none() && !facts.wanted.is_empty() {
        memory.last = None;
        return;
    }
    if memory.has_to_wait(step.as_ref(), core.clock.uptime_ms(), core.timing.reconcile) {
        return;
    }
    if let Some(step) = step.as_ref().filter(|step| memory.is_new(Some(step))) {
        tracing::info!(?step, voters = ?facts.configs, "membership: next step");
    }
    let work = async {
        match step.clone() {
            Some(step) => take(core, metrics, facts, step).await,
            None => found(core).await,
        }
    };
    let taken = tokio::time::timeout(STEP_TIME, work).await;
    let taken = taken.unwrap_or_else(|_| Err(format!("not done within {} s", STEP_TIME.as_secs())));
    let is_news = memory.note(step.clone(), core.clock.uptime_ms(), taken.is_ok());
    match (taken, step) {
        (Err(problem), Some(step)) if is_news && core.is_leader() => {
            tracing::warn!(?step, problem, "membership: this step has to wait; it is tried again");
        }
        (Err(problem), step) => tracing::debug!(?step, problem, "membership: a step has to wait"),
        (Ok(()), _) => {}
    }
}

/// The first entry of the ledger, by the founder.
async fn found(core: &Core) -> Result<(), String> {
    if !core.founder {
        return Err("the group is not founded".to_owned());
    }
    let command = Command::Found {
        cluster_id: core.cluster_id.clone(),
        node: core.id(),
        claim: core.claim.clone(),
        limits: core.first_limits.clone(),
        budget: core.first_budget,
    };
    match core.propose_here(command, STEP_TIME).await {
        Attempt::Committed(written) => written.receipt.into_result().map_err(|reason| reason.to_string()),
        _ => Err("founding was not written".to_owned()),
    }
}

async fn take(core: &Arc<Core>, metrics: &Metrics, facts: &Facts, step: Step) -> Result<(), String> {
    match step {
        Step::Finish => {
            // Changes nothing but the joint configuration, which it ends.
            let nothing = ChangeMembers::AddVoterIds(BTreeSet::new());
            change(core, nothing).await
        }
        Step::HandOver(to) => {
            core.raft.trigger().transfer_leader(to).await.map_err(|error| error.to_string())?;
            let left = |metrics: &Metrics| metrics.current_leader != Some(core.id());
            core.wait(core.timing.silence(), left)
                .await
                .then_some(())
                .ok_or("the leadership stayed".to_owned())
        }
        Step::Vote(voters) => change(core, ChangeMembers::ReplaceAllVoters(voters)).await,
        Step::Forget(node) => {
            let known = metrics.membership_config.membership().get_node(&node).cloned();
            change(core, ChangeMembers::RemoveNodes(BTreeSet::from([node]))).await?;
            if let Some(known) = known {
                tell_removed(core, node, known).await;
            }
            Ok(())
        }
        Step::Learn(node) => {
            let view = core.view();
            let Some(member) = view.ledger.members().get(&node) else {
                return Err(format!("node {node} is no member any more"));
            };
            debug_assert!(!facts.nodes.contains_key(&node), "node {node} is known already");
            let known =
                MemberNode { peer_address: member.peer_address.clone(), incarnation: member.incarnation };
            let learned = core.raft.add_learner(node, known, false).await;
            learned.map(|_| ()).map_err(|error| error.to_string())
        }
    }
}

async fn change(core: &Core, change: ChangeMembers<NodeId, MemberNode>) -> Result<(), String> {
    core.raft.change_membership(change, true).await.map(|_| ()).map_err(|error| error.to_string())
}

/// Best effort: a node that does not hear it will be told when it comes back.
async fn tell_removed(core: &Core, node: NodeId, known: MemberNode) {
    let tag = known.tag(node);
    for address in core.book.addresses(tag, &known.peer_address) {
        let target = Target { address, node: Some(tag) };
        if core.client.post(&target, PeerChannel::Control, REMOVED, Bytes::new(), TELL_TIME).await.is_ok() {
            return;
        }
    }
}

/// Knowledge of this node, as a leader.
pub(crate) fn gather(core: &Core, metrics: &Metrics, is_forming: bool) -> Facts {
    let now = core.clock.uptime_ms();
    let mut memory = core.since.lock();
    if memory.term != metrics.current_term {
        *memory = Since { term: metrics.current_term, nodes: BTreeMap::new() };
    }
    let membership = metrics.membership_config.membership();
    let nodes: BTreeMap<_, _> = membership.nodes().map(|(id, node)| (*id, node.incarnation)).collect();
    memory.nodes.retain(|node, _| nodes.contains_key(node));
    let view = core.view();
    let members = view.ledger.members().iter();
    let wanted = members
        .map(|(id, member)| (*id, Wanted { incarnation: member.incarnation, draining: member.draining }));
    let mut health = BTreeMap::new();
    for node in nodes.keys().copied().filter(|node| *node != core.id()) {
        let is_healthy = silent_for(metrics, node).is_some_and(|silent| silent < core.timing.silence());
        let since = memory.nodes.entry(node).or_insert((is_healthy, now));
        if since.0 != is_healthy {
            *since = (is_healthy, now);
        }
        let lasted = now.saturating_sub(since.1);
        health.insert(
            node,
            Health {
                healthy_ms: is_healthy.then_some(lasted),
                silent_ms: if is_healthy { 0 } else { lasted },
                lag: lag(metrics, node),
            },
        );
    }
    Facts {
        me: core.id(),
        wanted: wanted.collect(),
        configs: membership.get_joint_config().clone(),
        nodes,
        health,
        is_forming,
        promote_after_ms: millis(core.timing.promote_after),
        replace_after_ms: millis(core.timing.replace_after),
        lag_max: core.timing.lag_max,
    }
}

/// How long ago a node last answered this leader.
pub(crate) fn silent_for(metrics: &Metrics, node: NodeId) -> Option<Duration> {
    let answered = metrics.heartbeat.as_ref()?.get(&node)?.as_ref()?;
    Some(answered.elapsed())
}

/// How many entries a node is behind this leader.
pub(crate) fn lag(metrics: &Metrics, node: NodeId) -> Option<u64> {
    let matched = metrics.replication.as_ref()?.get(&node)?.as_ref()?;
    Some(metrics.last_log_index.unwrap_or_default().saturating_sub(matched.index()))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(250);

    #[test]
    fn a_step_that_fails_waits_twice_as_long_each_time_and_another_one_does_not() {
        let mut memory = Memory::default();
        let (step, mut now) = (Some(Step::Finish), 1_000);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert!(!memory.has_to_wait(step.as_ref(), now, FIRST));
            memory.note(step.clone(), now, false);
            assert!(!memory.has_to_wait(Some(&Step::Learn(4)), now, FIRST));
            let failed = now;
            while memory.has_to_wait(step.as_ref(), now, FIRST) {
                now += 50;
            }
            pauses.push(now - failed);
        }
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 4_000, 4_000]);
        memory.note(step.clone(), now, true);
        assert!(!memory.has_to_wait(step.as_ref(), now, FIRST));
    }

    #[test]
    fn a_step_and_its_failure_are_said_once() {
        let mut memory = Memory::default();
        let step = Some(Step::Finish);
        assert!(memory.is_new(step.as_ref()));
        assert!(memory.note(step.clone(), 0, false));
        assert!(!memory.is_new(step.as_ref()));
        assert!(!memory.note(step, 1, false));
        assert!(memory.is_new(Some(&Step::Forget(2))));
        assert!(memory.note(Some(Step::Forget(2)), 2, false), "another step is news");
    }
}
