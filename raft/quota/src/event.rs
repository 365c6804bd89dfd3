//! Events that an agent hears of, and the orders that it answers with.
//!
//! Plain values, so that a node, a simulation and a test drive the same agent.

use erlmcp_ledger::{Grant, Ledger, Opening, Reason, Renewal, SessionId};

use crate::lease::{Identity, RequestId};

/// Facts that a node is told at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The process and its member.
    pub identity: Identity,
    /// Session in the data directory, whose lock this process has.
    pub saved: Option<SessionId>,
    /// The most connections that the node can ever serve.
    pub ceiling: u32,
}

/// The cluster as the newest view of the ledger shows it to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Outlook {
    /// Session of the node's share; 0 if it has none.
    pub session: SessionId,
    /// Target of that share.
    pub target: Option<u32>,
    /// The cluster's limit.
    pub limit: u32,
    /// Connections that nobody was granted.
    pub free: u32,
    /// Whether another node lacks connections that it asked for.
    pub others_wait: bool,
    /// Nodes that the limit is divided by.
    pub nodes: u32,
    /// Whether the member is to hand over its work.
    pub is_draining: bool,
}

impl Outlook {
    /// The outlook of the process `me`. Where another life of its node is the member, it has no share.
    #[must_use]
    pub fn of(ledger: &Ledger, me: &Identity) -> Self {
        let member = ledger.members().get(&me.node).filter(|member| member.incarnation == me.incarnation);
        let share = ledger.shares().get(&me.node).filter(|share| !share.orphan && member.is_some());
        let members = u32::try_from(ledger.members().len()).unwrap_or(u32::MAX);
        Self {
            session: share.map_or(0, |share| share.session),
            target: share.and_then(|share| share.target),
            limit: ledger.limits().connections,
            free: ledger.free(),
            others_wait: ledger
                .shares()
                .iter()
                .any(|(node, share)| *node != me.node && ledger.unmet(*node, share) > 0),
            nodes: members.max(me.nodes_expected).max(1),
            is_draining: member.is_some_and(|member| member.draining),
        }
    }
}

/// Something that the agent hears of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A request was answered.
    Answer(RequestId, Result<Grant, Reason>),
    /// The session is on disk.
    Saved(SessionId),
    /// The ledger was applied further.
    View(Outlook),
    /// The most connections that the node can serve changed.
    Ceiling(u32),
    /// The process is asked to stop: nothing is admitted any more.
    Stop,
}

/// A request to the leader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// Opens a session.
    Open(Opening),
    /// Renews it.
    Renew(Renewal),
}

impl Request {
    /// Name that its answer must bear.
    #[must_use]
    pub fn id(&self) -> RequestId {
        match self {
            Self::Open(opening) => RequestId::Open { attempt: opening.attempt },
            Self::Renew(renewal) => RequestId::Renew { session: renewal.session, seq: renewal.seq },
        }
    }
}

/// An order of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send it to the leader, once.
    Send(Request),
    /// Write the session to disk with fsync, then tell [`Event::Saved`].
    Save(SessionId),
    /// Close every connection: their session has ended.
    CloseAll,
    /// After [`Event::Stop`]: the share is given back, the process may end.
    GivenBack,
}

/// Whether clients should be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Readiness {
    /// There is a share and it is renewed. It may be used up.
    Ready,
    /// No share: nothing is admitted.
    NoShare,
    /// Half of the lease has passed without a renewal.
    Unrenewed,
    /// Handing over its work.
    Draining,
}

/// Why a connection is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The node's share is used up.
    ShareUsedUp,
    /// There is no share, or its lease is about to end.
    NoShare,
    /// The node hands over its work.
    Draining,
}
