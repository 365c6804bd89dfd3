//! Acknowledged writes are there after a restart, whatever was done before it.

use crate::common::{append, entries, options, reopen, wait};
use erlmcp_storage::{ENTRY_BYTES_MAX, LogBounds, MetaKey, StateWrite, StorageError, Store};

fn bounds(first: u64, last: u64) -> LogBounds {
    LogBounds { first: Some(first), last: Some(last) }
}

#[test]
fn every_acknowledged_entry_is_readable_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    append(&store, 0..300);
    append(&store, 300..301);
    let store = reopen(store, dir.path());
    assert_eq!(store.log_bounds(), bounds(0, 300));
    assert_eq!(store.read(0, 1_000).unwrap(), entries(0..301));
    assert_eq!(store.read(299, 300).unwrap(), entries(299..300));
    append(&store, 301..310);
    assert_eq!(store.read(295, 310).unwrap(), entries(295..310));
}

#[test]
fn entries_can_be_read_before_they_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    store.append(entries(0..10), Box::new(|_| {})).unwrap();
    assert_eq!(store.read(0, 10).unwrap(), entries(0..10));
}

#[test]
fn a_purged_log_stays_purged_and_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    append(&store, 0..3_000);
    store.purge_to(2_499).unwrap();
    assert_eq!(store.log_bounds(), bounds(2_500, 2_999));
    append(&store, 3_000..3_001);
    let store = reopen(store, dir.path());
    assert_eq!(store.log_bounds(), bounds(2_500, 3_000));
    assert_eq!(store.read(0, 5_000).unwrap(), entries(2_500..3_001));
    store.purge_to(4_000).unwrap();
    assert_eq!(store.log_bounds(), LogBounds::default());
    append(&store, 4_001..4_003);
    let store = reopen(store, dir.path());
    assert_eq!(store.log_bounds(), bounds(4_001, 4_002));
    assert_eq!(store.read(0, 5_000).unwrap(), entries(4_001..4_003));
}

#[test]
fn a_truncated_log_stays_truncated_and_takes_other_entries() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    append(&store, 1..3_000);
    wait(|done| store.truncate_from(5, done)).unwrap();
    let store = reopen(store, dir.path());
    assert_eq!(store.log_bounds(), bounds(1, 4));
    wait(|done| store.append(vec![(5, b"another".to_vec())], done)).unwrap();
    let store = reopen(store, dir.path());
    assert_eq!(store.read(5, 9).unwrap(), vec![(5, b"another".to_vec())]);
    wait(|done| store.truncate_from(1, done)).unwrap();
    let store = reopen(store, dir.path());
    assert_eq!(store.log_bounds(), LogBounds::default());
    append(&store, 1..2);
}

#[test]
fn meta_values_are_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    assert_eq!(store.meta(MetaKey::Vote).unwrap(), None);
    wait(|done| store.put_meta(MetaKey::Vote, b"first".to_vec(), done)).unwrap();
    wait(|done| store.put_meta(MetaKey::Vote, b"second".to_vec(), done)).unwrap();
    wait(|done| store.put_meta(MetaKey::Purged, Vec::new(), done)).unwrap();
    let store = reopen(store, dir.path());
    assert_eq!(store.meta(MetaKey::Vote).unwrap(), Some(b"second".to_vec()));
    assert_eq!(store.meta(MetaKey::Purged).unwrap(), Some(Vec::new()));
    assert_eq!(store.meta(MetaKey::Committed).unwrap(), None);
}

fn write(key: &str, value: Option<&str>) -> StateWrite {
    StateWrite { key: key.into(), value: value.map(Into::into) }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    pairs.iter().map(|(key, value)| (Vec::from(*key), Vec::from(*value))).collect()
}

#[test]
fn state_is_there_after_an_orderly_restart_in_key_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    store.apply(vec![write("b", Some("2")), write("a", Some("1")), write("c", Some("3"))]).unwrap();
    store.apply(vec![write("b", None), write("c", Some("4"))]).unwrap();
    let store = reopen(store, dir.path());
    assert_eq!(store.state().unwrap(), pairs(&[("a", "1"), ("c", "4")]));
}

