//! The simulated cluster: processes, a network that loses, doubles, reorders and delays, and a log on which a
//! majority agrees.
//!
//! Consensus is taken as given: one sequence of commands, to which only the leader that has a majority
//! appends, and which every replica applies in order, each at its own time. What the protocol must survive is
//! around it: late and doubled messages, clocks that drift, processes that die, stop and come back.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::sync::Arc;

use erlmcp_ledger::{Command, Grant, Ledger, Receipt, Renewal};
use erlmcp_quota::{Action, Event, Notes, Outlook, Request, RequestId, due, next_due_ms, recall};

use crate::chance::Chance;
use crate::checks::Checks;
use crate::faults::{Fault, Plan};
use crate::process::{Clock, Mail, Process, Start};

/// Time between two looks of a process at its clients, in microseconds.
const TICK_US: u64 = 20_000;

/// Time for which the leader collects renewals, in microseconds.
const COLLECT_US: u64 = 30_000;

/// Entries after which a replica is too far behind for the log, and gets a snapshot.
const SNAPSHOT_LAG: usize = 60;

/// Time between two looks at the use of the limit, in microseconds.
pub(crate) const SAMPLE_US: u64 = 200_000;

/// Length of the end, over which a run is judged, in microseconds.
pub(crate) const END_US: u64 = 5_000_000;

/// Something that happens at a time.
#[derive(Debug)]
pub enum Step {
    /// A process looks at its clients and at its clock.
    Tick(usize),
    /// A request reaches the leader.
    Request(usize, Request),
    /// An answer reaches a process.
    Answer(usize, Event),
    /// The leader writes what it collected.
    Flush,
    /// The leader looks for shares to end.
    Expiry(u64),
    /// A command is committed; the processes are those who wait for its receipt.
    Commit(Command, Vec<(usize, RequestId)>),
    /// A replica hears of new entries.
    Apply(usize),
    /// A session is on disk.
    Saved(usize, u64),
    /// A process has closed the connections of an ended session.
    Closed(usize),
    /// The next leader is elected.
    Elect(u64),
    /// A fault of the plan.
    Fault(usize),
    /// The end of a fault.
    Heal(Fault, usize),
    /// An operator's commands, one after the other, since a time.
    Operator(u64, Vec<Command>),
    /// A look at how much of the limit is used.
    Sample,
}

/// A run.
pub struct World {
    pub(crate) chance: Chance,
    pub(crate) plan: Plan,
    pub(crate) now_us: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    steps: BTreeMap<u64, Step>,
    next_step: u64,
    /// The ledger after each entry of the log.
    pub(crate) log: Vec<Arc<Ledger>>,
    pub(crate) processes: Vec<Process>,
    pub(crate) leader: Option<usize>,
    pub(crate) term: u64,
    collected: Vec<(Renewal, usize)>,
    is_collecting: bool,
    /// Log length up to which the leader has asked for targets.
    recalled: usize,
    pub(crate) checks: Checks,
    /// Until then disks are slow.
    pub(crate) slow_until_us: u64,
    /// Messages are late, lost and doubled more than usual.
    pub(crate) is_storm: bool,
    /// Everything that happened, in words, if asked for.
    pub(crate) trace: Option<String>,
    /// A hash of what happened.
    pub(crate) digest: u64,
    instances: u64,
}

impl World {
    /// The cluster of `plan`, formed, at time 0.
    pub fn new(seed: u64, plan: Plan, has_trace: bool) -> Self {
        let mut world = Self {
            chance: Chance::new(seed),
            now_us: 0,
            queue: BinaryHeap::new(),
            steps: BTreeMap::new(),
            next_step: 0,
            log: vec![Arc::default()],
            processes: Vec::new(),
            leader: None,
            term: 0,
            collected: Vec::new(),
            is_collecting: false,
            recalled: 0,
            checks: Checks::default(),
            is_storm: false,
            slow_until_us: 0,
            trace: has_trace.then(String::new),
            digest: 0xcbf2_9ce4_8422_2325,
            instances: 0,
            plan,
        };
        for command in world.plan.formation() {
            world.append(&command);
        }
        for node in 1..=world.plan.nodes {
            world.start_process(node, u128::from(node), None);
        }
        world.leader = Some(0);
        for at in 0..world.plan.faults.len() {
            let (at_us, _) = world.plan.faults[at];
            world.after(at_us, Step::Fault(at));
        }
        world.after(SAMPLE_US, Step::Sample);
        world
    }

    /// Runs to the end of the plan, and judges it.
    pub fn run(&mut self) {
        self.run_until(self.plan.end_us);
        self.write_end();
        if self.checks.violation.is_none() {
            self.now_us = self.plan.end_us;
            self.final_checks();
        }
    }

