//! Answers of a node under `/cluster/...`, and the orders that it takes there: one set of types for both
//! ends.
//!
//! The node fills them, the command line reads them. What is read may be missing or unknown, so that the
//! command line can ask a node one version older or newer. A figure is an `Option`: a node fills all that it
//! knows of, and `None` is a figure that the other end did not say, which is not 0. Each part says itself in
//! a line for people; what nothing was said of is an empty line. Knows no socket and nothing of the node.

mod figures;
mod members;
mod orders;
mod quota;
mod since;
mod status;
#[cfg(test)]
mod tests;
mod words;

pub use erlmcp_raft::{StoreStatus as Store, TurnedAway as PeerPort};
pub use figures::{Connections, Latency, Quota, Serving, Throughput};
pub use members::{Member, Members};
pub use orders::{Complaint, ComplaintText, Drain, Drained, Remove, Removed, Transfer, Transferred};
pub use quota::{Lease, Never, NodeShare, QuotaChange, QuotaReport, SetQuota};
pub use status::{ClusterPart, NodePart, Status};
pub use words::{Health, Standing, State};
