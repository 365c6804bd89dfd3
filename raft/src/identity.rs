//! Owner of a data directory: `identity.json`.
//!
//! Made by `init`, kept for life. It remembers two things the store cannot say after it was lost: that this
//! node has voted, and that it was removed. It is written whole (temporary file, fsync, rename, fsync of the
//! directory) and never edited by hand.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use erlmcp_ledger::{Incarnation, NodeId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::RaftError;
use crate::secret::{ClusterSecret, random_bytes};

/// The newest form of the file.
const FORMAT: u32 = 1;

/// How many lost incarnations are remembered; a disk that damages more stores in a row needs a person.
const LOST_MAX: usize = 8;

/// The file in a node's data directory.
const FILE: &str = "identity.json";

/// The store's directory in a node's data directory.
const STORE: &str = "store";

/// Owner of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    format: u32,
    /// The cluster it belongs to.
    pub cluster_id: String,
    /// The node it belongs to.
    pub node_id: NodeId,
    /// The incarnation of the directory.
    pub incarnation: Incarnation,
    /// This node forms the group when its log is empty.
    pub founder: bool,
    /// It has voted or acknowledged something; its store must never be empty again.
    pub voted: bool,
    /// The group removed it.
    pub removed: bool,
    /// Incarnations of this directory whose stores were found damaged and set aside, the newest last: this
    /// incarnation takes the place of whichever of them the group still knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Incarnation>,
}

/// State that `init` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// A new identity was written.
    Made,
    /// The directory had this identity already; nothing was written.
    Kept,
    /// The directory belonged to this node until it was removed; its old store was moved aside.
    Renewed,
}

impl Identity {
    /// Makes the identity of a data directory, or finds that it is there already.
    ///
    /// # Errors
    /// [`RaftError::OtherIdentity`] when the directory belongs to another node or cluster,
    /// [`RaftError::Identity`] when it cannot be read or written.
    pub fn init(
        dir: &Path,
        node_id: NodeId,
        founder: bool,
        secret: &ClusterSecret,
    ) -> Result<(Self, Init), RaftError> {
        fs::create_dir_all(dir)
            .map_err(|error| problem(dir, format!("cannot make the directory: {error}")))?;
        let mut outcome = Init::Made;
        if let Some(known) = Self::read(dir)? {
            known.must_be(dir, node_id, secret)?;
            if !known.removed {
                return Ok((known, Init::Kept));
            }
            set_aside(dir, &known)?;
            outcome = Init::Renewed;
        }
        if node_id == 0 {
            return Err(problem(dir, "a node id is at least 1".to_owned()));
        }
        let identity = Self {
            format: FORMAT,
            cluster_id: secret.cluster_id().to_owned(),
            node_id,
            incarnation: Incarnation::new(u128::from_be_bytes(random_bytes()?)),
            // A removed founder joins the group it founded; it must not found another.
            founder: founder && outcome == Init::Made,
            voted: false,
            removed: false,
            lost: Vec::new(),
        };
        identity.write(dir)?;
        Ok((identity, outcome))
    }

    /// Begins a new incarnation in the same directory, after its store was found damaged. It founds nothing,
    /// and asks the group to take it in the place of the old one.
    pub(crate) fn renew(&self, dir: &Path) -> Result<Self, RaftError> {
        let incarnation = Incarnation::new(u128::from_be_bytes(random_bytes()?));
        let mut lost = self.lost.clone();
        lost.push(self.incarnation);
        lost.drain(..lost.len().saturating_sub(LOST_MAX));
        let renewed =
            Self { incarnation, founder: false, voted: false, removed: false, lost, ..self.clone() };
        renewed.write(dir)?;
        Ok(renewed)
    }

    /// Reads the identity of a data directory.
    ///
    /// # Errors
    /// [`RaftError::Identity`] when there is none (run `init` first) or it cannot be read.
    pub fn open(dir: &Path) -> Result<Self, RaftError> {
        Self::read(dir)?.ok_or_else(|| problem(dir, "is missing; run `erlmcp-node init` first".to_owned()))
    }

