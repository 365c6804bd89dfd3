//! Keeps this node's share: sends what the agent asks for, writes its session down, tells it of the ledger.
//!
//! Runs beside consensus on the control threads, so that a storm of clients delays no renewal. A request that
//! fails is not told to the agent, which gives it up after a second and asks anew.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use erlmcp_ledger::{Command, Grant, Ledger, Limits, Reason, Receipt, SessionId};
use erlmcp_quota::{Action, Event, Identity, Outlook, REQUEST_MS, Request, RequestId};
use erlmcp_raft::{ReplicaHandle, View};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::notices::{Difference, Notices};
use super::saved::SavedSession;
use crate::admission::Gate;
use crate::clock::Clock;
use crate::drain::DrainState;

/// Pause before a session that could not be written down is written again.
const SAVE_PAUSE: Duration = Duration::from_secs(1);

/// The longest time in which a node that stops gives its share back.
const GIVE_BACK_TIME: Duration = Duration::from_secs(2);

/// Time before the end of the share in which running calls are answered.
const PARTING_TIME: Duration = Duration::from_millis(250);

/// Events on their way to the agent: an answer, or a session that is on disk.
const EVENTS_MAX: usize = 16;

/// The parts of a share that is kept.
pub struct ShareOptions {
    /// The gate that spends it.
    pub gate: Gate,
    /// The group.
    pub replica: ReplicaHandle,
    /// The process.
    pub identity: Identity,
    /// Place of the session on disk.
    pub saved: SavedSession,
    /// To answer running calls before their connections are closed.
    pub drain: DrainState,
    /// The limits of the configuration, to say where the ledger has others.
    pub configured: Limits,
}

/// Handle on the task that keeps the share.
#[derive(Clone, Debug, Default)]
pub struct ShareKeeper {
    stop: CancellationToken,
    given_back: CancellationToken,
}

impl ShareKeeper {
    /// The task of this handle; it runs until the share is given back.
    pub fn run(&self, options: ShareOptions) -> impl Future<Output = ()> + Send + 'static {
        let keeper = self.clone();
        async move {
            let _given_back = keeper.given_back.clone().drop_guard();
            keep(options, keeper).await;
        }
    }

    /// Admits nothing from now on, and gives the share back once every connection is closed.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Resolves when the share is given back, or after two seconds in which the group could not be told.
    pub async fn given_back(&self) {
        if tokio::time::timeout(GIVE_BACK_TIME, self.given_back.cancelled()).await.is_err() {
            tracing::warn!("the share of this node could not be given back; it is free when its lease ends");
        }
    }
}

async fn keep(options: ShareOptions, keeper: ShareKeeper) {
    let mut view = options.replica.view();
    let (tell, mut told) = mpsc::channel(EVENTS_MAX);
    let is_listed = wait_listed(&mut view, &options.identity);
    if keeper.stop.clone().run_until_cancelled_owned(is_listed).await.is_none() {
        return;
    }
    let (mut is_stopping, mut has_parted) = (false, false);
    let mut notices = Notices::default();
    let clock = Clock::new();
    Difference { configured: &options.configured, known: view.borrow().ledger.limits() }.say();
    loop {
        let outlook = Outlook::of(&view.borrow_and_update().ledger, &options.identity);
        // Carried out before anything is waited for.
        if !carry_out(&options, &tell, options.gate.handle(Event::View(outlook))) {
            return;
        }
        let actions = tokio::select! {
            () = options.gate.wait() => options.gate.poll(),
            Some(event) = told.recv() => options.gate.handle(event),
            () = about_to_end(&options.gate), if !has_parted => {
                has_parted = true;
                options.drain.end_calls();
                Vec::new()
            }
            changed = view.changed() => if changed.is_err() { return } else { Vec::new() },
            () = keeper.stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                options.gate.handle(Event::Stop)
            }
        };
        if !carry_out(&options, &tell, actions) {
            return;
        }
        has_parted &= left(&options.gate).is_some_and(|left| left <= PARTING_TIME);
        for notice in notices.look(options.gate.in_numbers(), clock.monotonic_ms()) {
            notice.say();
        }
    }
}

/// Waits until the ledger lists this life of the node: before, an opening could only be refused.
async fn wait_listed(view: &mut watch::Receiver<Arc<View>>, identity: &Identity) {
    let is_listed = |ledger: &Ledger| {
        ledger.members().get(&identity.node).is_some_and(|it| it.incarnation == identity.incarnation)
    };
    let _ = view.wait_for(|view| is_listed(&view.ledger)).await;
}

/// Time until the share ends; `None` if there is none or it never does.
fn left(gate: &Gate) -> Option<Duration> {
    let now = gate.in_numbers();
    now.ends_in_ms.filter(|_| now.share > 0).map(Duration::from_millis)
}

/// Resolves shortly before the share ends.
async fn about_to_end(gate: &Gate) {
    loop {
        match left(gate) {
            Some(left) if left <= PARTING_TIME => return,
            Some(left) => tokio::time::sleep(left.saturating_sub(PARTING_TIME)).await,
            None => std::future::pending().await,
        }
    }
}

/// Carries out what the agent decided. Returns false once the share is given back.
fn carry_out(options: &ShareOptions, tell: &mpsc::Sender<Event>, actions: Vec<Action>) -> bool {
    for action in actions {
        match action {
            Action::Send(request) => {
                let (replica, tell) = (options.replica.clone(), tell.clone());
                tokio::spawn(async move {
                    if let Some((id, answer)) = send(&replica, request).await {
                        let _ = tell.send(Event::Answer(id, answer)).await;
                    }
                });
            }
            Action::Save(session) => {
                tokio::spawn(save(options.saved.clone(), session, tell.clone()));
            }
            // The gate has told the connections.
            Action::CloseAll => {}
            Action::GivenBack => return false,
        }
    }
    true
}

async fn send(replica: &ReplicaHandle, request: Request) -> Option<(RequestId, Result<Grant, Reason>)> {
    let id = request.id();
    let command = match request {
        Request::Open(opening) => Command::Open(opening),
        Request::Renew(renewal) => Command::Renew { renewals: vec![renewal] },
    };
    let written = match replica.propose_within(command, Duration::from_millis(REQUEST_MS)).await {
        Ok(written) => written,
        Err(error) => {
            tracing::debug!(%error, ?id, "a request for the share has no answer");
            return None;
        }
    };
    let answer = match written.receipt {
        Receipt::Granted(grant) => Ok(grant),
        Receipt::Renewed(answers) => answers.into_iter().next()?,
        Receipt::Refused(reason) => Err(reason),
        Receipt::Done => return None,
    };
    Some((id, answer))
}

/// Writes the session down, again and again if the disk will not have it: without it nothing may be asked
/// for.
async fn save(saved: SavedSession, session: SessionId, tell: mpsc::Sender<Event>) {
    let mut has_failed = false;
    loop {
        let file = saved.clone();
        let problem = match tokio::task::spawn_blocking(move || file.write(session)).await {
            Ok(Ok(())) => break,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if !has_failed {
            tracing::error!(problem, "cannot write down the session of this node's share; trying again");
        }
        has_failed = true;
        tokio::time::sleep(SAVE_PAUSE).await;
        if tell.is_closed() {
            return;
        }
    }
    let _ = tell.send(Event::Saved(session)).await;
}
