//! The session of the node's share on disk: proof, after a crash, that the process which had it is gone.
//!
//! The data directory is locked by one process at a time, so whoever reads a session here may take its share
//! over. Written whole (temporary file, fsync, rename, fsync of the directory) before the session's first
//! renewal is sent. A session of an earlier life of the node, or an unreadable file, counts as none: the
//! node then waits until the old share has ended.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use erlmcp_ledger::{Incarnation, SessionId};
use serde::{Deserialize, Serialize};

const FILE: &str = "share.json";
const DRAFT: &str = "share.json.new";

/// The file in a node's data directory.
#[derive(Debug, Clone)]
pub struct SavedSession {
    dir: PathBuf,
    incarnation: Incarnation,
}

#[derive(Serialize, Deserialize)]
struct SavedShare {
    incarnation: Incarnation,
    session: SessionId,
}

impl SavedSession {
    /// The file of this life of the node.
    #[must_use]
    pub fn new(dir: &Path, incarnation: Incarnation) -> SavedSession {
        SavedSession { dir: dir.to_owned(), incarnation }
    }

    /// The session, if this life of the node had one. To be read once the data directory is locked.
    #[must_use]
    pub fn read(&self) -> Option<SessionId> {
        let text = fs::read(self.dir.join(FILE)).ok()?;
        let content: SavedShare = serde_json::from_slice(&text).ok()?;
        (content.incarnation == self.incarnation).then_some(content.session)
    }

    /// Writes `session`, durably.
    ///
    /// # Errors
    /// The system's own; the old content is then whole.
    pub fn write(&self, session: SessionId) -> io::Result<()> {
        let text = serde_json::to_vec(&SavedShare { incarnation: self.incarnation, session })?;
        let draft = self.dir.join(DRAFT);
        let mut file = fs::File::create(&draft)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&draft, self.dir.join(FILE))?;
        fs::File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_back_by_the_same_life_of_the_node_only() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (Incarnation::new(1), Incarnation::new(2));
        let file = SavedSession::new(dir.path(), first);
        assert_eq!(file.read(), None);
        file.write(7).unwrap();
        file.write(9).unwrap();
        assert_eq!(file.read(), Some(9));
        assert_eq!(SavedSession::new(dir.path(), second).read(), None);
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(file.read(), None, "unreadable");
        assert!(SavedSession::new(&dir.path().join("none"), first).write(1).is_err());
    }
}
