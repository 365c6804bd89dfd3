//! The gate: admits a connection or refuses it, in one step, out of this node's share of the limit.
//!
//! Every transport asks the same gate. It holds the agent of the quota protocol under one lock: admission, a
//! connection that ends, and the agent's own events are each one step, and none of them waits or does I/O.
//! The moment at which a share ends lies outside the lock, as connections look at it while they are served.
//! Somebody else carries out what the agent decides, see [`Gate::handle`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use erlmcp_ledger::{Amount, Grant, SessionId};
use erlmcp_quota::{Action, Agent, Event, Identity, Lease, Permit, Phase, Readiness, Request, Settings};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::refusal::Refusal;

/// Admits connections; a clone is the same gate.
#[derive(Clone)]
pub struct Gate(Arc<GateInner>);

struct GateInner {
    clock: Clock,
    state: Mutex<GateState>,
    /// The agent has something to do earlier than it said last.
    wake: Notify,
}

struct GateState {
    agent: Agent,
    ceiling: u32,
    /// When the agent is polled next, as whoever waits knows it.
    wake_ms: u64,
    /// The turn of the session that is open.
    turn: Arc<Turn>,
    session: SessionId,
    /// Connections that are served although they are not admitted, see [`Gate::guest`].
    guests: u32,
    /// Connections refused since the start, by reason.
    refused: BTreeMap<Refusal, u64>,
}

/// The time during which one session serves its connections.
#[derive(Debug, Default)]
pub struct Turn {
    /// Nothing is served from then on, in milliseconds of [`Clock::monotonic_ms`].
    end_ms: AtomicU64,
    closing: CancellationToken,
}

impl Turn {
    /// Whether it is over: to be asked after every wait, before a socket is touched.
    #[must_use]
    pub fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.end_ms.load(Ordering::Relaxed)
    }

    /// Resolves when every connection of the session is to be closed.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }
}

/// A place of one admitted connection; free again when it is dropped, which must be after the socket is
/// closed.
pub struct Slot {
    gate: Arc<GateInner>,
    permit: Option<Permit>,
    turn: Arc<Turn>,
}

impl Slot {
    /// The time during which its connection is served.
    #[must_use]
    pub fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.gate.step(|state, _| state.agent.release(permit));
        }
    }
}

/// A connection that is answered without being admitted, within the open files of clients.
pub struct Guest(Arc<GateInner>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.state.lock().guests -= 1;
    }
}

impl GateInner {
    /// One step under the lock. Wakes whoever carries out the agent's decisions if there is one to make
    /// sooner than was known.
    fn step<T>(&self, act: impl FnOnce(&mut GateState, u64) -> T) -> T {
        let now_ms = self.clock.monotonic_ms();
        let mut state = self.state.lock();
        let done = act(&mut state, now_ms);
        let wake_ms = state.agent.wake_ms();
        let is_sooner = wake_ms < state.wake_ms;
        if is_sooner {
            state.wake_ms = wake_ms;
        }
        drop(state);
        if is_sooner {
            self.wake.notify_one();
        }
        done
    }
}

impl GateState {
    /// Brings the turn in line with the lease. Returns the turn whose connections are to be closed.
    fn follow(&mut self, actions: &[Action]) -> Option<Arc<Turn>> {
        let lease = self.agent.lease();
        let ended = actions.contains(&Action::CloseAll).then(|| self.turn.clone());
        if lease.session() != self.session {
            self.session = lease.session();
            self.turn = Arc::default();
        }
        let end_ms = if lease.phase() == Phase::Live { lease.deadline_ms() } else { 0 };
        self.turn.end_ms.store(end_ms, Ordering::Relaxed);
        ended
    }
}

/// The gate in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// Connections that may be open by the share.
    pub share: u32,
    /// Connections that are open.
    pub in_use: u32,
    /// The most that this node can ever serve.
    pub ceiling: u32,
    /// Milliseconds until the share ends; `None` is never.
    pub ends_in_ms: Option<u64>,
    /// Connections refused since the start.
    pub refused: u64,
}

