//! Open files: what this process may have, raised at start to what the system allows.
//!
//! Each client takes one, so this limit and not memory bounds most nodes. Nothing here decides how many
//! clients that makes; it reports the numbers.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit on open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// Limit that holds now.
    pub soft: u64,
    /// Limit to which it may be raised.
    pub hard: u64,
}

impl OpenFiles {
    /// Reads the limit; "unlimited" reads as the largest number.
    #[must_use]
    pub fn read() -> Self {
        let limit = getrlimit(Resource::Nofile);
        OpenFiles { soft: limit.current.unwrap_or(u64::MAX), hard: limit.maximum.unwrap_or(u64::MAX) }
    }

    /// The limit after [`OpenFiles::raise`] with `wanted`; 0 means as many as allowed. Never
    /// lowers what holds.
    #[must_use]
    pub fn reachable(&self, wanted: u64) -> u64 {
        let aim = if wanted == 0 { self.hard } else { wanted.min(self.hard) };
        aim.max(self.soft)
    }

    /// Clients that fit beside `reserve` files of our own.
    #[must_use]
    pub fn connections(&self, wanted: u64, reserve: u64) -> u64 {
        self.reachable(wanted).saturating_sub(reserve)
    }

    /// Raises the soft limit as far as `wanted` and the system allow, and returns what holds then.
    ///
    /// # Errors
    /// Error of the system when it refuses; the old limit holds on.
    pub fn raise(wanted: u64) -> std::io::Result<Self> {
        let found = Self::read();
        let aim = found.reachable(wanted);
        if aim > found.soft {
            let maximum = getrlimit(Resource::Nofile).maximum;
            setrlimit(Resource::Nofile, Rlimit { current: Some(aim), maximum })?;
        }
        Ok(Self::read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: OpenFiles = OpenFiles { soft: 1024, hard: 20_000 };

    #[test]
    fn zero_reaches_for_all_and_a_number_no_further_than_allowed() {
        assert_eq!(FILES.reachable(0), 20_000);
        assert_eq!(FILES.reachable(4096), 4096);
        assert_eq!(FILES.reachable(1_000_000), 20_000);
        assert_eq!(FILES.reachable(10), 1024, "what holds is never lowered");
    }

    #[test]
    fn connections_are_what_the_reserve_leaves() {
        assert_eq!(FILES.connections(0, 256), 19_744);
        assert_eq!(OpenFiles { soft: 64, hard: 64 }.connections(0, 256), 0);
    }

    #[test]
    fn raising_leaves_at_least_what_was_there() {
        let before = OpenFiles::read();
        let after = OpenFiles::raise(before.soft).unwrap();
        assert_eq!(after.soft, before.soft);
    }
}
