//! Opening a store whose start file is damaged, and telling damage from bad luck.
//!
//! sled keeps a file `snap.*` beside its data, written each time it opens: where each page is. Without it, it
//! reads all of its data from the beginning and may find nothing: in a quarter of many runs that were killed
//! the store was lost without it, in none with an earlier one. A process that ends while it is written leaves
//! a torn one beside the one before, and sled takes the torn one and gives up. So a torn one is removed, a
//! copy of the last good one is kept, and what cannot be opened is opened again with the copy, and then
//! without any. Only what fails each time is damage. Whether something is missing is not sled's to say:
//! records, log and tip are checked each time.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::check::{Scan, scan};
use crate::db::{Layout, Trees, check_format, wait_for_release};
use crate::error::StorageError;
use crate::files;

/// How the names of sled's start files begin.
const START: &str = "snap.";
/// How the name of one ends that was never finished.
const UNFINISHED: &str = ".generating";
/// Path of the copy, inside the store.
const COPY: &str = "sled-start.copy";
/// Directory of the last damaged ones, kept for people to look at, inside the store.
const ASIDE: &str = "sled-start.aside";

/// Opens the trees at `layout` and checks all of them. `acknowledged` is the number up to which nothing may
/// be missing.
pub(crate) fn open_checked(
    layout: &Layout,
    cache_bytes: u64,
    acknowledged: u64,
) -> Result<(Trees, Scan), StorageError> {
    let opened = open_again(layout, || {
        let trees = Trees::open(layout, cache_bytes)?;
        match check_format(&layout.dir, &trees).and_then(|()| scan(layout, &trees, acknowledged)) {
            Ok(scan) => Ok((trees, scan)),
            Err(error) => {
                trees.close();
                Err(error)
            }
        }
    })?;
    keep_copy(layout)?;
    Ok(opened)
}

/// Calls `open`, and as long as it finds damage again with other start files. Leaves those of a damaged store
/// as they were.
fn open_again<T>(
    layout: &Layout,
    mut open: impl FnMut() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    let (sled, copy, aside) = (&layout.sled, layout.store.join(COPY), layout.store.join(ASIDE));
    let is_unfinished = |name: &OsString| name.to_string_lossy().ends_with(UNFINISHED);
    remove(sled, start_files(sled)?.iter().filter(|name| is_unfinished(name)))?;
    let copied = start_files(&copy)?;
    if start_files(sled)?.is_empty() {
        // Lost, or an earlier call was interrupted.
        transfer(&copied, &copy, sled)?;
    }
    let damage = match open() {
        Err(damage @ StorageError::Corrupt { .. }) => damage,
        other => return other,
    };
    wait_for_release(layout)?;
    let found = start_files(sled)?;
    remove(&aside, &start_files(&aside)?)?;
    transfer(&found, sled, &aside)?;
    remove(sled, &found)?;
    let last_resort = if copied.is_empty() { None } else { Some(Vec::new()) };
    for names in std::iter::once(copied).chain(last_resort) {
        transfer(&names, &copy, sled)?;
        let why_not = match open() {
            Ok(opened) => {
                let (kept, copies) = (aside.display(), names.len());
                let text =
                    "the store opened only with other start files of sled; nothing acknowledged is missing";
                tracing::warn!(%damage, damaged_files = found.len(), %kept, copies, "{text}");
                return Ok(opened);
            }
            Err(why_not) => why_not,
        };
        wait_for_release(layout)?;
        remove(sled, &start_files(sled)?)?;
        if !matches!(why_not, StorageError::Corrupt { .. }) {
            transfer(&found, &aside, sled)?;
            return Err(why_not);
        }
    }
    transfer(&found, &aside, sled)?;
    Err(damage)
}

/// Keeps a copy of the start file that sled has just opened with.
fn keep_copy(layout: &Layout) -> Result<(), StorageError> {
    let copy = layout.store.join(COPY);
    let (now, before) = (start_files(&layout.sled)?, start_files(&copy)?);
    for name in &now {
        let bytes = io_at("read", &layout.sled.join(name), |path| fs::read(path))?;
        let path = copy.join(name);
        if before.contains(name) && fs::read(&path).is_ok_and(|known| known == bytes) {
            continue;
        }
        io_at("create", &copy, |path| fs::create_dir_all(path))?;
        let temporary = copy.join("writing.tmp");
        match files::write_durably(&path, &temporary, &[&bytes]) {
            Err(StorageError::Io { source, .. }) if source.kind() == ErrorKind::StorageFull => {
                // The older copy does as well, and a full disk needs every byte.
                fs::remove_file(&temporary).ok();
                return Ok(());
            }
            other => other?,
        }
    }
    if now.is_empty() {
        return Ok(());
    }
    remove(&copy, before.iter().filter(|name| !now.contains(name)))
}

/// The start files in `dir`; none if there is no such directory.
fn start_files(dir: &Path) -> Result<Vec<OsString>, StorageError> {
    let list = |dir: &Path| -> io::Result<Vec<OsString>> {
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        Ok(names.into_iter().filter(|name| name.to_string_lossy().starts_with(START)).collect())
    };
    io_at("list", dir, list)
}

