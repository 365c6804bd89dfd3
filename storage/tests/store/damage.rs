//! Damage on disk: found at start and named, or without effect on anything that was acknowledged.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use erlmcp_storage::{MetaKey, StateWrite, StorageError, Store};

use crate::common::{Seeded, append, entries, options, wait};

/// Opens; for files that `sled::open` of a test may still hold for a moment.
pub(crate) fn open(dir: &Path) -> Result<Store, StorageError> {
    let mut result = Store::open(dir, options());
    for _ in 0..1_000 {
        match &result {
            Err(error) if error.to_string().contains("could not acquire lock") => std::thread::yield_now(),
            _ => break,
        }
        result = Store::open(dir, options());
    }
    result
}

const VOTE: &[u8] = b"node 3 in term 7";
const LAST: u64 = 400;

/// A store with something everywhere, all of it acknowledged.
fn make(dir: &Path) {
    let store = Store::create(dir, options()).unwrap();
    append(&store, 0..200);
    wait(|done| store.put_meta(MetaKey::Vote, VOTE.to_vec(), done)).unwrap();
    let write = |i: u64| StateWrite { key: format!("key/{i}").into_bytes(), value: Some(vec![b'v'; 50]) };
    store.apply((0..100).map(write).collect()).unwrap();
    store.purge_to(50).unwrap();
    append(&store, 200..LAST);
    store.close().unwrap();
}

fn is_whole(store: &Store) -> bool {
    store.read(0, 1_000).unwrap() == entries(51..LAST)
        && store.meta(MetaKey::Vote).unwrap().as_deref() == Some(VOTE)
        && store.state().unwrap().len() == 100
}

/// Changes one byte of a record through sled, so that only our own checksum can tell.
fn flip_in_record(dir: &Path, tree: &str, key: &[u8], at: usize) {
    let db = sled::open(dir.join("store/sled")).unwrap();
    let tree = db.open_tree(tree).unwrap();
    let mut record = tree.get(key).unwrap().expect("the record exists").to_vec();
    record[at] ^= 1;
    tree.insert(key, record).unwrap();
    db.flush().unwrap();
}

#[test]
fn a_flipped_byte_in_a_record_is_found_at_start_and_its_key_named() {
    let mut log_key = 77_u64.to_be_bytes().to_vec();
    log_key.push(0);
    for (tree, key, name) in [
        ("log", log_key.as_slice(), "log/77.0"),
        ("meta", b"vote", "meta/vote"),
        ("state", b"key/42", "state/\"key/42\""),
    ] {
        for at in [0, 5, 14] {
            let dir = tempfile::tempdir().unwrap();
            make(dir.path());
            flip_in_record(dir.path(), tree, key, at);
            let error = open(dir.path()).unwrap_err();
            assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("record {name} has checksum")), "{text}");
            assert!(text.starts_with(dir.path().to_str().unwrap()), "{text}");
        }
    }
}

#[test]
fn a_record_that_is_gone_or_torn_is_found_at_start() {
    let mut key = 77_u64.to_be_bytes().to_vec();
    key.push(0);
    for torn in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        {
            let db = sled::open(dir.path().join("store/sled")).unwrap();
            let log = db.open_tree("log").unwrap();
            let record = log.remove(&key).unwrap().unwrap();
            if torn {
                log.insert(&key, &record[..7]).unwrap();
            }
            db.flush().unwrap();
        }
        let text = open(dir.path()).unwrap_err().to_string();
        let expected =
            if torn { "record log/77.0 is torn" } else { "record log/77.0 is missing before log/78.0" };
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_tail_that_sled_would_drop_in_silence_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let old = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    copy(&store.join("sled"), &old.path().join("sled"));
    let opened = open(dir.path()).unwrap();
    append(&opened, LAST..LAST + 5);
    opened.close().unwrap();
    fs::remove_dir_all(store.join("sled")).unwrap();
    copy(&old.path().join("sled"), &store.join("sled"));
    let text = open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("were acknowledged and are missing"), "{text}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn files_that_are_gone_are_damage_and_not_a_new_beginning() {
    for name in ["sled/db", "tip", "sled"] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let path = dir.path().join("store").join(name);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, StorageError::Corrupt { .. }), "{name}: {error}");
        assert!(matches!(Store::create(dir.path(), options()), Err(StorageError::NotEmpty { .. })));
    }
}

