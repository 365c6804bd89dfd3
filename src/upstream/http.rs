//! An upstream behind a URL: Streamable HTTP in both eras, as a client.

mod call;
mod client;
mod headers;
mod notification_queue;
mod provider;
mod resumable_response;
mod session;
mod sessions;
mod sse;
mod stream;
mod supervisor;
mod upstream;

pub(super) use provider::HttpProvider;
