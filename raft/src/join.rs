//! Becoming and staying a member: a node asks until the ledger knows it as it is.
//!
//! It asks the leader if it knows one, else every address it has, and follows redirects; for ever, with
//! random pauses. The same request tells the group that a member has moved, and tells a node that it was
//! removed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use erlmcp_ledger::{Command, Incarnation, MemberClaim, NodeId, Reason};
use http::StatusCode;
use openraft::async_runtime::WatchReceiver as _;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::core::{Core, Fatal};
use crate::node_tag::NodeTag;
use crate::peer_client::{PeerChannel, Target};
use crate::peer_error::PeerError;
use crate::peer_server::{PeerReply, PeerRequest};
use crate::secret::random_bytes;

/// Path of a request to join.
pub(crate) const JOIN: &str = "/peer/v2/join";

/// Path on which a node is told that it was removed.
pub(crate) const REMOVED: &str = "/peer/v2/removed";

/// Path of the question whether a node belongs to a founded group.
pub(crate) const HELLO: &str = "/peer/v2/hello";

/// Redirects followed before the next pause.
const HOPS_MAX: usize = 4;

/// How long one request may take.
const ASK_TIME: Duration = Duration::from_secs(3);

/// How long a founder waits for others to say that the group exists.
const HELLO_TIME: Duration = Duration::from_secs(1);

/// How often a founder that is alone looks for a group that was there before it.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// The shortest pause between two attempts, as a part of the longest.
const PAUSE_PART: u32 = 8;

/// How long to wait for the log to arrive after the group said yes.
const ARRIVAL_TIME: Duration = Duration::from_secs(2);

/// For so long after the start a node that finds no group says so only in its status.
const QUIET_MS: u64 = 5_000;

/// A request to join.
#[derive(Debug, Serialize, Deserialize)]
struct JoinRequest {
    claim: MemberClaim,
    returning: bool,
    /// Incarnations of the same directory whose stores were lost: whichever of them is a member is to be
    /// replaced.
    #[serde(default)]
    lost: Vec<Incarnation>,
    /// The group that it was a member of.
    #[serde(default)]
    group: Option<Incarnation>,
}

/// The answer to [`HELLO`].
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    founded: bool,
    #[serde(default)]
    group: Option<Incarnation>,
    #[serde(default)]
    members: usize,
    #[serde(default)]
    applied: u64,
}

/// How one attempt ended.
enum Asked {
    Yes,
    Removed,
    /// No, and asking again is no use: this node holds another cluster's secret, or so says one who cannot
    /// prove a thing. It ends a node that never belonged to the group, and no other.
    Never(String),
    No(String),
}

/// Runs until `closing`.
pub(crate) async fn run(core: Arc<Core>, closing: CancellationToken) {
    loop {
        let work = async {
            if is_settled(&core) {
                core.join_problem.send_if_modified(|problem| problem.take().is_some());
                return wait_for_news(&core).await;
            }
            if is_known(&core) && core.metrics().current_leader.is_none() && wait_for_leader(&core).await {
                return true;
            }
            match ask(&core).await {
                Asked::Yes => {
                    core.join_problem.send_if_modified(|problem| problem.take().is_some());
                    wait_until_settled(&core).await;
                }
                Asked::Removed => {
                    core.accept_removal();
                    return false;
                }
                Asked::Never(problem) if !core.is_returning() => {
                    core.fail(Fatal::WrongSecret(problem));
                    return false;
                }
                Asked::Never(problem) | Asked::No(problem) => {
                    note_problem(&core, problem);
                    pause(&core).await;
                }
            }
            true
        };
        let goes_on = tokio::select! {
            () = closing.cancelled() => false,
            goes_on = work => goes_on,
        };
        if !goes_on {
            return;
        }
    }
}

/// Whether the ledger knows this node as it is, and there is a leader to say so.
fn is_settled(core: &Core) -> bool {
    is_known(core) && core.metrics().current_leader.is_some()
}

fn is_known(core: &Core) -> bool {
    core.is_member_as(core.id(), &core.claim)
}

/// A member without a leader first waits for an election to end; only then it asks whether it still is a
/// member.
async fn wait_for_leader(core: &Core) -> bool {
    core.wait(core.timing.silence() * 2, |metrics| metrics.current_leader.is_some()).await
}

async fn wait_for_news(core: &Core) -> bool {
    let (mut metrics, mut view) = (core.raft.metrics(), core.view.clone());
    let changed = tokio::select! {
        changed = metrics.changed() => changed.is_ok(),
        changed = view.changed() => changed.is_ok(),
    };
    // News come with every heartbeat; one look in a while is enough.
    tokio::time::sleep(core.timing.heartbeat).await;
    changed
}

