//! Group commit, and what happens when the disk says no.

use std::sync::{Arc, Mutex};

use erlmcp_storage::{Faults, MetaKey, StateWrite, StorageError, Store, StoreHealth};

use crate::common::{PATIENCE, append, done, entries, options, wait, with_faults};

#[test]
fn appends_that_come_in_during_a_sync_share_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let store = Store::create(dir.path(), with_faults(&faults)).unwrap();
    append(&store, 0..1);
    let before = faults.syncs();
    faults.hold_sync();
    let mut results = Vec::new();
    for index in 1..=100 {
        let (done, result) = done();
        store.append(entries(index..index + 1), done).unwrap();
        results.push(result);
        if index == 1 {
            faults.wait_for_held_sync();
        }
    }
    assert!(
        results.iter().all(|result| result.try_recv().is_err()),
        "nothing is acknowledged before the sync"
    );
    faults.release_sync();
    for result in results {
        result.recv_timeout(PATIENCE).unwrap().unwrap();
    }
    assert_eq!(faults.syncs() - before, 2);
    assert_eq!(store.fsync_micros().count, 3);
    assert!(store.fsync_micros().max_micros >= store.fsync_micros().last_micros);
}

#[test]
fn callbacks_come_in_the_order_of_their_calls() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    for index in 0..500 {
        let order = Arc::clone(&order);
        store
            .append(entries(index..index + 1), Box::new(move |_| order.lock().unwrap().push(index)))
            .unwrap();
    }
    store.close().unwrap();
    assert_eq!(*order.lock().unwrap(), (0..500).collect::<Vec<_>>());
}

/// Everything that changes or reads the store.
fn all_calls(store: &Store) -> Vec<Result<(), StorageError>> {
    let next = store.log_bounds().last.map_or(0, |last| last + 1);
    vec![
        wait(|done| store.append(entries(next..next + 1), done)),
        wait(|done| store.put_meta(MetaKey::Vote, b"v".to_vec(), done)),
        wait(|done| store.truncate_from(1, done)),
        wait(|done| store.replace_state(Vec::new(), done)),
        store.purge_to(0),
        store.apply(vec![StateWrite { key: b"k".to_vec(), value: None }]),
        store.write_snapshot("s", b"", b""),
        store.read(0, 10).map(drop),
        store.meta(MetaKey::Vote).map(drop),
        store.state().map(drop),
        store.latest_snapshot().map(drop),
    ]
}

#[test]
fn after_one_fsync_error_nothing_is_ever_acknowledged_again() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let store = Store::create(dir.path(), with_faults(&faults)).unwrap();
    append(&store, 0..5);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&heard);
    store.on_failure(Box::new(move |health| hear.lock().unwrap().push(health.clone())));
    faults.fail_sync();
    let error = wait(|done| store.append(entries(5..6), done)).unwrap_err();
    assert!(matches!(&error, StorageError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("cannot fsync the store"), "{error}");
    assert_eq!(heard.lock().unwrap().len(), 1, "told once, before the callback");
    let syncs = faults.syncs();
    faults.heal();
    for result in all_calls(&store) {
        assert!(matches!(result, Err(StorageError::Failed { .. })), "{result:?}");
    }
    assert_eq!(faults.syncs(), syncs, "an fsync that failed is never tried again");
    assert!(matches!(store.health(), StoreHealth::Failed { .. }));
    assert_eq!(*heard.lock().unwrap(), vec![store.health()]);
    let late = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&late);
    store.on_failure(Box::new(move |health| hear.lock().unwrap().push(health.clone())));
    assert_eq!(late.lock().unwrap().len(), 1, "who asks late hears of it too");
    assert!(matches!(store.close(), Err(StorageError::Failed { .. })));
    let store = Store::open(dir.path(), options()).unwrap();
    assert_eq!(store.read(0, 5).unwrap(), entries(0..5));
}

#[test]
fn all_that_waited_for_a_sync_that_failed_hear_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let store = Store::create(dir.path(), with_faults(&faults)).unwrap();
    faults.hold_sync();
    let mut results = Vec::new();
    for index in 0..10 {
        let (done, result) = done();
        store.append(entries(index..index + 1), done).unwrap();
        results.push(result);
    }
    faults.wait_for_held_sync();
    faults.fail_sync();
    faults.release_sync();
    for result in results {
        assert!(matches!(result.recv_timeout(PATIENCE).unwrap(), Err(StorageError::Failed { .. })));
    }
}

