//! One process of a node: its agent, its clock, its disk, its open connections, its replica of the ledger.
//!
//! A node that restarts is another process; one whose id joined anew may have two at once, the old one still
//! serving.

use erlmcp_ledger::{Incarnation, Instance, Ledger, SessionId};
use erlmcp_quota::{Agent, Event, Identity, Notes, Permit, Settings};

use crate::chance::Chance;

/// A clock that runs at a rate of its own.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    offset_ms: u64,
    /// Deviation of its rate, in parts per million.
    ppm: i64,
}

impl Clock {
    /// A clock within `ppm_max` of true time, at the edges of that more often than not.
    pub fn new(chance: &mut Chance, ppm_max: i64) -> Self {
        let ppm = match chance.range(0, 4) {
            0 => ppm_max,
            1 => -ppm_max,
            _ => i64::try_from(chance.range(0, 2 * ppm_max.unsigned_abs() + 1)).unwrap() - ppm_max,
        };
        Self { offset_ms: chance.range(1_000_000, 9_000_000), ppm }
    }

    /// Time that it shows, in milliseconds, at the true time `now_us`.
    pub fn ms(&self, now_us: u64) -> u64 {
        let drift = i128::from(now_us) * i128::from(self.ppm) / 1_000_000;
        self.offset_ms + u64::try_from((i128::from(now_us) + drift) / 1_000).unwrap()
    }

    /// The true time at which it will show `ms`, or a little later.
    pub fn true_us(&self, ms: u64) -> u64 {
        let local_us = i128::from(ms.saturating_sub(self.offset_ms)) * 1_000;
        u64::try_from(local_us * 1_000_000 / (1_000_000 + i128::from(self.ppm))).unwrap() + 2
    }
}

/// Something that a stopped process finds when it goes on.
#[derive(Debug, Clone)]
pub enum Mail {
    /// For its agent.
    Agent(Event),
    /// The ledger was applied up to this index.
    Applied(usize),
}

/// A process.
pub struct Process {
    /// Its node.
    pub node: u64,
    /// Incarnation of its data directory.
    pub incarnation: Incarnation,
    /// Its agent.
    pub agent: Agent,
    /// Its clock.
    pub clock: Clock,
    /// Session on its disk.
    pub disk: Option<SessionId>,
    /// Permits of its open connections.
    pub permits: Vec<Permit>,
    /// Permits of those of an ended session, which are being closed.
    pub closing: Vec<Permit>,
    /// It runs; a process that ended has no sockets.
    pub is_up: bool,
    /// It is stopped (as by SIGSTOP), and does nothing until told to go on.
    pub is_paused: bool,
    /// Cut off from everyone.
    pub is_cut: bool,
    /// No answer reaches it.
    pub is_deaf: bool,
    /// It led when it was cut off.
    pub leads_alone: bool,
    /// It was told to stop in good order.
    pub is_stopping: bool,
    /// Index of the ledger that it has applied.
    pub applied: usize,
    /// Notes of what it applied when.
    pub notes: Notes,
    /// Mail that came while it was stopped.
    pub mail: Vec<Mail>,
    /// Connections that clients want here.
    pub demand: u32,
    /// Connections that clients wanted and were refused when they last tried.
    pub missing: u32,
    /// Open connections, summed over the looks at the end of the run.
    pub open_at_end: u64,
    /// Connections that end by themselves, in parts per thousand and second.
    pub churn: u64,
    /// Its name in the protocol.
    pub identity: Identity,
}

/// Facts that a process starts with.
pub struct Start {
    /// Its node.
    pub node: u64,
    /// Incarnation of its data directory.
    pub incarnation: Incarnation,
    /// Number of the process.
    pub instance: u64,
    /// Session on its disk.
    pub disk: Option<SessionId>,
    /// The most connections that it can serve.
    pub ceiling: u32,
    /// Expected nodes.
    pub nodes_expected: u32,
}

impl Process {
    /// Starts, with the ledger as it was applied.
    pub fn start(start: &Start, clock: Clock, now_us: u64, applied: usize, ledger: &Ledger) -> Self {
        let identity = Identity {
            node: start.node,
            incarnation: start.incarnation,
            instance: Instance::new(u128::from(start.instance)),
            nodes_expected: start.nodes_expected,
        };
        let settings = Settings { identity, saved: start.disk, ceiling: start.ceiling };
        Self {
            node: start.node,
            incarnation: start.incarnation,
            agent: Agent::new(settings),
            clock,
            disk: start.disk,
            permits: Vec::new(),
            closing: Vec::new(),
            is_up: true,
            is_paused: false,
            is_cut: false,
            is_deaf: false,
            leads_alone: false,
            is_stopping: false,
            applied,
            notes: Notes::at_start(ledger, clock.ms(now_us)),
            mail: Vec::new(),
            demand: 0,
            churn: 0,
            missing: 0,
            open_at_end: 0,
            identity,
        }
    }

    /// Time on its clock.
    pub fn ms(&self, now_us: u64) -> u64 {
        self.clock.ms(now_us)
    }

    /// Connections that are served at `now_ms` of its clock.
    pub fn served(&self, now_ms: u64) -> usize {
        let lease = self.agent.lease();
        let is_served = |permit: &&Permit| lease.serves(permit, now_ms);
        // All that are not being closed are of one session.
        let open = self.permits.first().filter(is_served).map_or(0, |_| self.permits.len());
        open + self.closing.iter().filter(is_served).count()
    }

    /// Whether it does anything.
    pub fn is_running(&self) -> bool {
        self.is_up && !self.is_paused
    }
}
