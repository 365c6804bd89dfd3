//! How messages come in from clients and go out to them. Only framing lives here; what a message means is
//! told in `exchange`.

mod alone;
mod answer;
mod body;
mod edge;
mod ending;
mod guard;
mod headers;
mod legacy;
mod limits;
pub mod listener;
mod modern;
mod reserve;
mod socket;
mod sse;
mod streamable;

pub use alone::Alone;
pub use edge::{Edge, EdgeOptions, Principal};
pub use ending::Ending;
pub use guard::{Foreign, Guard};
pub use limits::Limits;
