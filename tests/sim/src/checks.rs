//! Laws that hold at every instant, situations that a campaign must have reached, and the use of the limit.
//!
//! The laws are those of docs/quota.md. What the ledger keeps is asked of every entry; what is true of the
//! whole cluster at once is asked after every step, by someone who sees all clocks.

use std::collections::BTreeSet;
use std::sync::Arc;

use erlmcp_ledger::{Change, Command, Ledger, Reason, Receipt, laws};
use erlmcp_quota::{Phase, Request};

use crate::process::Process;
use crate::world::{END_US, SAMPLE_US, Step, World};

/// Every so many entries all of the state is compared.
const WHOLE_EVERY: u64 = 64;

/// Time after the last fault from which all should be well, in microseconds.
const SETTLED_US: u64 = 5_000_000;

/// Share of what is possible that must be in use at the end, in permille.
const END_USE_PERMILLE: u64 = 950;

/// How often a campaign has been in the situations in which protocols of this kind break.
#[derive(Debug, Clone, Copy, Default)]
pub struct Situations {
    /// A node cut off from the others closed its connections at its deadline.
    pub lease_ran_out_in_a_partition: u64,
    /// A share was to expire, and was renewed before that was committed.
    pub renewal_beat_expiry: u64,
    /// A renewal came after its share had expired.
    pub expiry_beat_renewal: u64,
    /// The leader changed while a node was recalled.
    pub leader_change_with_a_target: u64,
    /// A replica took a snapshot over.
    pub snapshot: u64,
    /// The limit was lowered below what was granted.
    pub limit_below_granted: u64,
    /// The lease was shortened.
    pub lease_shortened: u64,
    /// One node held the whole limit but for the others' least headroom.
    pub one_node_holds_all: u64,
    /// An opening was applied twice.
    pub doubled_open: u64,
    /// An id had joined anew while its old process still served.
    pub rejoined_while_serving: u64,
}

impl Situations {
    /// Names and counts.
    pub fn rows(&self) -> [(&'static str, u64); 10] {
        [
            ("a lease ran out in a partition", self.lease_ran_out_in_a_partition),
            ("a renewal beat its expiry", self.renewal_beat_expiry),
            ("an expiry beat its renewal", self.expiry_beat_renewal),
            ("a leader changed while a target was out", self.leader_change_with_a_target),
            ("a snapshot was installed", self.snapshot),
            ("a limit was lowered below what was granted", self.limit_below_granted),
            ("a lease was shortened", self.lease_shortened),
            ("one node held the whole limit", self.one_node_holds_all),
            ("an opening was doubled", self.doubled_open),
            ("an id joined anew while its old process served", self.rejoined_while_serving),
        ]
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.lease_ran_out_in_a_partition += other.lease_ran_out_in_a_partition;
        self.renewal_beat_expiry += other.renewal_beat_expiry;
        self.expiry_beat_renewal += other.expiry_beat_renewal;
        self.leader_change_with_a_target += other.leader_change_with_a_target;
        self.snapshot += other.snapshot;
        self.limit_below_granted += other.limit_below_granted;
        self.lease_shortened += other.lease_shortened;
        self.one_node_holds_all += other.one_node_holds_all;
        self.doubled_open += other.doubled_open;
        self.rejoined_while_serving += other.rejoined_while_serving;
    }
}

/// Connections in use, summed over looks at them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Use {
    used: u64,
    /// Connections that could have been: those wanted, or the limit if that is less.
    possible: u64,
    /// The same without what is leased to nodes that cannot serve.
    unleased: u64,
}

impl Use {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.used += other.used;
        self.possible += other.possible;
        self.unleased += other.unleased;
    }

    /// Percent in use of what was possible, and of what was not leased to nodes that could not serve.
    pub fn percent(&self) -> (f64, f64) {
        let of = |whole: u64| self.used as f64 * 100.0 / whole.max(1) as f64;
        (of(self.possible), of(self.unleased))
    }
}

