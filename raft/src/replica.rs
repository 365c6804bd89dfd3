//! A replica: one node's part in the group, from start to stop.
//!
//! `start` opens the store, refuses what would be unsafe, serves the peer port and lets the node found, join or
//! continue. `stop` hands over and closes. Everything else is in the parts it assembles.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use erlmcp_ledger::{Budget, Command, Limits, MemberClaim, NodeId, Receipt};
use erlmcp_storage::{Options, Store, StoreHealth};
use openraft::async_runtime::WatchReceiver as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::address_book::AddressBook;
use crate::clock::Clock;
use crate::core::{Core, Fatal};
use crate::error::{OperateError, ProposeError, RaftError};
use crate::identity::{Identity, IdentityKeeper};
use crate::log_store::LogStore;
use crate::network::Network;
use crate::peer_auth::{NodeTag, PeerAuth};
use crate::peer_client::PeerClient;
use crate::peer_server::{PeerRoutes, PeerServer};
use crate::propose::Written;
use crate::secret::ClusterSecret;
use crate::state_machine::StateMachine;
use crate::status::ReplicaStatus;
use crate::timing::Timing;
use crate::types::{MemberNode, Raft};
use crate::view::View;
use crate::{join, raft_routes, reconciler};

/// How long a leader tries to hand over when it stops.
const HAND_OVER_TIME: Duration = Duration::from_secs(2);

/// How long the core may take to stop.
const CORE_TIME: Duration = Duration::from_secs(10);

/// What a replica needs to start.
#[derive(Debug)]
pub struct ReplicaOptions {
    /// The node's data directory, made by [`Identity::init`].
    pub dir: PathBuf,
    /// Who it belongs to.
    pub identity: Identity,
    /// What makes this process a peer.
    pub secret: ClusterSecret,
    /// The peer port, bound.
    pub peer_listener: TcpListener,
    /// Where other nodes reach the peer port.
    pub advertise_peer: String,
    /// Where clients and operators reach this node.
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
    core: Arc<Core>,
    server: PeerServer,
    tasks: JoinSet<()>,
    closing: CancellationToken,
    store_closing: CancellationToken,
    changes: watch::Receiver<u64>,
}

impl Replica {
    /// Starts the replica. Returns when it runs; founding and joining go on by themselves, see [`Replica::status`].
    ///
    /// # Errors
    /// [`RaftError`] when it would be unsafe or impossible to run.
    pub async fn start(options: ReplicaOptions) -> Result<Self, RaftError> {
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
        let store = open_store(&options, &identity)?;
        let keeper = IdentityKeeper::new(&options.dir, identity);
        let store_closing = CancellationToken::new();
        let log = LogStore::open(store.clone(), keeper.clone(), store_closing.clone())?;
        if log.is_empty() && keeper.has_voted() {
            return Err(RaftError::StoreLost { dir: options.dir, node: options.identity.node_id });
        }
        Self::run(options, store, keeper, store_closing, log).await
    }