impl Gate {
    /// A gate without a share: it admits nothing until the agent has one.
    #[must_use]
    pub fn new(settings: Settings, clock: Clock) -> Gate {
        let state = GateState {
            agent: Agent::new(settings),
            ceiling: settings.ceiling,
            wake_ms: 0,
            turn: Arc::default(),
            session: 0,
            guests: 0,
            refused: BTreeMap::new(),
        };
        Gate(Arc::new(GateInner { clock, state: Mutex::new(state), wake: Notify::new() }))
    }

    /// A gate of a server that belongs to no cluster: it admits so many connections, for ever.
    #[must_use]
    pub fn alone(connections: u32, clock: Clock) -> Gate {
        let identity = Identity {
            node: 1,
            incarnation: Default::default(),
            instance: Default::default(),
            nodes_expected: 1,
        };
        let gate = Gate::new(Settings { identity, saved: None, ceiling: connections }, clock);
        let grant = Grant {
            session: 1,
            seq: 0,
            share: Amount::of_connections(connections),
            target: None,
            lease_ms: None,
        };
        let mut actions = gate.poll();
        while let Some(action) = actions.pop() {
            match action {
                Action::Send(request) => {
                    let seq = if let Request::Renew(renewal) = &request { renewal.seq } else { 0 };
                    let answer = Ok(Grant { seq, ..grant.clone() });
                    actions.extend(gate.handle(Event::Answer(request.id(), answer)));
                }
                Action::Save(session) => actions.extend(gate.handle(Event::Saved(session))),
                Action::CloseAll | Action::GivenBack => {}
            }
        }
        gate
    }

    /// Admits a connection that has just been accepted.
    ///
    /// # Errors
    /// [`Refusal`], in which limit it is that says no.
    pub fn admit(&self) -> Result<Slot, Refusal> {
        let admitted = self.0.step(|state, now_ms| {
            let admitted = state.agent.admit(now_ms);
            let is_own_limit = state.agent.lease().in_use() >= state.ceiling;
            admitted.map(|permit| (permit, state.turn.clone())).map_err(|refusal| (refusal, is_own_limit))
        });
        match admitted {
            Ok((permit, turn)) => Ok(Slot { gate: self.0.clone(), permit: Some(permit), turn }),
            Err((erlmcp_quota::Refusal::Draining, _)) => Err(Refusal::Draining),
            Err((erlmcp_quota::Refusal::NoShare, _)) => Err(Refusal::NoShare),
            Err((erlmcp_quota::Refusal::ShareUsedUp, true)) => Err(Refusal::ConnectionsFull),
            Err((erlmcp_quota::Refusal::ShareUsedUp, false)) => Err(Refusal::LimitReached),
        }
    }

    /// Counts a connection that was told so.
    pub fn count_refused(&self, refusal: Refusal) {
        *self.0.state.lock().refused.entry(refusal).or_default() += 1;
    }

