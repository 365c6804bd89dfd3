//! Nonces seen, so that no request counts twice; consensus has a budget of its own.
//!
//! However much is forwarded for clients, heartbeats and votes are never turned away for it.

use crate::auth_error::{AuthError, WINDOW_MS};
use std::collections::HashSet;

/// Paths of consensus begin with this.
pub(crate) const CONSENSUS: &str = "/peer/v2/raft/";

/// How many nonces one generation of one budget remembers (16 bytes each); beyond, requests are refused
/// rather than unchecked. Heartbeats, votes and entries of 64 members are a tenth of it.
const NONCES_MAX: usize = 500_000;

/// The nonces of one node.
#[derive(Default)]
pub(crate) struct NonceBook {
    consensus: Nonces,
    others: Nonces,
}

impl NonceBook {
    /// Notes the nonce of a request for `path`.
    pub(crate) fn admit(&mut self, path: &str, nonce: [u8; 16], now_ms: u64) -> Result<(), AuthError> {
        let budget = if path.starts_with(CONSENSUS) { &mut self.consensus } else { &mut self.others };
        budget.admit(nonce, now_ms)
    }
}

/// Two generations of twice the window each, so that none is forgotten while its request would still be young
/// enough.
#[derive(Default)]
struct Nonces {
    current: HashSet<[u8; 16]>,
    previous: HashSet<[u8; 16]>,
    since_ms: u64,
}

impl Nonces {
    fn admit(&mut self, nonce: [u8; 16], now_ms: u64) -> Result<(), AuthError> {
        if now_ms.saturating_sub(self.since_ms) >= 2 * WINDOW_MS {
            self.previous = std::mem::take(&mut self.current);
            self.since_ms = now_ms;
        }
        if self.previous.contains(&nonce) || self.current.contains(&nonce) {
            return Err(AuthError::Replayed);
        }
        if self.current.len() >= NONCES_MAX {
            return Err(AuthError::Busy);
        }
        self.current.insert(nonce);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_remembered_for_as_long_as_its_request_is_young() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.admit([1; 16], 59_999), Ok(()));
        assert_eq!(nonces.admit([2; 16], 60_000), Ok(()));
        assert_eq!(nonces.admit([1; 16], 119_998), Err(AuthError::Replayed));
        assert_eq!(nonces.admit([3; 16], 120_000), Ok(()));
        assert_eq!(nonces.admit([2; 16], 120_001), Err(AuthError::Replayed));
        assert_eq!(nonces.admit([1; 16], 120_001), Ok(()));
    }

    #[test]
    fn a_heartbeat_gets_in_whatever_else_comes() {
        let mut book = NonceBook::default();
        for n in 0..NONCES_MAX as u128 {
            assert_eq!(book.admit("/peer/v2/relay", n.to_be_bytes(), 0), Ok(()));
        }
        assert_eq!(book.admit("/peer/v2/relay", [255; 16], 0), Err(AuthError::Busy));
        for path in [crate::network::APPEND, crate::network::VOTE, crate::network::PRE_VOTE] {
            let nonce = [u8::try_from(path.len()).unwrap(); 16];
            assert_eq!(book.admit(path, nonce, 0), Ok(()), "{path}");
            assert_eq!(book.admit(path, nonce, 0), Err(AuthError::Replayed), "{path}");
        }
    }
}
