//! Authenticated encryption of what we hand to clients to keep for us (`requestState`).
//!
//! Treat what comes back as hostile: it opens only under the key, for the same `bound_to`, before its end.
//! Every node of the cluster has the key, so any node can take the retry.

use data_encoding::HEXLOWER;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;

use crate::random;

const FORMAT: u8 = 1;

/// Why a seal does not open. One word to the client for all: it must not learn which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Altered, made by another cluster, or bound to something else.
    #[error("not ours, or altered")]
    Forged,
    /// Too old.
    #[error("expired")]
    Expired,
}

/// The key of one purpose.
pub struct SealKey {
    key: LessSafeKey,
}

impl SealKey {
    /// Derives the key for `purpose` from the cluster secret (HKDF-SHA256).
    #[must_use]
    pub fn derive(cluster_secret: &[u8], purpose: &str) -> SealKey {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"erlmcp seal v1");
        let secret = salt.extract(cluster_secret);
        let info = [purpose.as_bytes()];
        let Ok(okm) = secret.expand(&info, &CHACHA20_POLY1305) else {
            unreachable!("one key is short enough")
        };
        SealKey { key: LessSafeKey::new(UnboundKey::from(okm)) }
    }

    /// Seals `secret` until `expires_unix_ms`, bound to `bound_to` (principal, method, digest of parameters).
    /// Returns lower-case hex.
    #[must_use]
    pub fn seal(&self, secret: &[u8], bound_to: &[u8], expires_unix_ms: u64) -> String {
        let nonce = random::bytes::<NONCE_LEN>();
        let mut body = expires_unix_ms.to_be_bytes().to_vec();
        body.extend_from_slice(secret);
        let nonce_copy = Nonce::assume_unique_for_key(nonce);
        let sealed = self.key.seal_in_place_append_tag(nonce_copy, Aad::from(bound_to), &mut body);
        assert!(sealed.is_ok(), "{} bytes are too many to seal", body.len());
        HEXLOWER.encode(&[&[FORMAT], &nonce[..], &body].concat())
    }

    /// Opens what [`SealKey::seal`] made.
    ///
    /// # Errors
    /// [`SealError`]; nothing of the content is known then.
    pub fn open(&self, sealed: &str, bound_to: &[u8], now_unix_ms: u64) -> Result<Vec<u8>, SealError> {
        let bytes = HEXLOWER.decode(sealed.as_bytes()).map_err(|_| SealError::Forged)?;
        let (head, rest) = bytes.split_first().ok_or(SealError::Forged)?;
        if *head != FORMAT || rest.len() < NONCE_LEN {
            return Err(SealError::Forged);
        }
        let (nonce, body) = rest.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Forged)?;
        let mut body = body.to_vec();
        let open = self.key.open_in_place(nonce, Aad::from(bound_to), &mut body);
        let open = open.map_err(|_| SealError::Forged)?;
        let (expires, secret) = open.split_first_chunk::<8>().ok_or(SealError::Forged)?;
        if u64::from_be_bytes(*expires) <= now_unix_ms {
            return Err(SealError::Expired);
        }
        Ok(secret.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_opens_only_for_its_key_its_binding_and_its_time() {
        let key = SealKey::derive(b"secret", "state");
        let sealed = key.seal(b"hello", b"alice tools/call", 1_000);
        assert_eq!(key.open(&sealed, b"alice tools/call", 999).unwrap(), b"hello");
        assert_eq!(key.open(&sealed, b"alice tools/call", 1_000), Err(SealError::Expired));
        assert_eq!(key.open(&sealed, b"mallory tools/call", 999), Err(SealError::Forged));
        let other = SealKey::derive(b"secret", "other");
        assert_eq!(other.open(&sealed, b"alice tools/call", 999), Err(SealError::Forged));
    }

    #[test]
    fn any_changed_digit_is_found() {
        let key = SealKey::derive(b"secret", "state");
        let sealed = key.seal(b"x", b"", 1_000);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone().into_bytes();
            altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(key.open(&altered, b"", 0), Err(SealError::Forged), "digit {at}");
        }
    }
}
