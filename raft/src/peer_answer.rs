//! Whether an answer is a peer's: HMAC-SHA256 over each answer and the request that it answers.
//!
//! Whoever listens where a dead node listened would be believed otherwise, and one "yes" of it counts as a
//! copy of the log. Signed are the request's nonce, the status, the body's digest, the time and the
//! answerer, so that an answer fits one request only. Refusals are signed as well, also those of strangers'
//! requests: they say nothing that depends on the asker but its own nonce.

use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ring::{digest, hmac};

use crate::node_tag::NodeTag;
use crate::peer_auth::{DIGEST, FROM, NONCE, PeerAuth, SIGNATURE, TIME, fixed};
use crate::secret::unhex;

/// The digest of a body that is not known when its head is sent.
const STREAM: &str = "-";

/// An answer whose head a peer has signed.
#[derive(Debug, Clone)]
pub struct ProvenAnswer {
    /// Node that answers.
    pub from: NodeTag,
    /// How far its clock is ahead of ours, in milliseconds.
    pub ahead_ms: i64,
    /// Of the body; `None` for a stream.
    digest: Option<[u8; 32]>,
}

impl ProvenAnswer {
    /// Whether `body` is the one that was signed; never for a stream.
    #[must_use]
    pub fn is_body(&self, body: &[u8]) -> bool {
        self.digest.is_some_and(|signed| digest::digest(&digest::SHA256, body).as_ref() == signed)
    }
}

impl PeerAuth {
    /// The headers that prove an answer to the request with `headers`; none if that has no nonce of ours.
    /// `body` is `None` for a stream.
    #[must_use]
    pub fn sign_answer(&self, headers: &HeaderMap, status: StatusCode, body: Option<&[u8]>) -> HeaderMap {
        let nonce = headers.get(NONCE).and_then(|nonce| nonce.to_str().ok());
        let Some(nonce) = nonce.filter(|nonce| fixed::<16>(nonce).is_some()) else {
            return HeaderMap::new();
        };
        let digest = match body {
            Some(body) => HEXLOWER.encode(digest::digest(&digest::SHA256, body).as_ref()),
            None => STREAM.to_owned(),
        };
        let (from, time) = (self.me().to_string(), self.clock.unix_ms().to_string());
        let text = text(nonce, status, &digest, &time, &from);
        let signature = HEXLOWER.encode(hmac::sign(self.secret.key(), text.as_bytes()).as_ref());
        let values = [(FROM, from), (TIME, time), (DIGEST, digest), (SIGNATURE, signature)];
        let header = |(name, value): (HeaderName, String)| Some((name, HeaderValue::from_str(&value).ok()?));
        values.into_iter().filter_map(header).collect()
    }

    /// Checks the head of an answer to our `request`, which was for `to`. Another node than that may only say
    /// that it is another.
    #[must_use]
    pub fn verify_answer(
        &self,
        request: &HeaderMap,
        to: Option<NodeTag>,
        status: StatusCode,
        answer: &HeaderMap,
    ) -> Option<ProvenAnswer> {
        let of = |headers: &'_ HeaderMap, name: &HeaderName| -> Option<String> {
            Some(headers.get(name)?.to_str().ok()?.to_owned())
        };
        let (nonce, digest) = (of(request, &NONCE)?, of(answer, &DIGEST)?);
        let (time, from) = (of(answer, &TIME)?, of(answer, &FROM)?);
        let signature = unhex(&of(answer, &SIGNATURE)?)?;
        let text = text(&nonce, status, &digest, &time, &from);
        hmac::verify(self.secret.key(), text.as_bytes(), &signature).ok()?;
        let from: NodeTag = from.parse().ok()?;
        if to.is_some_and(|to| to != from) && status != StatusCode::MISDIRECTED_REQUEST {
            return None;
        }
        let theirs = i64::try_from(time.parse::<u64>().ok()?).ok()?;
        let ahead_ms = theirs.checked_sub(i64::try_from(self.clock.unix_ms()).ok()?)?;
        let digest = if digest == STREAM { None } else { Some(fixed(&digest)?) };
        Some(ProvenAnswer { from, ahead_ms, digest })
    }
}

