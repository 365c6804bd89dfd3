//! Liveness: from every state, once nothing more is lost, the whole limit is granted again.
//!
//! One fair schedule: nothing old arrives any more, every process does what it can in turn, timers end, and
//! the operator removes for good what has lost its disk under a lease that never ends.

use std::collections::BTreeMap;

use erlmcp_ledger::{Command, NodeId, Share};
use erlmcp_quota::{Phase, Request, recall};

use crate::forms::Form;
use crate::state::{CEILING, LEASE_MS, Message, Process, State, claim};

/// Rounds after which the limit must be granted.
const ROUNDS: usize = 8;

/// Why the limit is not granted from `state` on.
pub fn stuck(state: &State, form: &Form) -> Option<String> {
    let mut state = state.clone();
    match state.heal(form) {
        Err(law) => Some(law),
        Ok(()) if state.ledger.granted() == u64::from(form.limit) && state.all_live(form) => None,
        Ok(()) => {
            let shares = state.ledger.shares();
            let processes: Vec<_> = state.processes.iter().map(|it| &it.lease).collect();
            Some(format!("I7: stuck with {shares:?} and {processes:?}"))
        }
    }
}

impl State {
    fn all_live(&self, form: &Form) -> bool {
        let least = form.limit / u32::try_from(form.nodes).unwrap();
        let is_live = |node: NodeId| {
            let mut processes = self.processes.iter().filter(|process| process.identity.node == node);
            processes.any(|process| {
                self.is_member(process)
                    && process.lease.phase() == Phase::Live
                    && process.lease.cap() >= least
            })
        };
        (1..=form.nodes).all(is_live)
    }

    fn heal(&mut self, form: &Form) -> Result<(), String> {
        self.net.clear();
        for process in &mut self.processes {
            process.answers.clear();
        }
        self.write(&Command::SetLease { lease_ms: Some(LEASE_MS), drift_ppm: 0, margin_ms: 0 })?;
        self.write(&Command::SetLimit { tenant: None, connections: Some(form.limit) })?;
        for node in 1..=form.nodes {
            self.write(&Command::SetDraining { node, draining: false })?;
        }
        for _ in 0..ROUNDS {
            self.replace_lost(form)?;
            let before = self.ledger.shares().clone();
            for at in 0..self.processes.len() {
                self.turn(at, form)?;
            }
            self.expire_unrenewed(&before)?;
            if let Some(command) = recall(&self.ledger) {
                self.write(&command)?;
            }
        }
        Ok(())
    }

    /// A turn of one process: it closes what has ended, opens, saves and renews, and is answered at once.
    fn turn(&mut self, at: usize, form: &Form) -> Result<(), String> {
        self.view(at);
        let process = &mut self.processes[at];
        process.lease.advance(process.now_ms);
        if process.lease.phase() == Phase::Ended {
            for permit in std::mem::take(&mut process.permits) {
                process.lease.release(permit);
            }
        }
        if process.lease.phase() == Phase::Live && process.lease.target().is_some() {
            // Connections end.
            for permit in std::mem::take(&mut process.permits) {
                process.lease.release(permit);
            }
        }
        for _ in 0..2 {
            self.pass(at);
            let process = &mut self.processes[at];
            let now_ms = process.now_ms;
            let request = match process.lease.phase() {
                Phase::Closed => process.lease.open(now_ms, CEILING).map(Request::Open),
                Phase::Saving => {
                    process.disk = Some(process.lease.session());
                    process.lease.saved_session(process.lease.session());
                    continue;
                }
                Phase::Live => {
                    let keep = process.lease.cap();
                    let want = if process.lease.target().is_some() { keep } else { form.limit };
                    process.lease.renew(now_ms, keep, want, CEILING).map(Request::Renew)
                }
                Phase::Ended => None,
            };
            let Some(request) = request else { return Ok(()) };
            let answer = self.commit_request(now_ms, &request)?;
            let process = &mut self.processes[at];
            process.lease.answer(process.now_ms, request.id(), &answer);
        }
        Ok(())
    }

    /// The timers of shares end that nobody has renewed since `before`.
    fn expire_unrenewed(&mut self, before: &BTreeMap<NodeId, Share>) -> Result<(), String> {
        for (node, share) in before {
            let now = self.ledger.shares().get(node);
            if now.is_some_and(|now| now.renewed_at == share.renewed_at) {
                self.propose(*node, None);
            }
        }
        for message in std::mem::take(&mut self.net) {
            if let Message::Proposal(command) = message {
                self.write(&command)?;
            }
        }
        Ok(())
    }

    /// A node without process, or one that lost its session under a lease that never ends, joins anew.
    fn replace_lost(&mut self, form: &Form) -> Result<(), String> {
        for node in 1..=form.nodes {
            let member = self.ledger.members().get(&node).map(|member| member.incarnation);
            let is_here = |process: &&Process| {
                process.identity.node == node && Some(process.identity.incarnation) == member
            };
            let current = self.processes.iter().find(is_here);
            let is_stuck = self.ledger.shares().get(&node).is_some_and(|share| {
                let is_other = current.is_none_or(|it| it.identity.instance != share.instance);
                share.lease_ms.is_none() && is_other
            });
            if current.is_some_and(|process| !(process.is_wiped && is_stuck)) {
                continue;
            }
            self.processes.retain(|process| process.identity.node != node);
            if let Some(incarnation) = member {
                let incarnation = Some(incarnation);
                self.write(&Command::RemoveMember { node, incarnation, dead: true, now: true })?;
            }
            self.incarnations += 1;
            let claim = claim(node, self.incarnations);
            self.start(node, claim.incarnation, None);
            self.write(&Command::PutMember { node, claim, returning: false })?;
        }
        Ok(())
    }
}
