//! Everything that may happen in a state, and what becomes of it.

use std::collections::BTreeMap;

use erlmcp_ledger::{Command, NodeId, Receipt, SessionId, laws};
use erlmcp_quota::{Notes, Phase, Request, due};

use crate::forms::Form;
use crate::state::{CEILING, LEASE_MS, Message, Sent, State, claim};

/// One thing that may happen; processes, messages and answers by their places in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A process sends an opening, in place of another message of its node if that is lost.
    Open { at: usize, over: Option<usize> },
    /// It has written its session to disk.
    Save(usize),
    /// It sends a renewal that keeps and wants so many, in place of another message if that is lost.
    Renew { at: usize, keep: u32, want: u32, over: Option<usize> },
    /// It admits a connection.
    Admit(usize),
    /// One of its connections of this session closes.
    Release(usize, SessionId),
    /// It sees the ledger.
    View(usize),
    /// Time passes to its deadline.
    Deadline(usize),
    /// It is killed, and starts again with its disk or without.
    Crash { at: usize, has_disk: bool },
    /// It ends and does not start again.
    End(usize),
    /// A message is committed, and may arrive again; its answer is under way, in place of another if that
    /// is lost, or lost itself if there is no room.
    Commit { at: usize, over: Option<usize> },
    /// An answer arrives, and may arrive again.
    Answer(usize, usize),
    /// Somebody's timer for the share of this node ends.
    Propose { node: NodeId, over: Option<usize> },
    /// The operator sets the limit.
    Limit(u32),
    /// The operator sets the lease.
    Lease(Option<u32>),
    /// The leader recalls a node, or lets it off.
    Target(NodeId, Option<u32>),
    /// The operator drains a member, or takes that back.
    Drain(NodeId, bool),
    /// The operator removes a member.
    Remove { node: NodeId, over: Option<usize> },
    /// A removed id joins with a new directory.
    Join(NodeId),
}

/// All that may happen in `state`.
///
/// Nothing is lost but for what takes its place: what a state with fewer messages allows, one with more
/// allows too.
pub fn steps(state: &State, form: &Form) -> Vec<Step> {
    let mut steps = Vec::with_capacity(32);
    for at in 0..state.processes.len() {
        of_process(state, form, at, &mut steps);
    }
    for (at, message) in state.net.iter().enumerate() {
        steps.push(Step::Commit { at, over: None });
        if let Message::Request(instance, ..) = message {
            let process = state.processes.iter().find(|it| it.identity.instance == *instance);
            let answers = process.map_or(0, |process| process.answers.len());
            if answers == form.answers {
                steps.extend((0..answers).map(|over| Step::Commit { at, over: Some(over) }));
            }
        }
    }
    for node in expiring(state) {
        for over in places(state, None, form.proposals) {
            steps.push(Step::Propose { node, over });
        }
    }
    of_operator(state, form, &mut steps);
    steps
}

/// Places for another request of `node`, or for a proposal: a new one if there is room, else those of others.
fn places(state: &State, node: Option<NodeId>, most: usize) -> Vec<Option<usize>> {
    let node_of = |message: &Message| match message {
        Message::Request(_, _, Request::Open(opening)) => Some(opening.node),
        Message::Request(_, _, Request::Renew(renewal)) => Some(renewal.node),
        Message::Proposal(_) => None,
    };
    let taken = (0..state.net.len()).filter(|at| node_of(&state.net[*at]) == node);
    let taken: Vec<_> = taken.map(Some).collect();
    if taken.len() < most { vec![None] } else { taken }
}

