//! Which provider serves a request, and the lists of all providers as one.
//!
//! Providers publish whole catalogs; the router merges the newest ones and routes by the merged names. It
//! holds no state of any client.

mod dispatch;
mod follow;
mod headers;
mod listing;
mod merge;
mod names;

pub use dispatch::Router;
pub use headers::HeaderParam;
pub use names::Naming;
