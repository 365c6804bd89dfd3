//! Upstream MCP servers: each is a child process (stdio) or a URL (Streamable HTTP), and each is one
//! [`Provider`].
//!
//! Messages that pass through stay as they were written: params and results are raw, only ids and progress
//! tokens are ours on the way. A slow or dead upstream costs its own callers one error in bounded time and
//! nobody else anything.
//!
//! [`Provider`]: crate::mcp::Provider

mod availability;
mod backoff;
mod catalog_store;
mod elicitation_owners;
mod forwarder;
mod handshake;
mod health;
mod http;
mod inbox;
mod list_changes;
mod list_reader;
mod open_tasks;
mod options;
mod places;
mod registry;
mod request_table;
mod session_slots;
mod stdio;
mod subscriptions;
mod upstream_state;

pub use health::{CountsView, Health, State};
pub use options::{EraSupport, UpstreamOptions};
pub use registry::{UpstreamDeps, UpstreamError, Upstreams};
pub use stdio::launcher::{LAUNCHER_COMMAND, launcher_main};
