//! A replica: one node's part in the group, from start to stop.
//!
//! `start` opens the store, refuses what would be unsafe, serves the peer port and lets the node found, join
//! or continue. `stop` hands over and closes. Everything else is in the parts it assembles.

use std::net::{SocketAddr, TcpListener};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use erlmcp_ledger::{Budget, Limits, MemberClaim, NodeId};
use erlmcp_storage::{Options, StorageError, Store, StoreHealth};
use openraft::async_runtime::WatchReceiver as _;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::address_book::AddressBook;
use crate::clock::PeerClock;
use crate::core::{Core, Fatal};
use crate::error::RaftError;
use crate::handle::ReplicaHandle;
use crate::identity::{Identity, IdentityKeeper};
use crate::log_store::LogStore;
use crate::majority::Majority;
use crate::network::{Acknowledged, Network};
use crate::node_tag::NodeTag;
use crate::peer_auth::PeerAuth;
use crate::peer_client::PeerClient;
use crate::peer_server::{PeerRoutes, PeerServer};
use crate::renewals::Waiting;
use crate::room::Room;
use crate::secret::ClusterSecret;
use crate::state_machine::Raft;
use crate::state_machine::StateMachine;
use crate::timing::Timing;
use crate::types::MemberNode;
use crate::view::View;
use crate::{elect, join, raft_routes, reconciler, renewals, shares};

/// How long a leader tries to hand over when it stops.
const HAND_OVER_TIME: Duration = Duration::from_secs(2);

/// How long the core may take to stop.
const CORE_TIME: Duration = Duration::from_secs(10);

/// How long to wait for the reason why the state machine ended; after a panic there is none.
const REASON_TIME: Duration = Duration::from_millis(300);

/// Options with which a replica starts.
#[derive(Debug)]
pub struct ReplicaOptions {
    /// The node's data directory, made by [`Identity::init`].
    pub dir: PathBuf,
    /// Owner of the directory.
    pub identity: Identity,
    /// Secret that makes this process a peer.
    pub secret: ClusterSecret,
    /// The peer port, bound.
    pub peer_listener: TcpListener,
    /// Address at which other nodes reach the peer port.
    pub advertise_peer: String,
    /// Address at which clients and operators reach this node.
    pub advertise_http: String,
    /// A name for people.
    pub name: String,
    /// The nodes of the configuration.
    pub known_peers: Vec<(NodeId, String)>,
    /// Further addresses to ask when joining.
    pub join: Vec<String>,
    /// Times and thresholds.
    pub timing: Timing,
    /// How many nodes the configuration names; for the status only.
    pub nodes_expected: u64,
    /// The limits a founder begins with.
    pub limits: Limits,
    /// The budget a founder begins with.
    pub budget: Budget,
    /// How the store is opened.
    pub store: Options,
    /// Further routes of the peer port, such as the relay of sessions.
    pub routes: PeerRoutes,
}

/// One node's part in the group.
pub struct Replica {
    handle: ReplicaHandle,
    server: PeerServer,
    tasks: JoinSet<()>,
    closing: CancellationToken,
    store_closing: CancellationToken,
}

impl Replica {
    /// Starts the replica. Returns when it runs; founding and joining go on by themselves, see
    /// [`ReplicaHandle::status`].
    ///
    /// # Errors
    /// [`RaftError`] when it would be unsafe or impossible to run.
    pub async fn start(options: ReplicaOptions) -> Result<Self, RaftError> {
        let mut options = options;
        let identity = options.identity.clone();
        if identity.removed {
            return Err(RaftError::Removed { node: identity.node_id });
        }
        if identity.cluster_id != options.secret.cluster_id() {
            return Err(RaftError::OtherIdentity {
                dir: options.dir,
                found: format!("cluster {}", identity.cluster_id),
                wanted: format!("cluster {}", options.secret.cluster_id()),
            });
        }
        let store = open_store(&mut options)?;
        let keeper = IdentityKeeper::new(&options.dir, options.identity.clone());
        let store_closing = CancellationToken::new();
        let room = Room::new(store_closing.clone());
        let log = LogStore::open(store.clone(), keeper.clone(), room.clone())?;
        let (machine, view) = StateMachine::open(store.clone(), room)?;
        if log.is_empty() && keeper.has_voted() || has_hole(&store, &log, &machine)? {
            return Err(RaftError::StoreLost { dir: options.dir, node: options.identity.node_id });
        }
        Self::run(options, store, keeper, store_closing, log, (machine, view)).await
    }

