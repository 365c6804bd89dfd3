//! The ledger's state and the one function that changes it.
//!
//! [`Ledger::apply`] is total and deterministic. It also says which keys changed, so that a store can keep
//! the state as keys and values and write one small batch for each command.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::entries::{BUDGET, LIMITS, TENANT_BUDGET, TENANT_LIMIT};
use crate::id::{Incarnation, NodeId, Tenant};
use crate::limits::{Budget, Limits, TENANTS_MAX};
use crate::members::{self, MEMBERS_MAX, MemberClaim, MemberRecord};
use crate::receipt::{Reason, Receipt};
use crate::share::Share;
use crate::wire::{STATE_VERSION, value_to_json};

/// The longest cluster id, in bytes.
const CLUSTER_ID_BYTES_MAX: usize = 64;

/// One key of the state that changed; `None` means it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, in ASCII.
    pub key: String,
    /// The new value, in JSON.
    pub value: Option<String>,
}

/// Facts of the cluster as a whole; the first key that a ledger gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cluster {
    pub(crate) v: u32,
    id: String,
    founded_at: u64,
    /// The incarnation that founded it. Two groups may bear one id, when a founder lost its data, but not
    /// this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    founder: Option<Incarnation>,
}

/// The replicated truth.
///
/// A clone is cheap, as everyone who looks at the state holds one: each table is shared until it changes, so
/// that a command which changes one member does not pay for a hundred thousand tenants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    pub(crate) cluster: Option<Cluster>,
    pub(crate) members: Arc<BTreeMap<NodeId, MemberRecord>>,
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
    pub(crate) tenant_limits: Arc<BTreeMap<Tenant, u32>>,
    pub(crate) tenant_budgets: Arc<BTreeMap<Tenant, Budget>>,
    pub(crate) shares: Arc<BTreeMap<NodeId, Share>>,
}

/// Changes of a command that was not refused.
pub(crate) type Outcome = Result<Vec<Change>, Reason>;

