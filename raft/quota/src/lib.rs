//! The rules of the quota protocol: how a node keeps to its share of the limit, and when the leader ends one.
//!
//! Pure: time and events come in, decisions go out, so that the same code runs in a node, in a simulation and
//! in a model that visits every state. It reads no clock, does no I/O and knows no transport. The replicated
//! half of the protocol is `erlmcp-ledger`.
