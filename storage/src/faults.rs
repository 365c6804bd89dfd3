//! A test double for the disk: what it is told to break, breaks; told nothing, it is never in the way.
//!
//! It exists so that a full disk, a failing fsync and a lying commit thread can be shown to be handled (or
//! caught) on any machine. Must never be set outside of tests; the default breaks nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

const NO_OVERRIDE: u64 = u64::MAX;

/// Switches for the faults of one store. Clones share them.
#[derive(Clone, Default)]
pub struct Faults(Arc<Switches>);

struct Switches {
    fail_sync: AtomicBool,
    fail_flush: AtomicBool,
    skip_flush: AtomicBool,
    free_bytes: AtomicU64,
    syncs: AtomicU64,
    held: Mutex<bool>,
    waiting: AtomicBool,
    changed: Condvar,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            fail_sync: AtomicBool::new(false),
            fail_flush: AtomicBool::new(false),
            skip_flush: AtomicBool::new(false),
            free_bytes: AtomicU64::new(NO_OVERRIDE),
            syncs: AtomicU64::new(0),
            held: Mutex::new(false),
            waiting: AtomicBool::new(false),
            changed: Condvar::new(),
        }
    }
}

impl Faults {
    /// Breaks nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// From now on every `fdatasync` of the store answers EIO.
    pub fn fail_sync(&self) {
        self.0.fail_sync.store(true, Ordering::SeqCst);
    }

    /// From now on writing out what sled has buffered answers ENOSPC.
    pub fn fail_flush_for_space(&self) {
        self.0.fail_flush.store(true, Ordering::SeqCst);
    }

    /// The disk works again. A store that failed must not care.
    pub fn heal(&self) {
        self.0.fail_sync.store(false, Ordering::SeqCst);
        self.0.fail_flush.store(false, Ordering::SeqCst);
        self.0.free_bytes.store(NO_OVERRIDE, Ordering::SeqCst);
    }

    /// A mutant: the commit thread acknowledges without writing anything out. Tests have to catch it.
    pub fn acknowledge_without_flush(&self) {
        self.0.skip_flush.store(true, Ordering::SeqCst);
    }

    /// The disk claims to have `bytes` free.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.0.free_bytes.store(bytes, Ordering::SeqCst);
    }

    /// Holds the next `fdatasync` until [`Faults::release_sync`].
    pub fn hold_sync(&self) {
        *self.0.held.lock() = true;
    }

    /// Waits until the commit thread stands at a held `fdatasync`.
    pub fn wait_for_held_sync(&self) {
        let at_the_gate = |_: &mut bool| !self.0.waiting.load(Ordering::SeqCst);
        self.0.changed.wait_while(&mut self.0.held.lock(), at_the_gate);
    }

    /// Lets a held `fdatasync` go on.
    pub fn release_sync(&self) {
        *self.0.held.lock() = false;
        self.0.changed.notify_all();
    }

    /// How often the store has called `fdatasync` to acknowledge something.
    pub fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::SeqCst)
    }

    pub(crate) fn before_flush(&self) -> io::Result<()> {
        if self.0.fail_flush.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    pub(crate) fn before_sync(&self) -> io::Result<()> {
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        let mut held = self.0.held.lock();
        while *held {
            self.0.waiting.store(true, Ordering::SeqCst);
            self.0.changed.notify_all();
            self.0.changed.wait(&mut held);
        }
        self.0.waiting.store(false, Ordering::SeqCst);
        if self.0.fail_sync.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        Ok(())
    }

    pub(crate) fn skips_flush(&self) -> bool {
        self.0.skip_flush.load(Ordering::Relaxed)
    }

    pub(crate) fn free_bytes(&self) -> Option<u64> {
        Some(self.0.free_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes != NO_OVERRIDE)
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").field("syncs", &self.syncs()).finish_non_exhaustive()
    }
}