fn of_process(state: &State, form: &Form, at: usize, steps: &mut Vec<Step>) {
    let process = &state.processes[at];
    let (lease, now_ms) = (&process.lease, process.now_ms);
    let places = places(state, Some(process.identity.node), form.requests);
    match lease.phase() {
        Phase::Closed => steps.extend(places.into_iter().map(|over| Step::Open { at, over })),
        Phase::Live => {
            for over in places {
                steps.push(Step::Renew { at, keep: lease.cap(), want: form.limit, over });
                // Asks to keep nothing: what is open is kept all the same.
                steps.push(Step::Renew { at, keep: 0, want: 0, over });
            }
        }
        Phase::Saving | Phase::Ended => {}
    }
    let is_unsaved = process.disk != Some(lease.session()) && lease.session() > 0;
    if is_unsaved && matches!(lease.phase(), Phase::Saving | Phase::Live) {
        steps.push(Step::Save(at));
    }
    if lease.is_open(now_ms) {
        steps.push(Step::Admit(at));
    }
    let mut sessions: Vec<_> = process.permits.iter().map(|permit| permit.session()).collect();
    sessions.sort_unstable();
    sessions.dedup();
    steps.extend(sessions.into_iter().map(|session| Step::Release(at, session)));
    if form.has_targets || form.has_drains || !form.limits.is_empty() {
        steps.push(Step::View(at));
    }
    if matches!(lease.phase(), Phase::Saving | Phase::Live) && lease.deadline_ms() != u64::MAX {
        steps.push(Step::Deadline(at));
    }
    for number in 0..process.answers.len() {
        steps.push(Step::Answer(at, number));
    }
    if form.has_crashes && state.is_member(process) {
        steps.push(Step::Crash { at, has_disk: true });
        if form.has_wipes {
            steps.push(Step::Crash { at, has_disk: false });
        }
    }
    if form.rejoins > 0 {
        steps.push(Step::End(at));
    }
}

fn of_operator(state: &State, form: &Form, steps: &mut Vec<Step>) {
    let limits = state.ledger.limits();
    let others = form.limits.iter().filter(|limit| **limit != limits.connections);
    steps.extend(others.map(|limit| Step::Limit(*limit)));
    if form.has_never {
        let other = if limits.lease_ms.is_some() { None } else { Some(LEASE_MS) };
        steps.push(Step::Lease(other));
    }
    for (node, share) in state.ledger.shares().iter().filter(|_| form.has_targets) {
        steps.extend(share.target.map(|_| Step::Target(*node, None)));
        steps.extend((0..share.granted.connections).map(|target| Step::Target(*node, Some(target))));
    }
    for node in 1..=form.nodes {
        match state.ledger.members().get(&node) {
            Some(member) => {
                if form.has_drains {
                    steps.push(Step::Drain(node, !member.draining));
                }
                for over in places(state, None, form.proposals).into_iter().filter(|_| state.rejoins > 0) {
                    steps.push(Step::Remove { node, over });
                }
            }
            None if state.rejoins > 0 => steps.push(Step::Join(node)),
            None => {}
        }
    }
}

/// Shares whose timers may end: those that end at all.
fn expiring(state: &State) -> impl Iterator<Item = NodeId> {
    proposed(state, u64::MAX).into_keys()
}

/// Proposals of a leader that noted every renewal at 0 and whose clock shows `now_ms`.
fn proposed(state: &State, now_ms: u64) -> BTreeMap<NodeId, Command> {
    let commands = due(&state.ledger, &Notes::at_start(&state.ledger, 0), now_ms);
    let by_node = commands.into_iter().filter_map(|command| match command {
        Command::Expire { node, .. } => Some((node, command)),
        _ => None,
    });
    by_node.collect()
}

/// Adds `one` to what is under way, or puts it in the place of another that is lost.
fn put<T>(all: &mut Vec<T>, one: T, over: Option<usize>) {
    match over {
        Some(at) => all[at] = one,
        None => all.push(one),
    }
}

impl State {
    /// Does `step`; an error is a law that it broke.
    pub fn step(&mut self, step: Step, form: &Form) -> Result<(), String> {
        match step {
            Step::Commit { at, over } => return self.commit(at, over, form),
            Step::Limit(limit) => {
                return self.write(&Command::SetLimit { tenant: None, connections: Some(limit) });
            }
            Step::Lease(lease_ms) => {
                return self.write(&Command::SetLease { lease_ms, drift_ppm: 0, margin_ms: 0 });
            }
            Step::Target(node, target) => {
                return self.write(&Command::SetTargets { targets: BTreeMap::from([(node, target)]) });
            }
            Step::Drain(node, draining) => return self.write(&Command::SetDraining { node, draining }),
            Step::Join(node) => {
                self.incarnations += 1;
                self.rejoins -= 1;
                let claim = claim(node, self.incarnations);
                self.start(node, claim.incarnation, None);
                return self.write(&Command::PutMember { node, claim, returning: false });
            }
            Step::Propose { node, over } => self.propose(node, over),
            Step::Remove { node, over } => {
                let incarnation = self.ledger.members().get(&node).map(|member| member.incarnation);
                let now = !self.processes.iter().any(|process| process.identity.node == node);
                self.put(
                    Message::Proposal(Command::RemoveMember { node, incarnation, dead: true, now }),
                    over,
                );
            }
            _ => self.step_of_process(step),
        }
        Ok(())
    }