    /// Runs until `end_us`, or to the first violation.
    pub fn run_until(&mut self, end_us: u64) {
        while let Some(Reverse((at_us, number))) = self.queue.peek().copied() {
            if at_us > end_us || self.checks.violation.is_some() {
                return;
            }
            self.queue.pop();
            self.now_us = at_us;
            let step = self.steps.remove(&number).unwrap();
            self.note(&step);
            self.step(step);
        }
    }

    /// Connections that are open now.
    pub fn open(&self) -> u64 {
        self.processes.iter().map(|process| u64::try_from(process.permits.len()).unwrap()).sum()
    }

    /// Notes how every process and every share stands.
    fn write_end(&mut self) {
        let mut lines = format!("leader {:?}, limit {:?}\n", self.leader, self.truth().limits());
        for (at, process) in self.processes.iter().enumerate() {
            let lease = process.agent.lease();
            let _ = writeln!(
                lines,
                "process {at} node {} up {} paused {} cut {} stopping {}: {:?} session {} cap {} in use {}, \
                 wanted {}, target {:?}, {:?}",
                process.node,
                process.is_up,
                process.is_paused,
                process.is_cut,
                process.is_stopping,
                lease.phase(),
                lease.session(),
                lease.cap(),
                lease.in_use(),
                process.demand,
                lease.target(),
                process.agent.readiness(process.ms(self.now_us)),
            );
        }
        for (node, share) in self.truth().shares() {
            let _ = writeln!(lines, "node {node}: {share:?}");
        }
        self.write_note(&lines);
    }

    fn note(&mut self, step: &Step) {
        if matches!(step, Step::Tick(_) | Step::Sample) && self.trace.is_none() {
            return;
        }
        let line = format!("{:>11} {step:?}\n", self.now_us);
        self.write_note(&line);
    }

    /// Adds to the trace.
    pub(crate) fn write_note(&mut self, line: &str) {
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(trace) = &mut self.trace {
            let _ = trace.write_str(line);
        }
    }

    /// Lets `step` happen in `us` microseconds.
    pub(crate) fn after(&mut self, us: u64, step: Step) {
        self.next_step += 1;
        self.queue.push(Reverse((self.now_us + us, self.next_step)));
        self.steps.insert(self.next_step, step);
    }

    /// The newest ledger.
    pub(crate) fn truth(&self) -> &Arc<Ledger> {
        self.log.last().unwrap()
    }

