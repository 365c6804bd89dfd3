//! The log and the vote, on the store: what openraft asks of a disk.
//!
//! An entry is acknowledged only from the store's own callback after the sync, and a vote is durable before
//! this node says it. A full disk makes this wait, and so the node stops acknowledging without stopping; any
//! other error ends the core.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use erlmcp_storage::{Done, MetaKey, StorageError, Store};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::error::RaftError;
use crate::identity::IdentityKeeper;
use crate::room::Room;
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// About how many bytes of entries go into one message to a follower.
const MESSAGE_BYTES: usize = 2 * 1024 * 1024;

/// The log of one node. Clones read the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    store: Store,
    identity: IdentityKeeper,
    room: Room,
    known: Arc<Mutex<Known>>,
}

/// Edges of the log in the store, kept in memory.
#[derive(Debug, Default)]
struct Known {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
}

impl LogStore {
    /// Reads the log's ends and the vote.
    pub(crate) fn open(store: Store, identity: IdentityKeeper, room: Room) -> Result<Self, RaftError> {
        let vote: Option<Vote> = read_meta(&store, MetaKey::Vote)?;
        let purged: Option<LogId> = read_meta(&store, MetaKey::Purged)?;
        // A crash between the two writes of a purge leaves a log that ends below what it says was purged:
        // the store would refuse the entry that has to come next.
        if let Some(purged) = &purged {
            store.purge_to(purged.index())?;
        }
        let last = match store.log_bounds().last {
            Some(last) => {
                read_entries(&store, last, last + 1).map_err(failed)?.pop().map(|entry| entry.log_id)
            }
            None => None,
        };
        let last = last.max(purged);
        if vote.is_some() || last.is_some() {
            // A crash may have come between a vote and its mark. That vote is said from now on without being
            // saved again, so a later loss of the store would go unnoticed.
            identity.mark_voted()?;
        }
        let known = Arc::new(Mutex::new(Known { vote, purged, last }));
        Ok(Self { store, identity, room, known })
    }

    /// Whether nothing was ever written here.
    pub(crate) fn is_empty(&self) -> bool {
        let known = self.known.lock();
        known.vote.is_none() && known.last.is_none()
    }