/// The parts of an answer that are signed, one a line; none of them can hold a line break.
fn text(nonce: &str, status: StatusCode, digest: &str, time: &str, from: &str) -> String {
    format!("erlmcp-answer-v2\n{nonce}\n{}\n{digest}\n{time}\n{from}", status.as_u16())
}

#[cfg(test)]
mod tests {
    use erlmcp_ledger::{Incarnation, NodeId};

    use super::*;
    use crate::clock::PeerClock;
    use crate::secret::ClusterSecret;

    const SECRET: &str = "0123456789abcdef:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn tag(id: NodeId) -> NodeTag {
        NodeTag { id, incarnation: Incarnation::new(u128::from(id)) }
    }

    fn auth(id: NodeId, secret: &str) -> PeerAuth {
        PeerAuth::new(ClusterSecret::from_text(secret).unwrap(), tag(id), PeerClock::start())
    }

    fn request(one: &PeerAuth) -> HeaderMap {
        one.sign("POST", "/a", b"ask", Some(tag(2)), 0).unwrap()
    }

    #[test]
    fn an_answer_is_proven_with_its_body() {
        let (one, two) = (auth(1, SECRET), auth(2, SECRET));
        let asked = request(&one);
        let signed = two.sign_answer(&asked, StatusCode::OK, Some(b"yes"));
        let proven = one.verify_answer(&asked, Some(tag(2)), StatusCode::OK, &signed).unwrap();
        assert_eq!(proven.from, tag(2));
        assert!(proven.ahead_ms.abs() < 60_000);
        assert!(proven.is_body(b"yes") && !proven.is_body(b"no") && !proven.is_body(b""));
        let head = two.sign_answer(&asked, StatusCode::OK, None);
        let stream = one.verify_answer(&asked, Some(tag(2)), StatusCode::OK, &head).unwrap();
        assert!(!stream.is_body(b""));
    }

    #[test]
    fn an_answer_fits_one_request_one_status_and_one_node() {
        let (one, two) = (auth(1, SECRET), auth(2, SECRET));
        let (asked, other) = (request(&one), request(&one));
        let signed = two.sign_answer(&asked, StatusCode::OK, Some(b"yes"));
        let is_proven = |request: &HeaderMap, to: Option<NodeTag>, status, answer: &HeaderMap| {
            one.verify_answer(request, to, status, answer).is_some()
        };
        assert!(is_proven(&asked, None, StatusCode::OK, &signed));
        assert!(!is_proven(&other, None, StatusCode::OK, &signed), "of another request");
        assert!(!is_proven(&asked, None, StatusCode::GONE, &signed), "another status");
        assert!(!is_proven(&asked, Some(tag(3)), StatusCode::OK, &signed), "of another node");
        let elsewhere = two.sign_answer(&asked, StatusCode::MISDIRECTED_REQUEST, Some(b""));
        assert!(is_proven(&asked, Some(tag(3)), StatusCode::MISDIRECTED_REQUEST, &elsewhere));
        for name in [FROM, TIME, DIGEST, SIGNATURE] {
            let mut altered = signed.clone();
            altered.insert(&name, HeaderValue::from_static("00"));
            assert!(!is_proven(&asked, None, StatusCode::OK, &altered), "{name} altered");
            altered.remove(&name);
            assert!(!is_proven(&asked, None, StatusCode::OK, &altered), "{name} missing");
        }
    }

    #[test]
    fn a_stranger_proves_nothing_and_a_request_is_no_answer() {
        let (one, stranger) = (auth(1, SECRET), auth(2, "a secret of quite another cluster, yes"));
        let asked = request(&one);
        let signed = stranger.sign_answer(&asked, StatusCode::OK, Some(b"yes"));
        assert!(one.verify_answer(&asked, None, StatusCode::OK, &signed).is_none());
        assert!(one.verify_answer(&asked, None, StatusCode::OK, &HeaderMap::new()).is_none());
        assert!(one.verify_answer(&asked, None, StatusCode::OK, &asked).is_none(), "our own, sent back");
        let mut malformed = HeaderMap::new();
        malformed.insert(NONCE, HeaderValue::from_static("00\t11"));
        assert!(stranger.sign_answer(&malformed, StatusCode::OK, None).is_empty());
        assert!(stranger.sign_answer(&HeaderMap::new(), StatusCode::OK, None).is_empty());
    }
}
