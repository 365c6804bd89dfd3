//! The store from outside, on real files: restarts, damage, faults, kills.
//!
//! One program for all of it, because it starts itself again as the process to kill.

mod common;
mod damage;
mod faults;
mod full_disk;
mod kill;
mod open;
mod restart;
mod snapshots;
