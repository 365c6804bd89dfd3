//! Reads while another thread cuts the log: nothing that was cut off counts as damage.

use std::sync::atomic::{AtomicBool, Ordering};

use erlmcp_storage::Store;

use crate::common::{options, wait};

const LAST: u64 = 600;
const ROUNDS: u64 = 60;

/// Reads all of `store` until `work` is done, and hands each answer to `check`. At least once.
fn read_during(store: &Store, work: impl FnOnce() + Send, check: impl Fn(Vec<(u64, Vec<u8>)>)) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            work();
            is_over.store(true, Ordering::SeqCst);
        });
        loop {
            let last_time = is_over.load(Ordering::SeqCst);
            check(store.read(0, u64::MAX).expect("a log that is cut is not damaged"));
            if last_time {
                break;
            }
        }
    });
}

fn append_of(store: &Store, range: std::ops::Range<u64>, round: u64) {
    let entries = range.map(|index| (index, round.to_be_bytes().to_vec())).collect();
    wait(|done| store.append(entries, done)).unwrap();
}

#[test]
fn a_read_during_truncations_gives_one_log_and_never_a_mix_of_two() {
    const KEPT: u64 = 10;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    append_of(&store, 0..LAST, 0);
    let replace = || {
        for round in 1..=ROUNDS {
            wait(|done| store.truncate_from(KEPT, done)).unwrap();
            append_of(&store, KEPT..LAST, round);
        }
    };
    read_during(&store, replace, |entries| {
        assert!([KEPT, LAST].contains(&(entries.len() as u64)), "{}", entries.len());
        let mut tail = entries.iter().skip(usize::try_from(KEPT).unwrap());
        let first = tail.next();
        assert!(tail.all(|(_, round)| Some(round) == first.map(|(_, round)| round)));
    });
}

#[test]
fn a_read_during_purges_gives_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    append_of(&store, 0..LAST, 0);
    let advance = || {
        for round in 1..=ROUNDS {
            append_of(&store, round * LAST..(round + 1) * LAST, round);
            store.purge_to(round * LAST).unwrap();
        }
    };
    read_during(&store, advance, |entries| {
        assert!(entries.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0));
    });
}
