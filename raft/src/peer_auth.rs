//! Proof of who speaks on the peer port: HMAC-SHA256 over every request.
//!
//! Signed are method, path, body digest, time, nonce, sender, receiver and cluster id. The signature covers
//! headers only (the digest stands for the body), so a stranger is turned away before a byte of the body is
//! read. Sender and receiver are named with their incarnation: a node that lost its data, or took over an
//! address, is not mistaken for the one before. Comparison is in constant time (ring). Requests older or
//! newer than 30 s are refused, and so is a nonce seen before.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use ring::{digest, hmac};

use crate::auth_error::{AuthError, WINDOW_MS};
use crate::clock::PeerClock;
use crate::error::RaftError;
use crate::node_tag::NodeTag;
use crate::peer_nonces::NonceBook;
use crate::secret::{ClusterSecret, random_bytes, unhex};

const CLUSTER: HeaderName = HeaderName::from_static("erlmcp-cluster");
pub(crate) const FROM: HeaderName = HeaderName::from_static("erlmcp-from");
const TO: HeaderName = HeaderName::from_static("erlmcp-to");
pub(crate) const TIME: HeaderName = HeaderName::from_static("erlmcp-time");
pub(crate) const NONCE: HeaderName = HeaderName::from_static("erlmcp-nonce");
pub(crate) const DIGEST: HeaderName = HeaderName::from_static("erlmcp-digest");
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("erlmcp-signature");

/// A request whose headers are proven; the body still has to match the digest.
#[derive(Debug, Clone)]
pub struct Proven {
    /// Node that sent it.
    pub from: NodeTag,
    digest: [u8; 32],
}

impl Proven {
    /// Whether `body` is the one that was signed.
    ///
    /// # Errors
    /// [`AuthError::Tampered`] when it is not.
    pub fn check_body(&self, body: &[u8]) -> Result<(), AuthError> {
        if digest::digest(&digest::SHA256, body).as_ref() == self.digest {
            Ok(())
        } else {
            Err(AuthError::Tampered)
        }
    }
}

/// Requests that the peer port turned away since the start.
#[derive(Debug, Default)]
pub struct PeerCounts {
    /// Connections without a signed request in time, or in favour of newer ones.
    pub strangers: AtomicU64,
    /// Requests whose signature, time or receiver is wrong, or that were seen before.
    pub unproven: AtomicU64,
    /// Requests for which the budget of nonces was full.
    pub nonces_full: AtomicU64,
}

impl PeerCounts {
    pub(crate) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Signs and checks requests of one node.
#[derive(Clone)]
pub struct PeerAuth {
    pub(crate) secret: ClusterSecret,
    me: NodeTag,
    pub(crate) clock: PeerClock,
    nonces: Arc<Mutex<NonceBook>>,
    counts: Arc<PeerCounts>,
    /// Requests from before cannot be told from ones that the process before has seen.
    started_ms: u64,
}

impl PeerAuth {
    /// For the node `me`.
    #[must_use]
    pub fn new(secret: ClusterSecret, me: NodeTag, clock: PeerClock) -> Self {
        let started_ms = clock.unix_ms();
        Self { secret, me, clock, nonces: Arc::default(), counts: Arc::default(), started_ms }
    }

    /// Requests turned away here.
    #[must_use]
    pub fn counts(&self) -> &PeerCounts {
        &self.counts
    }

    /// Node that signs.
    #[must_use]
    pub fn me(&self) -> NodeTag {
        self.me
    }

