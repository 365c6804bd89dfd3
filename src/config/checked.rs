//! The configuration of one node, proven: every value in its range and all of them fit together.
//!
//! Whoever holds a [`Config`] need not check it again. Relative paths stay relative to the working
//! directory. Nothing here touches the file system or the network.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use super::address::{Address, Listen, network};
use super::cluster::KnownNode;
use super::error::{ConfigError, Problem};
use super::overlay::{Settings, Sources};
use super::sections::Sections;

/// The configuration of one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which node this is, from 1.
    pub node_id: u64,
    /// Every section as written, defaults filled in.
    pub sections: Sections,
    /// Address on which HTTP listens.
    pub http_listen: SocketAddr,
    /// Address on which the other nodes are heard.
    pub peer_listen: SocketAddr,
    /// HOST:PORT that this node tells others to reach it by.
    pub peer_advertise: String,
    /// Nodes this one knows, itself among them: the list of the file, else local ones by their ports.
    pub nodes: Vec<KnownNode>,
    /// Whether `nodes` was written by the user.
    pub nodes_are_listed: bool,
    /// This node's own directory, `data/clusterN`.
    pub node_dir: PathBuf,
    /// The file with the cluster's secret.
    pub secret_file: PathBuf,
    /// The file with the operator's token.
    pub admin_token_file: PathBuf,
    /// Source of each value.
    pub settings: Settings,
}

/// Distance of a node's ports from the base: B+N-1 for HTTP, B+1120+N for peers.
const PEER_OFFSET: u64 = 1120;

/// The largest `--id`; node ids are also written into session ids.
pub const NODE_ID_MAX: u64 = 1_000_000;

impl Config {
    /// Reads all sources for node `node_id` (1 to [`NODE_ID_MAX`]).
    ///
    /// # Errors
    /// Everything that is wrong, one [`Problem`] each.
    pub fn load(node_id: u64, sources: &Sources) -> Result<Self, ConfigError> {
        Self::check(node_id, Settings::read(sources)?)
    }

    /// Proves that the settings fit together for this node.
    ///
    /// # Errors
    /// Everything that does not fit.
    pub fn check(node_id: u64, settings: Settings) -> Result<Self, ConfigError> {
        assert!((1..=NODE_ID_MAX).contains(&node_id), "node id {node_id} is not from 1 to {NODE_ID_MAX}");
        let sections = match Sections::deserialize(settings.to_table()) {
            Ok(sections) => sections,
            Err(error) => unreachable!("the table of keys and the structs of the sections differ: {error}"),
        };
        let mut check = Check { node_id, settings: &settings, sections: &sections, faults: Vec::new() };
        check.order();
        check.lists();
        check.proxies();
        let ports = check.ports();
        check.exposure(&ports);
        let faults = check.faults;
        if !faults.is_empty() {
            return Err(ConfigError { faults });
        }
        let nodes = known_nodes(&sections, node_id, ports.peer);
        let own = nodes.iter().find(|node| node.id == node_id);
        let peer_advertise = match (&sections.peer.advertise, own) {
            (Address::At(address), _) => address.clone(),
            (Address::Auto, Some(node)) if !sections.cluster.nodes.is_empty() => node.peer.clone(),
            (Address::Auto, _) => ports.peer.to_string(),
        };
        let data_dir = PathBuf::from(&sections.cluster.data_dir);
        let node_dir = data_dir.join(format!("cluster{node_id}"));
        let or_auto = |text: &str, auto: PathBuf| if text == "auto" { auto } else { PathBuf::from(text) };
        Ok(Config {
            node_id,
            http_listen: ports.http,
            peer_listen: ports.peer,
            peer_advertise,
            nodes,
            nodes_are_listed: !sections.cluster.nodes.is_empty(),
            secret_file: or_auto(&sections.cluster.secret_file, data_dir.join("cluster.secret")),
            admin_token_file: or_auto(&sections.admin.token_file, node_dir.join("admin.token")),
            node_dir,
            sections,
            settings,
        })
    }
}

/// Addresses on which this node listens.
struct Ports {
    http: SocketAddr,
    peer: SocketAddr,
}

/// The checks in progress.
struct Check<'a> {
    node_id: u64,
    settings: &'a Settings,
    sections: &'a Sections,
    faults: Vec<Problem>,
}