    async fn run(
        options: ReplicaOptions,
        store: Store,
        identity: IdentityKeeper,
        store_closing: CancellationToken,
        log: LogStore,
        (machine, view): (StateMachine, watch::Receiver<Arc<View>>),
    ) -> Result<Self, RaftError> {
        let me = NodeTag::from(&options.identity);
        let claim = claim(&options, me);
        let clock = PeerClock::start();
        let auth = PeerAuth::new(options.secret, me, clock);
        let client = PeerClient::new(auth.clone());
        let book = AddressBook::new(view.clone(), options.known_peers);
        let config = Arc::new(options.timing.config(&options.identity.cluster_id)?);
        let majority = Arc::new(Majority::new(clock));
        let network = Network {
            client: client.clone(),
            book: book.clone(),
            me: me.id,
            append_time: options.timing.append(),
            acknowledged: Acknowledged::default(),
            majority: Arc::clone(&majority),
        };
        let began_empty = log.is_empty();
        let raft = Raft::new(me.id, config, network, log, machine).await.map_err(stopped)?;
        let (renewals, queue) = renewals::queue();
        let core = Arc::new(Core {
            me,
            cluster_id: options.identity.cluster_id,
            founder: options.identity.founder,
            began_empty,
            claim,
            first_limits: options.limits,
            first_budget: options.budget,
            nodes_expected: options.nodes_expected,
            join: options.join,
            lost: options.identity.lost.clone(),
            timing: options.timing,
            clock,
            raft,
            store,
            identity,
            view,
            client,
            book,
            fatal: watch::channel(None).0,
            join_problem: watch::channel(None).0,
            join_warned: AtomicBool::new(false),
            leader_heard_ms: AtomicU64::new(0),
            majority,
            since: Mutex::default(),
            renewals,
            notes: Mutex::default(),
        });
        follow_store(&core);
        let routes = raft_routes::add(options.routes, &core);
        let server = PeerServer::start(options.peer_listener, auth, routes).map_err(RaftError::Listener)?;
        if core.founder && began_empty && !join::is_founded_elsewhere(&core).await {
            form(&core).await?;
        }
        let closing = CancellationToken::new();
        let (count, changes) = watch::channel(0);
        let tasks = start_tasks(&core, count, queue, &closing);
        Ok(Self { handle: ReplicaHandle { core, changes }, server, tasks, closing, store_closing })
    }

    /// A handle for parts of the node that use the replica but do not own it. The replica itself can be used
    /// like one.
    #[must_use]
    pub fn handle(&self) -> ReplicaHandle {
        self.handle.clone()
    }

    /// Address on which the peer port listens.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Hands over if this node leads, then stops in good order and closes the store.
    ///
    /// # Errors
    /// [`RaftError::Store`] when what was written could not be made durable.
    pub async fn stop(self) -> Result<(), RaftError> {
        if self.core.is_leader() {
            let handed = tokio::time::timeout(HAND_OVER_TIME, self.core.transfer_here(None)).await;
            if let Ok(Err(error)) = handed {
                tracing::debug!(%error, "stopping without handing over");
            }
        }
        self.stop_at_once().await
    }

    /// Stops without handing over, as when time is short: the others notice as they would notice a crash.
    ///
    /// # Errors
    /// As [`Replica::stop`].
    pub async fn stop_at_once(mut self) -> Result<(), RaftError> {
        self.closing.cancel();
        self.store_closing.cancel();
        while self.tasks.join_next().await.is_some() {}
        if tokio::time::timeout(CORE_TIME, self.core.raft.shutdown()).await.is_err() {
            tracing::warn!("consensus did not stop in time");
        }
        let store = self.core.store.clone();
        self.server.stop().await;
        match tokio::task::spawn_blocking(move || store.close()).await {
            Ok(closed) => Ok(closed?),
            Err(error) => Err(RaftError::Core(format!("closing the store: {error}"))),
        }
    }
}

/// The description of itself that the node asks to be listed with.
fn claim(options: &ReplicaOptions, me: NodeTag) -> MemberClaim {
    MemberClaim {
        reads: erlmcp_ledger::VERSION,
        peer_address: options.advertise_peer.clone(),
        http_address: options.advertise_http.clone(),
        incarnation: me.incarnation,
        name: options.name.clone(),
    }
}

/// A store that fails ends the replica; a full disk is said, and waited for.
fn follow_store(core: &Arc<Core>) {
    let failing = Arc::downgrade(core);
    core.store.on_failure(Box::new(move |health| match health {
        StoreHealth::Failed { reason } => {
            if let Some(core) = failing.upgrade() {
                core.fail(Fatal::Store(reason.to_string()));
            }
        }
        StoreHealth::DiskFull { free_bytes, needed_bytes } => tracing::warn!(
            free_bytes,
            needed_bytes,
            "the disk is full: this node acknowledges nothing until there is room"
        ),
        StoreHealth::Healthy => {}
    }));
}