    async fn run(
        options: ReplicaOptions,
        store: Store,
        identity: IdentityKeeper,
        store_closing: CancellationToken,
        log: LogStore,
    ) -> Result<Self, RaftError> {
        let me = NodeTag::from(&options.identity);
        let clock = Clock::start();
        let auth = PeerAuth::new(options.secret, me, clock);
        let client = PeerClient::new(auth.clone());
        let (machine, view) = StateMachine::open(store.clone())?;
        let book = AddressBook::new(view.clone(), options.known_peers);
        let config = Arc::new(options.timing.config(&options.identity.cluster_id)?);
        let append_time = options.timing.append();
        let network = Network { client: client.clone(), book: book.clone(), me: me.id, append_time };
        let began_empty = log.is_empty();
        let raft = Raft::new(me.id, config, network, log, machine).await.map_err(stopped)?;
        let claim = MemberClaim {
            peer_address: options.advertise_peer,
            http_address: options.advertise_http,
            incarnation: me.incarnation,
            name: options.name,
        };
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
            leader_heard_ms: AtomicU64::new(0),
        });
        let failing = Arc::downgrade(&core);
        core.store.on_failure(Box::new(move |health| {
            if let (StoreHealth::Failed { reason }, Some(core)) = (health, failing.upgrade()) {
                core.fail(Fatal::Store(reason.to_string()));
            }
        }));
        let routes = raft_routes::add(options.routes, &core);
        let server = PeerServer::start(options.peer_listener, auth, routes).map_err(RaftError::Listener)?;
        if core.founder && began_empty && !join::is_founded_elsewhere(&core).await {
            form(&core).await?;
        }
        let closing = CancellationToken::new();
        let (count, changes) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(reconciler::run(Arc::clone(&core), closing.clone()));
        tasks.spawn(join::run(Arc::clone(&core), closing.clone()));
        tasks.spawn(watch_changes(Arc::clone(&core), count, closing.clone()));
        Ok(Self { core, server, tasks, closing, store_closing, changes })
    }

    /// Puts a command to the ledger, wherever the leader is, within the time of [`Timing::propose`].
    ///
    /// # Errors
    /// [`ProposeError`]; only [`ProposeError::Maybe`] leaves open whether it was written.
    pub async fn propose(&self, command: Command) -> Result<Receipt, ProposeError> {
        Ok(self.propose_within(command, self.core.timing.propose).await?.receipt)
    }

    /// The same within `time`, with the log index: wait for [`View::applied`] to reach it to read one's own write.
    ///
    /// # Errors
    /// As [`Replica::propose`].
    pub async fn propose_within(&self, command: Command, time: Duration) -> Result<Written, ProposeError> {
        self.core.propose(command, time).await
    }

    /// A handle for parts of the node that propose and watch but do not own the replica.
    #[must_use]
    pub fn handle(&self) -> ReplicaHandle {
        ReplicaHandle { core: Arc::clone(&self.core), changes: self.changes.clone() }
    }

    /// The newest view of the ledger, as a level.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.core.view.clone()
    }

    /// How the replica is doing. Asks the disk for sizes.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        self.core.status()
    }

    /// Counts changes of the status; wait on it instead of sleeping.
    #[must_use]
    pub fn status_changed(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Signed requests to other nodes, for what is mounted on the peer port.
    #[must_use]
    pub fn peer_client(&self) -> PeerClient {
        self.core.client.clone()
    }

    /// Where the peer port listens.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Hands the leadership to `to`, or to the best placed voter, from any node. Returns who leads then.
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<NodeId, OperateError> {
        self.core.transfer_leader(to).await
    }

    /// Takes a node out of the group, from any node. Needs it drained, or `dead`: the operator's word that it will
    /// never come back with its data.
    ///
    /// # Errors
    /// [`OperateError::NotYet`] when it is recorded but the voters could not be changed in time; the leader goes on.
    pub async fn remove(&self, node: NodeId, dead: bool) -> Result<(), OperateError> {
        self.core.remove(node, dead).await
    }

    /// Sets or clears a node's drain flag, from any node. A draining leader hands over; a draining learner gets no
    /// vote.
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn set_draining(&self, node: NodeId, draining: bool) -> Result<(), OperateError> {
        self.core.set_draining(node, draining).await
    }

    /// Resolves when the replica cannot go on; the node must then end with an error.
    pub fn fatal(&self) -> impl Future<Output = Fatal> + Send + 'static {
        let mut fatal = self.core.fatal.subscribe();
        async move {
            let cause = fatal.wait_for(Option::is_some).await.ok().and_then(|cause| cause.clone());
            match cause {
                Some(cause) => cause,
                // The replica was stopped in good order: nothing fatal will come.
                None => std::future::pending().await,
            }
        }
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
        self.server.stop().await;
        let store = self.core.store.clone();
        match tokio::task::spawn_blocking(move || store.close()).await {
            Ok(closed) => Ok(closed?),
            Err(error) => Err(RaftError::Core(format!("closing the store: {error}"))),
        }
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("me", &self.core.me).finish_non_exhaustive()
    }
}

/// A share in a running replica. Cheap to clone; of no use after the replica stopped.
#[derive(Clone)]
pub struct ReplicaHandle {
    core: Arc<Core>,
    changes: watch::Receiver<u64>,
}

impl ReplicaHandle {
    /// See [`Replica::propose_within`].
    ///
    /// # Errors
    /// As [`Replica::propose`].
    pub async fn propose_within(&self, command: Command, time: Duration) -> Result<Written, ProposeError> {
        self.core.propose(command, time).await
    }

    /// See [`Replica::view`].
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.core.view.clone()
    }

    /// See [`Replica::status`].
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        self.core.status()
    }

    /// See [`Replica::status_changed`].
    #[must_use]
    pub fn status_changed(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// See [`Replica::peer_client`].
    #[must_use]
    pub fn peer_client(&self) -> PeerClient {
        self.core.client.clone()
    }

    /// See [`Replica::transfer_leader`].
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<NodeId, OperateError> {
        self.core.transfer_leader(to).await
    }

    /// See [`Replica::remove`].
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn remove(&self, node: NodeId, dead: bool) -> Result<(), OperateError> {
        self.core.remove(node, dead).await
    }

    /// See [`Replica::set_draining`].
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn set_draining(&self, node: NodeId, draining: bool) -> Result<(), OperateError> {
        self.core.set_draining(node, draining).await
    }
}

impl std::fmt::Debug for ReplicaHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaHandle").field("me", &self.core.me).finish_non_exhaustive()
    }
}

fn open_store(options: &ReplicaOptions, identity: &Identity) -> Result<Store, RaftError> {
    let dir = Identity::store_dir(&options.dir);
    if Store::exists(&dir) {
        return Ok(Store::open(&dir, options.store.clone())?);
    }
    if identity.voted {
        return Err(RaftError::StoreLost { dir: options.dir.clone(), node: identity.node_id });
    }
    Ok(Store::create(&dir, options.store.clone())?)
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
        count.send_modify(|count| *count += 1);
        let goes_on = tokio::select! {
            () = closing.cancelled() => false,
            changed = metrics.changed() => {
                if changed.is_err() {
                    core.fail(Fatal::Core("it ended".to_owned()));
                }
                changed.is_ok()
            }
            changed = view.changed() => changed.is_ok(),
            changed = problem.changed() => changed.is_ok(),
            changed = fatal.changed() => changed.is_ok(),
        };
        if !goes_on {
            count.send_modify(|count| *count += 1);
            return;
        }
    }
}
