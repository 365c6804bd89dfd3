//! The ledger as openraft's state machine: in memory, with every change written to the store's state.
//!
//! The state on disk may be some entries behind after a crash, but it is always whole, and the log replays
//! the rest. Snapshots are the same keys and values in one JSON document. All of it waits while the disk is
//! full.

use std::collections::BTreeMap;
use std::future::ready;
use std::io;
use std::sync::Arc;

use erlmcp_ledger::{Change, Ledger, Receipt};
use erlmcp_storage::{StateWrite, StorageError, Store};
use futures_util::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use crate::error::RaftError;
use crate::room::Room;
use crate::types::{LogId, Membership, Snapshot, SnapshotMeta, TypeConfig};
use crate::view::View;

/// The consensus core of this system.
pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// Entries written to the state in one batch.
const BATCH_MAX: usize = 256;

/// State keys of the ledger begin with this.
const LEDGER: &str = "ledger/";

/// State key of the last applied log id.
const APPLIED: &str = "raft/applied";

/// State keys of the membership, in parts because a value of the store is small.
const MEMBERSHIP: &str = "raft/membership/";

/// Bytes of a part of the membership.
const PART_BYTES: usize = 4_000;

/// The newest form of a snapshot.
const SNAPSHOT_FORMAT: u32 = 1;

/// The ledger of one node.
pub(crate) struct StateMachine {
    store: Store,
    room: Room,
    ledger: Arc<Ledger>,
    applied: Option<LogId>,
    membership: Membership,
    view: watch::Sender<Arc<View>>,
    newest_snapshot: Arc<Mutex<Option<LogId>>>,
    share_entries: u64,
    /// Failure that a test puts in place of the next apply.
    #[cfg(test)]
    pub(crate) at_apply: Option<fn() -> io::Error>,
}

/// Keys and values as the store takes them.
type KeyValues = Vec<(Vec<u8>, Vec<u8>)>;

/// The document of a snapshot.
#[derive(Serialize, Deserialize)]
struct SnapshotBody {
    format: u32,
    ledger: BTreeMap<String, String>,
}

impl StateMachine {
    /// Reads the state.
    pub(crate) fn open(store: Store, room: Room) -> Result<(Self, watch::Receiver<Arc<View>>), RaftError> {
        let entries = store.state()?;
        let mut ledger = BTreeMap::new();
        let mut applied = None;
        let mut membership = String::new();
        for (key, value) in &entries {
            let (key, value) = (text(key)?, text(value)?);
            if let Some(key) = key.strip_prefix(LEDGER) {
                ledger.insert(key, value);
            } else if key == APPLIED {
                applied = Some(parse("the last applied log id", value)?);
            } else if key.starts_with(MEMBERSHIP) {
                membership.push_str(value);
            } else {
                return Err(unreadable(&format!("unknown key {key:?}")));
            }
        }
        let membership =
            if membership.is_empty() { Membership::default() } else { parse("the membership", &membership)? };
        let ledger = Arc::new(Ledger::from_entries(ledger)?);
        let (view, watched) = watch::channel(Arc::default());
        let newest_snapshot = Arc::default();
        let machine = Self {
            store,
            room,
            ledger,
            applied,
            membership,
            view,
            newest_snapshot,
            share_entries: 0,
            #[cfg(test)]
            at_apply: None,
        };
        machine.publish();
        Ok((machine, watched))
    }

    /// Entry that was applied last.
    pub(crate) fn applied(&self) -> Option<LogId> {
        self.applied
    }

    fn publish(&self) {
        let applied = self.applied.map_or(0, |applied| applied.index());
        self.view.send_replace(Arc::new(View {
            ledger: Arc::clone(&self.ledger),
            applied,
            share_entries: self.share_entries,
        }));
    }

    /// Applies some entries as one batch, then answers those who wait for them.
    async fn apply_batch(&mut self, batch: Vec<EntryResponder<TypeConfig>>) -> Result<(), io::Error> {
        #[cfg(test)]
        if let Some(at_apply) = self.at_apply {
            return Err(at_apply());
        }
        let mut writes = Vec::new();
        let mut answers = Vec::with_capacity(batch.len());
        let ledger = Arc::make_mut(&mut self.ledger);
        for (entry, responder) in batch {
            self.applied = Some(entry.log_id);
            let receipt = match entry.payload {
                EntryPayload::Blank => Receipt::Done,
                EntryPayload::Normal(command) => {
                    self.share_entries += u64::from(command.is_about_shares());
                    let (receipt, changes) = ledger.apply(entry.log_id.index(), &command);
                    writes.extend(changes.into_iter().map(state_write));
                    receipt
                }
                EntryPayload::Membership(membership) => {
                    let old = membership_parts(&self.membership)?.len();
                    self.membership = Membership::new(Some(entry.log_id), membership);
                    writes.extend(membership_writes(&self.membership, old)?);
                    Receipt::Done
                }
            };
            answers.extend(responder.map(|responder| (responder, receipt)));
        }
        writes.push(write(APPLIED, Some(serde_json::to_string(&self.applied)?)));
        self.room.wait(|| ready(self.store.apply(writes.clone()))).await?;
        self.publish();
        for (responder, receipt) in answers {
            responder.send(receipt);
        }
        Ok(())
    }