    /// Whether [`Identity::init`] was run for this directory.
    #[must_use]
    pub fn exists(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    /// Directory of the store.
    #[must_use]
    pub fn store_dir(dir: &Path) -> PathBuf {
        dir.join(STORE)
    }

    fn read(dir: &Path) -> Result<Option<Self>, RaftError> {
        let text = match fs::read(dir.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(problem(dir, format!("cannot be read: {error}"))),
        };
        let identity: Self = serde_json::from_slice(&text)
            .map_err(|error| problem(dir, format!("cannot be read: {error}")))?;
        if identity.format > FORMAT {
            return Err(problem(dir, format!("is of format {}; update this node first", identity.format)));
        }
        Ok(Some(identity))
    }

    fn must_be(&self, dir: &Path, node_id: NodeId, secret: &ClusterSecret) -> Result<(), RaftError> {
        if self.node_id == node_id && self.cluster_id == secret.cluster_id() {
            return Ok(());
        }
        Err(RaftError::OtherIdentity {
            dir: dir.to_owned(),
            found: format!("node {} of cluster {}", self.node_id, self.cluster_id),
            wanted: format!("node {node_id} of cluster {}", secret.cluster_id()),
        })
    }

    fn write(&self, dir: &Path) -> Result<(), RaftError> {
        let write = || -> std::io::Result<()> {
            let draft = dir.join("identity.json.new");
            let mut file = fs::File::create(&draft)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&draft, dir.join(FILE))?;
            fs::File::open(dir)?.sync_all()
        };
        write().map_err(|error| problem(dir, format!("cannot be written: {error}")))
    }
}

/// Moves the store of a removed incarnation aside, so that the new one begins empty and nothing is deleted.
fn set_aside(dir: &Path, known: &Identity) -> Result<(), RaftError> {
    let old = dir.join(format!("{STORE}.removed-{}", known.incarnation));
    match fs::rename(dir.join(STORE), old) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(problem(dir, format!("cannot move the old store aside: {error}")))
        }
        _ => Ok(()),
    }
}

fn problem(dir: &Path, problem: String) -> RaftError {
    RaftError::Identity { path: dir.join(FILE), problem }
}

/// The identity of a running replica, with the two marks it may set.
#[derive(Debug, Clone)]
pub(crate) struct IdentityKeeper {
    dir: Arc<PathBuf>,
    identity: Arc<Mutex<Identity>>,
}

impl IdentityKeeper {
    pub(crate) fn new(dir: &Path, identity: Identity) -> Self {
        Self { dir: Arc::new(dir.to_owned()), identity: Arc::new(Mutex::new(identity)) }
    }

    /// Remembers, durably, that this node has voted. Cheap when it is known already.
    pub(crate) fn mark_voted(&self) -> Result<(), RaftError> {
        self.mark(|identity| !std::mem::replace(&mut identity.voted, true))
    }

    /// Remembers, durably, that the group removed this node.
    pub(crate) fn mark_removed(&self) -> Result<(), RaftError> {
        self.mark(|identity| !std::mem::replace(&mut identity.removed, true))
    }

    pub(crate) fn has_voted(&self) -> bool {
        self.identity.lock().voted
    }

    fn mark(&self, set: impl FnOnce(&mut Identity) -> bool) -> Result<(), RaftError> {
        let mut identity = self.identity.lock();
        let mut marked = identity.clone();
        if !set(&mut marked) {
            return Ok(());
        }
        marked.write(&self.dir)?;
        *identity = marked;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> ClusterSecret {
        ClusterSecret::from_text("0123456789abcdef0123456789abcdef").unwrap()
    }

    #[test]
    fn init_twice_keeps_the_identity_and_another_id_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (first, outcome) = Identity::init(dir.path(), 1, true, &secret()).unwrap();
        assert_eq!(outcome, Init::Made);
        assert_eq!(Identity::init(dir.path(), 1, true, &secret()).unwrap(), (first.clone(), Init::Kept));
        assert!(matches!(
            Identity::init(dir.path(), 2, false, &secret()),
            Err(RaftError::OtherIdentity { .. })
        ));
        let other = ClusterSecret::from_text("another secret of another cluster").unwrap();
        assert!(matches!(Identity::init(dir.path(), 1, true, &other), Err(RaftError::OtherIdentity { .. })));
        assert_eq!(Identity::open(dir.path()).unwrap(), first);
    }

    #[test]
    fn a_removed_node_gets_a_new_life_that_never_founds() {
        let dir = tempfile::tempdir().unwrap();
        let (first, _) = Identity::init(dir.path(), 1, true, &secret()).unwrap();
        fs::create_dir(Identity::store_dir(dir.path())).unwrap();
        let keeper = IdentityKeeper::new(dir.path(), first.clone());
        keeper.mark_voted().unwrap();
        keeper.mark_removed().unwrap();
        assert!(Identity::open(dir.path()).unwrap().removed);
        let (second, outcome) = Identity::init(dir.path(), 1, true, &secret()).unwrap();
        assert_eq!(outcome, Init::Renewed);
        assert_ne!(second.incarnation, first.incarnation);
        assert!(!second.founder && !second.voted && !second.removed);
        assert!(!Identity::store_dir(dir.path()).exists());
    }
}
