//! A node's hold on its share: the rules that keep the limit, and nothing else.
//!
//! When to ask and for how much is the agent's to choose, and no choice of it can break a rule: this is the
//! part that a model visits in every state. What counts is kept here as numbers that move together: sending a
//! renewal reads what is in use, lowers the cap to what is kept and takes the next number in one step.
//! Nothing here waits.

use erlmcp_ledger::{Amount, Grant, Incarnation, Instance, NodeId, Opening, Reason, Renewal, SessionId};

/// Admission stops so long before the deadline, in milliseconds: what is admitted later would be cut at once.
pub const LAST_ADMISSION_MS: u64 = 1_000;

/// The process and the member that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Incarnation of its member.
    pub incarnation: Incarnation,
    /// The process.
    pub instance: Instance,
    /// Nodes that its configuration expects in the cluster.
    pub nodes_expected: u32,
}

/// State of a node's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// None, and no connection is open: one may be opened.
    Closed,
    /// Opened, and to be written to disk before its first renewal.
    Saving,
    /// Renewed and admitting until the deadline.
    Live,
    /// Ended; its connections are to be closed before another is opened.
    Ended,
}

/// Name of a request, which its answer bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestId {
    /// Attempt of this process at opening.
    Open {
        /// From 1.
        attempt: u32,
    },
    /// A renewal.
    Renew {
        /// Its session.
        session: SessionId,
        /// From 1.
        seq: u32,
    },
}

/// The request sent last, while its answer may count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outstanding {
    /// Its name.
    pub id: RequestId,
    /// Send time, in milliseconds of a clock that counts suspend.
    pub sent_ms: u64,
}

/// Proof of an admitted connection. Goes back with [`Lease::release`] when the connection has closed.
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use = "a permit that is not released is a connection that never ends"]
pub struct Permit {
    session: SessionId,
}

impl Permit {
    /// Session under which the connection was admitted.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// A twin for a model that goes on from one state in several ways.
    pub fn twin(&self) -> Self {
        Self { session: self.session }
    }
}

/// A node's hold on its share. Times are in milliseconds of this node's clock, which counts suspend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    identity: Identity,
    phase: Phase,
    /// Session on disk.
    saved: Option<SessionId>,
    attempt: u32,
    session: SessionId,
    seq: u32,
    cap: u32,
    in_use: u32,
    deadline_ms: u64,
    /// Length of the lease that was accepted last.
    lease_ms: Option<u32>,
    target: Option<u32>,
    is_draining: bool,
    outstanding: Option<Outstanding>,
}

impl Lease {
    /// A process that has just started and has the lock of its data directory, in which `saved` is the
    /// session.
    #[must_use]
    pub fn new(identity: Identity, saved: Option<SessionId>) -> Self {
        Self {
            identity,
            phase: Phase::Closed,
            saved,
            attempt: 0,
            session: 0,
            seq: 0,
            cap: 0,
            in_use: 0,
            deadline_ms: 0,
            lease_ms: None,
            target: None,
            is_draining: false,
            outstanding: None,
        }
    }

    /// State of the session.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The session; 0 before the first.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Number of the renewal sent last.
    #[must_use]
    pub fn seq(&self) -> u32 {
        self.seq
    }

    /// Connections that may be open.
    #[must_use]
    pub fn cap(&self) -> u32 {
        self.cap
    }