fn transfer(names: &[OsString], from: &Path, to: &Path) -> Result<(), StorageError> {
    io_at("create", to, |path| fs::create_dir_all(path))?;
    for name in names {
        io_at("copy", &from.join(name), |path| fs::copy(path, to.join(name)))?;
    }
    Ok(())
}

fn remove<'a>(dir: &Path, names: impl IntoIterator<Item = &'a OsString>) -> Result<(), StorageError> {
    for name in names {
        io_at("remove", &dir.join(name), |path| fs::remove_file(path))?;
    }
    Ok(())
}

fn io_at<T>(
    action: &'static str,
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, StorageError> {
    work(path).map_err(|e| StorageError::io(action, path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: &[&str] = &["snap.2"];
    const COPIED: &[&str] = &["snap.1"];

    fn names(dir: &Path) -> Vec<String> {
        start_files(dir).unwrap().into_iter().map(|name| name.into_string().unwrap()).collect()
    }

    /// Opens with what each time gives. Says what came out, which start files each time found, and which are
    /// left.
    fn attempts(
        copied: &[&str],
        given: Vec<Result<u32, StorageError>>,
    ) -> (Result<u32, String>, Vec<Vec<String>>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let copy = layout.store.join(COPY);
        fs::create_dir_all(&layout.sled).unwrap();
        fs::create_dir_all(&copy).unwrap();
        for name in ["db", "snap.2", "snap.3.generating"] {
            fs::write(layout.sled.join(name), name).unwrap();
        }
        for name in copied {
            fs::write(copy.join(name), name).unwrap();
        }
        let mut given = given.into_iter();
        let mut found = Vec::new();
        let outcome = open_again(&layout, || {
            found.push(names(&layout.sled));
            given.next().unwrap()
        });
        assert!(given.next().is_none(), "too few attempts");
        (outcome.map_err(|error| error.to_string()), found, names(&layout.sled))
    }

    fn damage(what: &str) -> Result<u32, StorageError> {
        Err(StorageError::corrupt(Path::new("/d"), what))
    }

    #[test]
    fn only_what_each_open_says_is_damage() {
        let (outcome, found, _) = attempts(COPIED, vec![Ok(1)]);
        assert_eq!(
            (outcome, found),
            (Ok(1), vec![vec!["snap.2".to_owned()]]),
            "an unfinished one is removed"
        );
        let (outcome, found, left) = attempts(COPIED, vec![damage("a panic"), Ok(2)]);
        assert_eq!((outcome, &found[1], left), (Ok(2), &vec!["snap.1".to_owned()], found[1].clone()));
        let (outcome, found, left) = attempts(COPIED, vec![damage("1"), damage("2"), Ok(3)]);
        assert_eq!((outcome, found[2].len(), left.len()), (Ok(3), 0, 0));
        for (copied, count) in [(COPIED, 3), (&[], 2)] {
            let given = (1..=count).map(|at| damage(&at.to_string())).collect();
            let (outcome, found, left) = attempts(copied, given);
            assert_eq!((outcome, found.len()), (Err("/d is damaged: 1".to_owned()), count));
            assert_eq!(left, FOUND, "it is left as it was");
        }
    }

    #[test]
    fn a_start_file_that_is_gone_is_replaced_by_the_copy_before_sled_does_without() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(&layout.sled).unwrap();
        let found = || open_again(&layout, || Ok(names(&layout.sled))).unwrap();
        assert!(found().is_empty());
        fs::create_dir(layout.store.join(COPY)).unwrap();
        fs::write(layout.store.join(COPY).join("snap.1"), "x").unwrap();
        assert_eq!(found(), COPIED);
    }

    #[test]
    fn the_copy_is_of_the_last_start_file() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(&layout.sled).unwrap();
        for (name, bytes) in [("snap.1", "first"), ("snap.1", "other"), ("snap.2", "second")] {
            let gone = start_files(&layout.sled).unwrap();
            remove(&layout.sled, &gone).unwrap();
            fs::write(layout.sled.join(name), bytes).unwrap();
            keep_copy(&layout).unwrap();
            let copy = layout.store.join(COPY);
            assert_eq!(
                (names(&copy), fs::read_to_string(copy.join(name)).unwrap()),
                (vec![name.to_owned()], bytes.to_owned())
            );
        }
        remove(&layout.sled, &start_files(&layout.sled).unwrap()).unwrap();
        keep_copy(&layout).unwrap();
        assert_eq!(names(&layout.store.join(COPY)), FOUND);
    }

    #[test]
    fn what_is_not_damage_is_said_as_it_is() {
        let no_memory = || Err(StorageError::io("read", Path::new("/d"), ErrorKind::OutOfMemory.into()));
        for given in [vec![no_memory()], vec![damage("a panic"), no_memory()]] {
            let (outcome, _, left) = attempts(COPIED, given);
            assert_eq!(outcome, Err("cannot read /d: out of memory".to_owned()));
            assert_eq!(left, FOUND);
        }
    }
}
