//! The rules of the quota protocol: how a node keeps to its share of the limit, and when the leader ends one.
//!
//! Pure: time and events come in, decisions go out, so that the same code runs in a node, in a simulation and
//! in a model that visits every state. It reads no clock, does no I/O and knows no transport. The replicated
//! half of the protocol is `erlmcp-ledger`.

mod agent;
mod demand;
mod event;
mod expiry;
mod lease;
mod recall;

pub use agent::{ASK_MAX, Agent, RENEWAL_MS_MAX, REQUEST_MS};
pub use demand::{Demand, HEADROOM_MAX};
pub use event::{Action, Event, Outlook, Readiness, Refusal, Request, Settings};
pub use expiry::{Notes, due, grace_ms, next_due_ms};
pub use lease::{Identity, LAST_ADMISSION_MS, Lease, Outstanding, Permit, Phase, RequestId};
pub use recall::recall;
