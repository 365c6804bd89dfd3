//! The plan of a run: the cluster, its clients and its faults, all from the seed.
//!
//! After the last fault everything heals, so that a run can also ask whether the limit is used again.

use std::sync::Arc;

use erlmcp_ledger::{Budget, Command, Incarnation, Limits, MemberClaim};
use erlmcp_quota::{Event, Phase};

use crate::chance::Chance;
use crate::process::Mail;
use crate::world::{Step, World};

/// Something that goes wrong, or that an operator does. Times are in microseconds.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A process is cut off from all others.
    Cut {
        /// How long.
        us: u64,
    },
    /// The leader is cut off from all others.
    CutLeader {
        /// How long.
        us: u64,
    },
    /// All are cut off from each other.
    CutAll {
        /// How long.
        us: u64,
    },
    /// A process is killed and starts again with its disk.
    Crash {
        /// After how long.
        us: u64,
    },
    /// A host is lost with its disk; its id joins anew.
    Wipe {
        /// After how long.
        us: u64,
    },
    /// A process is stopped, and goes on.
    Pause {
        /// After how long.
        us: u64,
    },
    /// Another leader is elected.
    LeaderChange,
    /// The limit is set.
    Limit(u32),
    /// The lease is set.
    Lease(Option<u32>),
    /// The lease is made short, and the answers by which one process would hear of it are lost; then it is
    /// cut off.
    Shorten {
        /// How long.
        us: u64,
    },
    /// The network is bad.
    Storm {
        /// How long.
        us: u64,
    },
    /// A member is drained, and comes back.
    Drain {
        /// After how long.
        us: u64,
    },
    /// A process stops in good order and starts again.
    Stop {
        /// After how long.
        us: u64,
    },
    /// A member that is only cut off is removed as dead, and its id joins anew while the old process serves.
    Rejoin {
        /// How long the old process stays cut off.
        us: u64,
    },
    /// A process is cut off until just before its lease ends, and then disks are slow.
    Race,
    /// Every process is killed and starts again.
    RestartAll,
    /// Clients want other numbers of connections.
    Demand,
    /// All clients want one node.
    OneNode,
    /// Clients want so many connections of each process; so many in a thousand end every second.
    Wanted(Vec<u32>, u64),
    /// All that is wrong ends.
    HealAll,
}

/// A cluster and what happens to it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Nodes at first.
    pub nodes: u64,
    /// Nodes that configurations expect.
    pub nodes_expected: u32,
    /// The limit at first.
    pub limits: Limits,
    /// The most connections that a node can serve.
    pub ceiling: u32,
    /// Deviation of clocks, in parts per million, at most.
    pub drift_ppm: i64,
    /// Connections that clients try at a node in a tick of 20 ms, at most.
    pub connects_per_tick: usize,
    /// Faults by time.
    pub faults: Vec<(u64, Fault)>,
    /// End of the run.
    pub end_us: u64,
    /// Every entry is checked against all laws, not some.
    pub is_thorough: bool,
    /// No message is lost, late or doubled, and no disk is slow.
    pub is_calm: bool,
    /// A leader that is cut off renews the share of its own node without the others: a protocol that must
    /// fail.
    pub has_local_renewals: bool,
    /// Connections wanted of each node at first; empty for chance.
    pub demands: Vec<u32>,
}

const SECOND: u64 = 1_000_000;

impl Plan {
    /// The plan of a seed: 100 simulated seconds.
    pub fn of(seed: u64, drift_ppm: i64) -> Self {
        let mut chance = Chance::new(seed ^ 0x51a7);
        let nodes = chance.pick(&[2, 3, 4, 4, 4, 5]);
        let lease_ms = chance.pick(&[3_000, 3_000, 5_000, 8_000, 30_000]);
        let connections = chance.pick(&[40, 300, 1_000, 1_000, 2_000]);
        let limits = Limits {
            connections,
            lease_ms: Some(lease_ms),
            drift_ppm: 10_000,
            margin_ms: chance.pick(&[0, 500]),
        };
        let healed_us = if lease_ms == 30_000 { 55 * SECOND } else { 75 * SECOND };
        let mut plan = Self {
            nodes,
            nodes_expected: chance.pick(&[1, 4, 4]),
            ceiling: chance.pick(&[connections, connections, connections / 2]),
            limits,
            drift_ppm,
            connects_per_tick: chance.pick(&[1, 5, 20, 100]),
            faults: Vec::new(),
            end_us: 100 * SECOND,
            is_thorough: false,
            is_calm: false,
            has_local_renewals: false,
            demands: Vec::new(),
        };
        let count = chance.range(3, 12);
        for _ in 0..count {
            let at_us = chance.range(3 * SECOND, healed_us - SECOND);
            let fault = plan.fault(&mut chance);
            if matches!(fault, Fault::Rejoin { .. }) && chance.is(300) {
                // A share that lasts for ever must outlast the removal.
                plan.faults.push((at_us - 3 * SECOND, Fault::Lease(None)));
            }
            plan.faults.push((at_us, fault));
        }
        for _ in 0..chance.range(1, 6) {
            let fault = if chance.is(300) { Fault::OneNode } else { Fault::Demand };
            plan.faults.push((chance.range(0, healed_us), fault));
        }
        plan.faults.push((healed_us, Fault::HealAll));
        plan.faults.sort_by_key(|(at_us, _)| *at_us);
        plan
    }

