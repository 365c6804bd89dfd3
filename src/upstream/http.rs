//! An upstream behind a URL: Streamable HTTP in both eras, as a client.

mod client;
mod core;
mod errand;
mod headers;
mod keep;
mod notices;
mod provider;
mod session;
mod sessions;
mod sse;
mod stream;
mod talk;

pub(super) use provider::HttpUpstream;
