//! Keys of the group: who belongs to it, how they agree, and how they reach each other.

use super::super::key::{Fallback, Key, Kind};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "cluster.name",
        Kind::Name,
        Fallback::Text("erlmcp"),
        "A name for people, shown in status and metrics. What tells clusters apart is the id that init \
         makes.",
    ),
    Key::int(
        "cluster.nodes_expected",
        4,
        (1, 64),
        "nodes",
        "How many nodes this cluster should have. Status says \"forming 2/4\" until they are there; \
         nobody waits for them. Where it is set above 1, start --init makes no cluster secret.",
    ),
    Key::int(
        "cluster.port_base",
        8080,
        (1024, 64_000),
        "",
        "Base B of the ports of node N, where \"auto\" leaves them to us: HTTP B+N-1, peers B+1120+N; \
         B+1020+N is kept for TCP. Clusters with other bases may run side by side. Also ERLMCP_PORT_BASE.",
    ),
    Key::new(
        "cluster.data_dir",
        Kind::Text { empty: false },
        Fallback::Text("data"),
        "Node N keeps its identity, store and snapshots in clusterN below this directory. Relative to \
         the working directory. Also ERLMCP_DATA_DIR.",
    ),
    Key::new(
        "cluster.secret_file",
        Kind::Text { empty: false },
        Fallback::Text("auto"),
        "The secret that all nodes share and that signs every message between them; mode 0600. \
         \"auto\" is cluster.secret in data_dir, made by the first init. A further machine needs a \
         copy.",
    ),
    Key::int(
        "cluster.nodes.id",
        0,
        (1, 1_000_000),
        "",
        "The node's number, for ever its own; it is what --id takes.",
    )
    .required(),
    Key::new(
        "cluster.nodes.peer",
        Kind::Address { auto: false },
        Fallback::Required,
        "Where the other nodes reach it: the address of its peer port.",
    ),
    Key::new(
        "cluster.nodes.http",
        Kind::Address { auto: false },
        Fallback::Absent,
        "Where operators and clients reach it, shown in status. Left out: not shown until the node \
         says so itself.",
    ),
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
    Key::new(
        "peer.listen",
        Kind::Listen,
        Fallback::Text("auto"),
        "Where this node hears the others: Raft, and later forwarding. \"auto\" is 127.0.0.1 and the \
         port of port_base; \"off\" is not possible. Every request is signed, so it may face a \
         network.",
    ),
    Key::new(
        "peer.advertise",
        Kind::Address { auto: true },
        Fallback::Text("auto"),
        "What this node tells the others to reach it by. \"auto\": its entry in cluster.nodes, else \
         what it listens on.",
    ),
];
