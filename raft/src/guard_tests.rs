//! Guards of the rules of durability: a broken or full disk and a broken state machine must not break them.
//!
//! Each rule here has a mutant in `tests/mutants/raft.toml`.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use erlmcp_ledger::Command;
use erlmcp_storage::{Faults, MetaKey, Options, Store, StoreHealth};
use futures_util::{FutureExt as _, stream};
use openraft::storage::{IOFlushed, RaftLogStorage as _, RaftStateMachine as _};
use openraft::type_config::TypeConfigExt as _;
use openraft::{EntryPayload, RaftLogReader as _, RaftSnapshotBuilder as _, ServerState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::core::Fatal;
use crate::error::RaftError;
use crate::identity::{Identity, IdentityKeeper};
use crate::log_store::LogStore;
use crate::replica::Replica;
use crate::replica_for_tests;
use crate::room::Room;
use crate::secret::ClusterSecret;
use crate::state_machine::StateMachine;
use crate::status::Role;
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// A fault ends the node within a second; a machine that does much else may take longer, a zombie for ever.
const SOON: Duration = Duration::from_secs(5);

/// Bytes that stay free on the disk.
const RESERVE_BYTES: u64 = 1024;

const PATIENCE: Duration = Duration::from_secs(30);

/// A log and a store on a disk that can be broken.
struct Disk {
    faults: Faults,
    store: Store,
    log: LogStore,
    is_full: watch::Receiver<bool>,
    dir: tempfile::TempDir,
}

fn secret() -> ClusterSecret {
    ClusterSecret::from_text("0123456789abcdef0123456789abcdef").unwrap()
}

fn options(faults: &Faults) -> Options {
    Options { min_free_bytes: RESERVE_BYTES, faults: faults.clone(), ..Options::default() }
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (identity, _) = Identity::init(dir.path(), 1, true, &secret()).unwrap();
        let faults = Faults::none();
        let store = Store::create(&Identity::store_dir(dir.path()), options(&faults)).unwrap();
        let (full, is_full) = watch::channel(false);
        store.on_failure(Box::new(move |health| {
            full.send_replace(matches!(health, StoreHealth::DiskFull { .. }));
        }));
        let keeper = IdentityKeeper::new(dir.path(), identity);
        let log = log_of(&store, keeper);
        Self { faults, store, log, is_full, dir }
    }

    fn machine(&self) -> StateMachine {
        StateMachine::open(self.store.clone(), Room::new(CancellationToken::new())).unwrap().0
    }

    /// Waits until the disk holds a sync.
    async fn wait_held(&self) {
        let faults = self.faults.clone();
        tokio::task::spawn_blocking(move || faults.wait_for_held_sync()).await.unwrap();
    }

    /// Runs `work` on a disk without room until it was refused, and to its end on one with room.
    async fn through_a_full_disk<T>(&self, work: impl Future<Output = io::Result<T>>) -> T {
        self.through_a_disk_with(0, work).await
    }

    /// The same on a disk with some room.
    async fn through_a_disk_with<T>(&self, bytes: u64, work: impl Future<Output = io::Result<T>>) -> T {
        self.faults.set_free_bytes(bytes);
        let faults = self.faults.clone();
        let mut is_full = self.is_full.clone();
        let heal = async move {
            is_full.wait_for(|is_full| *is_full).await.unwrap();
            faults.heal();
        };
        let both = async { tokio::join!(heal, work).1 };
        tokio::time::timeout(PATIENCE, both).await.unwrap().unwrap()
    }
}

impl Drop for Disk {
    /// A test that fails while a sync is held would wait for it for ever: the store closes with the last one.
    fn drop(&mut self) {
        self.faults.release_sync();
    }
}

fn log_of(store: &Store, keeper: IdentityKeeper) -> LogStore {
    LogStore::open(store.clone(), keeper, Room::new(CancellationToken::new())).unwrap()
}

fn log_id(index: u64) -> LogId {
    type Leader = openraft::alias::LeaderIdOf<TypeConfig>;
    LogId::new(<Leader as openraft::vote::RaftLeaderIdExt>::new_committed(1, 1), index)
}

fn blank(index: u64) -> Entry {
    Entry { log_id: log_id(index), payload: EntryPayload::Blank }
}

