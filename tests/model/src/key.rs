//! One key for all states that go on alike.
//!
//! Indexes of the log, sessions, numbers of renewals, attempts and times only ever grow, and only their order
//! and equality count, so that each stands in the key as its rank among those in the state that it may be
//! compared with. Nodes that change places make no other state.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use erlmcp_ledger::{Command, Incarnation, Instance, NodeId, Reason, SessionId, Share};
use erlmcp_quota::{Identity, Request, RequestId};

use crate::forms::Form;
use crate::state::{LEASE_MS, Message, Process, State};

/// Ranks of the values of one kind; 0 stays 0.
#[derive(Default)]
struct Ranks<T>(BTreeMap<T, u8>);

impl<T: Ord + Copy> Ranks<T> {
    fn add(&mut self, value: T) {
        self.0.insert(value, 0);
    }

    fn close(&mut self) {
        for (rank, slot) in (1..).zip(self.0.values_mut()) {
            *slot = rank;
        }
    }

    fn of(&self, value: T) -> u8 {
        self.0.get(&value).copied().unwrap_or(0)
    }
}

/// Ranks among the values of one node, one session or one process: nothing compares them with others.
struct Within<K, T>(BTreeMap<K, Ranks<T>>);

impl<K, T> Default for Within<K, T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, T: Ord + Copy + Default> Within<K, T> {
    /// Adds a value; the default, which stands for none, has rank 0.
    fn add(&mut self, of: K, value: T) {
        if value != T::default() {
            self.0.entry(of).or_default().add(value);
        }
    }

    fn close(&mut self) {
        self.0.values_mut().for_each(Ranks::close);
    }

    fn of(&self, of: K, value: T) -> u8 {
        self.0.get(&of).map_or(0, |ranks| ranks.of(value))
    }
}

#[derive(Default)]
struct Names {
    sessions: Within<NodeId, SessionId>,
    renewed: Within<NodeId, u64>,
    instances: Within<NodeId, Instance>,
    incarnations: Within<NodeId, Incarnation>,
    seqs: Within<SessionId, u32>,
    attempts: Within<Instance, u32>,
}

impl Names {
    fn of(state: &State) -> Self {
        let mut names = Self::default();
        for (node, member) in state.ledger.members() {
            names.incarnations.add(*node, member.incarnation);
        }
        for (node, share) in state.ledger.shares() {
            names.sessions.add(*node, share.session);
            names.renewed.add(*node, share.renewed_at);
            names.instances.add(*node, share.instance);
            names.incarnations.add(*node, share.incarnation);
            names.seqs.add(share.session, share.seq);
            names.attempts.add(share.instance, share.attempt);
        }
        for process in &state.processes {
            names.process(process);
        }
        for message in &state.net {
            names.message(message);
        }
        names.sessions.close();
        names.renewed.close();
        names.instances.close();
        names.incarnations.close();
        names.seqs.close();
        names.attempts.close();
        names
    }

    fn id(&mut self, node: NodeId, instance: Instance, id: RequestId) {
        match id {
            RequestId::Open { attempt } => self.attempts.add(instance, attempt),
            RequestId::Renew { session, seq } => {
                self.sessions.add(node, session);
                self.seqs.add(session, seq);
            }
        }
    }

    fn process(&mut self, process: &Process) {
        let Identity { node, incarnation, instance, .. } = process.identity;
        let lease = &process.lease;
        self.instances.add(node, instance);
        self.incarnations.add(node, incarnation);
        self.sessions.add(node, process.disk.unwrap_or(0));
        self.sessions.add(node, lease.saved().unwrap_or(0));
        self.sessions.add(node, lease.session());
        self.seqs.add(lease.session(), lease.seq());
        self.attempts.add(instance, process.attempt);
        for permit in &process.permits {
            self.sessions.add(node, permit.session());
        }
        for (id, answer) in &process.answers {
            self.id(node, instance, *id);
            self.sessions.add(node, answer.as_ref().map_or(0, |grant| grant.session));
        }
        if let Some(sent) = lease.outstanding() {
            self.id(node, instance, sent.id);
        }
    }

