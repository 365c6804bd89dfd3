//! One MCP server to every client, however many machines stand behind it: the node as a library.

pub mod clock;
pub mod config;