#[tokio::test]
async fn an_entry_is_acknowledged_only_when_it_is_durable() {
    let mut disk = Disk::new();
    disk.faults.hold_sync();
    let (tell, mut told) = TypeConfig::oneshot();
    disk.log.append([blank(0)], IOFlushed::signal(tell)).await.unwrap();
    disk.wait_held().await;
    assert!((&mut told).now_or_never().is_none(), "acknowledged before the sync");
    disk.faults.release_sync();
    told.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_vote_is_given_only_when_it_is_durable() {
    let disk = Disk::new();
    disk.faults.hold_sync();
    let mut log = disk.log.clone();
    let vote = Vote::new(7, 1);
    let saving = tokio::spawn(async move { log.save_vote(&vote).await });
    disk.wait_held().await;
    assert!(!saving.is_finished(), "voted before the sync");
    assert_eq!(disk.log.clone().read_vote().await.unwrap(), None);
    disk.faults.release_sync();
    saving.await.unwrap().unwrap();
    assert_eq!(disk.log.clone().read_vote().await.unwrap(), Some(vote));
}

#[tokio::test]
async fn a_truncation_is_over_only_when_it_is_durable() {
    let mut disk = Disk::new();
    let (tell, told) = TypeConfig::oneshot();
    disk.log.append([blank(0), blank(1)], IOFlushed::signal(tell)).await.unwrap();
    told.await.unwrap().unwrap();
    disk.faults.hold_sync();
    let mut log = disk.log.clone();
    let cutting = tokio::spawn(async move { log.truncate_after(Some(log_id(0))).await });
    disk.wait_held().await;
    assert!(!cutting.is_finished(), "over before the sync");
    disk.faults.release_sync();
    cutting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_log_goes_on_after_a_crash_between_the_two_writes_of_a_purge() {
    let mut disk = Disk::new();
    let (tell, told) = TypeConfig::oneshot();
    disk.log.append((0..=10).map(blank), IOFlushed::signal(tell)).await.unwrap();
    told.await.unwrap().unwrap();
    // A snapshot up to 100 was taken over: what was purged is on disk, the purge is not.
    let purged = serde_json::to_vec(&log_id(100)).unwrap();
    disk.store.put_meta(MetaKey::Purged, purged, Box::new(|_| ())).unwrap();
    disk.store.clone().close().unwrap();
    let dir = disk.dir.path();
    let store = Store::open(&Identity::store_dir(dir), options(&disk.faults)).unwrap();
    let mut log = log_of(&store, IdentityKeeper::new(dir, Identity::open(dir).unwrap()));
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(100)), Some(log_id(100))));
    let (tell, told) = TypeConfig::oneshot();
    log.append([blank(101)], IOFlushed::signal(tell)).await.unwrap();
    told.await.unwrap().unwrap();
    assert_eq!(log.try_get_log_entries(0..200).await.unwrap(), [blank(101)]);
}

#[tokio::test]
async fn a_failed_sync_acknowledges_nothing() {
    let mut disk = Disk::new();
    disk.faults.fail_sync();
    let (tell, told) = TypeConfig::oneshot();
    disk.log.append([blank(0)], IOFlushed::signal(tell)).await.unwrap();
    told.await.unwrap().unwrap_err();
    let mut disk = Disk::new();
    disk.faults.fail_sync();
    disk.log.save_vote(&Vote::new(7, 1)).await.unwrap_err();
    assert_eq!(disk.log.read_vote().await.unwrap(), None);
}

#[tokio::test]
async fn an_append_waits_for_room_and_goes_on() {
    let disk = Disk::new();
    let mut log = disk.log.clone();
    let (tell, told) = TypeConfig::oneshot();
    disk.through_a_full_disk(log.append([blank(0)], IOFlushed::signal(tell))).await;
    told.await.unwrap().unwrap();
    assert_eq!(log.try_get_log_entries(0..1).await.unwrap(), [blank(0)]);
}

#[tokio::test]
async fn what_is_applied_and_its_snapshot_wait_for_room_and_go_on() {
    let disk = Disk::new();
    let mut machine = disk.machine();
    disk.through_a_full_disk(machine.apply(stream::iter([Ok((blank(1), None))]))).await;
    assert_eq!(machine.applied_state().await.unwrap().0, Some(log_id(1)));
    assert_eq!(disk.store.health(), StoreHealth::Healthy);
    let mut builder = machine.get_snapshot_builder().await;
    disk.through_a_full_disk(builder.build_snapshot()).await;
    let built = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(built.meta.last_log_id, Some(log_id(1)));
}

