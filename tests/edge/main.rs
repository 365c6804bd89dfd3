//! The HTTP edge over real sockets, with a provider that does what a test asks: every status, every code,
//! every limit.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]
#![allow(unreachable_pub, reason = "its modules are read by one another only")]

mod bounds;
mod cost;
mod draining;
mod fake;
mod full;
mod idle;
mod legacy;
mod limits;
mod modern;
mod proxies;
mod refusals;
mod room;
mod server;
mod sessions;
mod stalls;
mod stopping;
mod streams;
mod wire;