    fn message(&mut self, message: &Message) {
        match message {
            Message::Request(instance, _, request) => {
                let node = node_of(request);
                self.instances.add(node, *instance);
                self.id(node, *instance, request.id());
                if let Request::Open(opening) = request {
                    self.sessions.add(node, opening.previous_session.unwrap_or(0));
                    self.incarnations.add(node, opening.incarnation);
                }
            }
            Message::Proposal(Command::Expire { node, session, renewed_at }) => {
                self.sessions.add(*node, *session);
                self.renewed.add(*node, *renewed_at);
            }
            Message::Proposal(Command::RemoveMember { node, incarnation: Some(incarnation), .. }) => {
                self.incarnations.add(*node, *incarnation);
            }
            Message::Proposal(_) => {}
        }
    }
}

/// Ranks of a process's times: where each request and the end of its lease stand among each other.
struct Times {
    now: u64,
    ranks: Ranks<u64>,
}

impl Times {
    fn of(state: &State, process: &Process) -> Self {
        let mut ranks = Ranks::default();
        let now = process.now_ms;
        ranks.add(now);
        for sent in state.times(process) {
            if sent + u64::from(LEASE_MS) > now {
                ranks.add(sent);
                ranks.add(sent + u64::from(LEASE_MS));
            }
        }
        let deadline = process.lease.deadline_ms();
        if deadline > now && deadline != u64::MAX {
            ranks.add(deadline);
        }
        ranks.close();
        Self { now, ranks }
    }

    /// A send time; one whose lease would be over is like any other such.
    fn sent(&self, ms: u64) -> [u8; 2] {
        if ms + u64::from(LEASE_MS) <= self.now {
            return [0, 0];
        }
        [self.ranks.of(ms), self.ranks.of(ms + u64::from(LEASE_MS))]
    }

    fn deadline(&self, ms: u64) -> u8 {
        match ms {
            u64::MAX => 255,
            _ if ms <= self.now => 0,
            _ => self.ranks.of(ms),
        }
    }
}

type Bytes = Vec<u8>;

fn small(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(254)
}

fn option(number: Option<u32>) -> u8 {
    number.map_or(255, small)
}

fn lease(ms: Option<u32>) -> u8 {
    u8::from(ms.is_some())
}

fn write_id(names: &Names, node: NodeId, instance: Instance, id: RequestId, out: &mut Bytes) {
    match id {
        RequestId::Open { attempt } => out.extend([1, names.attempts.of(instance, attempt)]),
        RequestId::Renew { session, seq } => {
            out.extend([2, names.sessions.of(node, session), names.seqs.of(session, seq)]);
        }
    }
}

fn write_process(state: &State, names: &Names, process: &Process, out: &mut Bytes) {
    let (it, times) = (&process.lease, Times::of(state, process));
    let Identity { node, incarnation, instance, .. } = process.identity;
    out.extend([
        names.instances.of(node, instance),
        names.incarnations.of(node, incarnation),
        it.phase() as u8,
        names.sessions.of(node, it.session()),
        names.seqs.of(it.session(), it.seq()),
        small(it.cap()),
        small(it.in_use()),
        times.deadline(it.deadline_ms()),
        times.ranks.of(times.now),
        lease(it.lease_ms()),
        option(it.target()),
        u8::from(process.is_draining),
        u8::from(process.is_wiped),
        names.sessions.of(node, it.saved().unwrap_or(0)),
        names.sessions.of(node, process.disk.unwrap_or(0)),
        names.attempts.of(instance, process.attempt),
    ]);
    if let Some(sent) = it.outstanding() {
        write_id(names, node, instance, sent.id, out);
        out.extend(times.sent(sent.sent_ms));
    }
    out.push(250);
    let mut permits: Bytes = process.permits.iter().map(|it| names.sessions.of(node, it.session())).collect();
    permits.sort_unstable();
    out.append(&mut permits);
    out.push(251);
    let answers = process.answers.iter().map(|(id, answer)| {
        let mut out = Bytes::new();
        write_id(names, node, instance, *id, &mut out);
        match answer {
            Ok(grant) => out.extend([
                names.sessions.of(node, grant.session),
                small(grant.share.connections),
                option(grant.target),
                lease(grant.lease_ms),
            ]),
            Err(Reason::StaleSession { .. }) => out.push(200),
            Err(Reason::NotAMember { .. } | Reason::OtherIncarnation { .. }) => out.push(201),
            Err(_) => out.push(202),
        }
        out
    });
    write_sorted(answers.collect(), out);
}

