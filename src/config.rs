//! Configuration: what users may set, proven before anything starts.
//!
//! One table of keys (`keys`), the sources laid over each other (`overlay`), the words as types
//! (`file`), and the proof (`checked`). The rest of the program sees a [`Config`] and never a file.

mod checked;
mod error;
mod file;
mod key;
mod keys;
mod overlay;
mod planned;
mod render;

pub use checked::{Config, NODE_ID_MAX};
pub use error::{ConfigError, Fault, Origin};
pub use file::{
    Address, Admin, Budget, Cluster, Connections, Drain, Format, Gateway, Http, Instances, KnownNode, Lease,
    Limits, Listen, Names, Never, Peer, Quota, Raft, Runtime, Sections, Session, Telemetry, Upstream,
};
pub use key::{Fallback, Key, Kind};
pub use keys::{LISTS, all as keys, is_listed};
pub use overlay::{Element, Settings, Sources};
pub use planned::PLANNED;
pub use render::{Shipped, explanation, render};