    /// The headers that prove a request. `to` is `None` when the receiver's identity is not known yet;
    /// `ahead_ms` is how far the receiver's clock is known to be ahead of ours.
    ///
    /// # Errors
    /// [`RaftError::Random`] when there is no nonce to be had.
    pub fn sign(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        to: Option<NodeTag>,
        ahead_ms: i64,
    ) -> Result<HeaderMap, RaftError> {
        let time = self.clock.unix_ms().saturating_add_signed(ahead_ms).to_string();
        let signed = Signed {
            method,
            path,
            digest: &HEXLOWER.encode(digest::digest(&digest::SHA256, body).as_ref()),
            time: &time,
            nonce: &HEXLOWER.encode(&random_bytes::<16>()?),
            from: &self.me.to_string(),
            to: &to.map_or_else(|| "-".to_owned(), |to| to.to_string()),
            cluster: self.secret.cluster_id(),
        };
        let signature = HEXLOWER.encode(hmac::sign(self.secret.key(), signed.text().as_bytes()).as_ref());
        let mut headers = HeaderMap::with_capacity(7);
        let values = [
            (CLUSTER, signed.cluster),
            (FROM, signed.from),
            (TO, signed.to),
            (TIME, signed.time),
            (NONCE, signed.nonce),
            (DIGEST, signed.digest),
            (SIGNATURE, signature.as_str()),
        ];
        for (name, value) in values {
            // Hexadecimal digits, decimal digits, '/' and '-' only.
            let Ok(value) = HeaderValue::from_str(value) else { unreachable!("header {name} of {value:?}") };
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// Checks the headers of a request.
    ///
    /// # Errors
    /// [`AuthError`] with the first thing that is wrong.
    pub fn verify(&self, method: &str, path: &str, headers: &HeaderMap) -> Result<Proven, AuthError> {
        let verified = self.check(method, path, headers);
        match &verified {
            Ok(_) => {}
            Err(AuthError::Busy) => PeerCounts::add(&self.counts.nonces_full),
            Err(_) => PeerCounts::add(&self.counts.unproven),
        }
        verified
    }

    fn check(&self, method: &str, path: &str, headers: &HeaderMap) -> Result<Proven, AuthError> {
        let signed = Signed {
            method,
            path,
            digest: text(headers, &DIGEST, "erlmcp-digest")?,
            time: text(headers, &TIME, "erlmcp-time")?,
            nonce: text(headers, &NONCE, "erlmcp-nonce")?,
            from: text(headers, &FROM, "erlmcp-from")?,
            to: text(headers, &TO, "erlmcp-to")?,
            cluster: text(headers, &CLUSTER, "erlmcp-cluster")?,
        };
        let signature = unhex(text(headers, &SIGNATURE, "erlmcp-signature")?);
        let signature = signature.ok_or(AuthError::Unsigned("erlmcp-signature"))?;
        let from: NodeTag = signed.from.parse().map_err(|()| AuthError::Unsigned("erlmcp-from"))?;
        let time: u64 = signed.time.parse().map_err(|_| AuthError::Unsigned("erlmcp-time"))?;
        let nonce: [u8; 16] = fixed(signed.nonce).ok_or(AuthError::Unsigned("erlmcp-nonce"))?;
        let digest: [u8; 32] = fixed(signed.digest).ok_or(AuthError::Unsigned("erlmcp-digest"))?;

        let ours = self.secret.cluster_id();
        if signed.cluster != ours {
            let theirs = signed.cluster.chars().take(64).collect();
            return Err(AuthError::OtherCluster { ours: ours.to_owned(), theirs });
        }
        hmac::verify(self.secret.key(), signed.text().as_bytes(), &signature)
            .map_err(|_| AuthError::WrongSecret)?;
        if signed.to != "-" && signed.to != self.me.to_string() {
            return Err(AuthError::Misdirected { ours: self.me, theirs: signed.to.to_owned() });
        }
        let apart = self.clock.unix_ms().abs_diff(time);
        if apart > WINDOW_MS || time < self.started_ms {
            return Err(AuthError::Stale(apart));
        }
        let mut nonces = self.nonces.lock();
        nonces.admit(path, nonce, self.clock.uptime_ms())?;
        Ok(Proven { from, digest })
    }
}

impl fmt::Debug for PeerAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerAuth").field("me", &self.me).finish_non_exhaustive()
    }
}

/// The parts of a request that are signed, one a line; none of them can hold a line break.
struct Signed<'a> {
    method: &'a str,
    path: &'a str,
    digest: &'a str,
    time: &'a str,
    nonce: &'a str,
    from: &'a str,
    to: &'a str,
    cluster: &'a str,
}

