//! Whether the kernel is really asked to make something durable: guards of every fsync of this crate.
//!
//! A test double could count calls that are never made. So a file is used that can be written and cannot be
//! synced: `/dev/null` answers EINVAL to it, and whoever succeeds with it has not asked.
//! Each rule here has a mutant in `tests/mutants/raft.toml`.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use crate::db::{Layout, settle};
use crate::files::{self, journal};
use crate::{Done, Faults, MetaKey, Options, StorageError, Store};

const UNSYNCABLE: &str = "/dev/null";

fn options(faults: &Faults) -> Options {
    Options { min_free_bytes: 0, faults: faults.clone(), ..Options::default() }
}

fn wait(start: impl FnOnce(Done) -> Result<(), StorageError>) -> Result<(), StorageError> {
    let (send, receive) = sync_channel(1);
    start(Box::new(move |result| send.send(result).unwrap_or(())))?;
    receive.recv().unwrap()
}

fn is_refused(result: Result<(), StorageError>) -> bool {
    result.is_err_and(|error| error.to_string().contains("Invalid argument"))
}

#[test]
fn every_acknowledgement_comes_after_a_real_fdatasync() {
    type Call = fn(&Store, Done) -> Result<(), StorageError>;
    let calls: [Call; 4] = [
        |store, done| store.append(vec![(1, b"one".to_vec())], done),
        |store, done| store.put_meta(MetaKey::Vote, b"vote".to_vec(), done),
        |store, done| store.truncate_from(0, done),
        |store, done| store.replace_state(Vec::new(), done),
    ];
    for (at, call) in calls.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path(), options(&Faults::none())).unwrap();
        wait(|done| store.append(vec![(0, b"zero".to_vec())], done)).unwrap();
        store.engine().sync_instead(File::options().write(true).open(UNSYNCABLE).unwrap());
        assert!(is_refused(wait(|done| call(&store, done))), "call {at} was acknowledged without a sync");
    }
}

#[test]
fn what_a_sync_shall_make_durable_was_handed_to_the_kernel_before_it() {
    const MARK: &[u8] = b"an entry that is easily found again";
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let store = Store::create(dir.path(), options(&faults)).unwrap();
    faults.hold_sync();
    store.append(vec![(0, MARK.to_vec())], Box::new(|_| {})).unwrap();
    faults.wait_for_held_sync();
    let file = fs::read(dir.path().join("store/sled/db")).unwrap();
    faults.release_sync();
    assert!(file.windows(MARK.len()).any(|window| window == MARK));
}

#[test]
fn what_a_killed_process_left_is_synced_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    fs::create_dir_all(&layout.sled).unwrap();
    symlink(UNSYNCABLE, layout.sled.join("db")).unwrap();
    assert!(is_refused(settle(&layout)));
}

#[test]
fn a_plain_file_is_synced_before_it_gets_its_name_and_then_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let (path, temporary) = (dir.path().join("file"), dir.path().join("draft"));
    journal::take();
    files::write_durably(&path, &temporary, &[b"a", b"b"]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"ab");
    assert_eq!(journal::take(), [dir.path()]);
    symlink(UNSYNCABLE, &temporary).unwrap();
    assert!(is_refused(files::write_durably(&path, &temporary, &[b"other"])));
    assert_eq!(fs::read(&path).unwrap(), b"ab");
}

#[test]
fn a_directory_is_really_synced() {
    assert!(is_refused(files::sync_dir(Path::new(UNSYNCABLE))));
}

#[test]
fn a_new_store_is_durable_with_all_its_names_before_it_is_used() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("node");
    journal::take();
    let store = Store::create(&dir, options(&Faults::none())).unwrap();
    let synced = journal::take();
    let at = |path: PathBuf| synced.iter().rposition(|synced| *synced == path);
    let inside = at(dir.join("store.unfinished")).expect("the content of the store");
    for name in ["tip", "sled", "sled/db", "snapshots"] {
        assert!(at(dir.join("store.unfinished").join(name)) < Some(inside), "{name}: {synced:?}");
        assert!(at(dir.join("store.unfinished").join(name)).is_some(), "{name}: {synced:?}");
    }
    assert!(at(dir.clone()) > Some(inside), "the name of the store: {synced:?}");
    assert!(at(parent.path().to_path_buf()) > at(dir.clone()), "the name of the directory: {synced:?}");
    store.write_snapshot("1", b"", b"").unwrap();
    assert!(journal::take().contains(&dir.join("store/snapshots")));
}
