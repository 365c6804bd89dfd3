//! Routes for operators and their tools: health, the cluster as this node knows it, and actions.
//!
//! Reads are open to whoever reaches the port; actions need the admin token.

mod health;
mod quota;
mod quota_order;
mod requests;
mod routes;
mod status;
mod token;
mod tools;

pub(crate) use health::is_draining;
pub use health::{NotReady, Readiness};
pub use routes::{Admin, AdminOptions, IsOwn};
pub use status::StatusSource;
pub use token::{AdminToken, TOKEN_BYTES_MIN, TokenError};
pub use tools::node_tools;
