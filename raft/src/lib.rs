//! Consensus: the ledger replicated over peers.

mod clock;
mod error;
mod identity;
mod log_store;
mod peer_auth;
mod peer_client;
mod peer_server;
mod secret;
mod state_machine;
mod types;
mod view;

pub use error::RaftError;
pub use identity::{Identity, Init};
pub use secret::ClusterSecret;