    /// Connections refused since the start, by reason; only those that there were.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<Refusal, u64> {
        self.0.state.lock().refused.clone()
    }

    /// Whether the place of a connection that ends now would be given to another: the share lasts and is not
    /// coming down.
    #[must_use]
    pub fn replaces(&self) -> bool {
        let now_ms = self.0.clock.monotonic_ms();
        self.0.state.lock().agent.lease().replaces(now_ms)
    }

    /// A place beside the share, for one who is only told that the node stops; `None` where the open files
    /// for clients are used up.
    #[must_use]
    pub fn guest(&self) -> Option<Guest> {
        let mut state = self.0.state.lock();
        let is_free = state.agent.lease().in_use().saturating_add(state.guests) < state.ceiling;
        is_free.then(|| {
            state.guests += 1;
            Guest(self.0.clone())
        })
    }

    /// Tells the agent of something. Returns what it decided, for the caller to carry out; connections whose
    /// session has ended are told to close here.
    #[must_use = "requests are to be sent"]
    pub fn handle(&self, event: Event) -> Vec<Action> {
        self.act(|agent, now_ms, actions| agent.handle(now_ms, event, actions))
    }

    /// The same when a time has come, see [`Gate::wait`].
    #[must_use = "requests are to be sent"]
    pub fn poll(&self) -> Vec<Action> {
        self.act(|agent, now_ms, actions| agent.poll(now_ms, actions))
    }

    fn act(&self, act: impl FnOnce(&mut Agent, u64, &mut Vec<Action>)) -> Vec<Action> {
        let mut actions = Vec::new();
        let ended = self.0.step(|state, now_ms| {
            act(&mut state.agent, now_ms, &mut actions);
            state.wake_ms = u64::MAX;
            state.follow(&actions)
        });
        if let Some(turn) = ended {
            turn.closing.cancel();
        }
        actions
    }

    /// Waits until [`Gate::poll`] has something to do.
    pub async fn wait(&self) {
        loop {
            let woken = self.0.wake.notified();
            let wake_ms = self.0.state.lock().wake_ms;
            let left_ms = wake_ms.saturating_sub(self.0.clock.monotonic_ms());
            if left_ms == 0 {
                return;
            }
            // Sleep does not count suspend: after one it is looked at again before long.
            let sleep = tokio::time::sleep(Duration::from_millis(left_ms).min(LOOK_TIME));
            tokio::select! {
                () = woken => {}
                () = sleep => {}
            }
        }
    }

    /// Whether clients should be sent here, as far as the share goes.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let now_ms = self.0.clock.monotonic_ms();
        self.0.state.lock().agent.readiness(now_ms)
    }

    /// The gate in numbers.
    #[must_use]
    pub fn in_numbers(&self) -> Use {
        let now_ms = self.0.clock.monotonic_ms();
        let state = self.0.state.lock();
        let lease: &Lease = state.agent.lease();
        let deadline_ms = lease.deadline_ms();
        Use {
            share: if lease.phase() == Phase::Live { lease.cap() } else { 0 },
            in_use: lease.in_use(),
            ceiling: state.ceiling,
            ends_in_ms: (deadline_ms < u64::MAX).then(|| deadline_ms.saturating_sub(now_ms)),
            refused: state.refused.values().sum(),
        }
    }
}

/// The longest sleep of [`Gate::wait`].
const LOOK_TIME: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_alone_admits_its_connections_and_takes_them_back() {
        let gate = Gate::alone(2, Clock::new());
        let (one, two) = (gate.admit().unwrap(), gate.admit().unwrap());
        assert!(!one.turn().is_over(Clock::new().monotonic_ms()));
        assert_eq!(gate.admit().err(), Some(Refusal::ConnectionsFull));
        assert!(gate.replaces(), "one that ends is replaced");
        gate.count_refused(Refusal::ConnectionsFull);
        assert!(gate.guest().is_none(), "no open file is left");
        drop(one);
        let guest = gate.guest().unwrap();
        assert!(gate.guest().is_none());
        drop((guest, two));
        let numbers = gate.in_numbers();
        assert_eq!((numbers.in_use, numbers.share, numbers.refused), (0, 2, 1));
        assert_eq!(gate.readiness(), Readiness::Ready);
    }

    #[test]
    fn a_gate_without_a_share_admits_nothing() {
        let identity = Identity {
            node: 1,
            incarnation: Default::default(),
            instance: Default::default(),
            nodes_expected: 1,
        };
        let gate = Gate::new(Settings { identity, saved: None, ceiling: 9 }, Clock::new());
        assert_eq!(gate.admit().err(), Some(Refusal::NoShare));
        assert_eq!(gate.readiness(), Readiness::NoShare);
    }

    #[tokio::test]
    async fn connections_are_told_to_close_when_their_session_has_ended() {
        let gate = Gate::alone(2, Clock::new());
        let slot = gate.admit().unwrap();
        let id = erlmcp_quota::RequestId::Renew { session: 1, seq: 1 };
        let reason = erlmcp_ledger::Reason::StaleSession { node: 1, session: 2 };
        let actions = gate.handle(Event::Answer(id, Err(reason)));
        assert!(actions.contains(&Action::CloseAll), "{actions:?}");
        slot.turn().closing().await;
        assert!(slot.turn().is_over(0));
        assert_eq!(gate.admit().err(), Some(Refusal::NoShare));
        drop(slot);
        let next = gate.poll();
        assert!(matches!(next[..], [Action::Send(Request::Open(_))]), "{next:?}");
    }
}
