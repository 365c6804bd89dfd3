//! Legacy sessions: one conversation of one client, which may outlive its connections.
//!
//! A session without a socket costs memory only, so sessions have their own limits and their own end. Every
//! end frees everything.

mod account;
mod holders;
mod id;
mod level;
mod log;

mod reader;
#[allow(clippy::module_inception, reason = "one noun, one file")]
mod session;
mod streams;
mod table;

pub use holders::Shortage;
pub use id::{ID_LENGTH_MAX, home, mint};
pub use level::passes;
pub use log::{EventId, LoggedEvent};
pub use reader::{Reader, StreamGone};
pub use session::{NotBegun, RunningRequest, Session, SessionParams};
pub use streams::OWN as OWN_STREAM;
pub use table::Sessions;