impl Signed<'_> {
    fn text(&self) -> String {
        let Self { method, path, digest, time, nonce, from, to, cluster } = self;
        format!("erlmcp-peer-v2\n{method}\n{path}\n{digest}\n{time}\n{nonce}\n{from}\n{to}\n{cluster}")
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName, what: &'static str) -> Result<&'a str, AuthError> {
    headers.get(name).and_then(|value| value.to_str().ok()).ok_or(AuthError::Unsigned(what))
}

pub(crate) fn fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    unhex(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use erlmcp_ledger::{Incarnation, NodeId};
    use http::StatusCode;

    use super::*;

    fn tag(id: NodeId) -> NodeTag {
        NodeTag { id, incarnation: Incarnation::new(u128::from(id)) }
    }

    fn auth(id: NodeId, secret: &str) -> PeerAuth {
        PeerAuth::new(ClusterSecret::from_text(secret).unwrap(), tag(id), PeerClock::start())
    }

    const SECRET: &str = "0123456789abcdef:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_signed_request_is_accepted_once() {
        let (one, two) = (auth(1, SECRET), auth(2, SECRET));
        let headers = one.sign("POST", "/a?b=c", b"body", Some(tag(2)), 0).unwrap();
        let proven = two.verify("POST", "/a?b=c", &headers).unwrap();
        assert_eq!(proven.from, tag(1));
        assert_eq!(proven.check_body(b"body"), Ok(()));
        assert_eq!(two.verify("POST", "/a?b=c", &headers).unwrap_err(), AuthError::Replayed);
    }

    #[test]
    fn a_tampered_body_path_method_or_header_is_refused() {
        let (one, two) = (auth(1, SECRET), auth(2, SECRET));
        let sign = || one.sign("POST", "/a", b"body", Some(tag(2)), 0).unwrap();
        let proven = two.verify("POST", "/a", &sign()).unwrap();
        assert_eq!(proven.check_body(b"bodY"), Err(AuthError::Tampered));
        assert_eq!(two.verify("GET", "/a", &sign()).unwrap_err(), AuthError::WrongSecret);
        assert_eq!(two.verify("POST", "/b", &sign()).unwrap_err(), AuthError::WrongSecret);
        for (name, value) in [(FROM, tag(3).to_string()), (DIGEST, "00".repeat(32)), (NONCE, "00".repeat(16))]
        {
            let mut headers = sign();
            headers.insert(name, HeaderValue::from_str(&value).unwrap());
            assert_eq!(two.verify("POST", "/a", &headers).unwrap_err(), AuthError::WrongSecret);
        }
    }

    #[test]
    fn another_cluster_and_another_secret_are_told_apart() {
        let two = auth(2, SECRET);
        let other_cluster = auth(1, "a secret of quite another cluster, yes");
        let headers = other_cluster.sign("POST", "/a", b"", None, 0).unwrap();
        assert!(matches!(two.verify("POST", "/a", &headers), Err(AuthError::OtherCluster { .. })));

        let other_secret = auth(1, &SECRET.replace(":01", ":10"));
        let headers = other_secret.sign("POST", "/a", b"", None, 0).unwrap();
        assert_eq!(two.verify("POST", "/a", &headers).unwrap_err(), AuthError::WrongSecret);
    }

    #[test]
    fn a_request_for_another_life_of_this_node_is_refused() {
        let (one, two) = (auth(1, SECRET), auth(2, SECRET));
        let before = NodeTag { id: 2, incarnation: Incarnation::new(99) };
        let headers = one.sign("POST", "/a", b"", Some(before), 0).unwrap();
        assert!(matches!(two.verify("POST", "/a", &headers), Err(AuthError::Misdirected { .. })));
        let headers = one.sign("POST", "/a", b"", None, 0).unwrap();
        assert!(two.verify("POST", "/a", &headers).is_ok());
    }

    #[test]
    fn a_request_outside_the_window_is_refused_and_its_sender_can_correct_itself() {
        let (one, two) = (auth(1, SECRET), auth(2, SECRET));
        let window = i64::try_from(WINDOW_MS).unwrap();
        for off in [window + 1_000, -window - 1_000] {
            let headers = one.sign("POST", "/a", b"", None, off).unwrap();
            assert!(matches!(two.verify("POST", "/a", &headers), Err(AuthError::Stale(_))));
            let answer = two.sign_answer(&headers, StatusCode::UNAUTHORIZED, Some(b""));
            let proven = one.verify_answer(&headers, None, StatusCode::UNAUTHORIZED, &answer);
            let ahead = proven.unwrap().ahead_ms;
            assert!(ahead.abs() < 5_000, "both clocks are this machine's, yet {ahead} ms apart");
        }
        // What was signed before the start is refused for that, so it has to be long ago.
        let two = PeerAuth { started_ms: 0, ..two };
        for off in [window - 2_000, 2_000 - window] {
            let headers = one.sign("POST", "/a", b"", None, off).unwrap();
            assert!(two.verify("POST", "/a", &headers).is_ok());
        }
    }

    #[test]
    fn a_request_from_before_the_start_is_refused_as_the_process_before_may_have_seen_it() {
        let (one, two) = (auth(1, SECRET), auth(2, SECRET));
        let headers = one.sign("POST", "/a", b"", Some(tag(2)), -1_000).unwrap();
        assert!(matches!(two.verify("POST", "/a", &headers), Err(AuthError::Stale(_))));
        let headers = one.sign("POST", "/a", b"", Some(tag(2)), 0).unwrap();
        assert!(two.verify("POST", "/a", &headers).is_ok());
        assert_eq!(two.counts().unproven.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn missing_and_malformed_headers_are_refused_without_a_panic() {
        let (one, two) = (auth(1, SECRET), auth(2, SECRET));
        let whole = one.sign("POST", "/a", b"", None, 0).unwrap();
        for name in [CLUSTER, FROM, TO, TIME, NONCE, DIGEST, SIGNATURE] {
            let mut headers = whole.clone();
            headers.remove(&name);
            assert!(matches!(two.verify("POST", "/a", &headers), Err(AuthError::Unsigned(_))));
            headers.insert(&name, HeaderValue::from_bytes(b"\xff\xfe junk").unwrap());
            assert!(two.verify("POST", "/a", &headers).is_err());
        }
    }
}