    fn step_of_process(&mut self, step: Step) {
        match step {
            Step::Open { at, over } => {
                self.pass(at);
                let process = &mut self.processes[at];
                if let Some(opening) = process.lease.open(process.now_ms, CEILING) {
                    process.attempt = opening.attempt;
                    self.send(at, Request::Open(opening), over);
                }
            }
            Step::Renew { at, keep, want, over } => {
                self.pass(at);
                let process = &mut self.processes[at];
                if let Some(renewal) = process.lease.renew(process.now_ms, keep, want, CEILING) {
                    self.send(at, Request::Renew(renewal), over);
                }
            }
            Step::Save(at) => {
                let process = &mut self.processes[at];
                process.disk = Some(process.lease.session());
                process.lease.saved_session(process.lease.session());
            }
            Step::Admit(at) => {
                let process = &mut self.processes[at];
                process.permits.extend(process.lease.admit(process.now_ms));
            }
            Step::Release(at, session) => {
                let process = &mut self.processes[at];
                let place = process.permits.iter().position(|permit| permit.session() == session);
                let permit = process.permits.swap_remove(place.unwrap());
                process.lease.release(permit);
            }
            Step::View(at) => self.view(at),
            Step::Deadline(at) => {
                let process = &mut self.processes[at];
                process.now_ms = process.now_ms.max(process.lease.deadline_ms());
                process.lease.advance(process.now_ms);
            }
            Step::Answer(at, number) => {
                let process = &mut self.processes[at];
                let (id, answer) = process.answers[number].clone();
                process.lease.answer(process.now_ms, id, &answer);
            }
            Step::Crash { at, has_disk } => {
                let process = self.processes.remove(at);
                let disk = process.disk.filter(|_| has_disk);
                self.start(process.identity.node, process.identity.incarnation, disk);
                let node = process.identity.node;
                let last = self.processes.iter_mut().rfind(|process| process.identity.node == node).unwrap();
                last.is_wiped = process.is_wiped || !has_disk && process.disk.is_some();
            }
            Step::End(at) => drop(self.processes.remove(at)),
            _ => unreachable!("{step:?} is not of a process"),
        }
    }

    pub fn view(&mut self, at: usize) {
        let process = &self.processes[at];
        let member = self.ledger.members().get(&process.identity.node);
        let member = member.filter(|member| member.incarnation == process.identity.incarnation);
        let share = self.ledger.shares().get(&process.identity.node);
        let share = share.filter(|share| member.is_some() && !share.orphan);
        let target = share.map(|share| (share.session, share.target));
        let draining = member.is_some_and(|member| member.draining);
        let process = &mut self.processes[at];
        if let Some((session, target)) = target {
            process.lease.set_target(session, target);
        }
        process.is_draining = draining;
        process.lease.set_draining(draining);
    }

    fn send(&mut self, at: usize, request: Request, over: Option<usize>) {
        let process = &self.processes[at];
        self.put(Message::Request(process.identity.instance, process.now_ms, request), over);
    }

    fn put(&mut self, message: Message, over: Option<usize>) {
        if !self.net.contains(&message) {
            put(&mut self.net, message, over);
        }
    }