impl Check<'_> {
    fn fault(&mut self, key: &str, value: impl ToString, wanted: impl Into<String>) {
        let origin = self.settings.origin(key);
        let (key, value, wanted) = (key.to_string(), value.to_string(), wanted.into());
        self.faults.push(Problem::Value { origin, key, value, wanted });
    }

    /// Pairs of keys of which one bounds the other.
    fn order(&mut self) {
        let s = self.sections;
        let (heartbeat, min, max) = (s.raft.heartbeat_ms, s.raft.election_min_ms, s.raft.election_max_ms);
        if heartbeat.saturating_mul(2) > min {
            let wanted = format!("at most half of raft.election_min_ms, which is {min}");
            self.fault("raft.heartbeat_ms", heartbeat, wanted);
        }
        if max <= min {
            self.fault(
                "raft.election_max_ms",
                max,
                format!("more than raft.election_min_ms, which is {min}"),
            );
        }
        let (stream, all) = (s.http.http2_stream_window_bytes, s.http.http2_connection_window_bytes);
        if all < stream {
            let wanted = format!("at least http.http2_stream_window_bytes, which is {stream}");
            self.fault("http.http2_connection_window_bytes", all, wanted);
        }
        for (key, kind) in [("http.listen", s.http.listen), ("peer.listen", s.peer.listen)] {
            if kind == Listen::Off {
                self.fault(key, "\"off\"", "\"auto\" or an address; a node cannot do without it");
            }
        }
    }

    /// Elements of lists against each other.
    fn lists(&mut self) {
        let s = self.sections;
        let mut ids = BTreeSet::new();
        for (index, node) in s.cluster.nodes.iter().enumerate() {
            if !ids.insert(node.id) {
                self.fault(&format!("cluster.nodes[{index}].id"), node.id, "a number that no other node has");
            }
        }
        let mut names = BTreeSet::new();
        for (index, upstream) in s.upstream.iter().enumerate() {
            let key = |name: &str| format!("upstream[{index}].{name}");
            if !names.insert(upstream.name.as_str()) {
                let value = format!("\"{}\"", upstream.name);
                self.fault(&key("name"), value, "a name that no other upstream has");
            }
            if upstream.command.is_some() == upstream.url.is_some() {
                let value = format!("\"{}\"", upstream.name);
                self.fault(&key("name"), value, "given with either command or url, not both or neither");
            }
            if let Some(url) = upstream.url.as_ref().filter(|url| !is_http(url)) {
                self.fault(
                    &key("url"),
                    format!("\"{url}\""),
                    "an address that begins with http:// or https://",
                );
            }
            if upstream.restart_max_ms < upstream.restart_min_ms {
                let wanted = format!("at least restart_min_ms, which is {}", upstream.restart_min_ms);
                self.fault(&key("restart_max_ms"), upstream.restart_max_ms, wanted);
            }
        }
    }

    fn proxies(&mut self) {
        for text in self.sections.http.trusted_proxies.iter().filter(|text| network(text).is_none()) {
            self.fault(
                "http.trusted_proxies",
                format!("\"{text}\""),
                "an IP address or a block of them, such as \"10.0.0.7\", \"10.0.0.0/8\" or \"fd00::/8\"",
            );
        }
    }

    fn ports(&mut self) -> Ports {
        let base = u64::from(self.sections.cluster.port_base);
        let needs_peer_port = self.sections.cluster.nodes.is_empty();
        let highest = base + PEER_OFFSET + self.node_id;
        let uses_auto = self.sections.http.listen == Listen::Auto
            || self.sections.peer.listen == Listen::Auto
            || needs_peer_port;
        if uses_auto && highest > u64::from(u16::MAX) {
            let wanted =
                format!("so that port_base + {PEER_OFFSET} + id ({highest}) is a port, at most 65535");
            self.fault("cluster.port_base", base, wanted);
        }
        let auto = |port: u64| {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), u16::try_from(port).unwrap_or(u16::MAX))
        };
        let resolve = |listen: Listen, port: u64| match listen {
            Listen::Auto => Some(auto(port)),
            Listen::Off => None,
            Listen::At(address) => Some(address),
        };
        let (http, peer) = (base + self.node_id - 1, base + PEER_OFFSET + self.node_id);
        Ports {
            http: resolve(self.sections.http.listen, http).unwrap_or_else(|| auto(http)),
            peer: resolve(self.sections.peer.listen, peer).unwrap_or_else(|| auto(peer)),
        }
    }

    /// A client port that others than this machine can reach.
    fn exposure(&mut self, ports: &Ports) {
        if self.sections.connections.insecure {
            return;
        }
        let (key, address) = ("http.listen", ports.http);
        if !address.ip().to_canonical().is_loopback() {
            let origin = self.settings.origin(key);
            self.faults.push(Problem::Insecure { origin, key, address });
        }
    }
}

/// The nodes of the file; without a list, as many local ones as the cluster should have, and this one.
fn known_nodes(sections: &Sections, node_id: u64, own_peer: SocketAddr) -> Vec<KnownNode> {
    if !sections.cluster.nodes.is_empty() {
        return sections.cluster.nodes.clone();
    }
    let base = u64::from(sections.cluster.port_base);
    let count = u64::from(sections.cluster.nodes_expected);
    let local = |id: u64| KnownNode {
        id,
        peer: if id == node_id {
            own_peer.to_string()
        } else {
            format!("127.0.0.1:{}", base + PEER_OFFSET + id)
        },
        http: (id != node_id).then(|| format!("127.0.0.1:{}", base + id - 1)),
    };
    (1..=count).chain((node_id > count).then_some(node_id)).map(local).collect()
}

fn is_http(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

#[cfg(test)]
#[path = "checked_tests.rs"]
mod tests;