async fn wait_until_settled(core: &Core) {
    let arrival = async {
        while !is_settled(core) {
            if !wait_for_news(core).await {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(ARRIVAL_TIME, arrival).await;
}

/// While a group starts, its nodes do not find each other at once: that is no news.
fn note_problem(core: &Core, problem: String) {
    let is_late = core.clock.uptime_ms() > QUIET_MS;
    let is_first_word = is_late && !core.join_warned.swap(true, Ordering::Relaxed);
    core.join_problem.send_if_modified(|known| {
        let is_new = known.as_ref() != Some(&problem);
        if is_first_word || (is_late && is_new) {
            tracing::warn!(problem, "this node is not settled in its group yet; trying on");
        }
        if is_new {
            *known = Some(problem);
        }
        is_new
    });
}

async fn pause(core: &Core) {
    let longest = core.timing.join_pause;
    let shortest = longest / PAUSE_PART;
    let chance = random_bytes::<1>().map_or(128, |[byte]| u32::from(byte));
    tokio::time::sleep(shortest + (longest - shortest) * chance / 255).await;
}

async fn ask(core: &Core) -> Asked {
    if core.is_leader() {
        return ask_here(core).await;
    }
    let group = core.view().ledger.group();
    let (claim, returning, lost) = (core.claim.clone(), core.is_returning(), core.lost.clone());
    let request = JoinRequest { claim, returning, lost, group };
    let Ok(body) = serde_json::to_vec(&request).map(Bytes::from) else {
        return Asked::No("the request cannot be written".to_owned());
    };
    let leader = core.leader().map(|leader| leader.target());
    let strangers = core.join.iter().cloned().chain(core.book.strangers(core.id()));
    let targets = leader.into_iter().chain(strangers.map(|address| Target { address, node: None }));
    let mut problems = Vec::new();
    for target in targets {
        match ask_along(core, target, &body).await {
            Asked::No(problem) if !problems.contains(&problem) => problems.push(problem),
            Asked::No(_) => {}
            other => return other,
        }
    }
    if problems.is_empty() {
        problems.push("no address of another node is known".to_owned());
    }
    Asked::No(problems.join("; "))
}

/// The leader itself moved, or was removed while it led.
async fn ask_here(core: &Core) -> Asked {
    if core.view().ledger.cluster_id().is_none() {
        return Asked::No("the group is being founded".to_owned());
    }
    let command = Command::PutMember { node: core.id(), claim: core.claim.clone(), returning: true };
    match core.propose_here(command, ASK_TIME).await {
        Attempt::Committed(written) => match written.receipt.into_result() {
            Ok(()) => Asked::Yes,
            Err(reason) => Asked::No(reason.to_string()),
        },
        _ => Asked::No("this node leads no more".to_owned()),
    }
}

async fn ask_along(core: &Core, mut target: Target, body: &Bytes) -> Asked {
    for _ in 0..HOPS_MAX {
        match core.client.post(&target, PeerChannel::Control, JOIN, body.clone(), ASK_TIME).await {
            Ok(_) => return Asked::Yes,
            Err(PeerError::Refused { code, .. }) if code == "removed" => return Asked::Removed,
            Err(PeerError::Refused { leader: Some(leader), .. }) => target = leader.target(),
            Err(error) if is_stranger(&error) => return Asked::Never(error.to_string()),
            Err(error) => return Asked::No(error.to_string()),
        }
    }
    Asked::No(format!("{HOPS_MAX} nodes in turn named another leader"))
}

/// Whether who answers takes this node for one without the secret of its cluster.
fn is_stranger(error: &PeerError) -> bool {
    matches!(error, PeerError::Unproven { code, .. } if code == "other_cluster" || code == "wrong_secret")
}

/// Asks everyone whom this node knows an address of.
async fn greet(core: &Core) -> Vec<(String, Hello)> {
    let asked =
        core.book.strangers(core.id()).into_iter().chain(core.join.iter().cloned()).map(|address| async {
            let target = Target { address, node: None };
            let answer = core
                .client
                .post(&target, PeerChannel::Control, HELLO, Bytes::new(), HELLO_TIME)
                .await
                .ok()?;
            Some((target.address, serde_json::from_slice::<Hello>(&answer).ok()?))
        });
    futures_util::future::join_all(asked).await.into_iter().flatten().collect()
}

/// Before a founder forms a group: whether one of the configured nodes belongs to one already. It is then
/// this node that lost its data, and it must ask to join like any other.
pub(crate) async fn is_founded_elsewhere(core: &Core) -> bool {
    greet(core).await.iter().any(|(_, hello)| hello.founded)
}

/// While a founder is alone: whether the others turn out to have a group already, because they did not run
/// when this one was founded. Of two groups with one id the smaller ends. Runs until others vote, or
/// `closing`.
pub(crate) async fn look_for_the_first_group(core: Arc<Core>, closing: CancellationToken) {
    let look = async {
        while core.founder && core.metrics().membership_config.membership().voter_ids().count() <= 1 {
            let ours = core.hello();
            let mut others = greet(&core).await.into_iter();
            if let Some((address, _)) = others.find(|(_, theirs)| yields(&ours, theirs)) {
                let elsewhere = format!("{address} belongs to another, which is larger");
                let (node, cluster_id) = (core.id(), core.cluster_id.clone());
                core.fail(Fatal::SecondGroup { node, cluster_id, elsewhere });
                return;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    };
    tokio::select! {
        () = closing.cancelled() => {}
        () = look => {}
    }
}

/// Whether `ours` is another group than `theirs`, and the one that has to go.
fn yields(ours: &Hello, theirs: &Hello) -> bool {
    let weight = |hello: &Hello| (hello.members, hello.applied, hello.group);
    ours.group.is_some()
        && theirs.group.is_some()
        && ours.group != theirs.group
        && weight(ours) < weight(theirs)
}

impl Core {
    fn hello(&self) -> Hello {
        let view = self.view();
        Hello {
            founded: view.ledger.cluster_id().is_some(),
            group: view.ledger.group(),
            members: view.ledger.members().len(),
            applied: self.metrics().last_applied.map_or(0, |log_id| log_id.index()),
        }
    }

    pub(crate) fn serve_hello(&self) -> PeerReply {
        PeerReply::json(&self.hello())
    }

    pub(crate) fn serve_removed(&self, request: &PeerRequest) -> PeerReply {
        // Addressed to this very incarnation of the directory, by a holder of the secret.
        tracing::warn!(by = request.from.id, "this node was removed from its group");
        self.accept_removal();
        PeerReply::json(&())
    }

    pub(crate) async fn serve_join(&self, request: PeerRequest) -> PeerReply {
        let node = request.from.id;
        let Ok(JoinRequest { claim, returning, lost, group }) = serde_json::from_slice(&request.body) else {
            return PeerReply::refuse(StatusCode::BAD_REQUEST, "unreadable", "not a request to join");
        };
        if claim.incarnation != request.from.incarnation {
            return PeerReply::refuse(StatusCode::BAD_REQUEST, "unreadable", "a claim for another node");
        }
        if !self.is_leader() {
            return self.refuse_not_leader();
        }
        // Only its own group may tell a node that it was removed.
        let ours = self.view().ledger.group();
        if group.is_some() && ours.is_some() && group != ours {
            let message = format!("node {} belongs to another group with the same cluster id", self.id());
            return PeerReply::refuse(StatusCode::CONFLICT, "other_group", &message);
        }
        // A member whose leader was silent for a while asks too: nothing is written twice.
        if self.is_member_as(node, &claim) {
            return PeerReply::json(&());
        }
        let command = Command::PutMember { node, claim, returning };
        match self.propose_here(command, ASK_TIME).await {
            Attempt::Committed(written) => match written.receipt.into_result() {
                Ok(()) => PeerReply::json(&()),
                Err(Reason::OtherIncarnation { known, .. }) if lost.contains(&known) => {
                    self.replace(request.from, known).await
                }
                Err(reason) => refuse_join(node, &reason),
            },
            other => self.refuse_attempt(&other),
        }
    }
}

impl Core {
    /// Takes a member out whose store was lost, as its new incarnation says, which holds the cluster's secret
    /// and has found the damage itself. It is let in when it asks again.
    async fn replace(&self, new: NodeTag, lost: Incarnation) -> PeerReply {
        let not_yet = |why: String| PeerReply::refuse(StatusCode::CONFLICT, "not_yet", &why);
        // Where the living could not finish without it, it stays until they can.
        let removing = self.remove(new.id, true, false);
        match tokio::time::timeout(ASK_TIME / 2, removing).await {
            Err(_) => not_yet("the lost incarnation is being taken out; ask again".to_owned()),
            Ok(Ok(())) => {
                tracing::warn!(
                    node = new.id,
                    %lost,
                    new = %new.incarnation,
                    "a member lost its store; its new incarnation takes its place"
                );
                not_yet("the lost incarnation was taken out; ask again".to_owned())
            }
            Ok(Err(error)) => not_yet(format!("the lost incarnation cannot be taken out yet: {error}")),
        }
    }
}

fn refuse_join(node: NodeId, reason: &Reason) -> PeerReply {
    match reason {
        Reason::OtherIncarnation { .. } => {
            let message = format!(
                "{reason}; if that directory is lost, run `erlmcp-node remove --id {node} --dead` on a \
                 member, and this node will join"
            );
            PeerReply::refuse(StatusCode::CONFLICT, "other_incarnation", &message)
        }
        Reason::Removed { .. } => PeerReply::refuse(StatusCode::GONE, "removed", &reason.to_string()),
        _ => PeerReply::refuse(StatusCode::UNPROCESSABLE_ENTITY, "refused", &reason.to_string()),
    }
}
