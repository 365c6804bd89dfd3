//! Consensus: the ledger replicated over peers.
//!
//! [`Replica`] is one node's part: it founds or joins the group, keeps the membership in line with the
//! ledger, and puts commands to the ledger from any node. Only this crate names openraft.

mod address_book;
mod admin;
mod attempt;
mod auth_error;
mod clock;
mod core;
mod elect;
mod error;
#[cfg(test)]
mod guard_tests;
mod handle;
mod identity;
mod join;
mod log_store;
mod majority;
mod membership;
mod network;
mod node_tag;
mod peer_answer;
mod peer_auth;
mod peer_client;
mod peer_error;
mod peer_nonces;
mod peer_server;
mod peer_strangers;
mod propose;
mod raft_routes;
mod reconciler;
mod renewals;
mod replica;
#[cfg(test)]
mod replica_for_tests;
mod room;
mod secret;
mod shares;
mod state_machine;
mod status;
mod timing;
#[cfg(test)]
mod timing_for_tests;
mod types;
mod view;
#[cfg(test)]
mod voice_tests;

pub use attempt::Committed;
pub use auth_error::{AuthError, WINDOW_MS};
pub use clock::PeerClock;
pub use core::Fatal;
pub use error::{AdminError, ProposeError, RaftError};
pub use handle::ReplicaHandle;
pub use identity::{Identity, Init};
pub use node_tag::NodeTag;
pub use peer_answer::ProvenAnswer;
pub use peer_auth::{PeerAuth, PeerCounts, Proven};
pub use peer_client::{PeerChannel, PeerClient, Target};
pub use peer_error::{LeaderHint, PeerError};
pub use peer_server::{PeerReply, PeerRequest, PeerRoutes, PeerServer};
pub use replica::{Replica, ReplicaOptions};
pub use secret::ClusterSecret;
pub use status::{Formation, PeerStatus, ReplicaStatus, Role, StoreStatus, TurnedAway};
pub use timing::Timing;
pub use types::COMMAND_BYTES_MAX;
pub use view::View;