    fn fault(&self, chance: &mut Chance) -> Fault {
        let lease_ms = u64::from(self.limits.lease_ms.unwrap_or(30_000));
        // Around the time at which a share expires, where most can go wrong.
        let grace_us = lease_ms * 1_020 + u64::from(self.limits.margin_ms) * 1_000;
        let around = chance.range(grace_us * 9 / 10, grace_us * 11 / 10);
        let us = chance.pick(&[around, grace_us * 2, chance.clone().range(SECOND, 10 * SECOND), around]);
        let limit = self.limits.connections;
        match chance.range(0, 24) {
            0..=2 => Fault::Cut { us },
            3 | 4 => Fault::CutLeader { us },
            5 => Fault::CutAll { us },
            6 | 7 => Fault::Crash { us: chance.pick(&[300_000, 2 * SECOND, us]) },
            8 => Fault::Wipe { us: chance.pick(&[300_000, us]) },
            9 | 10 => Fault::Pause { us },
            11 => Fault::LeaderChange,
            12 => Fault::Limit(chance.pick(&[limit / 4, limit / 2, limit, limit * 2])),
            13 => Fault::Lease(chance.pick(&[Some(3_000), Some(3_000), Some(6_000), Some(8_000), None])),
            14 => Fault::Storm { us: us.min(20 * SECOND) },
            15 => Fault::Drain { us },
            20 => Fault::Stop { us: SECOND },
            16 => Fault::Rejoin { us },
            17 | 18 => Fault::Race,
            19 => Fault::RestartAll,
            21 | 22 => Fault::Shorten { us },
            _ => Fault::LeaderChange,
        }
    }

    /// Commands that found the cluster.
    pub fn formation(&self) -> Vec<Command> {
        let found = Command::Found {
            cluster_id: "sim".to_owned(),
            node: 1,
            claim: claim(1, 1),
            limits: self.limits.clone(),
            budget: Budget::default(),
        };
        let join = |node| Command::PutMember { node, claim: claim(node, node.into()), returning: false };
        std::iter::once(found).chain((2..=self.nodes).map(join)).collect()
    }

    /// Connections wanted of a node, and their churn.
    pub fn first_demand(&self, node: u64, chance: &mut Chance) -> (u32, u64) {
        if let Some(demand) = self.demands.get(usize::try_from(node - 1).unwrap()) {
            return (*demand, 0);
        }
        self.demand(chance)
    }

    fn demand(&self, chance: &mut Chance) -> (u32, u64) {
        let limit = self.limits.connections;
        let part = limit / u32::try_from(self.nodes).unwrap();
        (chance.pick(&[0, 3, part / 2, part, part * 2, limit, limit * 2]), chance.pick(&[0, 20, 300, 1_000]))
    }
}

fn claim(node: u64, incarnation: u128) -> MemberClaim {
    MemberClaim {
        peer_address: format!("n{node}:1"),
        http_address: String::new(),
        incarnation: Incarnation::new(incarnation),
        name: String::new(),
        reads: erlmcp_ledger::VERSION,
    }
}

