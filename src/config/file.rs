//! What users write, as types: one struct a section, one field a key.
//!
//! A value gets here only after the table of keys has checked it, so that every message about a bad
//! value comes from one place; what is here is within its range. Nothing here has a default: the table
//! has them. Rules that join several keys are in `checked.rs`.
#![allow(missing_docs, reason = "each field is a key; the table in keys/ has its unit, range and reason")]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Deserializer};

/// All sections together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sections {
    pub cluster: Cluster,
    pub raft: Raft,
    pub peer: Peer,
    pub http: Http,
    pub connections: Connections,
    pub limits: Limits,
    pub budget: Budget,
    pub quota: Quota,
    pub session: Session,
    pub gateway: Gateway,
    pub upstream: Vec<Upstream>,
    pub telemetry: Telemetry,
    pub drain: Drain,
    pub admin: Admin,
    pub runtime: Runtime,
}

/// The group: who belongs to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub name: String,
    pub nodes_expected: u32,
    pub port_base: u16,
    pub data_dir: String,
    pub secret_file: String,
    pub nodes: Vec<KnownNode>,
}

/// A node that this one knows of.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownNode {
    pub id: u64,
    pub peer: String,
    pub http: Option<String>,
}

/// How the group agrees.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raft {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    pub snapshot_after_entries: u64,
    pub keep_entries: u64,
    pub promote_lag_entries: u64,
    pub promote_after_ms: u64,
    pub dead_voter_after_ms: u64,
    pub reconcile_ms: u64,
    pub propose_timeout_ms: u64,
    pub operate_timeout_ms: u64,
    pub join_pause_ms: u64,
    pub store_cache_bytes: u64,
    pub store_free_bytes_min: u64,
}

/// How nodes reach each other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub listen: Listen,
    pub advertise: Address,
}

/// The HTTP edge.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub listen: Listen,
    pub allowed_hosts: Vec<String>,
    pub allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
    pub header_timeout_ms: u64,
    pub header_bytes_max: usize,
    pub body_bytes_max: usize,
    pub first_message_timeout_ms: u64,
    pub request_timeout_ms: u64,
    pub http2_streams_max: u32,
    pub http2_stream_window_bytes: u32,
    pub http2_connection_window_bytes: u32,
    pub sse_keepalive_ms: u64,
    pub sse_retry_ms: u64,
    pub connections_max: u32,
}

/// What a connection may cost, on every transport.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    pub global: u32,
    pub per_node: u32,
    pub idle_timeout_s: u64,
    pub reserve_files: u32,
    pub write_stall_ms: u64,
    pub tcp_nodelay: bool,
    pub insecure: bool,
}

/// Rates of one client or address, judged here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub requests_in_flight: u32,
}

/// Rates of the whole cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub messages_per_second: u32,
    pub burst_messages: u32,
}

/// How shares of the limits are leased.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    pub lease_ms: Lease,
    pub drift_ppm: u32,
    pub margin_ms: u64,
}

/// MCP sessions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub idle_s: u64,
    pub per_node_max: u32,
    pub per_principal_max: u32,
    pub replay_bytes_max: usize,
    pub elicitation_timeout_s: u64,
}

/// What is common to all upstreams.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    pub names: Names,
    pub message_bytes_max: usize,
    pub connect_timeout_ms: u64,
    pub pool_connections: u32,
    pub queue_requests_max: u32,
    pub start_wait_ms: u64,
}

/// One server behind the node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    pub name: String,
    pub command: Option<String>,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: Option<String>,
    pub url: Option<String>,
    pub timeout_ms: u64,
    pub idle_s: u64,
    pub restart_min_ms: u64,
    pub restart_max_ms: u64,
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    pub instances: Instances,
}

/// Logs, traces, metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub log: String,
    pub format: Format,
}

/// How a node stops.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    pub notice_ms: u64,
    pub timeout_ms: u64,
}

/// Operator access.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    pub token_file: String,
}

/// Threads, files, processors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    pub worker_threads: usize,
    pub control_threads: usize,
    pub blocking_threads: usize,
    pub open_files: u64,
    pub backlog: u32,
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Loopback and the port that the node's number gives.
    Auto,
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "auto" => Ok(Listen::Auto),
            "off" => Ok(Listen::Off),
            _ => text.parse().map(Listen::At).map_err(serde::de::Error::custom),
        }
    }
}

/// An address to be reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Found out at start.
    Auto,
    /// HOST:PORT.
    At(String),
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(if text == "auto" { Address::Auto } else { Address::At(text) })
    }
}

/// How long a share may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Lease {
    /// So many milliseconds after it was asked for.
    Ms(u64),
    /// For ever.
    Word(Never),
}

/// The word `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Never {
    /// Without end.
    Never,
}

/// When names get the prefix of their upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// When two upstreams offer the same.
    OnConflict,
    /// Always.
    Always,
    /// Never; the first in the file wins.
    Never,
}

/// How many children an upstream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instances {
    /// One for all.
    Shared,
    /// One for each session.
    Session,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}
