//! Opening: one at a time, never by accident empty, never a format from the future.

use std::fs;

use erlmcp_storage::{Faults, StorageError, Store, quarantine};

use crate::common::{append, options, with_faults};

#[test]
fn a_second_open_is_refused_and_the_holder_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    let error = Store::open(dir.path(), options()).unwrap_err();
    let expected = format!("{} is in use by process {}", dir.path().display(), std::process::id());
    assert_eq!(error.to_string(), expected);
    assert!(matches!(quarantine(dir.path(), 1), Err(StorageError::Locked { .. })));
    store.close().unwrap();
    Store::open(dir.path(), options()).unwrap();
}

#[test]
fn closing_lets_go_of_the_directory_though_clones_live() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), options()).unwrap();
    let clone = store.clone();
    store.close().unwrap();
    assert!(matches!(clone.read(0, 1), Err(StorageError::Closed)));
    assert!(matches!(clone.append(vec![(0, Vec::new())], Box::new(|_| {})), Err(StorageError::Closed)));
    Store::open(dir.path(), options()).unwrap();
}

#[test]
fn dropping_the_last_clone_closes() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::create(dir.path(), options()).unwrap());
    Store::open(dir.path(), options()).unwrap();
}

#[test]
fn open_never_creates_and_create_never_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("deep/er");
    assert!(!Store::exists(&place));
    assert!(matches!(Store::open(&place, options()), Err(StorageError::Missing { .. })));
    assert!(!place.exists());
    Store::create(&place, options()).unwrap().close().unwrap();
    assert!(Store::exists(&place));
    let error = Store::create(&place, options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot create a store in {}: it already holds \"store\"", place.display())
    );
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter"), "x").unwrap();
    assert!(matches!(Store::create(&other, options()), Err(StorageError::NotEmpty { .. })));
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1, "it stays as it was");
}

#[test]
fn a_creation_that_was_interrupted_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("store.unfinished/sled")).unwrap();
    fs::write(dir.path().join("store.unfinished/sled/db"), "half of it").unwrap();
    assert!(!Store::exists(dir.path()));
    let store = Store::create(dir.path(), options()).unwrap();
    append(&store, 0..3);
    assert!(!dir.path().join("store.unfinished").exists());
}

#[test]
fn a_format_from_the_future_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    Store::create(dir.path(), options()).unwrap().close().unwrap();
    {
        let db = sled::open(dir.path().join("store/sled")).unwrap();
        let mut hasher = crc32fast::Hasher::new();
        let (seq, version) = (9_u64.to_be_bytes(), 2_u32.to_be_bytes());
        for part in [b"m".as_slice(), &6_u64.to_be_bytes(), b"format", &seq, &version] {
            hasher.update(part);
        }
        let record = [hasher.finalize().to_be_bytes().as_slice(), &seq, &version].concat();
        db.open_tree("meta").unwrap().insert("format", record).unwrap();
        db.flush().unwrap();
    }
    for _ in 0..2 {
        let error = crate::damage::open(dir.path()).unwrap_err();
        assert!(matches!(error, StorageError::FormatTooNew { found: 2, supported: 1, .. }), "{error}");
        assert!(error.to_string().contains("has format 2; this release reads formats up to 1"), "{error}");
    }
}

#[test]
fn too_little_space_is_said_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    Store::create(dir.path(), options()).unwrap().close().unwrap();
    let faults = Faults::none();
    faults.set_free_bytes(512 * 1024 - 1);
    let error = Store::open(dir.path(), with_faults(&faults)).unwrap_err();
    assert!(error.to_string().contains("disk full (free 524287 B, need 524288 B)"), "{error}");
    faults.set_free_bytes(512 * 1024);
    Store::open(dir.path(), with_faults(&faults)).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    faults.set_free_bytes(0);
    assert!(matches!(
        Store::create(elsewhere.path(), with_faults(&faults)),
        Err(StorageError::DiskFull { free_bytes: 0, .. })
    ));
    assert!(!Store::exists(elsewhere.path()));
}

#[test]
fn a_quarantined_store_is_moved_whole_and_nothing_takes_its_place() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cluster1");
    let store = Store::create(&dir, options()).unwrap();
    append(&store, 0..5);
    store.close().unwrap();
    let aside = quarantine(&dir, 1_700_000_000).unwrap();
    assert_eq!(aside, parent.path().join("cluster1.corrupt-1700000000"));
    assert!(!Store::exists(&dir));
    assert!(matches!(Store::open(&dir, options()), Err(StorageError::Missing { .. })));
    assert!(matches!(quarantine(&dir, 2), Err(StorageError::Missing { .. })));
    let store = Store::open(&aside, options()).unwrap();
    assert_eq!(store.log_bounds().last, Some(4));
    Store::create(&dir, options()).unwrap();
}
