//! Configuration: what users may set, proven before anything starts.
//!
//! One file a section, its types and its rows of the table of keys (`sections`), the sources laid over each
//! other (`overlay`), and the proof (`checked`). The rest of the program sees a [`Config`] and never a file.

mod address;
mod admin;
mod checked;
mod cluster;
mod connections;
mod document;
mod drain;
mod error;
mod files;
mod gateway;
mod http;
mod key;
mod limits;
mod overlay;
mod peer;
mod planned;
mod quota;
mod raft;
mod render;
mod runtime;
mod sections;
mod service;
mod session;
mod telemetry;

pub use address::{Address, Listen, network};
pub use admin::Admin;
pub use checked::{Config, NODE_ID_MAX};
pub use cluster::{Cluster, KnownNode};
pub use connections::Connections;
pub use document::document;
pub use drain::Drain;
pub use error::{ConfigError, Origin, Problem};
pub use files::FilesPlan;
pub use gateway::{Gateway, Instances, Names, Upstream};
pub use http::Http;
pub use key::{Fallback, Key, Kind};
pub use limits::Limits;
pub use overlay::{Element, Settings, Sources};
pub use peer::Peer;
pub use planned::PLANNED;
pub use quota::{Budget, Lease, Never, Quota};
pub use raft::Raft;
pub use render::{Shipped, explanation, render};
pub use runtime::Runtime;
pub use sections::{LISTS, Sections, all as keys, is_listed};
pub use service::ServiceConfig;
pub use session::Session;
pub use telemetry::{Format, Telemetry};
