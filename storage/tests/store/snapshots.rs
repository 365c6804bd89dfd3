//! Snapshots: the newest comes back whole or is refused.

use std::fs;
use std::path::{Path, PathBuf};

use erlmcp_storage::{Faults, StateWrite, StorageError, Store, StoreHealth, StoredSnapshot};

use crate::common::{append, entries, options, reopen, with_faults};

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir.join("store/snapshots")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn the_newest_snapshot_is_there_after_a_restart_and_older_ones_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    assert_eq!(store.latest_snapshot().unwrap(), None);
    let body: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    for id in ["T9-N1-900", "T10/../N1-1000", ""] {
        store.write_snapshot(id, b"about it", &body).unwrap();
        let expected = StoredSnapshot { id: id.into(), meta: b"about it".to_vec(), body: body.clone() };
        assert_eq!(store.latest_snapshot().unwrap(), Some(expected));
        assert_eq!(files(dir.path()).len(), 1);
    }
    store.write_snapshot("last", b"", b"").unwrap();
    let store = reopen(store, dir.path());
    let latest = store.latest_snapshot().unwrap().unwrap();
    assert_eq!((latest.id.as_str(), latest.meta.len(), latest.body.len()), ("last", 0, 0));
}

#[test]
fn a_snapshot_with_any_flipped_byte_or_any_torn_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    store.write_snapshot("id", b"meta", b"the body").unwrap();
    let [path] = files(dir.path()).try_into().unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        for damaged in [flipped.as_slice(), &whole[..at]] {
            fs::write(&path, damaged).unwrap();
            let error = store.latest_snapshot().unwrap_err();
            assert!(matches!(&error, StorageError::Corrupt { path: p, .. } if *p == path), "{error}");
        }
    }
}

#[test]
fn a_damaged_snapshot_is_set_aside_at_start_and_costs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::create(dir.path(), options()).unwrap();
    append(&store, 0..20);
    let write = StateWrite { key: b"key".to_vec(), value: Some(b"value".to_vec()) };
    store.apply(vec![write]).unwrap();
    for round in 0..3_usize {
        store.write_snapshot("id", b"meta", b"the body").unwrap();
        store.close().unwrap();
        let path = files(dir.path()).into_iter().find(|path| path.extension().unwrap() == "snap").unwrap();
        let mut bytes = fs::read(&path).unwrap();
        match round {
            0 => bytes.clear(),
            1 => bytes.truncate(bytes.len() / 2),
            _ => bytes[20] ^= 0x10,
        }
        // A crash before the older one was removed: it is whole, and not to be fallen back to.
        let path = path.with_file_name("00000000000000000007.snap");
        fs::write(&path, &bytes).unwrap();
        store = Store::open(dir.path(), options()).unwrap();
        assert_eq!(store.latest_snapshot().unwrap(), None);
        assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), bytes);
        assert_eq!(store.read(0, 100).unwrap(), entries(0..20));
        assert_eq!(store.state().unwrap().len(), 1);
    }
    store.write_snapshot("new", b"", b"").unwrap();
    let store = reopen(store, dir.path());
    assert_eq!(store.latest_snapshot().unwrap().unwrap().id, "new");
}

#[test]
fn a_write_that_was_interrupted_leaves_the_older_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    store.write_snapshot("old", b"", b"body").unwrap();
    fs::write(dir.path().join("store/snapshots/writing.tmp"), "half").unwrap();
    let store = reopen(store, dir.path());
    assert_eq!(store.latest_snapshot().unwrap().unwrap().id, "old");
    assert_eq!(files(dir.path()).len(), 1);
}

#[test]
fn without_room_a_snapshot_is_refused_and_the_older_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let store = Store::create(dir.path(), with_faults(&faults)).unwrap();
    store.write_snapshot("old", b"", b"body").unwrap();
    faults.set_free_bytes(1024 * 1024 + 99);
    let error = store.write_snapshot("new", b"", &[1; 100]).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(store.latest_snapshot().unwrap().unwrap().id, "old");
    faults.heal();
    store.write_snapshot("new", b"", &[1; 100]).unwrap();
    assert_eq!(store.health(), StoreHealth::Healthy);
}
