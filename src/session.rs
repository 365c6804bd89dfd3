//! Legacy sessions: one conversation of one client, which may outlive its connections.
//!
//! A session without a socket costs memory only, so sessions have their own limits and their own end. Every
//! end frees everything.

mod conversation;
mod id;
mod level;
mod limits;
mod log;
mod reader;
mod streams;
mod table;

pub use conversation::{Hello, NotBegun, RunningRequest, Session};
pub use id::{ID_LENGTH_MAX, home, mint};
pub use level::passes;
pub use limits::SessionLimits;
pub use log::{EventId, Kept};
pub use reader::{Reader, StreamGone};
pub use streams::OWN as OWN_STREAM;
pub use table::Sessions;