#[test]
fn a_full_disk_refuses_entries_before_they_are_written_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let store = Store::create(dir.path(), with_faults(&faults)).unwrap();
    append(&store, 0..100);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&heard);
    store.on_failure(Box::new(move |health| hear.lock().unwrap().push(health.clone())));
    faults.set_free_bytes(600 * 1024);
    for _ in 0..2 {
        let error = wait(|done| store.append(vec![(100, vec![1; 40])], done)).unwrap_err();
        let expected = "cannot append log entry 100: disk full (free 614400 B, need 1048872 B)";
        assert_eq!(error.to_string(), expected);
        assert!(error.is_retryable());
    }
    let full = StoreHealth::DiskFull { free_bytes: 600 * 1024, needed_bytes: 1_048_872 };
    assert_eq!(store.health(), full);
    assert_eq!(heard.lock().unwrap().len(), 1);
    assert_eq!(store.log_bounds().last, Some(99));
    assert_eq!(store.read(90, 200).unwrap(), entries(90..100));
    wait(|done| store.put_meta(MetaKey::Vote, b"v".to_vec(), done)).expect("votes may use the reserve");
    store.purge_to(50).expect("what makes room may use the reserve");
    faults.set_free_bytes(1000);
    assert!(wait(|done| store.put_meta(MetaKey::Vote, b"w".to_vec(), done)).unwrap_err().is_retryable());
    faults.set_free_bytes(1_048_871);
    assert!(store.append(vec![(100, vec![1; 40])], Box::new(|_| {})).is_err());
    assert!(matches!(store.health(), StoreHealth::DiskFull { .. }), "not healthy while it refuses");
    faults.set_free_bytes(1_048_872);
    assert_eq!(store.health(), StoreHealth::Healthy);
    wait(|done| store.append(vec![(100, vec![1; 40])], done)).unwrap();
    wait(|done| store.truncate_from(100, done)).unwrap();
    faults.heal();
    append(&store, 100..110);
    store.close().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    assert_eq!(store.read(0, 200).unwrap(), entries(51..110));
    assert_eq!(store.meta(MetaKey::Vote).unwrap(), Some(b"v".to_vec()));
}

#[test]
fn each_turn_to_a_full_disk_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let store = Store::create(dir.path(), with_faults(&faults)).unwrap();
    let heard = Arc::new(Mutex::new(0));
    let hear = Arc::clone(&heard);
    store.on_failure(Box::new(move |_| *hear.lock().unwrap() += 1));
    for turn in 1..=3 {
        faults.set_free_bytes(0);
        for _ in 0..5 {
            assert!(store.append(entries(turn..turn + 1), Box::new(|_| {})).is_err());
        }
        assert_eq!(*heard.lock().unwrap(), turn);
        faults.heal();
        append(&store, turn..turn + 1);
    }
}

#[test]
fn a_disk_that_fills_under_a_write_fails_the_store_and_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let store = Store::create(dir.path(), with_faults(&faults)).unwrap();
    append(&store, 0..100);
    faults.fail_flush_for_space();
    let error = wait(|done| store.append(entries(100..101), done)).unwrap_err();
    assert!(error.to_string().contains("cannot write out the store"), "{error}");
    faults.heal();
    assert!(matches!(store.health(), StoreHealth::Failed { .. }), "sled cannot go on after a failed write");
    drop(store);
    let store = Store::open(dir.path(), options()).unwrap();
    assert_eq!(store.read(0, 100).unwrap(), entries(0..100));
}

#[test]
fn a_callback_that_panics_fails_the_store_instead_of_hanging_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    let (waiting, result) = done();
    store.append(entries(0..1), Box::new(|_| panic!("a bug in a callback"))).unwrap();
    let queued = store.append(entries(1..2), waiting);
    assert!(queued.is_err() || result.recv_timeout(PATIENCE).is_ok());
    let late = wait(|done| store.append(entries(2..3), done)).unwrap_err();
    assert!(matches!(late, StorageError::Failed { .. } | StorageError::Closed), "{late}");
    assert!(matches!(store.close(), Err(StorageError::Failed { .. })));
}

#[test]
fn the_last_clone_may_go_away_inside_a_callback() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    let clone = store.clone();
    let last = Box::new(move |result: Result<(), StorageError>| {
        let next: Box<dyn FnOnce(Store) + Send> = Box::new(drop);
        next(clone);
        send.send(result).unwrap();
    });
    store.append(entries(0..1), last).unwrap();
    drop(store);
    receive.recv_timeout(PATIENCE).unwrap().unwrap();
}
