//! Parts that the tests of the store share: short ways to write and to wait. No test of its own.

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use erlmcp_storage::{Done, Faults, Options, StorageError, Store};

/// Long enough for a busy machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Small, and happy with little free space.
pub(crate) fn options() -> Options {
    with_faults(&Faults::none())
}

pub(crate) fn with_faults(faults: &Faults) -> Options {
    Options { cache_bytes: 8 * 1024 * 1024, min_free_bytes: 1024 * 1024, faults: faults.clone() }
}

/// A callback and where its result arrives.
pub(crate) fn done() -> (Done, Receiver<Result<(), StorageError>>) {
    let (send, receive) = sync_channel(1);
    (Box::new(move |result| send.send(result).unwrap_or(())), receive)
}

/// Calls `start` with a callback and waits for its result.
pub(crate) fn wait(start: impl FnOnce(Done) -> Result<(), StorageError>) -> Result<(), StorageError> {
    let (done, result) = done();
    start(done)?;
    result.recv_timeout(PATIENCE).expect("a callback is called")
}

pub(crate) fn entry(index: u64) -> Vec<u8> {
    format!("entry {index} ").repeat(1 + (index % 20) as usize).into_bytes()
}

pub(crate) fn entries(range: std::ops::Range<u64>) -> Vec<(u64, Vec<u8>)> {
    range.map(|index| (index, entry(index))).collect()
}

pub(crate) fn append(store: &Store, range: std::ops::Range<u64>) {
    wait(|done| store.append(entries(range), done)).expect("entries are appended");
}

pub(crate) fn reopen(store: Store, dir: &Path) -> Store {
    store.close().expect("the store closes");
    Store::open(dir, options()).expect("the store opens again")
}

/// Numbers that look random and are the same in every run (splitmix64).
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
