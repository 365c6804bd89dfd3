//! The store from outside, on real files: restarts, damage, faults, kills.
//!
//! One program for all of it, because it starts itself again as the process to kill.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // the helpers of tests are tests too

mod common;
mod damage;
mod faults;
mod full_disk;
mod kill;
mod model;
mod open;
mod races;
mod restart;
mod snapshots;