    /// Connections that are open, of ended sessions too.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.in_use
    }

    /// Moment at which the session ends; `u64::MAX` is never.
    #[must_use]
    pub fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// Length of the lease that was accepted last; `None` is for ever.
    #[must_use]
    pub fn lease_ms(&self) -> Option<u32> {
        self.lease_ms
    }

    /// Connections to come down to.
    #[must_use]
    pub fn target(&self) -> Option<u32> {
        if self.is_draining { Some(0) } else { self.target }
    }

    /// The request sent last, while its answer may count.
    #[must_use]
    pub fn outstanding(&self) -> Option<Outstanding> {
        self.outstanding
    }

    /// Session on disk.
    #[must_use]
    pub fn saved(&self) -> Option<SessionId> {
        self.saved
    }

    /// Ends the session if its deadline has come. True if it has just ended.
    pub fn advance(&mut self, now_ms: u64) -> bool {
        let is_over = matches!(self.phase, Phase::Saving | Phase::Live) && now_ms >= self.deadline_ms;
        if is_over {
            self.end();
        }
        is_over
    }

    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.cap = 0;
        self.target = None;
        self.outstanding = None;
        self.settle();
    }

    /// An ended session is closed once none of its connections is open.
    fn settle(&mut self) {
        if self.phase == Phase::Ended && self.in_use == 0 {
            self.phase = Phase::Closed;
        }
    }

    /// Begins or repeats the opening of a session; `None` unless none is open and no connection is left.
    pub fn open(&mut self, now_ms: u64, ceiling: u32) -> Option<Opening> {
        if self.phase != Phase::Closed {
            return None;
        }
        self.attempt += 1;
        let id = RequestId::Open { attempt: self.attempt };
        self.outstanding = Some(Outstanding { id, sent_ms: now_ms });
        let Identity { node, incarnation, instance, nodes_expected } = self.identity;
        let previous_session = self.saved;
        let attempt = self.attempt;
        Some(Opening { node, incarnation, instance, attempt, previous_session, ceiling, nodes_expected })
    }

    /// The session is on disk: its first renewal may be sent.
    pub fn saved_session(&mut self, session: SessionId) {
        self.saved = Some(session);
        if self.phase == Phase::Saving && session == self.session {
            self.phase = Phase::Live;
        }
    }

    /// Takes the next number for a renewal that keeps `keep` connections, but not less than are open, and
    /// asks for `want` in all. Until its answer no more than that is admitted. `None` unless the session is
    /// live.
    pub fn renew(&mut self, now_ms: u64, keep: u32, want: u32, ceiling: u32) -> Option<Renewal> {
        self.advance(now_ms);
        if self.phase != Phase::Live {
            return None;
        }
        // One step: a connection admitted between these lines would be above what is kept.
        self.cap = keep.clamp(self.in_use, self.cap);
        self.seq += 1;
        let id = RequestId::Renew { session: self.session, seq: self.seq };
        self.outstanding = Some(Outstanding { id, sent_ms: now_ms });
        Some(Renewal {
            node: self.identity.node,
            session: self.session,
            seq: self.seq,
            held: Amount::of_connections(self.cap),
            in_use: Amount::of_connections(self.in_use),
            want: Amount::of_connections(want),
            ceiling,
            lease_ms: self.lease_ms,
        })
    }

    /// Takes an answer. True if it counted: the answer to the request sent last, once, in time.
    pub fn answer(&mut self, now_ms: u64, id: RequestId, answer: &Result<Grant, Reason>) -> bool {
        self.advance(now_ms);
        match answer {
            Ok(grant) => self.accept(now_ms, id, grant),
            Err(reason) => self.refuse(id, reason),
        }
    }

    fn accept(&mut self, now_ms: u64, id: RequestId, grant: &Grant) -> bool {
        let Some(sent) = self.outstanding.filter(|sent| sent.id == id) else {
            return false;
        };
        // From the moment of sending: the leader cannot have noted it earlier than that.
        let deadline_ms = grant.lease_ms.map_or(u64::MAX, |lease| sent.sent_ms + u64::from(lease));
        if now_ms >= deadline_ms {
            return false;
        }
        match id {
            RequestId::Open { .. } => {
                self.phase = Phase::Saving;
                self.session = grant.session;
                self.seq = 0;
                self.cap = 0;
            }
            RequestId::Renew { .. } => self.cap = grant.share.connections,
        }
        self.outstanding = None;
        self.deadline_ms = deadline_ms;
        self.lease_ms = grant.lease_ms;
        self.target = grant.target;
        self.follow_target();
        true
    }

    fn refuse(&mut self, id: RequestId, reason: &Reason) -> bool {
        let is_over = matches!(
            reason,
            Reason::StaleSession { .. } | Reason::NotAMember { .. } | Reason::OtherIncarnation { .. }
        );
        match id {
            // True of the session for ever, whichever of its renewals it answers.
            RequestId::Renew { session, .. } if is_over && session == self.session => {
                if matches!(self.phase, Phase::Saving | Phase::Live) {
                    self.end();
                    return true;
                }
                false
            }
            _ => {
                let is_latest = self.outstanding.is_some_and(|sent| sent.id == id);
                if is_latest {
                    self.outstanding = None;
                }
                is_latest
            }
        }
    }

    /// Sets or takes back the target, if it is of this session.
    pub fn set_target(&mut self, session: SessionId, target: Option<u32>) {
        if session == self.session && matches!(self.phase, Phase::Saving | Phase::Live) {
            self.target = target;
            self.follow_target();
        }
    }

    /// Begins or takes back a drain: nothing is admitted, and what ends is not replaced.
    pub fn set_draining(&mut self, is_draining: bool) {
        self.is_draining = is_draining;
        self.follow_target();
    }

    /// Lowers the cap to the target, or to what is open if that is more.
    fn follow_target(&mut self) {
        if let Some(target) = self.target() {
            self.cap = self.cap.min(target.max(self.in_use));
        }
    }

    /// Whether a connection may be admitted now.
    #[must_use]
    pub fn is_open(&self, now_ms: u64) -> bool {
        self.is_admitting(now_ms) && self.in_use < self.cap
    }

    /// Whether the session admits at all, whatever is in use.
    fn is_admitting(&self, now_ms: u64) -> bool {
        self.phase == Phase::Live && now_ms.saturating_add(LAST_ADMISSION_MS) < self.deadline_ms
    }

    /// Whether the place of a connection that closes at `now_ms` may be given out again.
    #[must_use]
    pub fn replaces(&self, now_ms: u64) -> bool {
        self.is_admitting(now_ms)
            && self.in_use <= self.cap
            && self.target().is_none_or(|target| self.in_use <= target)
    }

    /// Admits a connection: one step, no waiting.
    pub fn admit(&mut self, now_ms: u64) -> Option<Permit> {
        if !self.is_open(now_ms) {
            return None;
        }
        self.in_use += 1;
        Some(Permit { session: self.session })
    }

    /// Takes back the permit of a connection that has closed.
    pub fn release(&mut self, permit: Permit) {
        let Permit { session: _ } = permit;
        assert!(self.in_use > 0, "a permit of nothing");
        self.in_use -= 1;
        self.follow_target();
        self.settle();
    }

    /// Whether the connection of this permit may be served now: asked after every wait, before a socket is
    /// touched.
    #[must_use]
    pub fn serves(&self, permit: &Permit, now_ms: u64) -> bool {
        self.phase == Phase::Live && permit.session == self.session && now_ms < self.deadline_ms
    }

    /// Moment at which half of the lease has passed without a renewal; `u64::MAX` is never.
    #[must_use]
    pub fn half_ms(&self) -> u64 {
        self.lease_ms.map_or(u64::MAX, |lease| self.deadline_ms.saturating_sub(u64::from(lease - lease / 2)))
    }
}
