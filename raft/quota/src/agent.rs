//! The agent of a node: when to renew, how much to ask for, how much to give back.
//!
//! Turns events into requests and orders. It drives a [`Lease`], which holds the rules that keep the limit: a
//! poor choice here wastes connections or commits, and never breaks the limit. One request is under way at a
//! time; it never waits and reads no clock.

use erlmcp_ledger::{Grant, Reason};

use crate::demand::{Demand, HEADROOM_MAX};
use crate::event::{Action, Event, Outlook, Readiness, Refusal, Request, Settings};
use crate::lease::{Lease, Permit, Phase, RequestId};

/// A request is given up after so long, in milliseconds; the next has the next number.
pub const REQUEST_MS: u64 = 1_000;

/// The longest time between two renewals, in milliseconds.
pub const RENEWAL_MS_MAX: u64 = 2_500;

/// The most connections asked for at once beyond what is held.
pub const ASK_MAX: u32 = 5_000;

/// The fewest asked for at once, so that a slow growth does not ask for every connection; the least headroom
/// where little is free.
const ASK_MIN: u32 = 250;

/// Connections of so long are kept free, in milliseconds: where much is free, and where little is. Those that
/// end make room for those that come, so that a steady use needs little.
const HEADROOM_MS: (u64, u64) = (2_000, 200);

/// The least headroom where the limit allows it.
const FLOOR_MAX: u32 = 50;

/// A share this many times its headroom is too large, once that has lasted for [`RELEASE_AFTER_MS`].
const RELEASE_FACTOR: u32 = 4;

/// See [`RELEASE_FACTOR`]; in milliseconds.
const RELEASE_AFTER_MS: u64 = 5_000;

/// First and longest pause after a renewal that asked for more and got nothing, in milliseconds.
const RETRY_MS: (u64, u64) = (100, RENEWAL_MS_MAX);

/// First and longest pause after an opening that was refused, in milliseconds.
const REOPEN_MS: (u64, u64) = (500, 5_000);

/// Pause between two renewals that only give back while connections end, in milliseconds.
const GIVE_BACK_MS: u64 = 250;

/// The agent of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    lease: Lease,
    ceiling: u32,
    demand: Demand,
    outlook: Outlook,
    is_stopping: bool,
    has_told_close: bool,
    /// A renewal of the open session was answered: it has a share, be it of 0.
    has_share: bool,
    has_given_back: bool,
    sent_ms: u64,
    /// The last renewal asked for more.
    has_asked: bool,
    /// Free connections when more was asked for last.
    free_when_asked: u32,
    /// The share as the last renewal or its answer left it.
    granted: u32,
    ask_after_ms: u64,
    ask_pause_ms: u64,
    open_after_ms: u64,
    open_pause_ms: u64,
    /// Since when the share has been too large.
    large_since_ms: Option<u64>,
}

