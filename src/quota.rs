//! A node's part in sharing out the limit: carries out what the agent behind the gate decides.

mod notices;
mod saved;
mod share;

pub use saved::SavedSession;
pub use share::{ShareKeeper, ShareOptions};
