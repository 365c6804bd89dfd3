//! How messages come in from clients and go out to them. Only framing lives here; what a message means is
//! told in `exchange`.

mod activity;
mod answer;
mod body;
mod body_budget;
mod connection;
mod ending;
mod headers;
mod host_check;
mod idle;
mod legacy;
pub mod listener;
mod long_streams;
mod modern;
mod reserve;
mod service;
mod socket;
mod sse;
mod stalls;
mod standalone;
mod streamable;

pub use ending::Ending;
pub use host_check::{HostCheck, OriginError};
pub use service::{HttpService, HttpServiceOptions, Principal};
pub use standalone::StandaloneServer;
