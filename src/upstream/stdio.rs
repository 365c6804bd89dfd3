//! An upstream that is a child process: one JSON message a line on stdin and stdout.

pub(super) mod child;
mod child_client;
mod connection;
pub(super) mod launcher;
mod lines;
mod pending_request;
mod provider;
mod session_children;
mod shared_children;
mod shared_clients;
mod stderr;
mod supervisor;
mod unrequested;
mod wire;

pub(super) use provider::StdioProvider;
