//! Keys of fairness: rates, budgets, leases, sessions.

use erlmcp_ledger::{DRIFT_PPM_MAX, LEASE_MS_MAX, LEASE_MS_MIN, MARGIN_MS_MAX, RATE_MAX};

use super::super::key::{Fallback, Key, Kind};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "limits.enabled",
        Kind::Bool,
        Fallback::Bool(true),
        "Whether the rates of this section apply. Limits per address never apply to loopback.",
    )
    .planned(),
    Key::int(
        "limits.messages_per_second",
        100,
        (1, 1_000_000),
        "messages a second",
        "Of one client; more answers 429 with a time to wait.",
    )
    .planned(),
    Key::int(
        "limits.tool_calls_per_second",
        50,
        (1, 1_000_000),
        "calls a second",
        "Of one client, within its messages.",
    )
    .planned(),
    Key::int(
        "limits.subscriptions_per_second",
        20,
        (1, 1_000_000),
        "subscriptions a second",
        "Of one client, within its messages.",
    )
    .planned(),
    Key::int(
        "limits.connections_per_second_per_address",
        10,
        (1, 1_000_000),
        "connections a second",
        "Of one address (IPv6: one /64). Behind a trusted proxy the forwarded address counts.",
    )
    .planned(),
    Key::int(
        "limits.block_after_violations",
        100,
        (1, 1_000_000),
        "refusals",
        "Refusals of one address after which it is blocked.",
    )
    .planned(),
    Key::int("limits.block_s", 300, (1, 86_400), "seconds", "How long a blocked address stays so.").planned(),
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
        "Of the whole cluster. The Erlang system said 10,000, which forbids the 125,000 that it \
         promises.",
    )
    .planned(),
    Key::int(
        "budget.burst_messages",
        150_000,
        (1, RATE_MAX as i64),
        "messages",
        "What the cluster takes at once after a quiet time. In any w seconds: rate x w + burst.",
    )
    .planned(),
    Key::new(
        "quota.lease_ms",
        Kind::IntOr { min: LEASE_MS_MIN as i64, max: LEASE_MS_MAX as i64, word: "never" },
        Fallback::Int(30_000),
        "How long a node may spend its share without hearing from the group. Short: capacity of a lost \
         host comes back soon. \"never\": losing the group drops nobody, and a lost host's share waits \
         for an operator.",
    ),
    Key::int(
        "quota.drift_ppm",
        10_000,
        (0, DRIFT_PPM_MAX as i64),
        "millionths",
        "How much the clocks of two nodes may differ in speed. Real ones stay under 500.",
    )
    .planned(),
    Key::int(
        "quota.margin_ms",
        500,
        (0, MARGIN_MS_MAX as i64),
        "milliseconds",
        "Added to the wait before the leader gives a silent node's share to others.",
    )
    .planned(),
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
        "session.subscriptions_per_resource_max",
        1000,
        (1, 1_000_000),
        "subscriptions",
        "Listeners of one resource. The Erlang system: max_subscriptions_per_resource.",
    )
    .planned(),
    Key::int(
        "session.progress_tokens_max",
        10_000,
        (1, 1_000_000),
        "tokens",
        "Calls with progress at once on this node. The Erlang system: max_progress_tokens.",
    )
    .planned(),
    Key::int(
        "session.elicitation_timeout_s",
        600,
        (1, 86_400),
        "seconds",
        "How long a question to the user may stay open. The Erlang system: form_timeout.",
    ),
    Key::int(
        "session.elicitations_max",
        100,
        (1, 100_000),
        "questions",
        "Open questions on this node. The Erlang system: max_concurrent_forms.",
    )
    .planned(),
    Key::new(
        "session.sticky",
        Kind::Bool,
        Fallback::Bool(true),
        "Carry a request to the node that holds its session. false: the node that gets it takes the \
         session over.",
    )
    .planned(),
];