    pub(crate) fn start_process(&mut self, node: u64, incarnation: u128, disk: Option<u64>) -> usize {
        self.instances += 1;
        let clock = Clock::new(&mut self.chance, self.plan.drift_ppm);
        let start = Start {
            node,
            incarnation: erlmcp_ledger::Incarnation::new(incarnation),
            instance: self.instances,
            disk,
            ceiling: self.plan.ceiling,
            nodes_expected: self.plan.nodes_expected,
        };
        let applied = self.log.len() - 1;
        let mut process = Process::start(&start, clock, self.now_us, applied, self.truth());
        (process.demand, process.churn) = self.plan.first_demand(node, &mut self.chance);
        self.processes.push(process);
        let at = self.processes.len() - 1;
        self.after(1, Step::Apply(at));
        let first_us = self.chance.range(0, TICK_US);
        self.after(first_us, Step::Tick(at));
        at
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Tick(at) => self.tick(at),
            Step::Request(from, request) => self.request(from, request),
            Step::Answer(at, _) if self.processes[at].is_deaf => {}
            Step::Answer(at, event) => self.mail(at, Mail::Agent(event)),
            Step::Flush => self.flush(),
            Step::Expiry(term) => self.expiry(term),
            Step::Commit(command, waiting) => self.commit(&command, &waiting),
            Step::Apply(at) => {
                let newest = self.log.len() - 1;
                if self.processes[at].is_up && !self.processes[at].is_cut {
                    self.mail(at, Mail::Applied(newest));
                }
            }
            Step::Saved(at, session) => {
                if self.processes[at].is_up {
                    self.processes[at].disk = Some(session);
                    self.mail(at, Mail::Agent(Event::Saved(session)));
                }
            }
            Step::Closed(at) => self.closed(at),
            Step::Elect(term) => self.elect(term),
            Step::Fault(at) => self.fault(at),
            Step::Heal(fault, at) => self.heal(fault, at),
            Step::Operator(born_us, commands) => self.operator(born_us, commands),
            Step::Sample => self.sample(),
        }
        self.check_sums();
    }

    /// Gives mail to a process, or keeps it for a stopped one.
    pub(crate) fn mail(&mut self, at: usize, mail: Mail) {
        let process = &mut self.processes[at];
        if !process.is_up {
            return;
        }
        if process.is_paused {
            process.mail.push(mail);
            return;
        }
        let mut actions = Vec::new();
        let now_ms = process.ms(self.now_us);
        match mail {
            Mail::Agent(event) => process.agent.handle(now_ms, event, &mut actions),
            Mail::Applied(index) if index >= process.applied => {
                let ledger = &self.log[index];
                if index > process.applied + SNAPSHOT_LAG {
                    self.checks.situations.snapshot += 1;
                    process.notes = Notes::at_start(ledger, now_ms);
                } else {
                    // Each entry by itself: a note is of the moment at which its entry was applied.
                    process.notes.follow(ledger, now_ms);
                }
                process.applied = index;
                let outlook = Outlook::of(ledger, &process.identity);
                process.agent.handle(now_ms, Event::View(outlook), &mut actions);
            }
            Mail::Applied(_) => {}
        }
        self.act(at, actions);
        if self.leader == Some(at) {
            self.lead(at);
        }
    }

    fn act(&mut self, at: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(request) => self.send(at, request),
                Action::Save(session) => {
                    let us = self.chance.range(500, 20_000);
                    self.after(us, Step::Saved(at, session));
                }
                Action::CloseAll => {
                    if self.processes[at].is_cut {
                        self.checks.situations.lease_ran_out_in_a_partition += 1;
                    }
                    // None of them is served any more, however long that takes; not long once all is well.
                    let permits = std::mem::take(&mut self.processes[at].permits);
                    self.processes[at].closing.extend(permits);
                    let us = self.chance.pick(&[2_000, 30_000, 300_000, 2_000_000]);
                    let us = if self.now_us < self.healed_us() { us } else { 2_000 };
                    self.after(us, Step::Closed(at));
                }
                Action::GivenBack => {
                    if self.processes[at].is_stopping {
                        self.kill(at);
                    }
                }
            }
        }
    }

    fn closed(&mut self, at: usize) {
        let process = &mut self.processes[at];
        if process.is_up && !process.closing.is_empty() {
            let closing = std::mem::take(&mut process.closing);
            closing.into_iter().for_each(|permit| process.agent.release(permit));
        }
    }

    fn send(&mut self, at: usize, request: Request) {
        self.checks.send(&self.processes[at], &request);
        if self.processes[at].is_cut {
            self.renew_alone(at, &request);
            return;
        }
        let mut deliveries = self.deliveries();
        // An opening that comes when another process or a later attempt has a session, or none has.
        let is_faulty = !self.plan.is_calm && self.now_us < self.healed_us();
        if is_faulty && matches!(request, Request::Open(_)) && self.chance.is(300) {
            deliveries.push(self.chance.range(1_000_000, 30_000_000));
        }
        for us in deliveries {
            self.after(us, Step::Request(at, request.clone()));
        }
    }

    /// Grants its node what it holds, as a leader that does not know yet that it leads no more, if the plan
    /// is of such.
    fn renew_alone(&mut self, at: usize, request: &Request) {
        let (Request::Renew(renewal), true, true) =
            (request, self.plan.has_local_renewals, self.processes[at].leads_alone)
        else {
            return;
        };
        let Renewal { session, seq, held: share, lease_ms, .. } = *renewal;
        let answer = Ok(Grant { session, seq, share, target: None, lease_ms });
        self.after(1_000, Step::Answer(at, Event::Answer(request.id(), answer)));
    }

    /// Delays of the copies of a message that arrive.
    fn deliveries(&mut self) -> Vec<u64> {
        // Three losses in a row end a short lease: what the end is judged by is not to be luck.
        if self.plan.is_calm || self.now_us + 2 * END_US > self.plan.end_us {
            return vec![self.chance.range(200, 4_000)];
        }
        let (lost, doubled) = if self.is_storm { (150, 150) } else { (5, 10) };
        let copies = if self.chance.is(lost) { 0 } else { 1 + u64::from(self.chance.is(doubled)) };
        (0..copies)
            .map(|_| match (self.is_storm, self.chance.range(0, 100)) {
                (true, 0..10) | (false, 0) => self.chance.range(1_000, 20_000_000),
                (true, 10..50) => self.chance.range(1_000, 1_500_000),
                _ => self.chance.range(200, 4_000),
            })
            .collect()
    }

    fn request(&mut self, from: usize, request: Request) {
        let Some(leader) = self.leader.filter(|_| !self.processes[from].is_cut) else {
            return;
        };
        if !self.has_majority(leader) {
            return;
        }
        match request {
            Request::Open(opening) => {
                let id = Request::Open(opening).id();
                self.propose(Command::Open(opening), vec![(from, id)]);
            }
            Request::Renew(renewal) => {
                self.collected.push((renewal, from));
                if !self.is_collecting {
                    self.is_collecting = true;
                    self.after(COLLECT_US, Step::Flush);
                }
            }
        }
    }

    /// Writes the renewals collected, one of each node; the others wait for the next.
    fn flush(&mut self) {
        self.is_collecting = false;
        let mut renewals: Vec<Renewal> = Vec::new();
        let mut waiting = Vec::new();
        let mut rest = Vec::new();
        for (renewal, from) in std::mem::take(&mut self.collected) {
            if renewals.iter().any(|other| other.node == renewal.node) {
                rest.push((renewal, from));
                continue;
            }
            let id = RequestId::Renew { session: renewal.session, seq: renewal.seq };
            renewals.push(renewal);
            waiting.push((from, id));
        }
        self.collected = rest;
        if !self.collected.is_empty() {
            self.is_collecting = true;
            self.after(COLLECT_US, Step::Flush);
        }
        if !renewals.is_empty() {
            self.propose(Command::Renew { renewals }, waiting);
        }
    }

    /// Whether this process, if it leads, is heard by a majority.
    pub(crate) fn has_majority(&self, leader: usize) -> bool {
        let is_here = |process: &Process| process.is_running() && !process.is_cut;
        let members = self.truth().members();
        let is_member = |process: &&Process| {
            members.get(&process.node).is_some_and(|member| member.incarnation == process.incarnation)
        };
        let here = self.processes.iter().filter(is_member).filter(|process| is_here(process)).count();
        is_here(&self.processes[leader]) && 2 * here > members.len()
    }

    /// The leader writes a command; it is committed if a majority hears it.
    pub(crate) fn propose(&mut self, command: Command, waiting: Vec<(usize, RequestId)>) {
        let Some(leader) = self.leader else { return };
        if self.has_majority(leader) {
            // Now and then a disk is slow.
            let permille = if self.is_storm { 400 } else { 30 * u64::from(!self.plan.is_calm) };
            let is_slow = self.now_us < self.slow_until_us || self.chance.is(permille);
            let us = if is_slow { self.chance.range(5_000, 900_000) } else { self.chance.range(800, 6_000) };
            self.after(us, Step::Commit(command, waiting));
        }
    }

    fn commit(&mut self, command: &Command, waiting: &[(usize, RequestId)]) {
        let before = Arc::clone(self.truth());
        let receipt = self.append(command);
        self.checks.count(self.now_us);
        self.checks.observe(&before, command, &receipt, self.log.last().unwrap());
        let line = format!("            -> {receipt:?}\n");
        self.write_note(&line);
        for at in 0..self.processes.len() {
            if self.processes[at].is_up && !self.processes[at].is_cut {
                let us = if self.leader == Some(at) { 10 } else { self.chance.range(300, 8_000) };
                self.after(us, Step::Apply(at));
            }
        }
        let answers: Vec<_> = match receipt {
            Receipt::Renewed(answers) => answers,
            Receipt::Granted(grant) => vec![Ok(grant)],
            Receipt::Refused(reason) => vec![Err(reason)],
            Receipt::Done => Vec::new(),
        };
        for (answer, (to, id)) in answers.into_iter().zip(waiting) {
            if !self.processes[*to].is_cut {
                for us in self.deliveries() {
                    self.after(us, Step::Answer(*to, Event::Answer(*id, answer.clone())));
                }
            }
        }
    }

    fn append(&mut self, command: &Command) -> Receipt {
        let index = u64::try_from(self.log.len()).unwrap();
        let before = Arc::clone(self.truth());
        let mut ledger = Ledger::clone(&before);
        let (receipt, changes) = ledger.apply(index, command);
        self.checks.step(&before, command, &receipt, &changes, &ledger, self.plan.is_thorough);
        self.log.push(Arc::new(ledger));
        receipt
    }

    /// The leader's own work after it has applied something.
    fn lead(&mut self, at: usize) {
        let applied = self.processes[at].applied;
        if applied <= self.recalled {
            return;
        }
        let ledger = Arc::clone(&self.log[applied]);
        if let Some(command) = recall(&ledger) {
            // What is under way is waited for.
            self.recalled = self.log.len();
            self.propose(command, Vec::new());
        }
        self.plan_expiry(at, &ledger);
    }

    fn plan_expiry(&mut self, at: usize, ledger: &Ledger) {
        let process = &self.processes[at];
        if let Some(due_ms) = next_due_ms(ledger, &process.notes) {
            let due_us = process.clock.true_us(due_ms).max(self.now_us + 1);
            let term = self.term;
            self.after(due_us - self.now_us, Step::Expiry(term));
        }
    }

    fn expiry(&mut self, term: u64) {
        let Some(leader) = self.leader.filter(|_| term == self.term) else { return };
        let process = &self.processes[leader];
        if !process.is_running() {
            return;
        }
        let ledger = Arc::clone(&self.log[process.applied]);
        let commands = due(&ledger, &process.notes, process.ms(self.now_us));
        if !commands.is_empty() {
            self.after(100_000, Step::Expiry(term));
        }
        for command in commands {
            self.propose(command, Vec::new());
        }
    }

    /// Takes the leadership away; another is elected later.
    pub(crate) fn depose(&mut self) {
        if self.truth().shares().values().any(|share| share.target.is_some()) {
            self.checks.situations.leader_change_with_a_target += 1;
        }
        if let Some(at) = self.leader.take() {
            self.processes[at].leads_alone = self.processes[at].is_cut;
        }
        self.term += 1;
        self.collected.clear();
        let us = self.chance.range(500_000, 3_000_000);
        let term = self.term;
        self.after(us, Step::Elect(term));
    }

    fn elect(&mut self, term: u64) {
        if term != self.term || self.leader.is_some() {
            return;
        }
        let members = self.truth().members();
        let can = |at: &usize| {
            let process = &self.processes[*at];
            let member = members.get(&process.node);
            member.is_some_and(|member| member.incarnation == process.incarnation) && self.has_majority(*at)
        };
        let able: Vec<usize> = (0..self.processes.len()).filter(can).collect();
        if able.is_empty() {
            self.after(500_000, Step::Elect(term));
            return;
        }
        let at = self.chance.pick(&able);
        self.leader = Some(at);
        self.term += 1;
        self.recalled = 0;
        // A new leader has applied all that was committed before it acts.
        let newest = self.log.len() - 1;
        self.mail(at, Mail::Applied(newest));
        let ledger = Arc::clone(self.truth());
        self.plan_expiry(at, &ledger);
    }

    fn tick(&mut self, at: usize) {
        if !self.processes[at].is_up {
            return;
        }
        let us = self.chance.range(TICK_US - 2_000, TICK_US + 2_000);
        self.after(us, Step::Tick(at));
        if self.processes[at].is_paused {
            return;
        }
        self.clients(at);
        let process = &mut self.processes[at];
        let now_ms = process.ms(self.now_us);
        if process.agent.is_hungry() || now_ms >= process.agent.wake_ms() {
            let mut actions = Vec::new();
            process.agent.poll(now_ms, &mut actions);
            self.act(at, actions);
        }
    }

    /// Clients of one process: they come up to its demand, and leave.
    fn clients(&mut self, at: usize) {
        let speed = self.plan.connects_per_tick;
        let process = &mut self.processes[at];
        let now_ms = process.ms(self.now_us);
        let demand = usize::try_from(process.demand).unwrap();
        let open = process.permits.len();
        let churned = u64::try_from(open).unwrap() * process.churn * TICK_US;
        let mut leave = usize::try_from(churned / 1_000_000_000).unwrap();
        if self.chance.range(0, 1_000_000_000) < churned % 1_000_000_000 {
            leave += 1;
        }
        leave = leave.max(open.saturating_sub(demand).min(speed));
        for _ in 0..leave {
            let left = self.chance.index(process.permits.len());
            let permit = process.permits.swap_remove(left);
            process.agent.release(permit);
        }
        let mut refused = 0;
        process.missing = 0;
        for _ in 0..demand.saturating_sub(process.permits.len()).min(speed) {
            match process.agent.admit(now_ms) {
                Ok(permit) => process.permits.push(permit),
                Err(_) => refused += 1,
            }
            if refused == speed.min(4) {
                let open = u32::try_from(process.permits.len()).unwrap();
                process.missing = process.demand.min(self.plan.ceiling).saturating_sub(open);
                break;
            }
        }
    }

    fn operator(&mut self, born_us: u64, mut commands: Vec<Command>) {
        // Once all is well nobody repeats what could not be done before.
        let is_past = born_us < self.healed_us() && self.now_us > self.healed_us();
        if commands.is_empty() || is_past {
            return;
        }
        if self.leader.is_some_and(|leader| self.has_majority(leader)) {
            self.propose(commands.remove(0), Vec::new());
        }
        self.after(400_000, Step::Operator(born_us, commands));
    }
}
