//! One MCP server to every client, however many machines stand behind it: the node as a library.
//!
//! The order below is the order of the layers, lowest first; a module imports only from the rows above it here.
//! `docs/architecture.md` draws the two paths through it (a message, a share of the limit).

pub mod mcp;
pub mod upstream;
