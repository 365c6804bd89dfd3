//! Admission: which connections this node lets in. It spends the node's share of the cluster's limit, and
//! never waits.

mod gate;

pub use gate::{Gate, Guest, Slot, Turn, Use};