impl Agent {
    /// The agent of a process that has just started.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            lease: Lease::new(settings.identity, settings.saved),
            ceiling: settings.ceiling,
            demand: Demand::default(),
            outlook: Outlook::default(),
            is_stopping: false,
            has_told_close: false,
            has_share: false,
            has_given_back: false,
            sent_ms: 0,
            has_asked: false,
            free_when_asked: 0,
            granted: 0,
            ask_after_ms: 0,
            ask_pause_ms: RETRY_MS.0,
            open_after_ms: 0,
            open_pause_ms: REOPEN_MS.0,
            large_since_ms: None,
        }
    }

    /// The hold on the share.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Admits a connection at `now_ms`, in milliseconds of a clock that counts suspend.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is remembered of it but that somebody came.
    pub fn admit(&mut self, now_ms: u64) -> Result<Permit, Refusal> {
        self.demand.count(now_ms);
        if let Some(permit) = self.lease.admit(now_ms) {
            return Ok(permit);
        }
        Err(match self.lease.phase() {
            _ if self.is_draining() => Refusal::Draining,
            Phase::Live if self.has_share && self.lease.in_use() >= self.lease.cap() => Refusal::ShareUsedUp,
            _ => Refusal::NoShare,
        })
    }

    /// Takes back the permit of a connection that has closed.
    pub fn release(&mut self, permit: Permit) {
        self.lease.release(permit);
    }

    fn is_draining(&self) -> bool {
        self.is_stopping || self.outlook.is_draining
    }

    /// Whether clients should be sent here.
    #[must_use]
    pub fn readiness(&self, now_ms: u64) -> Readiness {
        if self.is_draining() {
            Readiness::Draining
        } else if self.lease.phase() != Phase::Live || !self.has_share {
            Readiness::NoShare
        } else if now_ms >= self.lease.half_ms() {
            Readiness::Unrenewed
        } else {
            Readiness::Ready
        }
    }

    /// Hears of something, and acts.
    pub fn handle(&mut self, now_ms: u64, event: Event, actions: &mut Vec<Action>) {
        self.poll_end(now_ms, actions);
        match event {
            Event::Answer(id, answer) => self.answer(now_ms, id, &answer, actions),
            Event::Saved(session) => self.lease.saved_session(session),
            Event::View(outlook) => self.view(now_ms, outlook),
            Event::Ceiling(ceiling) => self.ceiling = ceiling,
            Event::Stop => {
                self.is_stopping = true;
                self.lease.set_draining(true);
            }
        }
        self.poll(now_ms, actions);
    }

    fn answer(
        &mut self,
        now_ms: u64,
        id: RequestId,
        answer: &Result<Grant, Reason>,
        actions: &mut Vec<Action>,
    ) {
        if !self.lease.answer(now_ms, id, answer) {
            return;
        }
        match (id, answer) {
            (RequestId::Open { .. }, Ok(grant)) => {
                self.has_told_close = false;
                self.has_share = false;
                self.open_pause_ms = REOPEN_MS.0;
                actions.push(Action::Save(grant.session));
            }
            (RequestId::Open { .. }, Err(_)) => {
                self.open_after_ms = now_ms + self.open_pause_ms;
                self.open_pause_ms = (2 * self.open_pause_ms).min(REOPEN_MS.1);
            }
            (RequestId::Renew { .. }, Ok(grant)) => {
                self.has_share = true;
                let has_grown = grant.share.connections > self.granted;
                self.granted = grant.share.connections;
                if has_grown {
                    (self.ask_pause_ms, self.ask_after_ms) = (RETRY_MS.0, now_ms);
                } else if self.has_asked {
                    self.ask_after_ms = now_ms + self.ask_pause_ms;
                    self.ask_pause_ms = (2 * self.ask_pause_ms).min(RETRY_MS.1);
                }
                if self.is_stopping && grant.share.connections == 0 && self.lease.in_use() == 0 {
                    self.give_back(actions);
                }
            }
            (RequestId::Renew { .. }, Err(_)) => {}
        }
    }

    fn give_back(&mut self, actions: &mut Vec<Action>) {
        if !self.has_given_back {
            self.has_given_back = true;
            actions.push(Action::GivenBack);
        }
    }

    fn view(&mut self, now_ms: u64, outlook: Outlook) {
        // What others gave back is worth another question at once.
        if outlook.free > self.free_when_asked {
            self.ask_after_ms = self.ask_after_ms.min(now_ms);
        }
        self.lease.set_target(outlook.session, outlook.target);
        self.outlook = outlook;
    }

    /// Does what is due at `now_ms`. To be called after each event, when [`Agent::is_hungry`] after an
    /// admission, and at [`Agent::wake_ms`].
    pub fn poll(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        self.poll_end(now_ms, actions);
        self.demand.advance(now_ms);
        match self.lease.phase() {
            Phase::Closed => self.poll_closed(now_ms, actions),
            Phase::Live => self.poll_live(now_ms, actions),
            Phase::Saving | Phase::Ended => {}
        }
    }

    fn poll_end(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        self.lease.advance(now_ms);
        if self.lease.phase() == Phase::Ended && !self.has_told_close {
            self.has_told_close = true;
            actions.push(Action::CloseAll);
        }
    }

    fn poll_closed(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        if self.is_stopping {
            self.give_back(actions);
            return;
        }
        let waits = self.lease.outstanding().map(|sent| sent.sent_ms + REQUEST_MS);
        if now_ms < waits.unwrap_or(0).max(self.open_after_ms) {
            return;
        }
        if let Some(opening) = self.lease.open(now_ms, self.ceiling) {
            actions.push(Action::Send(Request::Open(opening)));
        }
    }

    fn poll_live(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let is_large = self.lease.cap() > self.too_large();
        self.large_since_ms = is_large.then(|| self.large_since_ms.unwrap_or(now_ms));
        if self.has_given_back
            || self.lease.outstanding().is_some_and(|sent| now_ms < sent.sent_ms + REQUEST_MS)
        {
            return;
        }
        let is_asking = self.is_hungry();
        let is_due = self.lease.seq() == 0
            || self.lease.outstanding().is_some()
            || now_ms >= self.sent_ms + self.period_ms()
            || is_asking && now_ms >= self.ask_after_ms
            || self.gives_back(now_ms);
        if !is_due {
            return;
        }
        let (keep, want) = self.amounts(now_ms, is_asking);
        if let Some(renewal) = self.lease.renew(now_ms, keep, want, self.ceiling) {
            self.sent_ms = now_ms;
            self.granted = renewal.held.connections;
            self.has_asked = is_asking;
            self.free_when_asked = self.outlook.free;
            actions.push(Action::Send(Request::Renew(renewal)));
        }
    }

    /// Connections to keep, and those wanted in all.
    fn amounts(&self, now_ms: u64, is_asking: bool) -> (u32, u32) {
        let (cap, in_use) = (self.lease.cap(), self.lease.in_use());
        let comfortable = in_use.saturating_add(2 * self.headroom());
        if is_asking {
            let least = cap.saturating_add(self.ask_min());
            let most = cap.saturating_add(ASK_MAX).min(self.ceiling.max(cap));
            return (cap, comfortable.max(least).min(most));
        }
        let is_release = self.large_since_ms.is_some_and(|since| now_ms >= since + RELEASE_AFTER_MS);
        let keep = if is_release { cap.min(comfortable.max(self.kept())) } else { cap };
        (keep, keep.min(comfortable))
    }

    /// Whether a renewal that only gives back is worth sending.
    fn gives_back(&self, now_ms: u64) -> bool {
        if self.large_since_ms.is_some_and(|since| now_ms >= since + RELEASE_AFTER_MS) {
            return true;
        }
        now_ms >= self.give_back_ms() || self.is_stopping && self.lease.in_use() == 0
    }

    /// When a renewal that gives back is due; `u64::MAX` while there is too little to give.
    fn give_back_ms(&self) -> u64 {
        let given = self.granted.saturating_sub(self.lease.cap());
        match self.lease.target() {
            Some(target) if given > 0 && self.lease.cap() <= target => 0,
            Some(_) if given >= self.floor() => self.sent_ms + GIVE_BACK_MS,
            _ => u64::MAX,
        }
    }

    /// Whether more connections should be asked for.
    #[must_use]
    pub fn is_hungry(&self) -> bool {
        let (cap, in_use) = (self.lease.cap(), self.lease.in_use());
        self.lease.phase() == Phase::Live
            && self.lease.target().is_none()
            && !self.is_draining()
            && cap < self.ceiling
            && cap.saturating_sub(in_use) < self.headroom()
    }

    fn period_ms(&self) -> u64 {
        self.lease.lease_ms().map_or(RENEWAL_MS_MAX, |lease| RENEWAL_MS_MAX.min(u64::from(lease) / 4))
    }

    /// Connections that are kept whatever their use; a drained member keeps what it uses, so that those whom
    /// it has may come again.
    fn kept(&self) -> u32 {
        if self.is_draining() { 0 } else { self.fair() }
    }

    fn fair(&self) -> u32 {
        self.outlook.limit / self.outlook.nodes.max(1)
    }

    fn floor(&self) -> u32 {
        FLOOR_MAX.min(self.fair() / 80).max(1)
    }

    /// Little is free, or another node waits: what this one keeps free, that one lacks.
    fn is_short(&self) -> bool {
        self.outlook.others_wait || self.outlook.free < self.outlook.limit / 20
    }

    fn headroom(&self) -> u32 {
        let ms = if self.is_short() { HEADROOM_MS.1 } else { HEADROOM_MS.0 };
        self.demand.headroom(ms, self.floor(), HEADROOM_MAX.min(self.fair() / 4))
    }

    fn ask_min(&self) -> u32 {
        if self.is_short() { self.floor() } else { ASK_MIN.min(self.fair() / 4).max(1) }
    }

    /// Connections above which the share is too large for its use.
    fn too_large(&self) -> u32 {
        let kept_free = RELEASE_FACTOR.saturating_mul(self.headroom());
        self.lease.in_use().saturating_add(kept_free).max(self.kept())
    }

    /// The next moment at which [`Agent::poll`] has something to do, unless something happens before.
    #[must_use]
    pub fn wake_ms(&self) -> u64 {
        let timeout = self.lease.outstanding().map(|sent| sent.sent_ms + REQUEST_MS);
        match self.lease.phase() {
            Phase::Closed if self.is_stopping => u64::MAX,
            Phase::Closed => timeout.unwrap_or(0).max(self.open_after_ms),
            Phase::Saving => self.lease.deadline_ms(),
            Phase::Ended => u64::MAX,
            Phase::Live => {
                let renewal = timeout.unwrap_or(u64::MAX).min(self.sent_ms + self.period_ms());
                let ask = if self.is_hungry() { self.ask_after_ms } else { u64::MAX };
                let release = self.large_since_ms.map_or(u64::MAX, |since| since + RELEASE_AFTER_MS);
                let next = ask.min(release).min(self.give_back_ms());
                renewal.min(timeout.unwrap_or(0).max(next)).min(self.lease.deadline_ms())
            }
        }
    }
}
