//! From the proven configuration to what each part wants to know.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use erlmcp_ledger::{Budget, Instance, Limits};
use erlmcp_raft::{ClusterSecret, Identity, PeerRoutes, ReplicaOptions, Timing};

use crate::cli::Launch;
use crate::config::{Config, FilesPlan, Lease, Names, ServiceConfig};
use crate::mcp::raw;
use crate::memory::Memory;
use crate::router::Naming;
use serde_json::value::RawValue;

/// Messages that arrive hold no more than this part of the memory.
const BODIES_PART: u64 = 16;
/// The part of it that sessions may keep at most.
const SESSIONS_PART: u64 = 8;

/// Threads that serve clients.
pub(super) fn worker_threads(config: &Config) -> usize {
    match config.sections.runtime.worker_threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}

/// Sections that serve clients, with `http.connections_max` lowered to what this node can take: no more than
/// `connections.per_node`, nor than its open files allow.
pub(super) fn service(launch: &Launch, files: &FilesPlan) -> ServiceConfig {
    let mut config = ServiceConfig::from(&launch.config.sections);
    let connections_max = config.http.connections_max.min(config.connections.per_node);
    config.http.connections_max = connections_max.min(clamp(files.clients));
    if let Some(bytes) = Memory::read().bytes() {
        let part = |of: u64| usize::try_from(bytes / of).unwrap_or(usize::MAX);
        let bodies = part(BODIES_PART).max(config.http.body_bytes_max);
        config.session.bytes_max = config.session.bytes_max.min(part(SESSIONS_PART));
        config.http.bodies_bytes_max = config.http.bodies_bytes_max.min(bodies);
    }
    config
}

/// The shares of its open files.
pub(super) fn files(launch: &Launch) -> FilesPlan {
    let sections = &launch.config.sections;
    let open_files = launch.open_files.soft;
    let plan = FilesPlan::new(open_files, &sections.connections, &sections.gateway, &sections.upstream);
    if plan.is_lowered {
        tracing::info!(
            open_files,
            requests = plan.gateway.queue_requests_max,
            sessions = plan.gateway.sessions_max,
            children = plan.gateway.children_max,
            "open files allow each upstream less at once than the keys of gateway say"
        );
    }
    plan
}

/// The process as the quota protocol knows it.
pub(super) fn quota_identity(launch: &Launch, identity: &Identity) -> erlmcp_quota::Identity {
    erlmcp_quota::Identity {
        node: identity.node_id,
        incarnation: identity.incarnation,
        instance: Instance::new(u128::from_le_bytes(crate::random::bytes())),
        nodes_expected: clamp(expected(launch)),
    }
}

/// How long a share lasts; `None` if for ever.
pub(super) fn lease_ms(config: &Config) -> Option<u64> {
    match config.sections.quota.lease_ms {
        Lease::Ms(ms) => Some(ms),
        Lease::Word(_) => None,
    }
}

/// The limits with which a cluster is founded.
pub(super) fn limits(config: &Config) -> Limits {
    let sections = &config.sections;
    Limits {
        connections: sections.connections.global,
        lease_ms: lease_ms(config).map(clamp),
        drift_ppm: sections.quota.drift_ppm,
        margin_ms: clamp(sections.quota.margin_ms),
    }
}

/// `serverInfo` of this node, raw.
pub(super) fn server_info() -> Box<RawValue> {
    raw(&serde_json::json!({ "name": "erlmcp", "title": "erlmcp", "version": env!("CARGO_PKG_VERSION") }))
}

/// When names of upstreams get a prefix.
pub(super) fn naming(config: &Config) -> Naming {
    match config.sections.gateway.names {
        Names::OnConflict => Naming::OnConflict,
        Names::Always => Naming::Always,
        Names::Never => Naming::Never,
    }
}

/// Address at which clients and operators reach this node.
pub(super) fn advertised_http(config: &Config) -> String {
    let listed =
        config.nodes.iter().find(|node| node.id == config.node_id).and_then(|node| node.http.clone());
    listed.unwrap_or_else(|| reachable(config.http_listen))
}

/// An address that listens everywhere is reached by the host's name.
fn reachable(address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let name = rustix::system::uname();
    format!("{}:{}", name.nodename().to_string_lossy(), address.port())
}

/// Options of the replica.
pub(super) fn replica(
    launch: &Launch,
    identity: Identity,
    secret: ClusterSecret,
    peer_listener: TcpListener,
    routes: PeerRoutes,
) -> ReplicaOptions {
    let config = &launch.config;
    let sections = &config.sections;
    let known = config.nodes.iter().filter(|node| node.id != config.node_id);
    ReplicaOptions {
        dir: config.node_dir.clone(),
        identity,
        secret,
        peer_listener,
        advertise_peer: config.peer_advertise.clone(),
        advertise_http: advertised_http(config),
        name: format!("node{}", config.node_id),
        known_peers: known.map(|node| (node.id, node.peer.clone())).collect(),
        join: launch.join.iter().cloned().collect(),
        timing: timing(config),
        nodes_expected: expected(launch),
        limits: limits(config),
        budget: Budget {
            messages_per_second: sections.budget.messages_per_second,
            burst: sections.budget.burst_messages,
        },
        store: erlmcp_storage::Options {
            cache_bytes: sections.raft.store_cache_bytes,
            min_free_bytes: sections.raft.store_free_bytes_min,
            ..erlmcp_storage::Options::default()
        },
        routes,
    }
}

/// A list names every node; without one, the count that the configuration gives.
fn expected(launch: &Launch) -> u64 {
    let config = &launch.config;
    if config.nodes_are_listed {
        config.nodes.len() as u64
    } else {
        config.sections.cluster.nodes_expected.into()
    }
}

fn clamp(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn timing(config: &Config) -> Timing {
    let raft = &config.sections.raft;
    let ms = Duration::from_millis;
    Timing {
        heartbeat: ms(raft.heartbeat_ms),
        election_min: ms(raft.election_min_ms),
        election_max: ms(raft.election_max_ms),
        propose: ms(raft.propose_timeout_ms),
        operate: ms(raft.operate_timeout_ms),
        join_pause: ms(raft.join_pause_ms),
        reconcile: ms(raft.reconcile_ms),
        promote_after: ms(raft.promote_after_ms),
        replace_after: ms(raft.dead_voter_after_ms),
        lag_max: raft.promote_lag_entries,
        snapshot_entries: raft.snapshot_after_entries,
        keep_entries: raft.keep_entries,
    }
}
