//! Recall: the leader's wish that nodes come down, when what is free does not meet what is asked.
//!
//! Idle connections are recalled first, from those that have most of them. A node below its fair part that
//! still lacks some gets it from nodes above theirs: first their headroom, then what they have in use as
//! connections end. No rule of safety leans on a target, and nobody's connection is closed for one. A target
//! stands until it is met or of no more use, because each change is a commit. Pure and in whole numbers;
//! asked again before a renewal, it changes nothing.

use std::collections::BTreeMap;

use erlmcp_ledger::{Command, Ledger, NodeId, Share};

/// The most connections that an idle node keeps free.
const FLOOR_MAX: u32 = 50;

/// Part of the limit that all floors together may keep: one in so many.
const FLOORS_PART: u32 = 80;

/// Part of the limit that is recalled beyond what is asked, so that the next who asks finds it: one in so
/// many.
const AHEAD_PART: u32 = 20;

/// Part of the limit by which a standing target may differ from the one that would be set now: one in so
/// many.
const SLACK_PART: u32 = 100;

/// Connections that an idle node keeps free: at least 1, or a node with a share of 0 would starve for ever.
fn floor(ledger: &Ledger) -> u32 {
    let members = u32::try_from(ledger.members().len()).unwrap_or(u32::MAX);
    let live = ledger.shares().iter().filter(|(node, share)| is_live(ledger, **node, share));
    let nodes = live.map(|(_, share)| share.nodes_expected).fold(members, u32::max).max(1);
    (ledger.limits().connections / FLOORS_PART.saturating_mul(nodes)).clamp(1, FLOOR_MAX)
}

/// Targets to set or take back; `None` if those that stand are right.
///
/// To be called by the leader after each applied command. Above the limit, when the ledger itself gives every
/// share a target, it changes nothing. A new target is never below `in_use` and the floor; only a node above
/// its fair part may have a lower one, down to that part, while another lacks some of its own. With fewer
/// connections than nodes the fair part is 0 and nobody gets what others hold.
#[must_use]
pub fn recall(ledger: &Ledger) -> Option<Command> {
    if ledger.is_over() {
        return None;
    }
    let (floor, limit) = (floor(ledger), ledger.limits().connections);
    let free = u64::from(ledger.free());
    let shares = ledger.shares().iter().filter(|(_, share)| !share.orphan);
    let mut holders: Vec<_> = shares.map(|(node, share)| Holder::new(ledger, *node, share, floor)).collect();
    let asked: u64 = holders.iter().map(|holder| u64::from(holder.unmet)).sum();
    let need = asked.saturating_sub(free);
    if need > 0 {
        let ahead = u64::from(limit / AHEAD_PART);
        let idle: Vec<u32> = holders.iter().map(Holder::idle).collect();
        let all: u64 = idle.iter().copied().map(u64::from).sum();
        // Half of it, if that is more, so that few commits move much.
        let taken = take_most(&mut holders, &idle, (need + ahead).max(all / 2));
        let lack: u64 = holders.iter().map(|holder| u64::from(holder.lack_of_fair())).sum();
        let lack = lack.saturating_sub(free).saturating_sub(taken);
        let headroom: Vec<u32> = holders.iter().map(Holder::headroom_above_fair).collect();
        let taken = take_most(&mut holders, &headroom, lack);
        take_above_fair(&mut holders, lack - taken);
    }
    let slack = floor.max(limit / SLACK_PART);
    let targets = holders.iter().map(|holder| (holder, holder.next_target(slack, need > 0)));
    let targets = targets.filter(|(holder, target)| *target != holder.target);
    let targets: BTreeMap<_, _> = targets.map(|(holder, target)| (holder.node, target)).collect();
    (!targets.is_empty()).then_some(Command::SetTargets { targets })
}

fn is_live(ledger: &Ledger, node: NodeId, share: &Share) -> bool {
    !share.orphan && ledger.members().get(&node).is_some_and(|member| !member.draining)
}

/// A share, in the numbers that its target is made of.
struct Holder {
    node: NodeId,
    is_live: bool,
    granted: u32,
    in_use: u32,
    /// Sum of `in_use` and the floor.
    busy: u32,
    /// Connections that the share keeps of `granted` if it is idle, see [`Holder::idle`].
    kept_idle: u32,
    /// Smallest number that is worth a commit.
    grain: u32,
    fair: u32,
    unmet: u32,
    target: Option<u32>,
    /// Remainder of `granted` after what is recalled now.
    keeps: u32,
}

