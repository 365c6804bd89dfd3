//! The state as keys and values: what a store keeps and a snapshot carries.
//!
//! A key that this release does not know is an error: it never drops what a newer one wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::Tenant;
use crate::ledger::{Cluster, Ledger};
use crate::members;
use crate::share;
use crate::wire::{LedgerError, STATE_VERSION, value_from_json, value_to_json};

const CLUSTER: &str = "cluster";
pub(crate) const LIMITS: &str = "limits";
pub(crate) const BUDGET: &str = "budget";
const MEMBER: &str = "member/";
pub(crate) const TENANT_LIMIT: &str = "tenant_limit/";
pub(crate) const TENANT_BUDGET: &str = "tenant_budget/";

impl Ledger {
    /// The whole state as keys and values, in key order; empty before the group is founded.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<String, String> {
        let Some(cluster) = &self.cluster else {
            return BTreeMap::new();
        };
        let mut all = BTreeMap::from([
            (CLUSTER.to_owned(), value_to_json(cluster)),
            (LIMITS.to_owned(), value_to_json(&self.limits)),
            (BUDGET.to_owned(), value_to_json(&self.budget)),
        ]);
        all.extend(self.members.iter().map(|(node, record)| (members::key(*node), value_to_json(record))));
        let limits = self.tenant_limits.iter();
        all.extend(limits.map(|(tenant, slots)| (format!("{TENANT_LIMIT}{tenant}"), value_to_json(slots))));
        let budgets = self.tenant_budgets.iter();
        all.extend(budgets.map(|(tenant, own)| (format!("{TENANT_BUDGET}{tenant}"), value_to_json(own))));
        all.extend(self.shares.iter().map(|(node, share)| (share::key(*node), value_to_json(share))));
        all
    }

    /// Rebuilds the state from the keys and values of [`Ledger::entries`].
    ///
    /// # Errors
    /// [`LedgerError`] when they are of a newer release or malformed.
    pub fn from_entries<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, LedgerError> {
        let mut ledger = Self::default();
        for (key, text) in entries {
            ledger.read_entry(key, text)?;
        }
        Ok(ledger)
    }

    fn read_entry(&mut self, key: &str, text: &str) -> Result<(), LedgerError> {
        match key {
            CLUSTER => {
                let cluster: Cluster = value_from_json(key, text)?;
                if cluster.v > STATE_VERSION {
                    return Err(LedgerError::Newer { what: "the state", version: cluster.v });
                }
                self.cluster = Some(cluster);
            }
            LIMITS => self.limits = value_from_json(key, text)?,
            BUDGET => self.budget = value_from_json(key, text)?,
            _ => self.read_list_entry(key, text)?,
        }
        Ok(())
    }

    fn read_list_entry(&mut self, key: &str, text: &str) -> Result<(), LedgerError> {
        let unknown = || LedgerError::UnknownKey(key.to_owned());
        let read_tenant = |name: &str| name.parse::<Tenant>().map_err(|_| unknown());
        if let Some(node) = key.strip_prefix(MEMBER) {
            Arc::make_mut(&mut self.members)
                .insert(node.parse().map_err(|_| unknown())?, value_from_json(key, text)?);
        } else if let Some(node) = key.strip_prefix(share::KEY) {
            Arc::make_mut(&mut self.shares)
                .insert(node.parse().map_err(|_| unknown())?, value_from_json(key, text)?);
        } else if let Some(name) = key.strip_prefix(TENANT_LIMIT) {
            Arc::make_mut(&mut self.tenant_limits).insert(read_tenant(name)?, value_from_json(key, text)?);
        } else if let Some(name) = key.strip_prefix(TENANT_BUDGET) {
            Arc::make_mut(&mut self.tenant_budgets).insert(read_tenant(name)?, value_from_json(key, text)?);
        } else {
            return Err(unknown());
        }
        Ok(())
    }
}
