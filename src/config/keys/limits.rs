//! Keys of fairness: rates, budgets, leases, sessions.

use erlmcp_ledger::{DRIFT_PPM_MAX, LEASE_MS_MAX, LEASE_MS_MIN, MARGIN_MS_MAX, RATE_MAX};

use super::super::key::{Fallback, Key, Kind};

pub(super) const KEYS: &[Key] = &[
    Key::int(
        "limits.requests_in_flight",
        100,
        (1, 100_000),
        "requests",
        "Unanswered requests of one session or connection. The Erlang system: max_pending_requests.",
    ),
    Key::int(
        "budget.messages_per_second",
        150_000,
        (1, RATE_MAX as i64),
        "messages a second",
        "The rate of the whole cluster, with which it is founded; afterwards the ledger holds it and status \
         shows it. No node is held to it yet. The Erlang system said 10,000, which forbids the 125,000 that \
         it promises.",
    ),
    Key::int(
        "budget.burst_messages",
        150_000,
        (1, RATE_MAX as i64),
        "messages",
        "What the cluster would take at once after a quiet time, founded and held likewise. In any w \
         seconds: rate x w + burst.",
    ),
    Key::new(
        "quota.lease_ms",
        Kind::IntOr { min: LEASE_MS_MIN as i64, max: LEASE_MS_MAX as i64, word: "never" },
        Fallback::Int(30_000),
        "How long a node may count on the group without hearing from it, in milliseconds. /readyz is 503 \
         once a majority has not answered the leader for half of it; \"never\": never for that reason. Also \
         the lease of shares with which the cluster is founded; no shares are given yet.",
    ),
    Key::int(
        "quota.drift_ppm",
        10_000,
        (0, DRIFT_PPM_MAX as i64),
        "millionths",
        "How much the clocks of two nodes may differ in speed, for the lease with which the cluster is \
         founded. Real ones stay under 500.",
    ),
    Key::int(
        "quota.margin_ms",
        500,
        (0, MARGIN_MS_MAX as i64),
        "milliseconds",
        "Added to the wait before a silent node's share would go to others; the cluster is founded with it.",
    ),
    Key::int(
        "session.idle_s",
        1800,
        (1, 604_800),
        "seconds",
        "A session without requests ends after this; an open stream keeps it alive.",
    ),
    Key::int(
        "session.per_node_max",
        100_000,
        (1, 10_000_000),
        "sessions",
        "Sessions this node holds. A session without a connection costs memory only, so it has its own \
         limit.",
    ),
    Key::int(
        "session.per_principal_max",
        10_000,
        (1, 10_000_000),
        "sessions",
        "Sessions of one credential on this node. Clients without one are many under one name and have only \
         per_node_max; a session that its client never used ends after a minute.",
    ),
    Key::int(
        "session.replay_bytes_max",
        262_144,
        (0, 67_108_864),
        "bytes",
        "Events kept for a stream that broke, for each session. 0 keeps none: a reconnect then misses \
         events.",
    ),
    Key::int(
        "session.elicitation_timeout_s",
        600,
        (1, 86_400),
        "seconds",
        "How long a question to the user may stay open. The Erlang system: form_timeout.",
    ),
];
