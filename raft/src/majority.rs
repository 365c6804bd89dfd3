//! How recently a majority answered its leader, and what a node has to apply before it is up to date.
//!
//! A leader knows of its majority by itself and says so in every heartbeat: one that is cut off from the
//! others goes on with heartbeats, so that hearing them says nothing. What was known under an earlier leader
//! stays known, so a change of leader looks like no gap.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openraft::Instant as _;
use openraft::raft::AppendEntriesRequest;
use openraft::vote::RaftLeaderId as _;
use serde::{Deserialize, Serialize};

use crate::clock::PeerClock;
use crate::types::{LogId, Metrics, TypeConfig, Vote};

/// A message without entries, with the leader's word on its majority. A receiver that only knows openraft's
/// message reads that and skips the rest.
#[derive(Serialize)]
pub(crate) struct Heartbeat<'a> {
    #[serde(flatten)]
    pub(crate) message: &'a AppendEntriesRequest<TypeConfig>,
    #[serde(flatten)]
    pub(crate) word: MajorityWord,
}

/// Word of a leader about its majority.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct MajorityWord {
    /// How long ago it answered; `None` when this leader knows of no time that it did.
    #[serde(default)]
    majority_ms: Option<u64>,
}

/// Knowledge of this process.
#[derive(Debug)]
pub(crate) struct Majority {
    clock: PeerClock,
    /// When a majority last answered its leader, in milliseconds of our clock; 0 is never.
    answered_ms: AtomicU64,
    /// This node leads and votes alone: it is its own majority.
    is_alone: AtomicBool,
    /// Index that was committed when this node first heard of a leader that knows it.
    begin: OnceLock<u64>,
}

impl Majority {
    pub(crate) fn new(clock: PeerClock) -> Self {
        let (answered_ms, is_alone) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { clock, answered_ms, is_alone, begin: OnceLock::new() }
    }

    /// How long ago a majority last answered its leader.
    pub(crate) fn silent_ms(&self) -> Option<u64> {
        if self.is_alone.load(Ordering::Relaxed) {
            return Some(0);
        }
        let answered = self.answered_ms.load(Ordering::Relaxed);
        (answered > 0).then(|| self.clock.uptime_ms().saturating_sub(answered))
    }

    /// The log index that this node has to have applied to be up to date since its start; `None` until a
    /// leader has told.
    pub(crate) fn begin(&self) -> Option<u64> {
        self.begin.get().copied()
    }

    pub(crate) fn word(&self) -> MajorityWord {
        MajorityWord { majority_ms: self.silent_ms() }
    }

    /// Takes what the own core knows, while this node leads.
    pub(crate) fn note_metrics(&self, id: u64, metrics: &Metrics) {
        let is_leader = metrics.state.is_leader();
        let mut voters = metrics.membership_config.membership().voter_ids();
        let is_alone = is_leader && voters.next() == Some(id) && voters.next().is_none();
        if self.is_alone.swap(is_alone, Ordering::Relaxed) || is_alone {
            self.note_answer(0);
        }
        if !is_leader {
            return;
        }
        if let Some(answered) = &metrics.last_quorum_acked {
            self.note_answer(u64::try_from(answered.elapsed().as_millis()).unwrap_or(u64::MAX));
        }
        self.note_committed(metrics.current_term, metrics.cluster_committed.as_ref());
    }

    /// Takes the word of a leader that this node follows.
    pub(crate) fn note_word(&self, vote: &Vote, committed: Option<&LogId>, word: MajorityWord) {
        if let Some(ago_ms) = word.majority_ms {
            self.note_answer(ago_ms);
        }
        self.note_committed(vote.leader_id().term(), committed);
    }

    fn note_answer(&self, ago_ms: u64) {
        let at_ms = self.clock.uptime_ms().saturating_sub(ago_ms);
        self.answered_ms.fetch_max(at_ms, Ordering::Relaxed);
    }

    /// A leader knows all that is committed once an entry of its own term is.
    fn note_committed(&self, term: u64, committed: Option<&LogId>) {
        if let Some(committed) = committed.filter(|log_id| **log_id.committed_leader_id() == term) {
            self.begin.get_or_init(|| committed.index());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_id(term: u64, index: u64) -> LogId {
        LogId::new(Vote::new(term, 1).leader_id().to_committed(), index)
    }

    #[test]
    fn the_newest_answer_counts_and_none_is_never() {
        let majority = Majority::new(PeerClock::start());
        let say = |majority_ms| majority.note_word(&Vote::new(1, 1), None, MajorityWord { majority_ms });
        assert_eq!(majority.silent_ms(), None);
        say(None);
        assert_eq!(majority.silent_ms(), None, "a leader that knows nothing tells nothing");
        // The clock of the test has just begun: only what is at least a millisecond old is a time.
        while majority.clock.uptime_ms() < 3 {
            std::thread::yield_now();
        }
        say(Some(0));
        let newest = majority.answered_ms.load(Ordering::Relaxed);
        say(Some(2));
        assert_eq!(majority.answered_ms.load(Ordering::Relaxed), newest, "an older answer is no news");
        assert!(majority.silent_ms().is_some());
    }

    #[test]
    fn a_leader_says_what_is_committed_once_it_has_committed_itself_and_the_first_word_stays() {
        let majority = Majority::new(PeerClock::start());
        let say = |committed: Option<LogId>| {
            majority.note_word(&Vote::new(3, 1), committed.as_ref(), MajorityWord::default());
        };
        say(None);
        say(Some(log_id(2, 40)));
        assert_eq!(majority.begin(), None, "there may be more from before its term");
        say(Some(log_id(3, 44)));
        say(Some(log_id(3, 50)));
        assert_eq!(majority.begin(), Some(44));
    }

    #[test]
    fn a_heartbeat_is_read_with_and_without_the_word() {
        let message = AppendEntriesRequest::<TypeConfig> {
            vote: Vote::new_committed(3, 1),
            prev_log_id: None,
            entries: vec![],
            leader_commit: Some(log_id(3, 44)),
        };
        let heartbeat = Heartbeat { message: &message, word: MajorityWord { majority_ms: Some(7) } };
        let text = serde_json::to_vec(&heartbeat).unwrap();
        let read: AppendEntriesRequest<TypeConfig> = serde_json::from_slice(&text).unwrap();
        assert_eq!((read.vote, read.leader_commit), (message.vote, message.leader_commit));
        let word: MajorityWord = serde_json::from_slice(&text).unwrap();
        assert_eq!(word.majority_ms, Some(7));
        let plain = serde_json::to_vec(&message).unwrap();
        assert_eq!(serde_json::from_slice::<MajorityWord>(&plain).unwrap().majority_ms, None);
    }
}
