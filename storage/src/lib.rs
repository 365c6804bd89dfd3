//! Durable log, votes, state and snapshots of one node.