impl World {
    pub(crate) fn fault(&mut self, number: usize) {
        let fault = self.plan.faults[number].1.clone();
        let up: Vec<usize> = (0..self.processes.len()).filter(|at| self.is_current(*at)).collect();
        let any = if up.is_empty() { None } else { Some(self.chance.pick(&up)) };
        match (&fault, any) {
            (Fault::LeaderChange, _) => self.depose(),
            (Fault::Limit(connections), _) => {
                let command = Command::SetLimit { tenant: None, connections: Some((*connections).max(4)) };
                self.after(0, Step::Operator(self.now_us, vec![command]));
            }
            (Fault::Lease(lease_ms), _) => self.set_lease(*lease_ms),
            (Fault::Storm { us }, _) => {
                self.is_storm = true;
                self.after(*us, Step::Heal(fault.clone(), 0));
            }
            (Fault::CutAll { us }, _) => {
                for at in up {
                    self.processes[at].is_cut = true;
                    self.after(*us, Step::Heal(Fault::Cut { us: *us }, at));
                }
                self.depose();
            }
            (Fault::CutLeader { us }, _) => {
                if let Some(at) = self.leader {
                    self.cut(at, *us);
                }
            }
            (Fault::RestartAll, _) => {
                for at in up {
                    let us = self.chance.range(200_000, 3_000_000);
                    self.crash(at, us);
                }
            }
            (Fault::Demand, _) => self.change_demand(),
            (Fault::OneNode, Some(at)) => {
                for process in &mut self.processes {
                    process.demand = 0;
                }
                self.processes[at].demand = self.plan.limits.connections * 2;
            }
            (Fault::Wanted(demands, churn), _) => {
                for (process, demand) in self.processes.iter_mut().zip(demands) {
                    (process.demand, process.churn) = (*demand, *churn);
                }
            }
            (Fault::HealAll, _) => self.heal_all(),
            (_, Some(at)) => self.fault_of(&fault, at),
            (_, None) => {}
        }
    }

    fn fault_of(&mut self, fault: &Fault, at: usize) {
        match fault {
            Fault::Cut { us } => self.cut(at, *us),
            Fault::Crash { us } => self.crash(at, *us),
            Fault::Wipe { us } => {
                self.kill(at);
                self.after(*us, Step::Heal(fault.clone(), at));
            }
            Fault::Pause { us } => {
                self.processes[at].is_paused = true;
                if self.leader == Some(at) {
                    self.depose();
                }
                self.after(*us, Step::Heal(fault.clone(), at));
            }
            Fault::Drain { us } => {
                let node = self.processes[at].node;
                self.after(
                    0,
                    Step::Operator(self.now_us, vec![Command::SetDraining { node, draining: true }]),
                );
                self.after(*us, Step::Heal(fault.clone(), at));
            }
            Fault::Stop { us } => {
                self.processes[at].is_stopping = true;
                self.processes[at].demand = 0;
                self.mail(at, Mail::Agent(Event::Stop));
                self.after(*us, Step::Heal(fault.clone(), at));
            }
            Fault::Race => {
                let lease = self.processes[at].agent.lease();
                if lease.phase() == Phase::Live && lease.lease_ms().is_some() {
                    let end_us = self.processes[at].clock.true_us(lease.deadline_ms());
                    let early_us = self.chance.range(20_000, 400_000);
                    let us = end_us.saturating_sub(self.now_us + early_us);
                    self.slow_until_us = self.now_us + us + 2 * SECOND;
                    self.cut(at, us);
                }
            }
            Fault::Shorten { .. } => {
                self.set_lease(Some(3_000));
                self.processes[at].is_deaf = true;
                self.after(1_500_000, Step::Heal(fault.clone(), at));
            }
            Fault::Rejoin { us } => {
                self.cut(at, *us);
                self.rejoin(at);
            }
            _ => {}
        }
    }

    /// Whether the process runs and is the member on record.
    fn is_current(&self, at: usize) -> bool {
        let process = &self.processes[at];
        let member = self.truth().members().get(&process.node);
        process.is_running()
            && !process.is_cut
            && !process.is_stopping
            && member.is_some_and(|member| member.incarnation == process.incarnation)
    }

    fn cut(&mut self, at: usize, us: u64) {
        self.processes[at].is_cut = true;
        if self.leader == Some(at) {
            self.depose();
        }
        self.after(us, Step::Heal(Fault::Cut { us }, at));
    }

    /// The kernel closes the sockets of a killed process.
    pub(crate) fn kill(&mut self, at: usize) {
        self.processes[at].is_up = false;
        self.processes[at].permits.clear();
        self.processes[at].closing.clear();
        if self.leader == Some(at) {
            self.depose();
        }
    }

    fn crash(&mut self, at: usize, us: u64) {
        self.kill(at);
        self.after(us, Step::Heal(Fault::Crash { us }, at));
    }

    fn set_lease(&mut self, lease_ms: Option<u32>) {
        let command =
            Command::SetLease { lease_ms, drift_ppm: 10_000, margin_ms: self.plan.limits.margin_ms };
        self.after(0, Step::Operator(self.now_us, vec![command]));
    }

