//! Commands about shares: opening, renewing, expiring, recalling.
//!
//! Safety is in four rules: a session is replaced only where its process is known to be gone, a renewal
//! counts only in its session and in order, what is granted comes out of what is free, and a share ends only
//! if it was not renewed since its end was decided. How much is granted is the policy's, and no rule of
//! safety leans on it. See docs/quota.md.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{Incarnation, NodeId};
use crate::ledger::{Change, Ledger};
use crate::members::MemberRecord;
use crate::receipt::{Reason, Receipt};
use crate::share::{self, Amount, Grant, Opening, RENEWALS_MAX, Renewal, SessionId, Share, longer_lease};
use crate::wire::value_to_json;

impl Ledger {
    /// The shares, by node.
    #[must_use]
    pub fn shares(&self) -> &BTreeMap<NodeId, Share> {
        &self.shares
    }

    /// The sum of what is granted; above the limit only after the limit was lowered.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.shares.values().map(|share| u64::from(share.granted.connections)).sum()
    }

    /// Connections that nobody was granted; 0 also while more is granted than a lowered limit.
    #[must_use]
    pub fn free(&self) -> u32 {
        let free = u64::from(self.limits.connections).saturating_sub(self.granted());
        u32::try_from(free).unwrap_or(u32::MAX)
    }

    /// Whether more is granted than the limit.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.granted() > u64::from(self.limits.connections)
    }

    pub(crate) fn open(&mut self, index: u64, opening: &Opening) -> Result<(Receipt, Vec<Change>), Reason> {
        let Opening { node, incarnation, instance, attempt, previous_session, .. } = *opening;
        let Some(member) = self.members.get(&node) else {
            return Err(Reason::NotAMember { node });
        };
        if member.incarnation != incarnation {
            return Err(Reason::OtherIncarnation { node, known: member.incarnation });
        }
        if let Some(share) = self.shares.get(&node) {
            let is_own = !share.orphan && share.instance == instance;
            if is_own && share.attempt == attempt && share.seq == 0 {
                return Ok((Receipt::Granted(self.grant_of(share)), Vec::new()));
            }
            let is_late = share.instance == instance && attempt <= share.attempt;
            // The process that asks has closed all of its own connections before, or has the lock of the
            // directory in which the session is written, so that the process of that session is gone.
            let is_proven = !share.orphan && previous_session == Some(share.session);
            let is_empty = share.granted.connections == 0;
            if is_late || !(is_empty || is_proven || is_own) {
                return Err(Reason::Busy { node, session: share.session });
            }
        }
        let share = Share {
            session: index,
            incarnation,
            instance,
            attempt,
            seq: 0,
            granted: Amount::default(),
            in_use: Amount::default(),
            want: Amount::default(),
            ceiling: opening.ceiling,
            nodes_expected: opening.nodes_expected,
            renewed_at: index,
            lease_ms: self.limits.lease_ms,
            target: None,
            orphan: false,
        };
        let receipt = Receipt::Granted(self.grant_of(&share));
        Ok((receipt, vec![self.write_share(node, Some(share))]))
    }

    fn grant_of(&self, share: &Share) -> Grant {
        Grant {
            session: share.session,
            seq: share.seq,
            share: share.granted,
            target: share.target,
            lease_ms: self.limits.lease_ms,
        }
    }

    pub(crate) fn renew(
        &mut self,
        index: u64,
        renewals: &[Renewal],
    ) -> Result<(Receipt, Vec<Change>), Reason> {
        if renewals.len() > RENEWALS_MAX {
            return Err(Reason::Full {
                what: "renewals in one command".to_owned(),
                max: RENEWALS_MAX as u64,
            });
        }
        let mut written = BTreeSet::new();
        let mut answers = Vec::with_capacity(renewals.len());
        for renewal in renewals {
            let answer = self.renew_one(index, renewal);
            if answer.is_ok() {
                written.insert(renewal.node);
            }
            answers.push(answer);
        }
        let changes = written.into_iter().map(|node| self.share_change(node)).collect();
        Ok((Receipt::Renewed(answers), changes))
    }

    fn renew_one(&mut self, index: u64, renewal: &Renewal) -> Result<Grant, Reason> {
        let node = renewal.node;
        let mut share = match self.shares.get(&node) {
            Some(share) if share.session == renewal.session && !share.orphan => share.clone(),
            other => {
                let session = other.map_or(0, |share| share.session);
                return Err(Reason::StaleSession { node, session });
            }
        };
        if renewal.seq <= share.seq {
            return Err(Reason::StaleSeq { node, seq: share.seq });
        }
        let is_first = share.seq == 0;
        let has_released = renewal.held.connections < share.granted.connections;
        let held = share.granted.connections.min(renewal.held.connections);
        share.seq = renewal.seq;
        share.granted = Amount::of_connections(held);
        share.in_use = renewal.in_use;
        share.want = renewal.want;
        share.ceiling = renewal.ceiling;
        share.renewed_at = index;
        share.lease_ms = longer_lease(renewal.lease_ms, self.limits.lease_ms);
        let had_target = share.target.is_some();
        share.target = share.target.filter(|target| held > *target);
        // The release is in force before anything is added.
        self.insert_share(node, share.clone());
        let is_draining = self.members.get(&node).is_none_or(|member| member.draining);
        if !had_target && !is_draining {
            let added = if is_first {
                self.first_grant(&share)
            } else {
                self.increase(node, &share).max(if has_released { 0 } else { self.top_up(&share) })
            };
            share.granted = Amount::of_connections(held.saturating_add(added));
        }
        let grant = self.grant_of(&share);
        self.insert_share(node, share);
        Ok(grant)
    }

    pub(crate) fn expire(
        &mut self,
        node: NodeId,
        session: SessionId,
        renewed_at: u64,
    ) -> Result<Vec<Change>, Reason> {
        match self.shares.get(&node) {
            Some(share) if share.session == session && share.renewed_at == renewed_at => {
                Ok(vec![self.write_share(node, None)])
            }
            Some(share) if share.session == session => {
                Err(Reason::Renewed { node, renewed_at: share.renewed_at })
            }
            other => Err(Reason::StaleSession { node, session: other.map_or(0, |share| share.session) }),
        }
    }

    pub(crate) fn set_targets(&mut self, targets: &BTreeMap<NodeId, Option<u32>>) -> Vec<Change> {
        let is_over = self.is_over();
        let mut changes = Vec::new();
        for (node, target) in targets {
            let Some(share) = self.shares.get(node).filter(|share| !share.orphan) else { continue };
            let target = target.filter(|target| *target < share.granted.connections);
            // Above the limit nobody is let off.
            if target == share.target || target.is_none() && is_over {
                continue;
            }
            let share = Share { target, ..share.clone() };
            changes.push(self.write_share(*node, Some(share)));
        }
        changes
    }

    /// Ends the share of a member that is removed, or makes it an orphan.
    ///
    /// # Errors
    /// [`Reason::ShareHeld`] if its process may serve for ever.
    pub(crate) fn release_member(&mut self, node: NodeId, is_gone: bool) -> Result<Option<Change>, Reason> {
        let Some(share) = self.shares.get(&node).filter(|share| !share.orphan) else {
            return Ok(None);
        };
        let connections = share.granted.connections;
        if connections == 0 || share.lease_ms.is_none() && is_gone {
            return Ok(Some(self.write_share(node, None)));
        }
        if share.lease_ms.is_none() {
            return Err(Reason::ShareHeld { node, connections });
        }
        let share = Share { orphan: true, target: None, ..share.clone() };
        Ok(Some(self.write_share(node, Some(share))))
    }

    /// Gives every share a target while more is granted than the limit, and takes the targets back when that
    /// is over. `was_over` is how it stood before this command.
    pub(crate) fn retarget(&mut self, was_over: bool, changes: &mut Vec<Change>) {
        let sum = self.granted();
        let limit = u64::from(self.limits.connections);
        if sum <= limit && !was_over {
            return;
        }
        let target_of = |share: &Share| {
            if sum <= limit || share.orphan || share.granted.connections == 0 {
                return None;
            }
            // Both factors have at most 30 bits. Below the share, as the limit is below the sum.
            let part = u64::from(share.granted.connections) * limit / sum;
            Some(share.target.unwrap_or(u32::try_from(part).unwrap_or(u32::MAX)))
        };
        let shares = self.shares.iter().map(|(node, share)| (*node, target_of(share), share));
        let moved = shares.filter(|(_, target, share)| *target != share.target);
        let moved = moved.map(|(node, target, share)| (node, Share { target, ..share.clone() }));
        for (node, share) in moved.collect::<Vec<_>>() {
            changes.push(self.write_share(node, Some(share)));
        }
    }

    fn insert_share(&mut self, node: NodeId, share: Share) {
        Arc::make_mut(&mut self.shares).insert(node, share);
    }

    fn share_change(&self, node: NodeId) -> Change {
        Change { key: share::key(node), value: self.shares.get(&node).map(value_to_json) }
    }

    fn write_share(&mut self, node: NodeId, share: Option<Share>) -> Change {
        match share {
            Some(share) => self.insert_share(node, share),
            None => drop(Arc::make_mut(&mut self.shares).remove(&node)),
        }
        self.share_change(node)
    }

    /// Whether a live share is of the member on record.
    pub(crate) fn is_of_its_member(&self, node: NodeId, share: &Share) -> bool {
        let incarnation = |member: &MemberRecord| -> Incarnation { member.incarnation };
        share.orphan || self.members.get(&node).map(incarnation) == Some(share.incarnation)
    }
}
