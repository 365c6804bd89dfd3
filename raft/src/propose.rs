//! Putting a command to the ledger, from any node.
//!
//! On the leader it is written; elsewhere it goes one hop to the leader. What is known not to have happened
//! is tried again until the time is up; what may have happened is reported as "maybe" and never repeated
//! here.

use std::time::Duration;

use bytes::Bytes;
use erlmcp_ledger::{Command, Renewal};
use http::StatusCode;
use openraft::async_runtime::WatchReceiver as _;
use openraft::error::{ClientWriteError, RaftError};
use tokio::sync::oneshot;

use crate::attempt::{Attempt, Committed};
use crate::core::Core;
use crate::error::ProposeError;
use crate::peer_client::PeerChannel;
use crate::peer_error::PeerError;
use crate::peer_server::{PeerReply, PeerRequest};
use crate::types::COMMAND_BYTES_MAX;

/// Path of a forwarded command.
pub(crate) const PROPOSE: &str = "/peer/v2/propose";

/// How long to wait for news of a leader before asking again.
const NEWS_TIME: Duration = Duration::from_millis(100);

impl Core {
    /// Puts `command` to the ledger within `time`, wherever the leader is.
    pub(crate) async fn propose(&self, command: Command, time: Duration) -> Result<Committed, ProposeError> {
        let begin_ms = self.clock.uptime_ms();
        let json = command.to_json().unwrap_or_default();
        if json.len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: json.len(), max: COMMAND_BYTES_MAX });
        }
        let json = Bytes::from(json);
        loop {
            let left = time.saturating_sub(self.clock.since(begin_ms));
            if left.is_zero() {
                return Err(ProposeError::NoLeader { waited: time });
            }
            match self.leader() {
                Some(leader) if leader.id != self.id() => {
                    let target = leader.target();
                    match self.client.post(&target, PeerChannel::Control, PROPOSE, json.clone(), left).await {
                        Ok(answer) => return read_committed(&answer, time),
                        Err(error) => told(error, time)?,
                    }
                }
                Some(_) => match self.propose_here(command.clone(), left).await {
                    Attempt::Committed(written) => return Ok(written),
                    Attempt::NotLeader => {}
                    Attempt::Unknown => return Err(ProposeError::Unknown { waited: time }),
                    Attempt::Stopped => return Err(ProposeError::Stopped),
                    Attempt::TooNew { version, reads } => {
                        return Err(ProposeError::TooNew { version, reads });
                    }
                    Attempt::TooLarge { bytes } => {
                        return Err(ProposeError::TooLarge { bytes, max: COMMAND_BYTES_MAX });
                    }
                },
                None => {}
            }
            if self.fatal.borrow().is_some() {
                return Err(ProposeError::Stopped);
            }
            let mut metrics = self.raft.metrics();
            if let Ok(Err(_)) = tokio::time::timeout(NEWS_TIME.min(left), metrics.changed()).await {
                return Err(ProposeError::Stopped);
            }
        }
    }

    /// Writes `command` if this node leads; a single renewal together with those of others.
    pub(crate) async fn propose_here(&self, command: Command, time: Duration) -> Attempt {
        match command {
            Command::Renew { mut renewals } if renewals.len() == 1 => {
                self.renew_here(renewals.swap_remove(0), time).await
            }
            command => self.write_here(command, time).await,
        }
    }

    /// Writes `renewal` with those of others if this node leads.
    pub(crate) async fn renew_here(&self, renewal: Renewal, time: Duration) -> Attempt {
        if !self.is_leader() {
            return Attempt::NotLeader;
        }
        let (answer, answered) = oneshot::channel();
        // A full queue: nothing was written, and the node tries again.
        if self.renewals.try_send((renewal, answer)).is_err() {
            return Attempt::NotLeader;
        }
        match tokio::time::timeout(time, answered).await {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(_)) => Attempt::Stopped,
            Err(_) => Attempt::Unknown,
        }
    }

    /// Writes `command` as one entry if this node leads.
    pub(crate) async fn write_here(&self, command: Command, time: Duration) -> Attempt {
        if self.fatal.borrow().is_some() {
            return Attempt::Stopped;
        }
        // One entry that cannot be stored would end the store, here and on every next leader.
        let bytes = command.to_json().map_or(usize::MAX, |json| json.len());
        if bytes > COMMAND_BYTES_MAX {
            return Attempt::TooLarge { bytes };
        }
        let (version, reads) = (command.version(), self.view().ledger.reads());
        // A member of an older release would refuse every entry from this one on.
        if version > reads {
            return Attempt::TooNew { version, reads };
        }
        match tokio::time::timeout(time, self.raft.client_write(command)).await {
            Ok(Ok(done)) => Attempt::Committed(Committed { index: done.log_id.index(), receipt: done.data }),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Attempt::NotLeader,
            // It may have been appended before the core ended: to propose it again could apply it twice.
            Ok(Err(RaftError::APIError(_) | RaftError::Fatal(_))) | Err(_) => Attempt::Unknown,
        }
    }

    /// Serves a forwarded command.
    pub(crate) async fn serve_propose(&self, request: PeerRequest) -> PeerReply {
        let command = match Command::from_json(&request.body) {
            Ok(command) => command,
            Err(error) => {
                return PeerReply::refuse(StatusCode::BAD_REQUEST, "unreadable", &error.to_string());
            }
        };
        match self.propose_here(command, self.timing.propose).await {
            Attempt::Committed(written) => PeerReply::json(&written),
            other => self.refuse_attempt(&other),
        }
    }

    /// Answer to a peer about an attempt that wrote nothing for certain.
    pub(crate) fn refuse_attempt(&self, attempt: &Attempt) -> PeerReply {
        match attempt {
            Attempt::NotLeader => self.refuse_not_leader(),
            Attempt::Stopped => PeerReply::refuse(StatusCode::SERVICE_UNAVAILABLE, "stopping", "stopping"),
            Attempt::TooNew { version, reads } => {
                let message = ProposeError::TooNew { version: *version, reads: *reads }.to_string();
                PeerReply::refuse(StatusCode::CONFLICT, "too_new", &message)
            }
            Attempt::TooLarge { bytes } => {
                let message =
                    format!("the command has {bytes} bytes; at most {COMMAND_BYTES_MAX} are allowed");
                PeerReply::refuse(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &message)
            }
            Attempt::Unknown | Attempt::Committed(_) => {
                PeerReply::refuse(StatusCode::GATEWAY_TIMEOUT, "maybe", "no answer in time")
            }
        }
    }

    pub(crate) fn refuse_not_leader(&self) -> PeerReply {
        let leader = self.leader().filter(|leader| leader.id != self.id());
        let message = match &leader {
            Some(leader) => format!("node {} does not lead; node {} does", self.id(), leader.id),
            None => format!("node {} knows no leader", self.id()),
        };
        PeerReply::refuse_with(StatusCode::MISDIRECTED_REQUEST, "not_leader", &message, leader)
    }
}

