//! Every time and threshold of consensus, in one place, with its reason.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use crate::error::RaftError;

/// Times and thresholds of one node. None has a default here: the node takes all of them from its
/// configuration, whose table gives their ranges and reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader tells that it lives.
    pub heartbeat: Duration,
    /// The shortest wait before an election, after the leader's lease (`election_max`) ended.
    pub election_min: Duration,
    /// The longest wait before an election, and the leader's lease: a dead leader is replaced within twice
    /// this.
    pub election_max: Duration,
    /// The longest wait for a receipt.
    pub propose: Duration,
    /// The longest wait for an operator's request to be carried out.
    pub operate: Duration,
    /// The longest pause between two attempts to join.
    pub join_pause: Duration,
    /// How long a learner must have been healthy before it may vote; at the first formation it need not wait.
    pub promote_after: Duration,
    /// How long a voter must have been silent before a standby takes its place.
    pub replace_after: Duration,
    /// How often the leader compares the membership with the ledger, beside every change.
    pub reconcile: Duration,
    /// A learner may vote when it is fewer entries behind than this.
    pub lag_max: u64,
    /// A snapshot is taken after so many entries.
    pub snapshot_entries: u64,
    /// So many entries are kept behind a snapshot, for followers that are a little behind.
    pub keep_entries: u64,
}

impl Timing {
    /// How long without a sign of life before a peer counts as silent.
    pub(crate) fn silence(&self) -> Duration {
        self.election_max * 2
    }

    /// The bound of one message with log entries. openraft's own bound is the heartbeat, less than a busy
    /// disk may take for one sync; what is missed here only delays noticing a broken connection.
    pub(crate) fn append(&self) -> Duration {
        self.election_min
    }

    /// openraft's settings.
    pub(crate) fn config(&self, cluster_id: &str) -> Result<Config, RaftError> {
        let config = Config {
            cluster_name: cluster_id.to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: 30_000,
            max_payload_entries: 256,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.keep_entries,
            replication_lag_threshold: self.snapshot_entries.saturating_mul(2),
            purge_batch_size: 256,
            // Until the log names this incarnation of the node, see `elect`.
            enable_elect: false,
            // A node that cannot win must not raise the term when it comes back.
            enable_pre_vote: Some(true),
            // Without it a leader that only some can hear may block writes for ever.
            quorum_loss_probe_interval: Some(millis(self.election_max) * 2),
            // A restarted leader is elected like any other.
            enable_leader_restore: Some(false),
            allow_log_reversion: None,
            backoff: "100ms 200ms ..500ms".to_owned(),
            ..Config::default()
        };
        config.validate().map_err(|error| RaftError::Settings(error.to_string()))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing_for_tests::timing;

    #[test]
    fn fitting_times_are_accepted_and_a_heartbeat_slower_than_an_election_is_not() {
        assert!(timing().config("c").is_ok());
        let slow = Timing { heartbeat: Duration::from_secs(2), ..timing() };
        assert!(matches!(slow.config("c"), Err(RaftError::Settings(_))));
    }

    #[test]
    fn a_returning_node_raises_no_term_and_a_leader_without_a_quorum_gives_up() {
        let config = timing().config("c").unwrap();
        assert_eq!(config.enable_pre_vote, Some(true));
        assert_eq!(config.quorum_loss_probe_interval, Some(1_600));
        assert!(!config.enable_elect, "no election before the log names this incarnation");
        assert_eq!(config.enable_leader_restore, Some(false));
    }
}
