//! Section `raft`: how the group agrees, and how patient it is.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use serde::Deserialize;

use super::key::Key;
use super::sections::defaults;

/// How the group agrees.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raft {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    pub snapshot_after_entries: u64,
    pub keep_entries: u64,
    pub promote_lag_entries: u64,
    pub promote_after_ms: u64,
    pub dead_voter_after_ms: u64,
    pub reconcile_ms: u64,
    pub propose_timeout_ms: u64,
    pub operate_timeout_ms: u64,
    pub join_pause_ms: u64,
    pub store_cache_bytes: u64,
    pub store_free_bytes_min: u64,
}

impl Default for Raft {
    fn default() -> Self {
        defaults("raft")
    }
}

/// The keys of this section, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[
    Key::int(
        "raft.heartbeat_ms",
        125,
        (10, 10_000),
        "milliseconds",
        "How often the leader says that it is alive. Shorter finds a dead leader sooner and costs \
         more; 50 is too tight for four nodes on two cores. Less than half of election_min_ms.",
    ),
    Key::int(
        "raft.election_min_ms",
        400,
        (50, 60_000),
        "milliseconds",
        "Silence of the leader after which a follower stands for election, at least. Bounds how long a \
         dead leader goes unnoticed.",
    ),
    Key::int(
        "raft.election_max_ms",
        750,
        (100, 120_000),
        "milliseconds",
        "The same, at most; each follower draws between the two so that they rarely stand together. \
         More than election_min_ms.",
    ),
    Key::int(
        "raft.snapshot_after_entries",
        5000,
        (100, 10_000_000),
        "entries",
        "Log entries after which the ledger is written as a snapshot. More means a longer replay at \
         start.",
    ),
    Key::int(
        "raft.keep_entries",
        1000,
        (0, 10_000_000),
        "entries",
        "Entries kept behind a snapshot, so that a node briefly away catches up without one.",
    ),
    Key::int(
        "raft.promote_lag_entries",
        250,
        (1, 1_000_000),
        "entries",
        "A learner becomes a voter only when it is no further behind than this.",
    ),
    Key::int(
        "raft.promote_after_ms",
        5000,
        (0, 3_600_000),
        "milliseconds",
        "... and has been healthy for this long, so that a node which keeps dying does not shake the \
         group.",
    ),
    Key::int(
        "raft.dead_voter_after_ms",
        30_000,
        (1000, 86_400_000),
        "milliseconds",
        "A voter out of reach for this long is swapped for the standby. Longer than a restart takes.",
    ),
    Key::int(
        "raft.reconcile_ms",
        250,
        (10, 60_000),
        "milliseconds",
        "How often the leader compares the members with what they should be: three of four vote, an \
         odd number always, the others stand by.",
    ),
    Key::int(
        "raft.propose_timeout_ms",
        5000,
        (100, 600_000),
        "milliseconds",
        "The longest wait for the group's answer to one command.",
    ),
    Key::int(
        "raft.operate_timeout_ms",
        15_000,
        (100, 600_000),
        "milliseconds",
        "The longest wait for an operator's action (drain, remove, transfer) to be carried out.",
    ),
    Key::int(
        "raft.join_pause_ms",
        1000,
        (10, 600_000),
        "milliseconds",
        "The longest pause between two attempts to join; a node tries for ever.",
    ),
    Key::int(
        "raft.store_cache_bytes",
        67_108_864,
        (1_048_576, 17_179_869_184),
        "bytes",
        "Memory the store may use for its cache. The ledger is small; 64 MiB is ample.",
    ),
    Key::int(
        "raft.store_free_bytes_min",
        67_108_864,
        (1_048_576, 1_099_511_627_776),
        "bytes",
        "Disk that new entries leave free. Below it the node stops acknowledging and says so; a full \
         disk could not even be reopened.",
    ),
];
