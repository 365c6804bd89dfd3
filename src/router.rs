//! Which provider serves a request, and the lists of all providers as one.
//!
//! Providers publish whole catalogs; the router merges the newest ones and routes by the merged names. Of a
//! client it remembers only which tasks of upstreams it created.

mod by_task;
mod created;
mod dispatch;
mod follow;
mod headers;
mod listing;
mod merge;
mod names;
mod owner;
mod task_ids;
mod task_key;
mod task_list;
#[cfg(test)]
mod task_tests;

pub use dispatch::Router;
pub use headers::HeaderParam;
pub use names::Naming;
pub use task_key::TaskKey;
