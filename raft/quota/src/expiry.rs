//! Expiry: when the leader may propose to end a share that was not renewed.
//!
//! Every replica notes its own time when it applies what a share was last renewed by, so that whoever leads
//! next has waited already. A note is later than the send of that renewal, as apply follows commit and commit
//! follows the send; the grace allows for clocks that run at different rates. Notes are never stored and
//! never sent: a time of one process says nothing in another. Reads no clock and proposes nothing itself.

use std::collections::BTreeMap;

use erlmcp_ledger::{Command, Ledger, Limits, NodeId, SessionId, Share};

/// Parts in one, for drifts in parts per million.
const MILLION: u64 = 1_000_000;

/// Times at which this process applied the last renewal of each share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Notes(BTreeMap<NodeId, Note>);

/// The last renewal of a share, and this process's time when it was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Note {
    session: SessionId,
    renewed_at: u64,
    noted_ms: u64,
}

impl Note {
    fn is_of(&self, share: &Share) -> bool {
        self.session == share.session && self.renewed_at == share.renewed_at
    }
}

impl Notes {
    /// Notes after a restart or an installed snapshot: every share as if renewed at `now_ms`, because nobody
    /// here saw when it was.
    #[must_use]
    pub fn at_start(ledger: &Ledger, now_ms: u64) -> Self {
        let mut notes = Self::default();
        notes.follow(ledger, now_ms);
        notes
    }

    /// Notes `now_ms` for each share that was opened or renewed since the last call, and drops those that are
    /// gone. Nothing else that happens to a share changes its note. To be called after each applied command.
    pub fn follow(&mut self, ledger: &Ledger, now_ms: u64) {
        let shares = ledger.shares();
        for (node, share) in shares {
            if !self.0.get(node).is_some_and(|note| note.is_of(share)) {
                let note = Note { session: share.session, renewed_at: share.renewed_at, noted_ms: now_ms };
                self.0.insert(*node, note);
            }
        }
        if self.0.len() > shares.len() {
            self.0.retain(|node, _| shares.contains_key(node));
        }
    }

    /// This process's time when it applied the last renewal of each share, by node.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.0.iter().map(|(node, note)| (*node, note.noted_ms))
    }

    /// The same of one node's share; `None` without a share.
    #[must_use]
    pub fn noted_ms(&self, node: NodeId) -> Option<u64> {
        self.0.get(&node).map(|note| note.noted_ms)
    }
}

/// Milliseconds without renewal after which a share of this lease may expire; `None` is never.
///
/// `lease_ms * (1 + drift) / (1 - drift) + margin`, rounded up. The lease is that of the share alone: the
/// limits may have changed since its node last heard of them.
#[must_use]
pub fn grace_ms(limits: &Limits, lease_ms: Option<u32>) -> Option<u64> {
    let drift = u64::from(limits.drift_ppm);
    let slowest = MILLION.saturating_sub(drift).max(1);
    let lease = u64::from(lease_ms?).saturating_mul(MILLION + drift).div_ceil(slowest);
    Some(lease.saturating_add(u64::from(limits.margin_ms)))
}

/// Proposals to end the shares that were not renewed for their whole grace, orphans too.
///
/// A share that `notes` do not follow yet is not among them.
#[must_use]
pub fn due(ledger: &Ledger, notes: &Notes, now_ms: u64) -> Vec<Command> {
    let ended = ends(ledger, notes).filter(|(_, _, end_ms)| *end_ms <= now_ms);
    let expire = |(node, note, _): (NodeId, Note, u64)| Command::Expire {
        node,
        session: note.session,
        renewed_at: note.renewed_at,
    };
    ended.map(expire).collect()
}

/// The time at which the next share is due, past if one is due already; `None` while no share ever ends.
#[must_use]
pub fn next_due_ms(ledger: &Ledger, notes: &Notes) -> Option<u64> {
    ends(ledger, notes).map(|(_, _, end_ms)| end_ms).min()
}

/// Shares that end, with their notes and the times at which they are due.
fn ends(ledger: &Ledger, notes: &Notes) -> impl Iterator<Item = (NodeId, Note, u64)> {
    ledger.shares().iter().filter_map(|(node, share)| {
        let note = notes.0.get(node).copied().filter(|note| note.is_of(share))?;
        let grace = grace_ms(ledger.limits(), share.lease_ms)?;
        // One more, as both times are cut to whole milliseconds.
        Some((*node, note, note.noted_ms.saturating_add(grace).saturating_add(1)))
    })
}