    /// Up to where the log was purged.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.known.lock().purged
    }

    /// Tries until the disk has room.
    async fn with_room<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, StorageError>,
    ) -> Result<T, io::Error> {
        self.room.wait(|| std::future::ready(attempt())).await
    }

    /// Writes something and waits until it is durable.
    async fn durably(
        &self,
        mut write: impl FnMut(&Store, Done) -> Result<(), StorageError>,
    ) -> Result<(), io::Error> {
        let synced = self
            .with_room(|| {
                let (tell, synced) = oneshot::channel();
                write(&self.store, Box::new(move |result| drop(tell.send(result))))?;
                Ok(synced)
            })
            .await?;
        match synced.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(io::Error::other("the store closed before it was durable")),
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (from, to) = bounds(&range);
        read_entries(&self.store, from, to)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.known.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let stored = self.store.read(start, end).map_err(io::Error::other)?;
        let mut bytes = 0;
        let mut entries = Vec::with_capacity(stored.len());
        for (index, entry) in stored {
            bytes += entry.len();
            if bytes > MESSAGE_BYTES && !entries.is_empty() {
                break;
            }
            entries.push(decode(index, &entry)?);
        }
        Ok(entries)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let known = self.known.lock();
        Ok(LogState { last_purged_log_id: known.purged, last_log_id: known.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let bytes = serde_json::to_vec(vote)?;
        self.durably(|store, done| store.put_meta(MetaKey::Vote, bytes.clone(), done)).await?;
        // Whatever this node acknowledges comes after a vote, so this one mark covers all of it.
        self.identity.mark_voted().map_err(io::Error::other)?;
        self.known.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut last = None;
        let mut encoded = Vec::new();
        for entry in entries {
            encoded.push((entry.log_id.index(), serde_json::to_vec(&entry)?));
            last = Some(entry.log_id);
        }
        let mut callback = Some(callback);
        self.with_room(|| {
            // The store takes the callback even when it refuses, so it is handed over inside a slot that
            // survives.
            let slot = Arc::new(Mutex::new(callback.take()));
            let theirs = Arc::clone(&slot);
            let done: Done = Box::new(move |result| {
                let callback = theirs.lock().take();
                if let Some(callback) = callback {
                    callback.io_completed(result.map_err(io::Error::other));
                }
            });
            let outcome = self.store.append(encoded.clone(), done);
            if outcome.is_err() {
                callback = slot.lock().take();
            }
            outcome
        })
        .await?;
        if last.is_some() {
            self.known.lock().last = last;
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |last| last.index() + 1);
        self.durably(|store, done| store.truncate_from(from, done)).await?;
        let mut known = self.known.lock();
        known.last = known.last.min(last_log_id).max(known.purged);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let bytes = serde_json::to_vec(&log_id)?;
        // Ordered before the purge on disk; neither has to be waited for.
        self.with_room(|| self.store.put_meta(MetaKey::Purged, bytes.clone(), Box::new(|_| ()))).await?;
        self.with_room(|| self.store.purge_to(log_id.index())).await?;
        let mut known = self.known.lock();
        known.purged = Some(log_id);
        known.last = known.last.max(Some(log_id));
        Ok(())
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

fn read_entries(store: &Store, from: u64, to: u64) -> Result<Vec<Entry>, io::Error> {
    let stored = store.read(from, to).map_err(io::Error::other)?;
    stored.iter().map(|(index, bytes)| decode(*index, bytes)).collect()
}

fn decode(index: u64, bytes: &[u8]) -> Result<Entry, io::Error> {
    let entry: Result<Entry, _> = serde_json::from_slice(bytes);
    entry.map_err(|error| io::Error::other(format!("cannot read log entry {index}: {error}")))
}

fn read_meta<T: DeserializeOwned>(store: &Store, key: MetaKey) -> Result<Option<T>, StorageError> {
    let Some(bytes) = store.meta(key)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| StorageError::Failed { reason: format!("cannot read meta {key:?}: {error}").into() })
}

fn failed(error: io::Error) -> StorageError {
    StorageError::Failed { reason: error.to_string().into() }
}

#[cfg(test)]
mod tests {
    use erlmcp_storage::Options;
    use openraft::testing::log::{StoreBuilder, Suite};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::identity::Identity;
    use crate::secret::ClusterSecret;
    use crate::state_machine::StateMachine;

    struct OnDisk;

    impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for OnDisk {
        async fn build(
            &self,
        ) -> Result<(tempfile::TempDir, LogStore, StateMachine), openraft::StorageError<TypeConfig>> {
            let dir = tempfile::tempdir().unwrap();
            let (log, machine) = open(dir.path());
            Ok((dir, log, machine))
        }
    }

    fn open(dir: &std::path::Path) -> (LogStore, StateMachine) {
        let secret = ClusterSecret::from_text("0123456789abcdef0123456789abcdef").unwrap();
        let (identity, _) = Identity::init(dir, 1, true, &secret).unwrap();
        let path = Identity::store_dir(dir);
        let options = || Options { min_free_bytes: 1024, ..Options::default() };
        let store = if Store::exists(&path) {
            Store::open(&path, options())
        } else {
            Store::create(&path, options())
        };
        let store = store.unwrap();
        let keeper = IdentityKeeper::new(dir, identity);
        let room = Room::new(CancellationToken::new());
        let log = LogStore::open(store.clone(), keeper, room.clone()).unwrap();
        (log, StateMachine::open(store, room).unwrap().0)
    }

    #[tokio::test]
    async fn openraft_finds_nothing_wrong_with_our_store() {
        Suite::test_all(OnDisk).await.unwrap();
    }

    #[tokio::test]
    async fn a_vote_is_there_after_a_restart_and_the_identity_remembers_it() {
        let dir = tempfile::tempdir().unwrap();
        let vote = Vote::new(7, 1);
        let (mut log, machine) = open(dir.path());
        assert!(log.is_empty());
        assert!(!Identity::open(dir.path()).unwrap().voted);
        log.save_vote(&vote).await.unwrap();
        assert!(Identity::open(dir.path()).unwrap().voted);
        drop((log, machine));
        let (mut log, _machine) = open(dir.path());
        assert!(!log.is_empty());
        assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    }

    #[tokio::test]
    async fn a_vote_whose_mark_a_crash_prevented_is_marked_before_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (log, machine) = open(dir.path());
        let vote = serde_json::to_vec(&Vote::new(7, 1)).unwrap();
        log.store.put_meta(MetaKey::Vote, vote, Box::new(|_| ())).unwrap();
        drop((log, machine));
        assert!(!Identity::open(dir.path()).unwrap().voted);
        let (log, _machine) = open(dir.path());
        assert!(!log.is_empty());
        assert!(Identity::open(dir.path()).unwrap().voted);
    }
}
