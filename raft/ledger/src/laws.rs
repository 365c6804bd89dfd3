//! Laws: what holds in every state the ledger can reach.
//!
//! Written as functions so that property tests, simulations and `debug_assert` in `apply` all ask the same
//! question. A law never changes anything.

use crate::command::Command;
use crate::ledger::{Change, Ledger};
use crate::receipt::Receipt;

/// The first law that `ledger` breaks, in words; `None` when all hold.
#[must_use]
pub fn broken(ledger: &Ledger) -> Option<&'static str> {
    if !tenants_stay_within_the_cluster(ledger) {
        return Some("a tenant's number is above the cluster's");
    }
    if !a_founded_group_has_members(ledger) {
        return Some("members and founding disagree");
    }
    if !numbers_are_in_range(ledger) {
        return Some("a number is out of its range");
    }
    None
}

/// No tenant's slots or rate are above the cluster's.
#[must_use]
pub fn tenants_stay_within_the_cluster(ledger: &Ledger) -> bool {
    ledger.tenant_limits().values().all(|slots| *slots <= ledger.limits().connections)
        && ledger.tenant_budgets().values().all(|own| own.is_within(ledger.budget()))
}

/// A founded group has at least one member; one that is not founded has none.
#[must_use]
pub fn a_founded_group_has_members(ledger: &Ledger) -> bool {
    ledger.cluster_id().is_some() != ledger.members().is_empty()
}

/// Limits, rates and member addresses are within their ranges.
#[must_use]
pub fn numbers_are_in_range(ledger: &Ledger) -> bool {
    ledger.limits().problem().is_none()
        && ledger.budget().problem().is_none()
        && ledger.members().iter().all(|(node, member)| *node > 0 && !member.peer_address.is_empty())
}

/// A step from `before` to `after` by `command`: a refusal changes nothing, and a member goes only when it
/// was drained or declared dead, and never changes its incarnation in place.
#[must_use]
pub fn step_is_lawful(before: &Ledger, command: &Command, receipt: &Receipt, after: &Ledger) -> bool {
    if matches!(receipt, Receipt::Refused(_)) {
        return before == after;
    }
    before.members().iter().all(|(node, old)| match after.members().get(node) {
        Some(new) => new.incarnation == old.incarnation && new.joined_at == old.joined_at,
        None => match command {
            Command::RemoveMember { node: gone, incarnation, dead } => {
                let is_meant = incarnation.is_none_or(|incarnation| incarnation == old.incarnation);
                gone == node && is_meant && (*dead || old.draining)
            }
            _ => false,
        },
    })
}

/// The changes of a step, written over the keys of `before`, give the keys of `after`.
#[must_use]
pub fn changes_tell_the_step(before: &Ledger, changes: &[Change], after: &Ledger) -> bool {
    let mut keys = before.entries();
    for change in changes {
        match &change.value {
            Some(value) => keys.insert(change.key.clone(), value.clone()),
            None => keys.remove(&change.key),
        };
    }
    keys == after.entries()
}
