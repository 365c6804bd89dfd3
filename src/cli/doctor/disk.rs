//! The disk under the data directory: how fast a write is durable, and how much is free.
//!
//! Every command of the group waits for such a write, so this is the floor of a commit. Measured with a
//! small file that is removed afterwards.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::config::Config;

use super::Finding;

/// Writes in one measurement: enough for a median, little enough for a slow disk.
const WRITES: usize = 20;

/// Bytes of each write, about one entry of the log.
const WRITE_BYTES: usize = 256;

/// A median above this makes every change of shares slow.
const FSYNC_US_WARN: u64 = 20_000;

/// Less than this and a node should not start a busy day.
const FREE_BYTES_WARN: u64 = 1024 * 1024 * 1024;

/// Less than this and the store cannot even be reopened.
const FREE_BYTES_FAIL: u64 = 64 * 1024 * 1024;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let dir = existing(&config.node_dir);
    vec![sync_time(&dir, measure(&dir)), free_space(&dir, free(&dir))]
}

/// The directory, or the nearest one above it that exists already.
fn existing(dir: &Path) -> PathBuf {
    let here = || PathBuf::from(".");
    let found = dir.ancestors().find(|path| path.is_dir());
    found.map_or_else(here, |path| if path.as_os_str().is_empty() { here() } else { path.to_path_buf() })
}

/// Median and largest time of a durable write, in microseconds.
fn measure(dir: &Path) -> std::io::Result<(u64, u64)> {
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let result = time_writes(file);
    fs::remove_file(&path)?;
    result
}

fn time_writes(mut file: File) -> std::io::Result<(u64, u64)> {
    let clock = Clock::new();
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let start = clock.monotonic_us();
        file.write_all(&[0x5a; WRITE_BYTES])?;
        file.sync_data()?;
        times.push(clock.monotonic_us().saturating_sub(start));
    }
    times.sort_unstable();
    Ok((times[times.len() / 2], times[times.len() - 1]))
}

fn sync_time(dir: &Path, measured: std::io::Result<(u64, u64)>) -> Finding {
    let ms = |us: u64| format!("{}.{:02} ms", us / 1000, us % 1000 / 10);
    match measured {
        Ok((median, max)) => {
            let value = format!("{} median, {} at most, in {}", ms(median), ms(max), dir.display());
            let meaning = "what a commit of the group takes at least";
            let finding = Finding::ok("durable write", value, meaning);
            if median > FSYNC_US_WARN {
                return finding
                    .warn("commits will be slow on this disk", "use a local SSD for cluster.data_dir");
            }
            finding
        }
        Err(error) => Finding::ok("durable write", error.to_string(), "").fail(
            format!("nothing can be written in {}", dir.display()),
            "make it writable for this user, or set cluster.data_dir",
        ),
    }
}

fn free(dir: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn free_space(dir: &Path, free: std::io::Result<u64>) -> Finding {
    let free = match free {
        Ok(free) => free,
        Err(error) => {
            return Finding::ok("free space", error.to_string(), "")
                .warn(format!("cannot look at {}", dir.display()), "check the path");
        }
    };
    let value = format!("{} MiB in {}", free / (1024 * 1024), dir.display());
    let finding = Finding::ok("free space", value, "store and snapshots of a node take some tens of MiB");
    if free < FREE_BYTES_FAIL {
        return finding
            .fail("a full disk cannot even be reopened", "free some space, or move cluster.data_dir");
    }
    if free < FREE_BYTES_WARN {
        return finding.warn("a node stops acknowledging when the disk is full", "free some space");
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_measurement_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (median, max) = measure(folder.path()).unwrap();
        assert!(median <= max && max > 0, "{median} {max}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_judged_by_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(existing(&folder.path().join("data/cluster1")), folder.path());
        assert_eq!(existing(Path::new("no-such-directory/cluster1")), PathBuf::from("."));
    }

    #[test]
    fn slow_and_forbidden_writes_are_told_apart() {
        let dir = Path::new("/d");
        assert_eq!(sync_time(dir, Ok((20_000, 50_000))).verdict, Verdict::Ok);
        assert_eq!(sync_time(dir, Ok((20_001, 50_000))).verdict, Verdict::Warn);
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(sync_time(dir, Err(denied)).verdict, Verdict::Fail);
        assert!(sync_time(dir, Ok((1_234, 20_050))).value.starts_with("1.23 ms median, 20.05 ms"));
    }

    #[test]
    fn little_space_is_warned_of_and_none_fails() {
        let verdict = |free| free_space(Path::new("/d"), Ok(free)).verdict;
        assert_eq!(verdict(FREE_BYTES_WARN), Verdict::Ok);
        assert_eq!(verdict(FREE_BYTES_WARN - 1), Verdict::Warn);
        assert_eq!(verdict(FREE_BYTES_FAIL - 1), Verdict::Fail);
    }
}
