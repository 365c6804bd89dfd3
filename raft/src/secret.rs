//! The cluster secret: what makes a process a peer.
//!
//! One text file of mode 0600, `<cluster id>:<64 hexadecimal digits>`. It names its cluster, so a node that
//! holds it knows where it belongs before it has met anyone. A file with any other text of at least 32 bytes
//! works as well (for secret stores that make their own); its cluster id is then derived from it. Never
//! printed, never in argv.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac};

use crate::error::RaftError;

/// The shortest secret that is accepted, in bytes.
const SECRET_BYTES_MIN: usize = 32;

/// The longest secret file that is read.
const SECRET_BYTES_MAX: u64 = 4_096;

/// The cluster's id and the key of its peers.
#[derive(Clone)]
pub struct ClusterSecret {
    cluster_id: String,
    key: hmac::Key,
}

impl ClusterSecret {
    /// Reads the file, or makes it (0600) with a new cluster id when it is absent and `create` is set.
    ///
    /// # Errors
    /// [`RaftError::Secret`] when it cannot be read or made, or holds too little.
    pub fn open(path: &Path, create: bool) -> Result<Self, RaftError> {
        match fs::symlink_metadata(path) {
            Ok(_) => Self::read(path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => Self::create(path),
            Err(error) => Err(problem(path, format!("cannot be read: {error}"))),
        }
    }

    /// Takes the text of a secret file.
    ///
    /// # Errors
    /// [`RaftError::Secret`] when it holds too little.
    pub fn from_text(text: &str) -> Result<Self, RaftError> {
        Self::parse(text).ok_or_else(|| problem(Path::new("(text)"), too_short()))
    }

    /// The id of the cluster it belongs to.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// A key for another `purpose` than signing peer requests; the same on every node of the cluster
    /// (HMAC-SHA256).
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.key, format!("derive {purpose}").as_bytes());
        let mut derived = [0; 32];
        derived.copy_from_slice(tag.as_ref());
        derived
    }

    pub(crate) fn key(&self) -> &hmac::Key {
        &self.key
    }

    fn read(path: &Path) -> Result<Self, RaftError> {
        let size =
            fs::metadata(path).map_err(|error| problem(path, format!("cannot be read: {error}")))?.len();
        if size > SECRET_BYTES_MAX {
            return Err(problem(path, format!("has {size} bytes; at most {SECRET_BYTES_MAX} are expected")));
        }
        let text =
            fs::read_to_string(path).map_err(|error| problem(path, format!("cannot be read: {error}")))?;
        Self::parse(&text).ok_or_else(|| problem(path, too_short()))
    }

    fn create(path: &Path) -> Result<Self, RaftError> {
        let fail = |what: &str, error: std::io::Error| problem(path, format!("{what}: {error}"));
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|error| fail("cannot make its directory", error))?;
        }
        let text = format!("{}:{}\n", random_hex::<8>()?, random_hex::<32>()?);
        // Written whole before it gets its name, so that two `init` at once cannot see half of it.
        let draft = PathBuf::from(format!("{}.{}", path.display(), random_hex::<4>()?));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .map_err(|error| fail("cannot be made", error))?;
        file.write_all(text.as_bytes()).map_err(|error| fail("cannot be written", error))?;
        file.sync_all().map_err(|error| fail("cannot be synced", error))?;
        let linked = fs::hard_link(&draft, path);
        fs::remove_file(&draft).map_err(|error| fail("cannot be cleaned up", error))?;
        match linked {
            Ok(()) => Self::read(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Self::read(path),
            Err(error) => Err(fail("cannot be made", error)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() < SECRET_BYTES_MIN {
            return None;
        }
        let is_id = |id: &str| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
        let is_key = |key: &str| key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit());
        let cluster_id = match text.split_once(':') {
            Some((id, key)) if is_id(id) && is_key(key) => id.to_owned(),
            _ => {
                let own = digest::digest(&digest::SHA256, format!("erlmcp cluster id {text}").as_bytes());
                HEXLOWER.encode(&own.as_ref()[..8])
            }
        };
        Some(Self { cluster_id, key: hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()) })
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSecret").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

fn problem(path: &Path, problem: String) -> RaftError {
    RaftError::Secret { path: path.to_owned(), problem }
}

fn too_short() -> String {
    format!("must hold at least {SECRET_BYTES_MIN} bytes")
}

/// Bytes from hexadecimal digits, lower or upper case.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()
}

/// Random bytes of the operating system.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], RaftError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| RaftError::Random)?;
    Ok(bytes)
}

fn random_hex<const N: usize>() -> Result<String, RaftError> {
    Ok(HEXLOWER.encode(&random_bytes::<N>()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_first_open_makes_a_file_only_its_owner_can_read_and_the_next_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/secret");
        assert!(ClusterSecret::open(&path, false).is_err());
        let first = ClusterSecret::open(&path, true).unwrap();
        let second = ClusterSecret::open(&path, true).unwrap();
        assert_eq!(first.cluster_id(), second.cluster_id());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{first:?}").contains(&fs::read_to_string(&path).unwrap()[17..40]));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_of_another_maker_gives_an_id_and_a_short_one_is_refused() {
        let text = "a secret that a secret store has made";
        let secret = ClusterSecret::from_text(text).unwrap();
        assert_eq!(secret.cluster_id().len(), 16);
        assert_eq!(secret.cluster_id(), ClusterSecret::from_text(&format!("{text}\n")).unwrap().cluster_id());
        assert!(ClusterSecret::from_text("short").is_err());
    }
}
