//! A disk that is really full: a small tmpfs. Needs root to mount; says so loudly where it cannot.

use std::path::{Path, PathBuf};
use std::process::Command;

use erlmcp_storage::{Faults, Options, StorageError, Store, StoreHealth, quarantine};

use crate::common::{append, entries, wait};

/// A tmpfs that is unmounted when this goes away.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(megabytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("\n=== SKIPPED: cannot mount a tmpfs (not root?); the full disk was NOT tried ===\n");
            return None;
        }
        Some(Self { dir })
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "{} stays mounted", self.dir.path().display());
    }
}

fn options(min_free_bytes: u64) -> Options {
    Options { cache_bytes: 8 << 20, min_free_bytes, ..Options::default() }
}

/// Takes all but `left` bytes of the disk.
fn fill(disk: &SmallDisk, left: u64) -> PathBuf {
    let stat = rustix::fs::statvfs(disk.dir.path()).unwrap();
    let bytes = usize::try_from((stat.f_bavail * stat.f_frsize).saturating_sub(left)).unwrap();
    let path = disk.dir.path().join("filler");
    std::fs::write(&path, vec![1; bytes]).unwrap();
    path
}

fn append_until_refused(store: &Store) -> (u64, StorageError) {
    let mut next = store.log_bounds().last.map_or(0, |last| last + 1);
    loop {
        match wait(|done| store.append(entries(next..next + 64), done)) {
            Ok(()) => next += 64,
            Err(error) => return (next, error),
        }
    }
}

fn check_reopened(dir: &Path, acknowledged: u64) {
    let store = Store::open(dir, options(1 << 20)).unwrap();
    assert!(store.log_bounds().last >= Some(acknowledged - 1));
    assert_eq!(store.read(0, acknowledged).unwrap(), entries(0..acknowledged));
}

#[test]
fn a_full_disk_is_refused_in_time_and_serves_again_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let store = Store::create(&disk.path(), options(8 << 20)).unwrap();
    append(&store, 0..64);
    let filler = fill(&disk, 10 << 20);
    let (acknowledged, error) = append_until_refused(&store);
    assert!(matches!(error, StorageError::DiskFull { .. }), "{error}");
    assert!(matches!(store.health(), StoreHealth::DiskFull { .. }));
    assert_eq!(store.read(0, 1 << 40).unwrap(), entries(0..acknowledged));
    std::fs::remove_file(filler).unwrap();
    assert_eq!(store.health(), StoreHealth::Healthy);
    append(&store, acknowledged..acknowledged + 64);
    store.close().unwrap();
    check_reopened(&disk.path(), acknowledged + 64);
}

#[test]
fn a_disk_that_others_fill_fails_the_store_without_losing_what_was_acknowledged() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let faults = Faults::none();
    let store = Store::create(&disk.path(), Options { faults: faults.clone(), ..options(1 << 20) }).unwrap();
    append(&store, 0..64);
    // The room that was seen is gone when it is used.
    faults.set_free_bytes(1 << 30);
    let filler = fill(&disk, 300 << 10);
    let (acknowledged, error) = append_until_refused(&store);
    assert!(matches!(error, StorageError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    let (again, error) = append_until_refused(&store);
    assert_eq!(again, store.log_bounds().last.map_or(0, |last| last + 1), "{error}");
    drop(store);
    let error = Store::open(&disk.path(), options(8 << 20)).unwrap_err();
    assert!(error.to_string().contains("disk full (free"), "{error}");
    std::fs::remove_file(filler).unwrap();
    check_reopened(&disk.path(), acknowledged);
}

#[test]
fn a_store_that_fills_a_mount_point_is_set_aside_inside_it() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let dir = disk.dir.path();
    let store = Store::create(dir, options(1 << 20)).unwrap();
    append(&store, 0..10);
    store.close().unwrap();
    assert_eq!(quarantine(dir, 1_700_000_000).unwrap(), dir.join("store.corrupt-1700000000"));
    assert!(!Store::exists(dir));
    let store = Store::create(dir, options(1 << 20)).unwrap();
    assert_eq!(store.log_bounds().last, None);
}