    /// The id of this process joins anew, with another directory.
    fn rejoin(&mut self, at: usize) {
        let node = self.processes[at].node;
        let was = self.processes[at].incarnation;
        let next = 1_000 + u128::from(self.next_incarnation());
        // Only of a process that certainly runs no more may the operator say that it is gone.
        let now = !self.processes.iter().any(|process| process.node == node && process.is_up);
        let remove = Command::RemoveMember { node, incarnation: Some(was), dead: true, now };
        let put = Command::PutMember { node, claim: claim(node, next), returning: false };
        self.after(0, Step::Operator(self.now_us, vec![remove.clone(), put]));
        if self.chance.is(500) {
            let us = self.chance.range(SECOND, 5 * SECOND);
            self.after(us, Step::Operator(self.now_us, vec![remove]));
        }
        self.start_process(node, next, None);
    }

    fn set_churn(&mut self, churn: u64) {
        for process in &mut self.processes {
            process.churn = churn;
        }
    }

    fn next_incarnation(&self) -> u64 {
        u64::try_from(self.processes.len()).unwrap()
    }

    fn change_demand(&mut self) {
        for at in 0..self.processes.len() {
            let (demand, churn) = self.plan.clone().demand(&mut self.chance);
            let process = &mut self.processes[at];
            if !process.is_stopping {
                (process.demand, process.churn) = (demand, churn);
            }
        }
    }

    pub(crate) fn heal(&mut self, fault: Fault, at: usize) {
        match fault {
            Fault::Cut { .. } => {
                self.processes[at].is_cut = false;
                self.processes[at].is_deaf = false;
                self.processes[at].leads_alone = false;
                self.after(0, Step::Apply(at));
            }
            Fault::Crash { .. } | Fault::Stop { .. } => self.restart(at),
            // Once all is well the host has its disk again.
            Fault::Wipe { .. } if self.now_us < self.healed_us() => self.rejoin(at),
            Fault::Pause { .. } => self.go_on(at),
            Fault::Shorten { us } if self.processes[at].is_deaf => {
                self.processes[at].is_deaf = false;
                self.cut(at, us);
            }
            Fault::Storm { .. } => self.is_storm = false,
            Fault::HealAll => self.set_churn(100),
            Fault::Drain { .. } => {
                let node = self.processes[at].node;
                self.after(
                    0,
                    Step::Operator(self.now_us, vec![Command::SetDraining { node, draining: false }]),
                );
            }
            _ => {}
        }
    }

    /// The process starts again in its directory, once the one before has gone.
    fn restart(&mut self, at: usize) {
        let process = &self.processes[at];
        let (node, incarnation) = (process.node, process.incarnation);
        if process.is_stopping && process.is_up {
            // It could not give its share back in time: it is killed.
            self.kill(at);
        }
        let has_other = |other: &crate::process::Process| {
            other.node == node && other.incarnation == incarnation && other.is_up
        };
        if self.processes.iter().any(has_other) {
            return;
        }
        let bits: u128 = u128::from_str_radix(&incarnation.to_string(), 16).unwrap();
        let disk = self.processes[at].disk;
        self.start_process(node, bits, disk);
    }

    fn go_on(&mut self, at: usize) {
        if !std::mem::take(&mut self.processes[at].is_paused) {
            return;
        }
        // Its workers may be at work before its agent has looked at the clock.
        self.check_sums();
        for mail in std::mem::take(&mut self.processes[at].mail) {
            self.mail(at, mail);
        }
    }

    pub(crate) fn healed_us(&self) -> u64 {
        self.plan.faults.last().map_or(0, |(at_us, _)| *at_us)
    }

    /// Ends every fault and puts every member to work.
    fn heal_all(&mut self) {
        self.is_storm = false;
        let lease_ms = self.plan.limits.lease_ms;
        self.set_lease(lease_ms);
        for at in 0..self.processes.len() {
            self.heal(Fault::Cut { us: 0 }, at);
            self.go_on(at);
        }
        let ledger = Arc::clone(self.truth());
        for (node, member) in ledger.members() {
            self.after(
                0,
                Step::Operator(self.now_us, vec![Command::SetDraining { node: *node, draining: false }]),
            );
            let of_member = |at: &usize| {
                let process = &self.processes[*at];
                process.node == *node && process.incarnation == member.incarnation
            };
            let last = (0..self.processes.len()).rfind(of_member);
            match last {
                Some(at) if !self.processes[at].is_up || self.processes[at].is_stopping => self.restart(at),
                _ => {}
            }
        }
        self.change_demand();
        // First so many end that a lowered limit takes effect in time, then fewer, when use is judged.
        self.set_churn(300);
        self.after(10 * SECOND, Step::Heal(Fault::HealAll, 0));
        self.plan.connects_per_tick = 100;
        if self.leader.is_none() {
            let term = self.term;
            self.after(200_000, Step::Elect(term));
        }
    }
}
