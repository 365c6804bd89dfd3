//! The ledger: the replicated truth, as a pure function.
//!
//! Every node applies the same commands in the same order and so holds the same state. To keep that true this
//! crate has no clock, no randomness, no I/O, no floats and no hash-ordered maps, and [`Ledger::apply`] is
//! total: any command in any state gives a receipt, never a panic.

mod command;
mod entries;
mod id;
pub mod laws;
mod ledger;
mod limits;
mod members;
mod policy;
mod receipt;
mod share;
mod shares;
mod wire;

pub use command::Command;
pub use id::{IdError, Incarnation, NodeId, TENANT_BYTES_MAX, Tenant};
pub use ledger::{Change, Ledger};
pub use limits::{
    Budget, CONNECTIONS_MAX, DRIFT_PPM_MAX, LEASE_MS_MAX, LEASE_MS_MIN, Limits, MARGIN_MS_MAX, RATE_MAX,
    TENANTS_MAX,
};
pub use members::{MEMBERS_MAX, MemberClaim, MemberRecord};
pub use policy::{CHUNK_MAX, LITTLE_FREE};
pub use receipt::{Reason, Receipt};
pub use share::{Amount, Grant, Instance, Opening, RENEWALS_MAX, Renewal, SessionId, Share, longer_lease};
pub use wire::{LedgerError, VERSION};
