//! A node: everything of it assembled, started in order, stopped in reverse.
//!
//! No behaviour of its own: each part is told what it needs and owns its tasks. Ports are bound before
//! anything else starts, so that a port in use costs nothing.

mod bind;
mod drain;
mod error;
mod options;
mod run;
mod stop;
mod upstreams;

pub use error::NodeError;
pub use run::run;
