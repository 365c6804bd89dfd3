//! How much a renewal is given: division by demand, in whole numbers.
//!
//! Nothing here can break the limit: what is given comes out of what is free. It decides who is served first.
//! A node below its fair part of the limit is never kept waiting by one above it, and nobody takes all that
//! is left while there is much of it.

use crate::id::NodeId;
use crate::ledger::Ledger;
use crate::share::Share;

/// The most connections that one renewal is given beyond the fair part.
pub const CHUNK_MAX: u32 = 5_000;

/// While no more than this is free, one renewal may take all of it; above it, half.
pub const LITTLE_FREE: u32 = 250;

impl Ledger {
    /// A node's part if all had the same: the limit divided by the members, or by the nodes that its
    /// configuration expects if that is more.
    #[must_use]
    pub fn fair_share(&self, share: &Share) -> u32 {
        let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        self.limits.connections / members.max(share.nodes_expected).max(1)
    }

    /// Connections that `share` lacks of what it last asked for, as far as the node can serve them.
    #[must_use]
    pub fn unmet(&self, node: NodeId, share: &Share) -> u32 {
        let is_draining = self.members.get(&node).is_none_or(|member| member.draining);
        if share.orphan || is_draining {
            return 0;
        }
        share.want.connections.min(share.ceiling).saturating_sub(share.granted.connections)
    }

    /// Connections that nodes other than `node` lack of their fair parts; kept from a node above its own.
    #[must_use]
    pub fn reserved(&self, node: NodeId) -> u32 {
        let lack = |(other, share): (&NodeId, &Share)| {
            let below_fair = self.fair_share(share).saturating_sub(share.granted.connections);
            if *other == node { 0 } else { self.unmet(*other, share).min(below_fair) }
        };
        self.shares.iter().map(lack).fold(0, u32::saturating_add)
    }

    /// The fair part, as far as it is free: what a session begins with.
    pub(crate) fn first_grant(&self, share: &Share) -> u32 {
        self.lack_of_fair(share).min(self.free())
    }

    /// Connections to add to the share of `node` for what it wants, after its renewal has given back what it
    /// does not hold.
    pub(crate) fn increase(&self, node: NodeId, share: &Share) -> u32 {
        let free = self.free();
        let part = if free > LITTLE_FREE { free / 2 } else { free };
        let asked = self.unmet(node, share).min(CHUNK_MAX).min(part);
        let below_fair = asked.min(self.lack_of_fair(share));
        let left = (free - below_fair).saturating_sub(self.reserved(node));
        below_fair + (asked - below_fair).min(left)
    }

    /// Connections to add so that an idle node has its fair part again, while much is free and nobody waits:
    /// what it has, it can admit while there is no leader.
    pub(crate) fn top_up(&self, share: &Share) -> u32 {
        let (free, lack) = (self.free(), self.lack_of_fair(share));
        let is_plenty = free.saturating_sub(lack) >= self.limits.connections / 4;
        let is_waiting = self.shares.iter().any(|(node, share)| self.unmet(*node, share) > 0);
        if is_plenty && !is_waiting { lack.min(free) } else { 0 }
    }

    /// Connections that the share lacks of its fair part, as far as the node can serve it.
    fn lack_of_fair(&self, share: &Share) -> u32 {
        self.fair_share(share).min(share.ceiling).saturating_sub(share.granted.connections)
    }
}
