//! One MCP server to every client, however many machines stand behind it: the node as a library.
//!
//! The order below is the order of the layers, lowest first; a module imports only from the rows
//! above it here. `docs/architecture.md` draws the two paths through it (a message, a share of the
//! limit).

pub mod causes;
pub mod client_address;
pub mod clock;
pub mod config;
pub mod drain;
pub mod memory;
pub mod random;
pub mod refusal;
pub mod telemetry;

pub mod api;
pub mod mcp;

pub mod admission;
pub mod monitor;
pub mod session;

pub mod router;
pub mod upstream;

pub mod handler;
pub mod quota;

pub mod exchange;

pub mod admin;
pub mod transport;

pub mod cli;
pub mod node;
