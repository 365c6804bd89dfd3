//! Memory of this machine or its container, as the system files say it.

use std::fs;

/// The memory that a process may count on, in bytes; `None` where the system does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Available on the machine now: `MemAvailable` of `/proc/meminfo`.
    pub available: Option<u64>,
    /// The limit of the control group.
    pub limit: Option<u64>,
}

impl Memory {
    /// Reads it.
    #[must_use]
    pub fn read() -> Memory {
        let read = |path: &str| fs::read_to_string(path).ok();
        let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        Memory {
            available: read("/proc/meminfo").as_deref().and_then(available_memory),
            limit: limits.iter().find_map(|path| read(path)).as_deref().and_then(cgroup_limit),
        }
    }

    /// The smaller of both.
    #[must_use]
    pub fn bytes(self) -> Option<u64> {
        self.available.into_iter().chain(self.limit).min()
    }
}

fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// None when it is "max" or larger than any machine.
fn cgroup_limit(text: &str) -> Option<u64> {
    const NO_LIMIT: u64 = 1 << 60;
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_files_are_read_as_they_are_written() {
        assert_eq!(available_memory("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2_097_152));
        assert_eq!(available_memory("MemTotal: 9 kB\n"), None);
        assert_eq!(cgroup_limit("max\n"), None);
        assert_eq!(cgroup_limit("9223372036854771712\n"), None);
        assert_eq!(cgroup_limit("1048576\n"), Some(1_048_576));
    }

    #[test]
    fn the_smaller_of_machine_and_container_counts() {
        let bytes = |available, limit| Memory { available, limit }.bytes();
        assert_eq!(bytes(Some(8), Some(5)), Some(5));
        assert_eq!(bytes(Some(8), None), Some(8));
        assert_eq!(bytes(None, None), None);
    }
}
