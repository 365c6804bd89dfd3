//! A state: the ledger, the processes with their leases, and all that is under way between them.
//!
//! Time is what the rules give and no more. Each process has a clock that moves a little with each request it
//! sends. When somebody proposes to expire a share, its process's clock is moved to the end of every lease
//! that was sent before the last renewal in the ledger: that is the one fact that the leader's wait
//! guarantees. It may also move to the deadline by itself at any time.

use std::collections::BTreeMap;

use erlmcp_ledger::{
    Budget, Command, Grant, Incarnation, Instance, Ledger, Limits, MemberClaim, NodeId, Reason, SessionId,
};
use erlmcp_quota::{Identity, Lease, Permit, Request, RequestId};

use crate::forms::Form;

/// The lease that ends, in milliseconds: far longer than all steps of a run take together.
pub const LEASE_MS: u32 = 3_600_000;

/// Time between two requests of a process, in milliseconds, where nothing is near.
const STEP_MS: u64 = 4_096;

/// A member without process, so that a group of one can lose its only node.
pub const SILENT: NodeId = 9;

/// The most connections that a node can serve: no bound here.
pub const CEILING: u32 = 1_000;

/// A process of a node.
#[derive(Debug)]
pub struct Process {
    pub identity: Identity,
    pub lease: Lease,
    pub permits: Vec<Permit>,
    pub now_ms: u64,
    /// Session on its disk.
    pub disk: Option<SessionId>,
    /// Attempts at opening so far.
    pub attempt: u32,
    pub is_draining: bool,
    /// It runs without the session that its node had on disk.
    pub is_wiped: bool,
    /// Answers on their way to it.
    pub answers: Vec<(RequestId, Result<Grant, Reason>)>,
}

impl Clone for Process {
    fn clone(&self) -> Self {
        Self {
            lease: self.lease.clone(),
            permits: self.permits.iter().map(Permit::twin).collect(),
            answers: self.answers.clone(),
            ..*self
        }
    }
}

impl Process {
    pub fn new(identity: Identity, disk: Option<SessionId>) -> Self {
        Self {
            identity,
            lease: Lease::new(identity, disk),
            permits: Vec::new(),
            now_ms: STEP_MS,
            disk,
            attempt: 0,
            is_draining: false,
            is_wiped: false,
            answers: Vec::new(),
        }
    }

    /// Connections that are served now.
    pub fn served(&self) -> usize {
        self.permits.iter().filter(|permit| self.lease.serves(permit, self.now_ms)).count()
    }
}

/// Something on its way to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A request of the process of this number.
    Request(Instance, u64, Request),
    /// A proposal of somebody who leads, has led, or thinks so.
    Proposal(Command),
}

/// When the last request that renewed a share was sent, on its sender's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub session: SessionId,
    pub ms: u64,
}

/// A state of the whole cluster.
#[derive(Debug, Clone)]
pub struct State {
    pub ledger: Ledger,
    pub index: u64,
    pub processes: Vec<Process>,
    pub net: Vec<Message>,
    pub sent: BTreeMap<NodeId, Sent>,
    pub instances: u128,
    pub incarnations: u128,
    /// Times that an id may still be removed and join anew.
    pub rejoins: u8,
}

/// The description of a member.
pub fn claim(node: NodeId, incarnation: u128) -> MemberClaim {
    MemberClaim {
        peer_address: format!("n{node}:1"),
        http_address: String::new(),
        incarnation: Incarnation::new(incarnation),
        name: String::new(),
        reads: erlmcp_ledger::VERSION,
    }
}

impl State {
    /// The formed cluster; no process has a share.
    pub fn first(form: &Form) -> Self {
        let mut state = Self {
            ledger: Ledger::default(),
            index: 0,
            processes: Vec::new(),
            net: Vec::new(),
            sent: BTreeMap::new(),
            instances: 0,
            incarnations: 100,
            rejoins: form.rejoins,
        };
        let limits = Limits { connections: form.limit, lease_ms: Some(LEASE_MS), drift_ppm: 0, margin_ms: 0 };
        let first = if form.nodes == 1 { SILENT } else { 1 };
        let found = Command::Found {
            cluster_id: "model".to_owned(),
            node: first,
            claim: claim(first, first.into()),
            limits,
            budget: Budget::default(),
        };
        state.apply(&found);
        for node in 1..=form.nodes {
            let claim = claim(node, node.into());
            state.apply(&Command::PutMember { node, claim, returning: false });
            state.start(node, Incarnation::new(node.into()), None);
        }
        state
    }

    /// Starts a process.
    pub fn start(&mut self, node: NodeId, incarnation: Incarnation, disk: Option<SessionId>) {
        self.instances += 1;
        let instance = Instance::new(self.instances);
        let identity = Identity { node, incarnation, instance, nodes_expected: 1 };
        self.processes.push(Process::new(identity, disk));
        self.processes.sort_by_key(|process| (process.identity.node, process.identity.instance));
    }

    /// Commits and applies a command; the laws of the step are the caller's to ask.
    pub fn apply(&mut self, command: &Command) -> erlmcp_ledger::Receipt {
        self.index += 1;
        self.ledger.apply(self.index, command).0
    }

    /// Whether only one node has processes. Then nobody reads what its share wanted last: each renewal says
    /// it anew.
    pub fn is_alone(&self) -> bool {
        self.ledger.members().contains_key(&SILENT)
    }

    /// Whether the process is of the member on record.
    pub fn is_member(&self, process: &Process) -> bool {
        let member = self.ledger.members().get(&process.identity.node);
        member.is_some_and(|member| member.incarnation == process.identity.incarnation)
    }

    /// Lets a little time pass before the process `at` sends something: less than to the end of any lease
    /// that may still count, so that sending changes nothing else.
    pub fn pass(&mut self, at: usize) {
        let process = &self.processes[at];
        let now = process.now_ms;
        let ends = self.times(process).into_iter().map(|sent| sent + u64::from(LEASE_MS));
        let next = ends.filter(|end| *end > now).min();
        let step = next.map_or(STEP_MS, |end| STEP_MS.min((end - now) / 2).max(1));
        self.processes[at].now_ms = now + step;
    }

    /// Send times of a process's requests that may still count.
    pub fn times(&self, process: &Process) -> Vec<u64> {
        let Identity { node, instance, .. } = process.identity;
        let of_net = self.net.iter().filter_map(|message| match message {
            Message::Request(from, sent_ms, _) if *from == instance => Some(*sent_ms),
            _ => None,
        });
        let share = self.ledger.shares().get(&node).filter(|share| share.instance == instance);
        let sent = self.sent.get(&node).filter(|_| share.is_some()).map(|sent| sent.ms);
        let outstanding = process.lease.outstanding().map(|sent| sent.sent_ms);
        of_net.chain(sent).chain(outstanding).collect()
    }
}