#[test]
fn replaced_state_leaves_nothing_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    store.apply((0..2_000).map(|i| write(&format!("old/{i}"), Some("x"))).collect()).unwrap();
    let new: Vec<_> = (0..20_000).map(|i| (format!("new/{i:05}").into_bytes(), vec![b'y'; 100])).collect();
    wait(|done| store.replace_state(new.clone(), done)).unwrap();
    assert_eq!(store.state().unwrap(), new);
    let store = reopen(store, dir.path());
    assert_eq!(store.state().unwrap(), new);
    wait(|done| store.replace_state(Vec::new(), done)).unwrap();
    assert_eq!(store.state().unwrap(), Vec::new());
}

#[test]
fn the_largest_values_are_taken_and_one_byte_more_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    let largest = vec![7; ENTRY_BYTES_MAX];
    wait(|done| store.append(vec![(0, largest.clone()), (1, Vec::new())], done)).unwrap();
    let error = wait(|done| store.append(vec![(2, vec![7; ENTRY_BYTES_MAX + 1])], done)).unwrap_err();
    assert_eq!(error.to_string(), "cannot store log entry 2: 16385 B is over the limit of 16384 B");
    for (size, taken) in [(erlmcp_storage::META_BYTES_MAX, true), (erlmcp_storage::META_BYTES_MAX + 1, false)]
    {
        let stored = wait(|done| store.put_meta(MetaKey::Vote, vec![1; size], done));
        assert_eq!(stored.is_ok(), taken, "{stored:?}");
    }
    for (size, taken) in
        [(erlmcp_storage::STATE_VALUE_BYTES_MAX, true), (erlmcp_storage::STATE_VALUE_BYTES_MAX + 1, false)]
    {
        let stored = store.apply(vec![StateWrite { key: b"k".to_vec(), value: Some(vec![1; size]) }]);
        assert_eq!(stored.is_ok(), taken, "{stored:?}");
    }
    for (size, taken) in
        [(erlmcp_storage::STATE_KEY_BYTES_MAX, true), (erlmcp_storage::STATE_KEY_BYTES_MAX + 1, false)]
    {
        let stored = store.apply(vec![StateWrite { key: vec![1; size], value: Some(Vec::new()) }]);
        assert_eq!(stored.is_ok(), taken, "{stored:?}");
    }
    let store = reopen(store, dir.path());
    assert_eq!(store.read(0, 9).unwrap(), vec![(0, largest), (1, Vec::new())]);
}

#[test]
fn even_the_largest_records_never_make_a_blob_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    for index in 0..60 {
        wait(|done| store.append(vec![(index, vec![7; ENTRY_BYTES_MAX])], done)).unwrap();
        let key = |round: u64| {
            let mut key = vec![b'k'; erlmcp_storage::STATE_KEY_BYTES_MAX];
            key[..8].copy_from_slice(&(index * 7 % 60 + round).to_be_bytes());
            key
        };
        let value = Some(vec![1; erlmcp_storage::STATE_VALUE_BYTES_MAX]);
        store
            .apply((0..2).map(|round| StateWrite { key: key(round), value: value.clone() }).collect())
            .unwrap();
    }
    store.purge_to(40).unwrap();
    let store = reopen(store, dir.path());
    store.close().unwrap();
    let blobs = dir.path().join("store/sled/blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);
}

#[test]
fn entries_have_to_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    append(&store, 1..4);
    for bad in [0, 3, 5] {
        let error = wait(|done| store.append(vec![(bad, Vec::new())], done)).unwrap_err();
        assert!(matches!(error, StorageError::OutOfOrder { index, expected: 4 } if index == bad), "{error}");
    }
    let error = wait(|done| store.append(vec![(4, Vec::new()), (6, Vec::new())], done)).unwrap_err();
    assert!(matches!(error, StorageError::OutOfOrder { index: 6, expected: 5 }), "{error}");
    assert_eq!(store.log_bounds(), bounds(1, 3));
}