    fn entries(&self) -> Result<KeyValues, io::Error> {
        let mut all = BTreeMap::new();
        for (key, value) in self.ledger.entries() {
            all.insert(format!("{LEDGER}{key}"), value);
        }
        for (at, part) in membership_parts(&self.membership)?.into_iter().enumerate() {
            all.insert(part_key(at), part);
        }
        if let Some(applied) = &self.applied {
            all.insert(APPLIED.to_owned(), serde_json::to_string(applied)?);
        }
        Ok(all.into_iter().map(|(key, value)| (key.into_bytes(), value.into_bytes())).collect())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        while let Some(entry) = entries.next().await {
            batch.push(entry?);
            if batch.len() >= BATCH_MAX {
                self.apply_batch(std::mem::take(&mut batch)).await?;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.apply_batch(batch).await }
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            store: self.store.clone(),
            room: self.room.clone(),
            ledger: Arc::clone(&self.ledger),
            meta: SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() },
            newest: Arc::clone(&self.newest_snapshot),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Vec<u8>) -> Result<(), io::Error> {
        let body: SnapshotBody = serde_json::from_slice(&snapshot)?;
        if body.format > SNAPSHOT_FORMAT {
            let message = format!("snapshot of format {}; update this node first", body.format);
            return Err(io::Error::other(message));
        }
        let entries = body.ledger.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let ledger = Ledger::from_entries(entries).map_err(io::Error::other)?;
        // First the file, then the state: after a crash in between, the file is installed again.
        write_snapshot(&self.store, &self.room, meta, snapshot, &self.newest_snapshot).await?;
        self.ledger = Arc::new(ledger);
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        let entries = self.entries()?;
        let write = || {
            let (tell, synced) = oneshot::channel();
            let done = Box::new(move |result: Result<(), StorageError>| drop(tell.send(result)));
            ready(self.store.replace_state(entries.clone(), done).map(|()| synced))
        };
        let synced = self.room.wait(write).await?;
        match synced.await {
            Ok(result) => result.map_err(io::Error::other)?,
            Err(_) => return Err(io::Error::other("the store closed before the snapshot was durable")),
        }
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let store = self.store.clone();
        let stored = tokio::task::spawn_blocking(move || store.latest_snapshot()).await?;
        let Some(stored) = stored.map_err(io::Error::other)? else {
            return Ok(None);
        };
        let meta = serde_json::from_slice(&stored.meta)?;
        Ok(Some(Snapshot { meta, snapshot: stored.body }))
    }
}

/// Builds a snapshot of the ledger as it was when asked for.
pub(crate) struct SnapshotBuilder {
    store: Store,
    room: Room,
    ledger: Arc<Ledger>,
    meta: SnapshotMeta,
    newest: Arc<Mutex<Option<LogId>>>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let body = SnapshotBody { format: SNAPSHOT_FORMAT, ledger: self.ledger.entries() };
        let snapshot = serde_json::to_vec(&body)?;
        write_snapshot(&self.store, &self.room, &self.meta, snapshot.clone(), &self.newest).await?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot })
    }
}

/// Writes the file, unless a newer one was installed meanwhile.
async fn write_snapshot(
    store: &Store,
    room: &Room,
    meta: &SnapshotMeta,
    body: Vec<u8>,
    newest: &Arc<Mutex<Option<LogId>>>,
) -> Result<(), io::Error> {
    let last = meta.last_log_id;
    let id = format!("{:020}", last.map_or(0, |last| last.index()));
    let parts = Arc::new((id, serde_json::to_vec(meta)?, body));
    let attempt = || {
        let (store, newest, parts) = (store.clone(), Arc::clone(newest), Arc::clone(&parts));
        let write = move || {
            let mut newest = newest.lock();
            if *newest > last {
                return Ok(());
            }
            let (id, meta, body) = &*parts;
            store.write_snapshot(id, meta, body)?;
            *newest = last;
            Ok(())
        };
        async { tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(ended(&error))) }
    };
    room.wait(attempt).await
}

fn ended(error: &tokio::task::JoinError) -> StorageError {
    StorageError::Failed { reason: format!("writing a snapshot: {error}").into() }
}

fn membership_parts(membership: &Membership) -> Result<Vec<String>, io::Error> {
    // In JSON by openraft's serde form, cut between characters: addresses are the user's text.
    let whole = serde_json::to_string(membership)?;
    let mut parts = vec![String::new()];
    for letter in whole.chars() {
        let at = parts.len() - 1;
        if parts[at].len() + letter.len_utf8() > PART_BYTES {
            parts.push(letter.to_string());
        } else {
            parts[at].push(letter);
        }
    }
    Ok(parts)
}