#[tokio::test]
async fn a_snapshot_that_came_waits_for_room_and_goes_on() {
    let theirs = Disk::new();
    let mut machine = theirs.machine();
    machine.apply(stream::iter([Ok((blank(5), None))])).await.unwrap();
    let built = machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    // The file needs less room than the state, which may be refused when the file is there.
    let file_bytes = 20 + serde_json::to_vec(&built.meta).unwrap().len() + built.snapshot.len();
    for free_bytes in [0, RESERVE_BYTES + file_bytes as u64] {
        let disk = Disk::new();
        let mut machine = disk.machine();
        let install = machine.install_snapshot(&built.meta, built.snapshot.clone());
        disk.through_a_disk_with(free_bytes, install).await;
        assert_eq!(machine.applied_state().await.unwrap().0, Some(log_id(5)));
        assert_eq!(disk.machine().applied_state().await.unwrap().0, Some(log_id(5)));
    }
}

#[tokio::test]
async fn what_the_store_refuses_is_not_applied() {
    let disk = Disk::new();
    let mut machine = disk.machine();
    disk.store.clone().close().unwrap();
    machine.apply(stream::iter([Ok((blank(1), None))])).await.unwrap_err();
}

async fn start_lonely(dir: &Path) -> Result<Replica, RaftError> {
    let (identity, _) = Identity::init(dir, 1, true, &secret()).unwrap();
    Replica::start(replica_for_tests::options(dir, identity, &secret())).await
}

/// A group of one that leads.
async fn lonely(dir: &Path) -> Replica {
    let replica = start_lonely(dir).await.unwrap();
    let mut view = replica.view();
    let founded = view.wait_for(|view| !view.ledger.members().is_empty());
    tokio::time::timeout(PATIENCE, founded).await.unwrap().unwrap();
    replica
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_ends_before_the_log_begins_is_not_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    Identity::init(dir.path(), 1, true, &secret()).unwrap();
    let store = Store::create(&Identity::store_dir(dir.path()), options(&Faults::none())).unwrap();
    let purged = serde_json::to_vec(&log_id(100)).unwrap();
    store.put_meta(MetaKey::Purged, purged, Box::new(|_| ())).unwrap();
    store.close().unwrap();
    let refused = start_lonely(dir.path()).await.err();
    assert!(matches!(&refused, Some(RaftError::StoreLost { node: 1, .. })), "{refused:?}");
}

/// The end of a replica whose next apply is `at_apply`.
async fn ended_by(at_apply: fn() -> io::Error) -> Fatal {
    let dir = tempfile::tempdir().unwrap();
    let replica = lonely(dir.path()).await;
    let set = replica.core.raft.with_state_machine(move |machine| {
        machine.at_apply = Some(at_apply);
        futures_util::future::ready(()).boxed()
    });
    set.await.unwrap();
    let fatal = replica.fatal();
    let command = Command::SetLimit { tenant: None, connections: Some(7) };
    let handle = replica.handle();
    let proposing = tokio::spawn(async move { handle.propose(command).await });
    let fatal = tokio::time::timeout(SOON, fatal).await.expect("it lives on without a state machine");
    assert_eq!(replica.status().role, Role::Failed);
    proposing.abort();
    replica.stop_at_once().await.ok();
    fatal
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_state_machine_ends_the_replica_and_says_why() {
    let fatal = ended_by(|| io::Error::other("as the test wished")).await;
    assert!(matches!(&fatal, Fatal::Core(text) if text.contains("as the test wished")), "{fatal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_state_machine_ends_the_replica() {
    let fatal = ended_by(|| panic!("as the test wished")).await;
    assert_eq!(fatal, Fatal::Core("the state machine ended".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_in_the_log_of_a_core_that_ends_may_have_been_written() {
    let dir = tempfile::tempdir().unwrap();
    let replica = lonely(dir.path()).await;
    let set = replica.core.raft.with_state_machine(|machine| {
        machine.at_apply = Some(|| io::Error::other("as the test wished"));
        futures_util::future::ready(()).boxed()
    });
    set.await.unwrap();
    let command = Command::SetLimit { tenant: None, connections: Some(7) };
    let attempt = replica.core.propose_here(command.clone(), PATIENCE).await;
    assert!(matches!(attempt, Attempt::Unknown), "said not to be written, and it is in the log");
    tokio::time::timeout(SOON, replica.fatal()).await.unwrap();
    let attempt = replica.core.propose_here(command, PATIENCE).await;
    assert!(matches!(attempt, Attempt::Stopped));
    replica.stop_at_once().await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_that_has_ended_is_said_to_have_failed() {
    let dir = tempfile::tempdir().unwrap();
    let replica = lonely(dir.path()).await;
    let mut metrics = replica.core.metrics();
    assert_eq!(replica.core.role(&metrics), Role::Leader);
    metrics.state = ServerState::Shutdown;
    assert_eq!(replica.core.role(&metrics), Role::Failed);
    replica.stop_at_once().await.unwrap();
}
