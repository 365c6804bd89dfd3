//! State of a handler from one round of a request to the next (multi round-trip requests of
//! 2026-07-28).
//!
//! A modern client keeps it for us as `requestState`, sealed: bound to the server, the principal, the
//! method and the parameters, with an end. Nothing in it is believed that does not open.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::digest::digest;
use super::settings::Settings;
use crate::mcp::{RawObject, RpcError, raw};

/// Rounds of one request; a handler that asks more often is thought to ask forever.
pub(super) const ROUNDS_MAX: u32 = 16;
/// Longest state, in bytes before sealing: it travels with each retry, in hex.
pub(super) const STATE_BYTES_MAX: usize = 64 * 1024;

/// Answers so far, and the handler's own state.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Rounds {
    /// Rounds that have ended with questions.
    pub(super) ended: u32,
    /// Answers that the handler took, by key.
    pub(super) taken: BTreeMap<String, Box<RawValue>>,
    /// Value that the handler keeps for itself.
    pub(super) state: Option<Box<RawValue>>,
    /// Answers of this request that the handler has not asked for (yet): not believed, not kept.
    #[serde(skip)]
    pub(super) offered: BTreeMap<String, Box<RawValue>>,
}

/// Bytes that a sealed state is bound to.
pub(super) fn binding(server: &str, principal: &str, method: &str, params: &RawObject) -> Vec<u8> {
    let mut bound = Vec::new();
    for part in [server, principal, method] {
        bound.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bound.extend_from_slice(part.as_bytes());
    }
    bound.extend_from_slice(&digest(params));
    bound
}

impl Rounds {
    /// Takes up where the client's `requestState` and `inputResponses` say.
    ///
    /// # Errors
    /// -32602 for a state that is not ours, altered, expired, or of another request; and for responses that
    /// are no object.
    pub(super) fn resume(
        params: &RawObject,
        settings: &Settings,
        bound: impl Fn() -> Vec<u8>,
    ) -> Result<Rounds, RpcError> {
        let mut rounds = match params.read::<String>("requestState") {
            Ok(None) => Rounds::default(),
            Ok(Some(sealed)) => Rounds::open(&sealed, settings, &bound())?,
            Err(error) => return Err(RpcError::invalid_params(format!("requestState: {error}"))),
        };
        let responses = params.read::<RawObject>("inputResponses");
        let responses =
            responses.map_err(|error| RpcError::invalid_params(format!("inputResponses: {error}")))?;
        for (key, answer) in responses.unwrap_or_default().iter() {
            rounds.offered.insert(key.to_owned(), answer.to_owned());
        }
        Ok(rounds)
    }

    fn open(sealed: &str, settings: &Settings, bound: &[u8]) -> Result<Rounds, RpcError> {
        // One text for all causes: whoever tries must not learn which it was.
        let refused =
            || RpcError::invalid_params("requestState is not valid for this request, or has expired");
        let bytes = settings.seal.open(sealed, bound, (settings.clock)()).map_err(|_| refused())?;
        serde_json::from_slice(&bytes).map_err(|_| refused())
    }

    /// The state for the client to keep until the next round.
    ///
    /// # Errors
    /// A fault when the handler keeps too much or has asked too often.
    pub(super) fn seal(mut self, settings: &Settings, bound: &[u8]) -> Result<String, RpcError> {
        self.ended += 1;
        if self.ended > ROUNDS_MAX {
            return Err(RpcError::internal(format!("more than {ROUNDS_MAX} rounds of questions")));
        }
        let bytes = raw(&self);
        if bytes.get().len() > STATE_BYTES_MAX {
            let size = bytes.get().len();
            return Err(RpcError::internal(format!("a state of {size} bytes is above {STATE_BYTES_MAX}")));
        }
        let end = (settings.clock)().saturating_add(settings.limits.input_wait_ms);
        Ok(settings.seal.seal(bytes.get().as_bytes(), bound, end))
    }
}
