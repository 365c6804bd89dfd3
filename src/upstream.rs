//! Upstream MCP servers: each is a child process (stdio) or a URL (Streamable HTTP), and each is one
//! [`Provider`].
//!
//! Messages that pass through stay as they were written: params and results are raw, only ids and progress
//! tokens are ours on the way. A slow or dead upstream costs its own callers one error in bounded time and
//! nobody else anything.
//!
//! [`Provider`]: crate::mcp::Provider

mod at_work;
mod backoff;
mod base;
mod calls;
mod changes;
mod collect;
mod elicited;
mod health;
mod hello;
mod http;
mod inbox;
mod options;
mod passage;
mod places;
mod registry;
mod seats;
mod session_slots;
mod stdio;
mod stock;
mod wishes;

pub use health::{CountsView, Health, State};
pub use options::{Speaks, UpstreamOptions};
pub use registry::{Surroundings, UpstreamError, Upstreams};
pub use stdio::launcher::{LAUNCHER_COMMAND, launcher_main};