/// Whether to try again after the leader (or who was thought to be it) did not write.
fn told(error: PeerError, time: Duration) -> Result<(), ProposeError> {
    match &error {
        // Who is no peer may have handed it on to one.
        PeerError::Lost { .. } | PeerError::Unproven { .. } => Err(ProposeError::Unknown { waited: time }),
        PeerError::Unreachable { .. } => Ok(()),
        PeerError::Refused { code, .. } => match code.as_str() {
            "maybe" => Err(ProposeError::Unknown { waited: time }),
            "not_leader" | "stopping" | "misdirected" | "busy" => Ok(()),
            _ => Err(ProposeError::Peer(error)),
        },
    }
}

fn read_committed(answer: &[u8], time: Duration) -> Result<Committed, ProposeError> {
    // Written, but with an answer that this release cannot read.
    serde_json::from_slice(answer).map_err(|_| ProposeError::Unknown { waited: time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_not_to_have_happened_is_tried_again() {
        let (address, problem) = (String::new(), String::new());
        let refused = |code: &str| PeerError::Refused {
            address: String::new(),
            status: StatusCode::CONFLICT,
            code: code.to_owned(),
            message: String::new(),
            leader: None,
        };
        let again = [
            PeerError::Unreachable { address: address.clone(), problem: problem.clone() },
            refused("not_leader"),
            refused("stopping"),
            refused("misdirected"),
            refused("busy"),
        ];
        for error in again {
            assert!(told(error.clone(), NEWS_TIME).is_ok(), "{error}");
        }
        let maybe = [
            PeerError::Lost { address: address.clone(), problem },
            PeerError::Unproven { address, code: "not_leader".to_owned(), message: String::new() },
            refused("maybe"),
        ];
        for error in maybe {
            let told = told(error.clone(), NEWS_TIME);
            assert!(matches!(told, Err(ProposeError::Unknown { .. })), "{error}");
        }
        assert!(matches!(told(refused("too_large"), NEWS_TIME), Err(ProposeError::Peer(_))));
        assert!(matches!(read_committed(b"{}", NEWS_TIME), Err(ProposeError::Unknown { .. })));
    }
}