fn membership_writes(membership: &Membership, old_parts: usize) -> Result<Vec<StateWrite>, io::Error> {
    let parts = membership_parts(membership)?;
    let gone = (parts.len()..old_parts).map(|at| write(&part_key(at), None)).collect::<Vec<_>>();
    let kept = parts.into_iter().enumerate().map(|(at, part)| write(&part_key(at), Some(part)));
    Ok(kept.chain(gone).collect())
}

fn part_key(at: usize) -> String {
    format!("{MEMBERSHIP}{at:04}")
}

fn state_write(change: Change) -> StateWrite {
    write(&format!("{LEDGER}{}", change.key), change.value)
}

fn write(key: &str, value: Option<String>) -> StateWrite {
    StateWrite { key: key.as_bytes().to_vec(), value: value.map(String::into_bytes) }
}

fn text(bytes: &[u8]) -> Result<&str, RaftError> {
    std::str::from_utf8(bytes).map_err(|error| unreadable(&error.to_string()))
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, RaftError> {
    serde_json::from_str(text).map_err(|error| unreadable(&format!("{what}: {error}")))
}

fn unreadable(problem: &str) -> RaftError {
    RaftError::Core(format!("the state cannot be read: {problem}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use erlmcp_ledger::{Budget, Command, Incarnation, Limits, MemberClaim};
    use erlmcp_storage::Options;
    use futures_util::stream;

    use super::*;
    use crate::types::{Entry, MemberNode};

    fn log_id(index: u64) -> LogId {
        type Leader = openraft::alias::LeaderIdOf<TypeConfig>;
        LogId::new(<Leader as openraft::vote::RaftLeaderIdExt>::new_committed(1, 1), index)
    }

    fn room() -> Room {
        Room::new(tokio_util::sync::CancellationToken::new())
    }

    fn options() -> Options {
        Options { min_free_bytes: 1024, ..Options::default() }
    }

    fn found() -> Command {
        Command::Found {
            cluster_id: "c".to_owned(),
            node: 1,
            claim: MemberClaim {
                reads: 1,
                peer_address: "h:1".to_owned(),
                http_address: String::new(),
                incarnation: Incarnation::new(1),
                name: String::new(),
            },
            limits: Limits::default(),
            budget: Budget::default(),
        }
    }

    /// A membership of so many nodes, larger than one value of the store.
    fn membership(count: u64) -> openraft::Membership<u64, MemberNode> {
        let node = |id: u64| {
            let peer_address = format!("{}:{id}", "é".repeat(60));
            (id, MemberNode { peer_address, incarnation: Incarnation::new(u128::from(id)) })
        };
        let nodes = (1..=count).map(node).collect::<BTreeMap<_, _>>();
        openraft::Membership::new(vec![BTreeSet::from([1])], nodes).unwrap()
    }

    async fn apply(machine: &mut StateMachine, entries: Vec<(u64, EntryPayload<Command, u64, MemberNode>)>) {
        let entries = entries.into_iter().map(|(index, payload)| {
            let entry = Entry { log_id: log_id(index), payload };
            Ok((entry, None))
        });
        machine.apply(stream::iter(entries)).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_applied_is_there_after_a_restart_and_members_that_left_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path(), options()).unwrap();
        let (mut machine, view) = StateMachine::open(store.clone(), room()).unwrap();
        let first = vec![
            (1, EntryPayload::Membership(membership(60))),
            (2, EntryPayload::Normal(found())),
            (3, EntryPayload::Blank),
        ];
        apply(&mut machine, first).await;
        for count in [60, 2] {
            if count == 2 {
                apply(&mut machine, vec![(4, EntryPayload::Membership(membership(2)))]).await;
            }
            let (mut again, seen) = StateMachine::open(store.clone(), room()).unwrap();
            assert_eq!(again.applied_state().await.unwrap(), machine.applied_state().await.unwrap());
            assert_eq!(again.membership.membership().nodes().count(), count);
            assert_eq!(seen.borrow().ledger, view.borrow().ledger);
            assert_eq!(seen.borrow().applied, if count == 2 { 4 } else { 3 });
        }
    }

    #[tokio::test]
    async fn a_snapshot_built_late_does_not_hide_a_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path(), options()).unwrap();
        let (mut machine, _view) = StateMachine::open(store, room()).unwrap();
        apply(&mut machine, vec![(1, EntryPayload::Normal(found()))]).await;
        let mut late = machine.get_snapshot_builder().await;
        apply(&mut machine, vec![(2, EntryPayload::Blank)]).await;
        machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
        late.build_snapshot().await.unwrap();
        let newest = machine.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!(newest.meta.last_log_id, Some(log_id(2)));
    }
}
