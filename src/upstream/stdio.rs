//! An upstream that is a child process: one JSON message a line on stdin and stdout.

mod audience;
pub(super) mod child;
mod lane;
pub(super) mod launcher;
mod lines;
mod owned;
mod pipe;
mod provider;
mod running;
mod shared;
mod spoken;
mod stderr;
mod ticket;
mod wire;

pub(super) use provider::StdioUpstream;