/// Findings of a run.
#[derive(Debug, Default)]
pub struct Checks {
    /// The first law that was broken, in words.
    pub violation: Option<String>,
    /// Situations that were reached.
    pub situations: Situations,
    /// Entries committed.
    pub commits: u64,
    /// Entries committed in each second.
    pub commits_by_second: Vec<u64>,
    /// Use while things fail, and from [`SETTLED_US`] after the last fault.
    pub uses: [Use; 2],
    expired: BTreeSet<u64>,
}

impl Checks {
    fn fail(&mut self, law: &str, what: &str) {
        self.violation.get_or_insert_with(|| format!("{law}: {what}"));
    }

    /// Counts an entry.
    pub fn count(&mut self, now_us: u64) {
        self.commits += 1;
        let second = usize::try_from(now_us / 1_000_000).unwrap();
        if self.commits_by_second.len() <= second {
            self.commits_by_second.resize(second + 1, 0);
        }
        self.commits_by_second[second] += 1;
    }

    /// Laws of one entry.
    pub fn step(
        &mut self,
        before: &Ledger,
        command: &Command,
        receipt: &Receipt,
        changes: &[Change],
        after: &Ledger,
        is_thorough: bool,
    ) {
        if let Some(law) = laws::broken(after) {
            self.fail("I1", &format!("{law} after {command:?}"));
        }
        if !laws::step_is_lawful(before, command, receipt, after) {
            self.fail("I1, I5", &format!("unlawful step by {command:?}: {receipt:?}"));
        }
        if is_thorough || self.commits.is_multiple_of(WHOLE_EVERY) {
            let entries = after.entries();
            let again = Ledger::from_entries(entries.iter().map(|(key, text)| (key.as_str(), text.as_str())));
            if !again.is_ok_and(|again| again == *after) {
                self.fail("I6", "a snapshot reads as another state");
            }
            if !laws::changes_tell_the_step(before, changes, after) {
                self.fail("I6", &format!("the changes of {command:?} do not tell its step"));
            }
        }
    }

    /// Law of a request: a session is opened once nothing of the one before is open.
    pub fn send(&mut self, process: &Process, request: &Request) {
        let open = process.permits.len() + process.closing.len();
        if matches!(request, Request::Open(_)) && open > 0 {
            self.fail("I4", &format!("node {} opens a session with {open} connections open", process.node));
        }
    }

    /// Situations of one entry.
    pub fn observe(&mut self, before: &Ledger, command: &Command, receipt: &Receipt, after: &Ledger) {
        let seen = &mut self.situations;
        match (command, receipt) {
            (Command::Expire { session, .. }, Receipt::Done) => {
                self.expired.insert(*session);
            }
            (Command::Expire { .. }, Receipt::Refused(Reason::Renewed { .. })) => {
                seen.renewal_beat_expiry += 1
            }
            (Command::Renew { renewals }, Receipt::Renewed(answers)) => {
                for (renewal, answer) in renewals.iter().zip(answers) {
                    let is_stale = matches!(answer, Err(Reason::StaleSession { .. }));
                    if is_stale && self.expired.contains(&renewal.session) {
                        seen.expiry_beat_renewal += 1;
                    }
                }
            }
            (Command::Open(_), Receipt::Granted(_)) if before == after => seen.doubled_open += 1,
            (Command::SetLimit { .. }, Receipt::Done) if after.is_over() => seen.limit_below_granted += 1,
            (Command::SetLease { lease_ms, .. }, Receipt::Done) => {
                let rank = |lease: Option<u32>| lease.map_or(u64::MAX, u64::from);
                if rank(*lease_ms) < rank(before.limits().lease_ms) {
                    seen.lease_shortened += 1;
                }
            }
            _ => {}
        }
        let limit = after.limits().connections;
        if after.shares().values().any(|share| share.granted.connections >= limit - limit / 20) {
            seen.one_node_holds_all += 1;
        }
    }
}

