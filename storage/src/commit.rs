//! The commit thread: group commit, and purges in between.
//!
//! It takes every callback that waits, makes the store durable once, and completes them in order. So one
//! `fdatasync` serves all appends that came in during the one before. Nothing is completed before it is
//! durable; after a failure nothing is completed with success again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::clock::Stopwatch;
use crate::db::panic_text;
use crate::engine::Engine;
use crate::error::StorageError;
use crate::log;
use crate::store::{Done, FsyncStats};

/// Callbacks that wait for one sync. A full queue makes the next append wait: the disk sets the pace.
const QUEUE_MAX: usize = 1_024;

/// A callback that is called exactly once, with [`StorageError::Closed`] if its time never comes.
pub(crate) struct Waiting {
    seq: u64,
    done: Option<Done>,
}

impl Waiting {
    fn complete(mut self, result: Result<(), StorageError>) {
        if let Some(done) = self.done.take() {
            done(result);
        }
    }

    /// Gives up: the caller learns of it by other means.
    fn forget(mut self) {
        self.done = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(StorageError::Closed));
        }
    }
}

enum Work {
    Commit(Waiting),
    Purge,
    Stop,
}

/// The way to the commit thread.
pub(crate) struct Committer {
    queue: SyncSender<Work>,
    timings: Arc<Timings>,
}

#[derive(Default)]
struct Timings {
    count: AtomicU64,
    last: AtomicU64,
    max: AtomicU64,
}

impl Committer {
    /// Starts the thread. It ends at [`Committer::stop`] or when this is dropped, and closes the engine.
    pub(crate) fn start(engine: Arc<Engine>) -> Result<(Self, JoinHandle<()>), StorageError> {
        let (queue, work) = sync_channel(QUEUE_MAX);
        let timings = Arc::new(Timings::default());
        let dir = engine.layout.dir.clone();
        // An earlier purge may have been interrupted.
        let thread = CommitThread { engine, work, timings: Arc::clone(&timings), is_purging: true };
        let handle = thread::Builder::new().name("commit".to_owned()).spawn(move || thread.run());
        let handle = handle.map_err(|e| StorageError::io("start the commit thread of", &dir, e))?;
        Ok((Self { queue, timings }, handle))
    }

    /// Has `done` called when everything up to `seq` is durable.
    pub(crate) fn commit(&self, seq: u64, done: Done) -> Result<(), StorageError> {
        let work = Work::Commit(Waiting { seq, done: Some(done) });
        self.queue.send(work).map_err(|refused| {
            if let Work::Commit(waiting) = refused.0 {
                waiting.forget();
            }
            StorageError::Closed
        })
    }

    /// Has purged entries deleted when there is time.
    pub(crate) fn purge(&self) -> Result<(), StorageError> {
        self.queue.send(Work::Purge).map_err(|_| StorageError::Closed)
    }

    /// Asks the thread to finish what is queued and to end.
    pub(crate) fn stop(&self) {
        // It has ended already if nobody takes this.
        self.queue.send(Work::Stop).ok();
    }

    pub(crate) fn fsync_micros(&self) -> FsyncStats {
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let Timings { count, last, max } = &*self.timings;
        FsyncStats { count: read(count), last_micros: read(last), max_micros: read(max) }
    }
}

struct CommitThread {
    engine: Arc<Engine>,
    work: Receiver<Work>,
    timings: Arc<Timings>,
    is_purging: bool,
}

impl CommitThread {
    fn run(mut self) {
        let ended = catch_unwind(AssertUnwindSafe(|| while self.turn() {}));
        if let Err(panic) = ended {
            self.engine.condition.fail(&format!("the commit thread panicked: {}", panic_text(&*panic)));
        } else if !self.engine.faults.skips_flush() {
            // For the state, which is never synced by itself. A failure is in the condition by now.
            self.engine.sync().ok();
        }
        self.engine.close();
    }

    /// One round of commits and one batch of a purge. False when it is time to end.
    fn turn(&mut self) -> bool {
        let next = if self.is_purging {
            self.work.try_recv()
        } else {
            self.work.recv().map_err(|_| TryRecvError::Disconnected)
        };
        let goes_on = match next {
            Ok(work) => self.round(work),
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Disconnected) => false,
        };
        if goes_on && self.is_purging {
            // Without room, or after a failure, it is put off to the next purge.
            self.is_purging = log::purge_some(&self.engine).unwrap_or(false);
        }
        goes_on
    }

    /// Commits `first` and all that waits behind it. False if there was a request to stop.
    fn round(&mut self, first: Work) -> bool {
        let mut group = Vec::new();
        let mut goes_on = true;
        let mut next = Some(first);
        while let Some(work) = next {
            match work {
                Work::Commit(waiting) => group.push(waiting),
                Work::Purge => self.is_purging = true,
                Work::Stop => goes_on = false,
            }
            let is_full = !goes_on || group.len() >= QUEUE_MAX;
            next = if is_full { None } else { self.work.try_recv().ok() };
        }
        if !group.is_empty() {
            let result = self.make_durable(group.iter().map(|waiting| waiting.seq).max().unwrap_or(0));
            for waiting in group {
                waiting.complete(result.clone());
            }
        }
        goes_on
    }

    fn make_durable(&self, seq: u64) -> Result<(), StorageError> {
        if self.engine.faults.skips_flush() {
            return Ok(());
        }
        let watch = Stopwatch::start();
        self.engine.sync()?;
        let micros = watch.elapsed_micros();
        self.timings.count.fetch_add(1, Ordering::Relaxed);
        self.timings.last.store(micros, Ordering::Relaxed);
        self.timings.max.fetch_max(micros, Ordering::Relaxed);
        self.engine.advance_tip(seq)
    }
}
