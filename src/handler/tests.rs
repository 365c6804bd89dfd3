//! The library as a node uses it: through `Provider`, with the messages that clients send.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod asking;
mod client;
mod offering;
mod rounds;
mod tasks;
