//! Consensus: the ledger replicated over peers.

mod clock;
mod error;
mod identity;
mod peer_auth;
mod peer_client;
mod peer_server;
mod secret;