impl Ledger {
    /// The cluster's id, once founded.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster.as_ref().map(|cluster| cluster.id.as_str())
    }

    /// Which group of that id this is: the incarnation of its founder's directory. None if it was
    /// founded before groups were told apart.
    #[must_use]
    pub fn group(&self) -> Option<Incarnation> {
        self.cluster.as_ref().and_then(|cluster| cluster.founder)
    }

    /// The members, by id.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<NodeId, MemberRecord> {
        &self.members
    }

    /// The newest form of commands that every member reads; a newer one may not be written yet.
    #[must_use]
    pub fn reads(&self) -> u32 {
        // Every release reads the first.
        self.members.values().map(|member| member.reads).min().unwrap_or_default().max(1)
    }

    /// The cluster's slots and the terms of leases.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The cluster's rate.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Tenants with slots of their own.
    #[must_use]
    pub fn tenant_limits(&self) -> &BTreeMap<Tenant, u32> {
        &self.tenant_limits
    }

    /// Tenants with a rate of their own.
    #[must_use]
    pub fn tenant_budgets(&self) -> &BTreeMap<Tenant, Budget> {
        &self.tenant_budgets
    }

    /// Applies the command at log index `index`: the only way the state changes.
    ///
    /// A refused command changes nothing. Of a command that finds its change made, the changes are empty.
    pub fn apply(&mut self, index: u64, command: &Command) -> (Receipt, Vec<Change>) {
        let (was_granted, was_over) = (self.granted(), self.is_over());
        match self.decide(index, command) {
            Ok((receipt, mut changes)) => {
                self.retarget(was_over, &mut changes);
                debug_assert_eq!(crate::laws::broken(self), None, "after {command:?}");
                debug_assert!(crate::laws::sum_is_lawful(was_granted, self), "after {command:?}");
                (receipt, changes)
            }
            Err(reason) => (Receipt::Refused(reason), Vec::new()),
        }
    }

    fn decide(&mut self, index: u64, command: &Command) -> Result<(Receipt, Vec<Change>), Reason> {
        let done = |changes| (Receipt::Done, changes);
        if let Command::Found { cluster_id, node, claim, limits, budget } = command {
            return self.found(index, cluster_id, *node, claim, limits, *budget).map(done);
        }
        if self.cluster.is_none() {
            return Err(Reason::NotFounded);
        }
        match command {
            Command::Open(opening) => self.open(index, opening),
            Command::Renew { renewals } => self.renew(index, renewals),
            Command::Expire { node, session, renewed_at } => {
                self.expire(*node, *session, *renewed_at).map(done)
            }
            Command::SetTargets { targets } => Ok(done(self.set_targets(targets))),
            other => self.decide_plain(index, other).map(done),
        }
    }

    /// Commands whose receipt carries nothing.
    fn decide_plain(&mut self, index: u64, command: &Command) -> Outcome {
        match command {
            Command::PutMember { node, claim, returning } => self.put_member(index, *node, claim, *returning),
            Command::RemoveMember { node, incarnation, dead, now } => {
                self.remove_member(*node, *incarnation, *dead, *now)
            }
            Command::SetDraining { node, draining } => self.set_draining(*node, *draining),
            Command::SetLimit { tenant: None, connections } => {
                let Some(connections) = *connections else {
                    return Err(out_of_range("the cluster's connections cannot be taken away"));
                };
                self.set_limits(Limits { connections, ..self.limits.clone() })
            }
            Command::SetLimit { tenant: Some(tenant), connections } => {
                self.set_tenant_limit(tenant, *connections)
            }
            Command::SetLease { lease_ms, drift_ppm, margin_ms } => self.set_limits(Limits {
                connections: self.limits.connections,
                lease_ms: *lease_ms,
                drift_ppm: *drift_ppm,
                margin_ms: *margin_ms,
            }),
            Command::SetBudget { tenant: None, budget } => {
                let Some(budget) = *budget else {
                    return Err(out_of_range("the cluster's budget cannot be taken away"));
                };
                self.set_budget(budget)
            }
            Command::SetBudget { tenant: Some(tenant), budget } => self.set_tenant_budget(tenant, *budget),
            Command::Found { .. }
            | Command::Open(_)
            | Command::Renew { .. }
            | Command::Expire { .. }
            | Command::SetTargets { .. } => Ok(Vec::new()),
        }
    }

    fn found(
        &mut self,
        index: u64,
        cluster_id: &str,
        node: NodeId,
        claim: &MemberClaim,
        limits: &Limits,
        budget: Budget,
    ) -> Outcome {
        if let Some(cluster) = &self.cluster {
            let is_same = cluster.id == cluster_id
                && self.members.get(&node).is_some_and(|member| member.incarnation == claim.incarnation);
            let refusal = Reason::Founded { cluster_id: cluster.id.clone() };
            return if is_same { Ok(Vec::new()) } else { Err(refusal) };
        }
        let is_id = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if cluster_id.is_empty() || cluster_id.len() > CLUSTER_ID_BYTES_MAX || !is_id(cluster_id) {
            return Err(out_of_range("a cluster id has 1 to 64 letters, digits and dashes"));
        }
        if node == 0 {
            return Err(out_of_range("a node id is at least 1"));
        }
        if let Some(problem) = claim.problem().or(limits.problem()).or(budget.problem()) {
            return Err(out_of_range(problem));
        }
        let founder = Some(claim.incarnation);
        self.cluster =
            Some(Cluster { v: STATE_VERSION, id: cluster_id.to_owned(), founded_at: index, founder });
        self.limits = limits.clone();
        self.budget = budget;
        Arc::make_mut(&mut self.members).insert(node, MemberRecord::new(claim, index));
        Ok(self.entries().into_iter().map(|(key, value)| Change { key, value: Some(value) }).collect())
    }

    fn put_member(&mut self, index: u64, node: NodeId, claim: &MemberClaim, returning: bool) -> Outcome {
        if node == 0 {
            return Err(out_of_range("a node id is at least 1"));
        }
        if let Some(problem) = claim.problem() {
            return Err(out_of_range(problem));
        }
        let record = match self.members.get(&node) {
            Some(known) if known.incarnation != claim.incarnation => {
                return Err(Reason::OtherIncarnation { node, known: known.incarnation });
            }
            Some(known) => known.moved(claim),
            None if returning => return Err(Reason::Removed { node }),
            None if self.members.len() >= MEMBERS_MAX => {
                return Err(Reason::Full { what: "members".to_owned(), max: MEMBERS_MAX as u64 });
            }
            None => MemberRecord::new(claim, index),
        };
        Ok(self.write_member(node, record))
    }

    fn remove_member(
        &mut self,
        node: NodeId,
        incarnation: Option<Incarnation>,
        dead: bool,
        now: bool,
    ) -> Outcome {
        let Some(member) = self.members.get(&node) else {
            return Err(Reason::NotAMember { node });
        };
        if incarnation.is_some_and(|incarnation| incarnation != member.incarnation) {
            return Err(Reason::OtherIncarnation { node, known: member.incarnation });
        }
        if self.members.len() == 1 {
            return Err(Reason::LastMember { node });
        }
        if !dead && !member.draining {
            return Err(Reason::NotDrained { node });
        }
        let share = self.release_member(node, dead && now)?;
        Arc::make_mut(&mut self.members).remove(&node);
        let member = Change { key: members::key(node), value: None };
        Ok(share.into_iter().chain([member]).collect())
    }

    fn set_draining(&mut self, node: NodeId, draining: bool) -> Outcome {
        let Some(member) = self.members.get(&node) else {
            return Err(Reason::NotAMember { node });
        };
        let record = MemberRecord { draining, ..member.clone() };
        Ok(self.write_member(node, record))
    }

    fn write_member(&mut self, node: NodeId, record: MemberRecord) -> Vec<Change> {
        if self.members.get(&node) == Some(&record) {
            return Vec::new();
        }
        let change = Change { key: members::key(node), value: Some(value_to_json(&record)) };
        Arc::make_mut(&mut self.members).insert(node, record);
        vec![change]
    }

    fn set_limits(&mut self, limits: Limits) -> Outcome {
        if let Some(problem) = limits.problem() {
            return Err(out_of_range(problem));
        }
        if let Some((tenant, _)) = self.tenant_limits.iter().find(|(_, slots)| **slots > limits.connections) {
            return Err(above_cluster(tenant, "connections", limits.connections));
        }
        if self.limits == limits {
            return Ok(Vec::new());
        }
        let change = Change { key: LIMITS.to_owned(), value: Some(value_to_json(&limits)) };
        self.limits = limits;
        Ok(vec![change])
    }

    fn set_tenant_limit(&mut self, tenant: &Tenant, connections: Option<u32>) -> Outcome {
        if connections.is_some_and(|slots| slots > self.limits.connections) {
            return Err(above_cluster(tenant, "connections", self.limits.connections));
        }
        set_tenant(&mut self.tenant_limits, TENANT_LIMIT, tenant, connections)
    }

    fn set_budget(&mut self, budget: Budget) -> Outcome {
        if let Some(problem) = budget.problem() {
            return Err(out_of_range(problem));
        }
        if let Some((tenant, _)) = self.tenant_budgets.iter().find(|(_, own)| !own.is_within(&budget)) {
            return Err(above_cluster(tenant, "messages_per_second", budget.messages_per_second));
        }
        if self.budget == budget {
            return Ok(Vec::new());
        }
        self.budget = budget;
        Ok(vec![Change { key: BUDGET.to_owned(), value: Some(value_to_json(&budget)) }])
    }

    fn set_tenant_budget(&mut self, tenant: &Tenant, budget: Option<Budget>) -> Outcome {
        if let Some(problem) = budget.and_then(|own| own.problem()) {
            return Err(out_of_range(problem));
        }
        if budget.is_some_and(|own| !own.is_within(&self.budget)) {
            return Err(above_cluster(tenant, "messages_per_second", self.budget.messages_per_second));
        }
        set_tenant(&mut self.tenant_budgets, TENANT_BUDGET, tenant, budget)
    }
}

fn set_tenant<T: Clone + PartialEq + Serialize>(
    list: &mut Arc<BTreeMap<Tenant, T>>,
    prefix: &str,
    tenant: &Tenant,
    value: Option<T>,
) -> Outcome {
    if list.get(tenant) == value.as_ref() {
        return Ok(Vec::new());
    }
    if value.is_some() && !list.contains_key(tenant) && list.len() >= TENANTS_MAX {
        return Err(Reason::Full { what: "tenants".to_owned(), max: TENANTS_MAX as u64 });
    }
    let change = Change { key: format!("{prefix}{tenant}"), value: value.as_ref().map(value_to_json) };
    let list = Arc::make_mut(list);
    match value {
        Some(value) => list.insert(tenant.clone(), value),
        None => list.remove(tenant),
    };
    Ok(vec![change])
}

fn out_of_range(problem: &str) -> Reason {
    Reason::OutOfRange { problem: problem.to_owned() }
}

fn above_cluster(tenant: &Tenant, what: &str, whole: u32) -> Reason {
    Reason::AboveCluster { tenant: tenant.clone(), what: what.to_owned(), whole }
}