fn start_tasks(
    core: &Arc<Core>,
    count: watch::Sender<u64>,
    queue: mpsc::Receiver<Waiting>,
    closing: &CancellationToken,
) -> JoinSet<()> {
    let writer = Arc::clone(core);
    let write = move |command, time| {
        let core = Arc::clone(&writer);
        async move { core.write_here(command, time).await }
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(elect::run(Arc::clone(core), closing.clone()));
    tasks.spawn(reconciler::run(Arc::clone(core), closing.clone()));
    tasks.spawn(join::run(Arc::clone(core), closing.clone()));
    tasks.spawn(join::look_for_the_first_group(Arc::clone(core), closing.clone()));
    tasks.spawn(renewals::run(queue, closing.clone(), write));
    tasks.spawn(shares::run(Arc::clone(core), closing.clone()));
    tasks.spawn(watch_changes(Arc::clone(core), count, closing.clone()));
    tasks
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("me", &self.core.me).finish_non_exhaustive()
    }
}

impl Deref for Replica {
    type Target = ReplicaHandle;

    fn deref(&self) -> &ReplicaHandle {
        &self.handle
    }
}

fn open_store(options: &mut ReplicaOptions) -> Result<Store, RaftError> {
    let dir = Identity::store_dir(&options.dir);
    if !Store::exists(&dir) {
        if options.identity.voted {
            return Err(RaftError::StoreLost { dir: options.dir.clone(), node: options.identity.node_id });
        }
        return Ok(Store::create(&dir, options.store.clone())?);
    }
    match Store::open(&dir, options.store.clone()) {
        Err(damage @ StorageError::Corrupt { .. }) => {
            // Keep what is left for people to look at, and ask to join as one who has forgotten everything.
            options.identity = options.identity.renew(&options.dir)?;
            let kept = erlmcp_storage::quarantine(&dir, PeerClock::start().unix_ms())?;
            tracing::error!(%damage, kept = %kept.display(), "the store is damaged: a new incarnation");
            Ok(Store::create(&dir, options.store.clone())?)
        }
        other => Ok(other?),
    }
}

/// Whether entries that are not in the state are nowhere else on this node either.
fn has_hole(store: &Store, log: &LogStore, machine: &StateMachine) -> Result<bool, StorageError> {
    Ok(log.purged() > machine.applied() && store.latest_snapshot()?.is_none())
}

/// Forms the group of one; the ledger is founded by the reconciler once this node leads.
async fn form(core: &Core) -> Result<(), RaftError> {
    let me = MemberNode { peer_address: core.claim.peer_address.clone(), incarnation: core.me.incarnation };
    let members = std::collections::BTreeMap::from([(core.id(), me)]);
    core.raft.initialize(members).await.map_err(stopped)
}

fn stopped(error: impl std::fmt::Display) -> RaftError {
    RaftError::Core(error.to_string())
}

/// Counts changes, and notices when the core ends by itself.
async fn watch_changes(core: Arc<Core>, count: watch::Sender<u64>, closing: CancellationToken) {
    let mut metrics = core.raft.metrics();
    let (mut view, mut problem, mut fatal) =
        (core.view.clone(), core.join_problem.subscribe(), core.fatal.subscribe());
    loop {
        if let Err(error) = &metrics.borrow_watched().running_state {
            core.fail(Fatal::Core(error.to_string()));
        }
        core.majority.note_metrics(core.id(), &metrics.borrow_watched());
        count.send_modify(|count| *count += 1);
        let goes_on = tokio::select! {
            () = closing.cancelled() => false,
            changed = metrics.changed() => {
                if changed.is_err() {
                    core.fail(Fatal::Core("it ended".to_owned()));
                }
                changed.is_ok()
            }
            changed = view.changed() => {
                if changed.is_err() && !closing.is_cancelled() {
                    core.fail(why_nothing_is_applied(&core).await);
                }
                changed.is_ok()
            }
            changed = problem.changed() => changed.is_ok(),
            changed = fatal.changed() => changed.is_ok(),
        };
        if !goes_on {
            count.send_modify(|count| *count += 1);
            return;
        }
    }
}

/// The state machine is gone while the core may live on, and even lead: it hears of an error a little later
/// and of a panic never.
async fn why_nothing_is_applied(core: &Core) -> Fatal {
    core.wait(REASON_TIME, |metrics| metrics.running_state.is_err()).await;
    match core.metrics().running_state {
        Err(error) => Fatal::Core(error.to_string()),
        Ok(()) => Fatal::Core("the state machine ended".to_owned()),
    }
}
