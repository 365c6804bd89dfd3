//! Upstreams as real processes and real HTTP servers, seen through `Provider` only.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests"
)]

mod cost;
mod fake_http;
mod http;
mod isolation;
mod launcher;
mod lies;
mod python_sdk;
mod shares;
mod stdio;
mod support;
mod tasks;
mod unowned;
