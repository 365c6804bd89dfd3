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
    if !shares_are_in_order(ledger) {
        return Some("a share has no member, no target above the limit, or numbers that do not fit");
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

/// Shares are of members or orphans, and while more is granted than the limit every share has a target.
#[must_use]
pub fn shares_are_in_order(ledger: &Ledger) -> bool {
    let is_over = ledger.is_over();
    ledger.shares().iter().all(|(node, share)| {
        let is_recalled = share.orphan || share.granted.connections == 0 || share.target.is_some();
        let is_below = share.target.is_none_or(|target| target < share.granted.connections);
        ledger.is_of_its_member(*node, share)
            && (is_recalled || !is_over)
            && is_below
            && share.session <= share.renewed_at
            && share.granted.rate == 0
            && share.granted.burst == 0
    })
}

/// The sum of what is granted fits the limit, or has not grown from `was_granted` while a lowered limit takes
/// effect.
#[must_use]
pub fn sum_is_lawful(was_granted: u64, after: &Ledger) -> bool {
    after.granted() <= u64::from(after.limits().connections).max(was_granted)
}

/// Sessions and numbers of renewals only grow, and only a renewal raises what is granted.
#[must_use]
pub fn shares_step_is_lawful(before: &Ledger, command: &Command, after: &Ledger) -> bool {
    let of_before = |node| before.shares().get(node);
    sum_is_lawful(before.granted(), after)
        && after.shares().iter().all(|(node, new)| {
            let Some(old) = of_before(node) else {
                return matches!(command, Command::Open(_)) && new.granted.connections == 0;
            };
            let is_renewed = matches!(command, Command::Renew { .. }) && new.seq > old.seq;
            if new.session == old.session {
                new.instance == old.instance
                    && (new.orphan || !old.orphan)
                    && (is_renewed || new.renewed_at == old.renewed_at && new.seq == old.seq)
                    && (is_renewed || new.granted.connections == old.granted.connections)
            } else {
                new.session > old.session.max(old.renewed_at)
                    && matches!(command, Command::Open(_))
                    && new.granted.connections == 0
            }
        })
}

/// A step from `before` to `after` by `command`: a refusal changes nothing, and a member goes only when it
/// was drained or declared dead, and never changes its incarnation in place.
#[must_use]
pub fn step_is_lawful(before: &Ledger, command: &Command, receipt: &Receipt, after: &Ledger) -> bool {
    if matches!(receipt, Receipt::Refused(_)) {
        return before == after;
    }
    let members = before.members().iter().all(|(node, old)| match after.members().get(node) {
        Some(new) => new.incarnation == old.incarnation && new.joined_at == old.joined_at,
        None => match command {
            Command::RemoveMember { node: gone, incarnation, dead, .. } => {
                let is_meant = incarnation.is_none_or(|incarnation| incarnation == old.incarnation);
                gone == node && is_meant && (*dead || old.draining)
            }
            _ => false,
        },
    });
    members && shares_step_is_lawful(before, command, after)
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