/// The files that sled starts from.
pub(crate) fn start_files(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("store/sled")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap.")).collect()
}

#[test]
fn a_damaged_start_file_of_sled_costs_nothing() {
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    let opened = open(made.path()).unwrap();
    opened.close().unwrap();
    assert!(!start_files(made.path()).is_empty(), "sled wrote none");
    type Damage = fn(&mut Vec<u8>);
    let damages: [Damage; 5] = [
        Vec::clear,
        |bytes| bytes.truncate(7),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes[0] ^= 0x10,
        |bytes| bytes.iter_mut().for_each(|byte| *byte = !*byte),
    ];
    for damage in damages {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        for path in start_files(dir.path()) {
            let mut bytes = fs::read(&path).unwrap();
            damage(&mut bytes);
            fs::write(&path, &bytes).unwrap();
        }
        let store = open(dir.path()).unwrap();
        assert!(is_whole(&store));
        append(&store, LAST..LAST + 5);
        store.close().unwrap();
        assert_eq!(open(dir.path()).unwrap().log_bounds().last, Some(LAST + 4));
        assert!(fs::read_dir(dir.path().join("store/sled-start.aside")).unwrap().count() > 0);
    }
}

#[test]
fn a_start_file_that_sled_was_writing_when_it_was_killed_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    fs::write(dir.path().join("store/sled/snap.FFFFFFFFFFFFFFFF.generating"), b"half of it").unwrap();
    assert!(is_whole(&open(dir.path()).unwrap()));
}

/// Damages sled's file in many places. Either the store is refused as corrupt, or nothing of it is lost.
fn never_less_than_was_acknowledged(damage: impl Fn(&File, u64, &mut Seeded)) -> (u32, u32) {
    const ROUNDS: u64 = 40;
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    let (mut refused, mut unharmed) = (0, 0);
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        let file = OpenOptions::new().read(true).write(true).open(dir.path().join("store/sled/db")).unwrap();
        let len = file.metadata().unwrap().len();
        damage(&file, len, &mut Seeded(round));
        match open(dir.path()) {
            Err(StorageError::Corrupt { .. }) => refused += 1,
            Err(error) => panic!("round {round}: {error}"),
            Ok(store) => {
                assert!(is_whole(&store), "round {round}: opened with less than was acknowledged");
                unharmed += 1;
            }
        }
    }
    (refused, unharmed)
}

#[test]
fn flipped_bytes_in_the_file_never_lose_anything_in_silence() {
    let (refused, unharmed) = never_less_than_was_acknowledged(|file, len, seeded| {
        let at = seeded.below(len);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
    });
    assert!(refused > 0, "no flip was found (refused {refused}, without effect {unharmed})");
}

#[test]
fn overwritten_blocks_in_the_file_never_lose_anything_in_silence() {
    let (refused, unharmed) = never_less_than_was_acknowledged(|file, len, seeded| {
        let at = seeded.below(len) / 4096 * 4096;
        let fill = if seeded.below(2) == 0 { 0 } else { 0xa5 };
        file.write_all_at(&[fill; 4096], at).unwrap();
    });
    assert!(refused > 0, "no block was missed (refused {refused}, without effect {unharmed})");
}

#[test]
fn a_file_cut_short_never_loses_anything_in_silence() {
    let (refused, unharmed) = never_less_than_was_acknowledged(|file, len, seeded| {
        file.set_len(seeded.below(len)).unwrap();
    });
    assert!(refused > 0, "no cut was missed (refused {refused}, without effect {unharmed})");
}
