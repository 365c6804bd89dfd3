//! Ids of upstreams' tasks as clients get them: sealed for their owner, so that an id also says whom to ask.
//!
//! The same task must always show the same id to the same owner, so the nonce is not random: it is the first
//! 12 bytes of HMAC-SHA256, under a second key, over purpose, owner and content (a synthetic IV, after RFC
//! 5297). Equal contents for equal owners give equal seals, as it must be here; others share a nonce by a
//! chance of 2^-32 after 2^32 seals. There is no expiry: only the upstream knows when a task ends. Never
//! tells why a seal does not open.

use data_encoding::BASE64URL_NOPAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{hkdf, hmac};

use super::owner::Owner;
use crate::random;

/// Purpose of a seal; its word stands before the seal and is part of what the seal is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A task's id.
    Task,
    /// Continuation of a list of tasks.
    Cursor,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Purpose::Task => "ut1.",
            Purpose::Cursor => "uc1.",
        }
    }
}

/// The two keys that seal ids of upstreams' tasks; the same on every node of the cluster.
pub struct TaskKey {
    seal: LessSafeKey,
    nonce: hmac::Key,
}

impl TaskKey {
    /// Derives the keys from a secret of the cluster (HKDF-SHA256).
    #[must_use]
    pub fn derive(cluster_secret: &[u8]) -> TaskKey {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"erlmcp task ids v1").extract(cluster_secret);
        let (Ok(seal), Ok(nonce)) =
            (secret.expand(&[b"seal"], &CHACHA20_POLY1305), secret.expand(&[b"nonce"], hmac::HMAC_SHA256))
        else {
            unreachable!("one key is short enough")
        };
        TaskKey { seal: LessSafeKey::new(UnboundKey::from(seal)), nonce: hmac::Key::from(nonce) }
    }

    /// Keys of this process alone.
    #[must_use]
    pub fn random() -> TaskKey {
        TaskKey::derive(&random::bytes::<32>())
    }

    /// Whether `id` looks like a sealed task; all others are the node's own.
    pub(super) fn is_sealed(id: &str) -> bool {
        id.starts_with(Purpose::Task.word())
    }

    /// Seals `own` of `provider` for `owner`, in characters that a header may have.
    pub(super) fn seal(&self, purpose: Purpose, owner: &Owner, provider: &str, own: &str) -> String {
        // Names of providers have no NUL.
        let mut body = [provider.as_bytes(), b"\0", own.as_bytes()].concat();
        let bound = bound(purpose, owner);
        let nonce = self.nonce_of(&bound, &body);
        let once = Nonce::assume_unique_for_key(nonce);
        let sealed = self.seal.seal_in_place_append_tag(once, Aad::from(bound), &mut body);
        assert!(sealed.is_ok(), "{} bytes are too many to seal", body.len());
        format!("{}{}", purpose.word(), BASE64URL_NOPAD.encode(&[&nonce[..], &body].concat()))
    }

    /// Provider and content of what [`TaskKey::seal`] made for this purpose and owner; `None` for all else.
    pub(super) fn open(&self, purpose: Purpose, owner: &Owner, sealed: &str) -> Option<(String, String)> {
        let bytes = BASE64URL_NOPAD.decode(sealed.strip_prefix(purpose.word())?.as_bytes()).ok()?;
        let (nonce, body) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let open = self.seal.open_in_place(nonce, Aad::from(bound(purpose, owner)), &mut body).ok()?;
        let (provider, own) = str::from_utf8(open).ok()?.split_once('\0')?;
        Some((provider.to_owned(), own.to_owned()))
    }

    fn nonce_of(&self, bound: &[u8], body: &[u8]) -> [u8; NONCE_LEN] {
        let mut context = hmac::Context::with_key(&self.nonce);
        context.update(&u64::try_from(bound.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(bound);
        context.update(body);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&context.sign().as_ref()[..NONCE_LEN]);
        nonce
    }
}

fn bound(purpose: Purpose, owner: &Owner) -> Vec<u8> {
    [purpose.word().as_bytes(), owner.binding()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TaskKey {
        TaskKey::derive(b"secret")
    }

    #[test]
    fn the_same_task_shows_the_same_id_on_every_node_and_another_owner_another() {
        let (alice, bob) = (Owner::session("a"), Owner::session("b"));
        let id = key().seal(Purpose::Task, &alice, "up", "task-1");
        assert_eq!(id, key().seal(Purpose::Task, &alice, "up", "task-1"));
        assert_eq!(key().open(Purpose::Task, &alice, &id), Some(("up".to_owned(), "task-1".to_owned())));
        for other in [
            key().seal(Purpose::Task, &bob, "up", "task-1"),
            key().seal(Purpose::Task, &alice, "up", "task-2"),
            key().seal(Purpose::Task, &alice, "upt", "ask-1"),
        ] {
            assert_ne!(id[..20], other[..20], "the nonces differ");
        }
        assert!(id.len() < 70 && id.bytes().all(|b| b.is_ascii_graphic()), "{id}");
    }

    #[test]
    fn a_seal_opens_only_for_its_owner_its_purpose_and_its_key() {
        let owner = Owner::session("a");
        let id = key().seal(Purpose::Task, &owner, "up", "task-1");
        assert_eq!(key().open(Purpose::Task, &Owner::session("b"), &id), None);
        assert_eq!(TaskKey::derive(b"other").open(Purpose::Task, &owner, &id), None);
        assert_eq!(key().open(Purpose::Cursor, &owner, &id.replace("ut1.", "uc1.")), None);
        assert_eq!(key().open(Purpose::Cursor, &owner, &id), None);
        for short in ["", "ut1.", "ut1.AAAA", "task-1"] {
            assert_eq!(key().open(Purpose::Task, &owner, short), None, "{short}");
        }
    }

    #[test]
    fn any_altered_digit_is_found() {
        let owner = Owner::session("a");
        let id = key().seal(Purpose::Task, &owner, "up", "task-1");
        for at in 0..id.len() {
            for digit in [b'A', b'B', b'_'] {
                let mut altered = id.clone().into_bytes();
                if altered[at] == digit {
                    continue;
                }
                altered[at] = digit;
                let altered = String::from_utf8(altered).unwrap();
                assert_eq!(key().open(Purpose::Task, &owner, &altered), None, "digit {at}");
            }
        }
    }

    #[test]
    fn an_own_id_of_any_text_comes_back_as_it_was() {
        let owner = Owner::session("a");
        for own in ["", "\0", "ut1.AAAA", "ü\n{}", &"x".repeat(100_000)] {
            let id = key().seal(Purpose::Task, &owner, "up", own);
            assert_eq!(key().open(Purpose::Task, &owner, &id).unwrap().1, own);
        }
    }
}