    /// A timer ends: so much time has passed since the last renewal was applied, and more since it was sent.
    pub fn propose(&mut self, node: NodeId, over: Option<usize>) {
        let lease_ms = u64::from(LEASE_MS);
        let waits = [lease_ms / 2, lease_ms * 3 / 4, lease_ms, lease_ms + 1, u64::MAX];
        let found = waits.into_iter().find_map(|ms| Some((ms, proposed(self, ms).remove(&node)?)));
        let Some((wait_ms, command)) = found else { return };
        let share = &self.ledger.shares()[&node];
        let (session, instance) = (share.session, share.instance);
        let sent = self.sent.get(&node).filter(|sent| sent.session == session).map_or(0, |sent| sent.ms);
        let process = self.processes.iter_mut().find(|process| process.identity.instance == instance);
        if let Some(process) = process {
            process.now_ms = process.now_ms.max(sent.saturating_add(wait_ms));
        }
        self.put(Message::Proposal(command), over);
    }

    /// Commits what the operator or the leader says, at once.
    pub fn write(&mut self, command: &Command) -> Result<(), String> {
        self.applied(command).map(drop)
    }

    fn applied(&mut self, command: &Command) -> Result<Receipt, String> {
        let before = self.ledger.clone();
        let receipt = self.apply(command);
        if let Some(law) = laws::broken(&self.ledger) {
            return Err(format!("I1: {law}"));
        }
        if !laws::step_is_lawful(&before, command, &receipt, &self.ledger) {
            return Err(format!("I1, I5: unlawful step by {command:?}: {receipt:?}"));
        }
        Ok(receipt)
    }

    fn commit(&mut self, at: usize, over: Option<usize>, form: &Form) -> Result<(), String> {
        match self.net[at].clone() {
            Message::Proposal(command) => self.write(&command),
            Message::Request(instance, sent_ms, request) => {
                let answer = self.commit_request(sent_ms, &request)?;
                let place = self.processes.iter().position(|it| it.identity.instance == instance);
                let Some(process) = place.map(|place| &mut self.processes[place]) else { return Ok(()) };
                let answer = (request.id(), answer);
                let has_room = over.is_some() || process.answers.len() < form.answers;
                if has_room && !process.answers.contains(&answer) {
                    put(&mut process.answers, answer, over);
                }
                Ok(())
            }
        }
    }

    /// Commits a request; the answer to it.
    pub fn commit_request(
        &mut self,
        sent_ms: u64,
        request: &Request,
    ) -> Result<Result<erlmcp_ledger::Grant, erlmcp_ledger::Reason>, String> {
        let (node, command) = match request {
            Request::Open(opening) => (opening.node, Command::Open(*opening)),
            Request::Renew(renewal) => (renewal.node, Command::Renew { renewals: vec![renewal.clone()] }),
        };
        let receipt = self.applied(&command)?;
        let share = self.ledger.shares().get(&node).filter(|share| share.renewed_at == self.index);
        if let Some(share) = share {
            let before = self.sent.get(&node).filter(|sent| sent.session == share.session);
            let ms = before.map_or(sent_ms, |sent| sent.ms.max(sent_ms));
            self.sent.insert(node, Sent { session: share.session, ms });
        }
        Ok(match receipt {
            Receipt::Granted(grant) => Ok(grant),
            Receipt::Renewed(mut answers) => answers.remove(0),
            Receipt::Refused(reason) => Err(reason),
            Receipt::Done => unreachable!("a request is answered"),
        })
    }

    /// The first law that is broken in this state.
    pub fn broken(&self) -> Option<String> {
        let mut served = 0;
        for process in &self.processes {
            let lease = &process.lease;
            let open = process.served();
            served += open as u64;
            let node = process.identity.node;
            if lease.target().is_some_and(|target| lease.cap() > target.max(lease.in_use())) {
                return Some(format!("node {node} may admit beyond its target {:?}", lease.target()));
            }
            if lease.phase() != Phase::Live || process.now_ms >= lease.deadline_ms() {
                continue;
            }
            let share = self.ledger.shares().get(&process.identity.node);
            let share = share.filter(|share| share.session == lease.session());
            let granted = share.map_or(0, |share| share.granted.connections);
            if lease.cap() > granted || open as u64 > u64::from(granted) {
                let cap = lease.cap();
                return Some(format!("I2, I4: node {node} has {open} of {cap}, and was granted {granted}"));
            }
        }
        let limit = u64::from(self.ledger.limits().connections).max(self.ledger.granted());
        (served > limit).then(|| format!("I3: {served} connections are served, {limit} are allowed"))
    }
}
