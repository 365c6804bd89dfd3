//! An upstream behind a URL.
pub(super) mod client;
mod provider;
pub(super) use provider::HttpUpstream;