impl Holder {
    fn new(ledger: &Ledger, node: NodeId, share: &Share, floor: u32) -> Self {
        let (granted, in_use) = (share.granted.connections, share.in_use.connections);
        let (busy, want) = (in_use.saturating_add(floor), share.want.connections);
        Self {
            node,
            is_live: is_live(ledger, node, share),
            granted,
            in_use,
            busy,
            kept_idle: if want < granted { busy.max(in_use.midpoint(want)) } else { granted },
            grain: floor.div_ceil(2),
            fair: ledger.fair_share(share),
            unmet: ledger.unmet(node, share),
            target: share.target,
            keeps: granted,
        }
    }

    /// Connections that are recalled before any other: beyond the floor and half the headroom that the node
    /// wants. A node asks again below that half, so that what it lent would come and go for ever.
    fn idle(&self) -> u32 {
        let idle = self.granted.saturating_sub(self.kept_idle);
        if self.is_live && self.unmet == 0 && idle >= self.grain { idle } else { 0 }
    }

    fn headroom_above_fair(&self) -> u32 {
        if self.is_live { self.keeps.saturating_sub(self.busy.max(self.fair)) } else { 0 }
    }

    fn lack_of_fair(&self) -> u32 {
        self.unmet.min(self.fair.saturating_sub(self.granted))
    }

    fn above_fair(&self) -> u32 {
        if self.is_live { self.keeps.saturating_sub(self.fair) } else { 0 }
    }

    /// The target to have: the one that stands if it still serves, else what the share keeps now.
    fn next_target(&self, slack: u32, is_short: bool) -> Option<u32> {
        let planned = (self.keeps < self.granted).then_some(self.keeps);
        let Some(standing) = self.target.filter(|_| is_short && self.is_live) else {
            return planned;
        };
        let is_of_idle = self.unmet == 0 && standing >= self.kept_idle;
        let Some(planned) = planned else {
            return is_of_idle.then_some(standing);
        };
        let least = if planned < self.kept_idle { self.fair } else { self.in_use };
        let is_near = standing >= least && standing.abs_diff(planned) <= slack;
        let is_met_soon = is_of_idle && standing < planned;
        Some(if is_near || is_met_soon { standing } else { planned })
    }
}

/// Recalls `total` of what the holders have to give, as far as it goes: from those with most of it, down to
/// one level. Returns how many.
fn take_most(holders: &mut [Holder], amounts: &[u32], total: u64) -> u64 {
    let total = total.min(amounts.iter().copied().map(u64::from).sum());
    if total == 0 {
        return 0;
    }
    let mut falling = amounts.to_vec();
    falling.sort_unstable_by(|one, other| other.cmp(one));
    // The highest level above which there is as much as `total`.
    let mut above = 0;
    let levels = (1..).zip(&falling).filter_map(|(count, amount)| {
        above += u64::from(*amount);
        u64::checked_sub(above, total).map(|rest| rest / count)
    });
    let level = u32::try_from(levels.max().unwrap_or(0)).unwrap_or(u32::MAX);
    // Down to the next higher one it is less than `total`; the rest comes one by one.
    let higher = level.saturating_add(1);
    let mut rest = total - falling.iter().map(|amount| u64::from(amount.saturating_sub(higher))).sum::<u64>();
    for (holder, amount) in holders.iter_mut().zip(amounts) {
        let is_one_more = *amount > level && rest > 0;
        rest -= u64::from(is_one_more);
        holder.keeps -= amount.saturating_sub(higher) + u32::from(is_one_more);
    }
    total
}

/// Recalls `lack` from nodes above their fair parts, in proportion to how far they are above.
fn take_above_fair(holders: &mut [Holder], lack: u64) {
    let all: u64 = holders.iter().map(|holder| u64::from(holder.above_fair())).sum();
    let lack = lack.min(all);
    if lack == 0 {
        return;
    }
    // Each takes the difference of two rounded sums, so that together they take `lack` to the last one. All
    // are granted, so the factors have 30 bits each.
    let (mut above, mut taken) = (0, 0);
    for holder in holders {
        above += u64::from(holder.above_fair());
        let part = above * lack / all - taken;
        taken += part;
        holder.keeps = holder.keeps.saturating_sub(u32::try_from(part).unwrap_or(u32::MAX));
    }
}
