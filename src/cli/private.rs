//! Whether others than the owner can read a file that holds a secret.
//!
//! In a container that mounts its secrets read-only, with mode 444, nobody can change that; such a
//! file is used, with a warning where everyone can read it.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;

/// Bits of a mode by which others than the owner get at a file.
const OTHERS: u32 = 0o077;

/// The bit by which everyone reads it.
const EVERYONE: u32 = 0o004;

/// How a secret file lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exposure {
    /// Its permission bits.
    pub(super) mode: u32,
    /// Nobody can change the mode here.
    pub(super) is_mounted_read_only: bool,
}

impl Exposure {
    pub(super) fn of(path: &Path) -> io::Result<Exposure> {
        let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
        let flags = rustix::fs::statvfs(path)?.f_flag;
        Ok(Exposure { mode, is_mounted_read_only: flags.contains(StatVfsMountFlags::RDONLY) })
    }

    /// Others can get at it, and its owner could have prevented that.
    pub(super) fn is_careless(self) -> bool {
        self.mode & OTHERS != 0 && !self.is_mounted_read_only
    }

    pub(super) fn is_to_everyone(self) -> bool {
        self.mode & EVERYONE != 0
    }

    /// Advice.
    pub(super) fn remedy(self) -> &'static str {
        if self.is_mounted_read_only { "mount it with mode 400 for this user" } else { "chmod 600" }
    }
}

/// Says in the log, once a start, which of `files` everyone on this machine can read.
pub(super) fn warn_of_exposed(files: &[(&'static str, &Path)]) {
    for (what, path) in files {
        match Exposure::of(path) {
            Ok(exposure) if exposure.is_to_everyone() => {
                let (path, mode) = (path.display(), format!("{:o}", exposure.mode));
                let remedy = exposure.remedy();
                tracing::warn!(%path, mode, remedy, "everyone on this machine can read the {what}");
            }
            // Whoever needs the file says what is wrong with it.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mode_that_can_be_changed_is_careless() {
        for (mode, is_mounted_read_only, is_careless, is_to_everyone) in [
            (0o600, false, false, false),
            (0o640, false, true, false),
            (0o444, false, true, true),
            (0o444, true, false, true),
            (0o440, true, false, false),
        ] {
            let exposure = Exposure { mode, is_mounted_read_only };
            assert_eq!(exposure.is_careless(), is_careless, "{exposure:?}");
            assert_eq!(exposure.is_to_everyone(), is_to_everyone, "{exposure:?}");
        }
    }

    #[test]
    fn the_mode_and_the_mount_are_read_from_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let wanted = Exposure { mode: 0o644, is_mounted_read_only: false };
        assert_eq!(Exposure::of(file.path()).unwrap(), wanted);
    }
}
