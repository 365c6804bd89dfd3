//! One key for all states that go on alike.
//!
//! Indexes of the log, sessions, numbers of renewals, attempts and times only ever grow, and only their order
//! and equality count, so that each stands in the key as its rank among those in the state that it may be
//! compared with.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use erlmcp_ledger::{Command, Incarnation, Instance, Reason, SessionId};
use erlmcp_quota::{Request, RequestId};

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

/// Numbers of renewals in a session, or of attempts of a process.
struct Numbers<K>(BTreeMap<K, Ranks<u32>>);

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Numbers<K> {
    fn add(&mut self, of: K, number: u32) {
        if number > 0 {
            self.0.entry(of).or_default().add(number);
        }
    }

    fn of(&self, of: K, number: u32) -> u8 {
        self.0.get(&of).map_or(0, |ranks| ranks.of(number))
    }
}

#[derive(Default)]
struct Names {
    sessions: Ranks<SessionId>,
    renewed: Ranks<u64>,
    instances: Ranks<Instance>,
    incarnations: Ranks<Incarnation>,
    seqs: Numbers<SessionId>,
    attempts: Numbers<Instance>,
}

impl Names {
    fn of(state: &State) -> Self {
        let mut names = Self::default();
        for member in state.ledger.members().values() {
            names.incarnations.add(member.incarnation);
        }
        for share in state.ledger.shares().values() {
            names.session(Some(share.session));
            names.renewed.add(share.renewed_at);
            names.instances.add(share.instance);
            names.incarnations.add(share.incarnation);
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
        names.seqs.0.values_mut().for_each(Ranks::close);
        names.attempts.0.values_mut().for_each(Ranks::close);
        names
    }

    fn session(&mut self, session: Option<SessionId>) {
        if let Some(session) = session.filter(|session| *session > 0) {
            self.sessions.add(session);
        }
    }

    fn id(&mut self, instance: Instance, id: RequestId) {
        match id {
            RequestId::Open { attempt } => self.attempts.add(instance, attempt),
            RequestId::Renew { session, seq } => {
                self.session(Some(session));
                self.seqs.add(session, seq);
            }
        }
    }

    fn process(&mut self, process: &Process) {
        let instance = process.identity.instance;
        self.instances.add(instance);
        self.incarnations.add(process.identity.incarnation);
        self.session(process.disk);
        self.session(process.lease.saved());
        self.session(Some(process.lease.session()));
        self.seqs.add(process.lease.session(), process.lease.seq());
        self.attempts.add(instance, process.attempt);
        for permit in &process.permits {
            self.session(Some(permit.session()));
        }
        for (id, answer) in &process.answers {
            self.id(instance, *id);
            if let Ok(grant) = answer {
                self.session(Some(grant.session));
            }
        }
        if let Some(sent) = process.lease.outstanding() {
            self.id(instance, sent.id);
        }
    }

    fn message(&mut self, message: &Message) {
        match message {
            Message::Request(instance, _, request) => {
                self.instances.add(*instance);
                self.id(*instance, request.id());
                if let Request::Open(opening) = request {
                    self.session(opening.previous_session);
                    self.incarnations.add(opening.incarnation);
                }
            }
            Message::Proposal(Command::Expire { session, renewed_at, .. }) => {
                self.session(Some(*session));
                self.renewed.add(*renewed_at);
            }
            Message::Proposal(Command::RemoveMember { incarnation: Some(incarnation), .. }) => {
                self.incarnations.add(*incarnation);
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

fn write_id(names: &Names, instance: Instance, id: RequestId, out: &mut Bytes) {
    match id {
        RequestId::Open { attempt } => out.extend([1, names.attempts.of(instance, attempt)]),
        RequestId::Renew { session, seq } => {
            out.extend([2, names.sessions.of(session), names.seqs.of(session, seq)]);
        }
    }
}

fn write_process(state: &State, names: &Names, process: &Process, out: &mut Bytes) {
    let (it, times) = (&process.lease, Times::of(state, process));
    let instance = process.identity.instance;
    out.extend([
        small(u32::try_from(process.identity.node).unwrap()),
        names.instances.of(instance),
        names.incarnations.of(process.identity.incarnation),
        it.phase() as u8,
        names.sessions.of(it.session()),
        names.seqs.of(it.session(), it.seq()),
        small(it.cap()),
        small(it.in_use()),
        times.deadline(it.deadline_ms()),
        times.ranks.of(times.now),
        lease(it.lease_ms()),
        option(it.target()),
        u8::from(process.is_draining),
        u8::from(process.is_wiped),
        names.sessions.of(it.saved().unwrap_or(0)),
        names.sessions.of(process.disk.unwrap_or(0)),
        names.attempts.of(instance, process.attempt),
    ]);
    if let Some(sent) = it.outstanding() {
        write_id(names, instance, sent.id, out);
        out.extend(times.sent(sent.sent_ms));
    }
    out.push(250);
    let mut permits: Bytes = process.permits.iter().map(|it| names.sessions.of(it.session())).collect();
    permits.sort_unstable();
    out.append(&mut permits);
    out.push(251);
    let answers = process.answers.iter().map(|(id, answer)| {
        let mut out = Bytes::new();
        write_id(names, instance, *id, &mut out);
        match answer {
            Ok(grant) => out.extend([
                names.sessions.of(grant.session),
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

fn write_message(state: &State, names: &Names, message: &Message) -> Bytes {
    let mut out = Bytes::new();
    match message {
        Message::Request(instance, sent_ms, request) => {
            let sender = state.processes.iter().find(|process| process.identity.instance == *instance);
            out.push(names.instances.of(*instance));
            out.extend(sender.map_or([254, 254], |it| Times::of(state, it).sent(*sent_ms)));
            write_id(names, *instance, request.id(), &mut out);
            match request {
                Request::Open(opening) => out.extend([
                    names.sessions.of(opening.previous_session.unwrap_or(0)),
                    names.incarnations.of(opening.incarnation),
                ]),
                Request::Renew(renewal) => out.extend([
                    small(renewal.held.connections),
                    small(renewal.want.connections),
                    lease(renewal.lease_ms),
                ]),
            }
        }
        Message::Proposal(Command::Expire { node, session, renewed_at }) => out.extend([
            210,
            small(u32::try_from(*node).unwrap()),
            names.sessions.of(*session),
            names.renewed.of(*renewed_at),
        ]),
        Message::Proposal(Command::RemoveMember { node, incarnation, now, .. }) => out.extend([
            211,
            small(u32::try_from(*node).unwrap()),
            incarnation.map_or(0, |it| names.incarnations.of(it)),
            u8::from(*now),
        ]),
        Message::Proposal(other) => unreachable!("{other:?} is committed at once"),
    }
    out
}

fn write_ledger(state: &State, names: &Names, out: &mut Bytes) {
    let ledger = &state.ledger;
    out.extend([small(ledger.limits().connections), lease(ledger.limits().lease_ms), state.rejoins]);
    for (node, member) in ledger.members() {
        out.extend([
            small(u32::try_from(*node).unwrap()),
            names.incarnations.of(member.incarnation),
            u8::from(member.draining),
        ]);
    }
    out.push(253);
    for (node, share) in ledger.shares() {
        let process = state.processes.iter().find(|process| process.identity.instance == share.instance);
        out.extend([
            small(u32::try_from(*node).unwrap()),
            names.sessions.of(share.session),
            names.incarnations.of(share.incarnation),
            names.instances.of(share.instance),
            names.attempts.of(share.instance, share.attempt),
            names.seqs.of(share.session, share.seq),
            small(share.granted.connections),
            if state.is_alone() { 0 } else { small(share.want.connections) },
            names.renewed.of(share.renewed_at),
            lease(share.lease_ms),
            option(share.target),
            u8::from(share.orphan),
        ]);
        if let (Some(process), Some(sent)) = (process, state.sent.get(node)) {
            out.extend(Times::of(state, process).sent(sent.ms));
        }
        out.push(254);
    }
}

/// The key of a state.
pub fn key(state: &State) -> u128 {
    let names = Names::of(state);
    let mut out = Bytes::with_capacity(192);
    write_ledger(state, &names, &mut out);
    for process in &state.processes {
        write_process(state, &names, process, &mut out);
    }
    write_sorted(state.net.iter().map(|message| write_message(state, &names, message)).collect(), &mut out);
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        out.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}