fn write_sorted(mut parts: Vec<Bytes>, out: &mut Bytes) {
    parts.sort_unstable();
    for part in &parts {
        out.push(small(u32::try_from(part.len()).unwrap()));
        out.extend(part);
    }
    out.push(252);
}

fn node_of(request: &Request) -> NodeId {
    match request {
        Request::Open(opening) => opening.node,
        Request::Renew(renewal) => renewal.node,
    }
}

/// A message, if it is about `node`.
fn write_message(state: &State, names: &Names, node: NodeId, message: &Message) -> Option<Bytes> {
    let mut out = Bytes::new();
    match message {
        Message::Request(instance, sent_ms, request) if node_of(request) == node => {
            let sender = state.processes.iter().find(|process| process.identity.instance == *instance);
            out.push(names.instances.of(node, *instance));
            out.extend(sender.map_or([254, 254], |it| Times::of(state, it).sent(*sent_ms)));
            write_id(names, node, *instance, request.id(), &mut out);
            match request {
                Request::Open(opening) => out.extend([
                    names.sessions.of(node, opening.previous_session.unwrap_or(0)),
                    names.incarnations.of(node, opening.incarnation),
                ]),
                Request::Renew(renewal) => out.extend([
                    small(renewal.held.connections),
                    small(renewal.want.connections),
                    lease(renewal.lease_ms),
                ]),
            }
        }
        Message::Proposal(Command::Expire { node: of, session, renewed_at }) if *of == node => {
            out.extend([210, names.sessions.of(node, *session), names.renewed.of(node, *renewed_at)]);
        }
        Message::Proposal(Command::RemoveMember { node: of, incarnation, now, .. }) if *of == node => {
            let incarnation = incarnation.map_or(0, |it| names.incarnations.of(node, it));
            out.extend([211, incarnation, u8::from(*now)]);
        }
        _ => return None,
    }
    Some(out)
}

fn write_share(state: &State, names: &Names, node: NodeId, share: &Share, out: &mut Bytes) {
    out.extend([
        names.sessions.of(node, share.session),
        names.incarnations.of(node, share.incarnation),
        names.instances.of(node, share.instance),
        names.attempts.of(share.instance, share.attempt),
        names.seqs.of(share.session, share.seq),
        small(share.granted.connections),
        if state.is_alone() { 0 } else { small(share.want.connections) },
        names.renewed.of(node, share.renewed_at),
        lease(share.lease_ms),
        option(share.target),
        u8::from(share.orphan),
    ]);
    let process = state.processes.iter().find(|process| process.identity.instance == share.instance);
    if let (Some(process), Some(sent)) = (process, state.sent.get(&node)) {
        out.extend(Times::of(state, process).sent(sent.ms));
    }
}

/// All that concerns one node. Its number does not: nodes are alike.
fn write_node(state: &State, names: &Names, node: NodeId) -> Bytes {
    let mut out = Bytes::with_capacity(96);
    if let Some(member) = state.ledger.members().get(&node) {
        out.extend([names.incarnations.of(node, member.incarnation), u8::from(member.draining)]);
    }
    out.push(253);
    if let Some(share) = state.ledger.shares().get(&node) {
        write_share(state, names, node, share, &mut out);
    }
    out.push(254);
    for process in state.processes.iter().filter(|process| process.identity.node == node) {
        write_process(state, names, process, &mut out);
    }
    let messages = state.net.iter().filter_map(|message| write_message(state, names, node, message));
    write_sorted(messages.collect(), &mut out);
    out
}

/// The key of a state.
pub fn key(state: &State, form: &Form) -> u128 {
    let names = Names::of(state);
    let limits = state.ledger.limits();
    let mut out = vec![small(limits.connections), lease(limits.lease_ms), state.rejoins];
    write_sorted((1..=form.nodes).map(|node| write_node(state, &names, node)).collect(), &mut out);
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        out.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}