impl World {
    /// Laws of the whole cluster at this instant.
    pub(crate) fn check_sums(&mut self) {
        let ledger = Arc::clone(self.truth());
        let mut served = 0;
        for process in self.processes.iter().filter(|process| process.is_up) {
            let lease = process.agent.lease();
            let now_ms = process.ms(self.now_us);
            if process.is_running() {
                served += u64::try_from(process.served(now_ms)).unwrap();
            }
            if lease.phase() != Phase::Live || now_ms >= lease.deadline_ms() {
                continue;
            }
            let share = ledger.shares().get(&process.node).filter(|share| share.session == lease.session());
            let granted = share.map_or(0, |share| share.granted.connections);
            if lease.cap() > granted {
                let what = format!(
                    "node {} may admit {} in session {} and was granted {granted}",
                    process.node,
                    lease.cap(),
                    lease.session()
                );
                self.checks.fail("I2, I4", &what);
            }
            if process.is_running() {
                let member = ledger.members().get(&process.node);
                let is_other = member.is_some_and(|member| member.incarnation != process.incarnation);
                if is_other && !process.permits.is_empty() {
                    self.checks.situations.rejoined_while_serving += 1;
                }
            }
        }
        let limit = u64::from(ledger.limits().connections).max(ledger.granted());
        if served > limit {
            self.checks
                .fail("I3", &format!("{served} connections are served, {limit} are granted or allowed"));
        }
    }

    /// Laws of the end, when all has been well for longer than a share takes to expire.
    pub(crate) fn final_checks(&mut self) {
        if self.checks.violation.is_some() || self.plan.faults.is_empty() {
            return;
        }
        let ledger = Arc::clone(self.truth());
        let limit = u64::from(ledger.limits().connections);
        let (mut used, mut wanted, mut starving) = (0, 0, None);
        for process in self.processes.iter().filter(|process| process.is_up && !process.is_stopping) {
            let member = ledger.members().get(&process.node);
            if member.is_none_or(|member| member.incarnation != process.incarnation) {
                continue;
            }
            let open = process.open_at_end / (END_US / SAMPLE_US);
            let wants = u64::from(process.demand.min(self.plan.ceiling));
            (used, wanted) = (used + open, wanted + wants);
            let members = u64::try_from(ledger.members().len()).unwrap();
            let fair = limit / members.max(u64::from(self.plan.nodes_expected));
            if open + open / 10 + 2 < wants.min(fair) {
                starving = Some((process.node, open, wants, fair));
            }
        }
        let possible = wanted.min(limit);
        // A tenth ends every second and comes again, and small numbers do not divide well.
        let least = (possible * END_USE_PERMILLE / 1_000).saturating_sub(2 * self.plan.nodes);
        if used < least {
            self.checks
                .fail("I7", &format!("{used} connections are open in the last 5 s, {possible} could be"));
        }
        if let Some((node, open, wants, fair)) = starving {
            let what = format!("node {node} has {open}, wants {wants}, and its part is {fair}");
            self.checks.fail("I8", &what);
        }
    }

    /// Looks at how much of the limit is used.
    pub(crate) fn sample(&mut self) {
        self.after(SAMPLE_US, Step::Sample);
        let ledger = Arc::clone(self.truth());
        let (mut used, mut wanted) = (0, 0);
        let is_end = self.now_us + END_US > self.plan.end_us;
        for process in self.processes.iter_mut().filter(|process| process.is_running()) {
            let open = u64::try_from(process.permits.len()).unwrap();
            process.open_at_end += if is_end { open } else { 0 };
            used += open;
            let member = ledger.members().get(&process.node);
            let admits = member.is_some_and(|it| it.incarnation == process.incarnation && !it.draining);
            let missing = if admits && !process.is_stopping { process.missing } else { 0 };
            wanted += open + u64::from(missing);
        }
        let limit = u64::from(ledger.limits().connections);
        let running = self.processes.iter().filter(|process| process.is_running());
        let is_lost = |session| !running.clone().any(|it| it.agent.lease().session() == session);
        let shares = ledger.shares().values().filter(|share| is_lost(share.session));
        let lost: u64 = shares.map(|share| u64::from(share.granted.connections)).sum();
        let possible = wanted.min(limit);
        let used = used.min(possible);
        let unleased = wanted.min(limit.saturating_sub(lost)).max(used);
        let phase = match self.now_us.checked_sub(self.healed_us()) {
            None => 0,
            Some(since) if since >= SETTLED_US => 1,
            Some(_) => return,
        };
        self.checks.uses[phase].add(&Use { used, possible, unleased });
    }
}
