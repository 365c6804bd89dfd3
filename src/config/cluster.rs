//! Section `cluster`: who belongs to the group, and where a node keeps what is its own.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use serde::Deserialize;

use super::key::{Fallback, Key, Kind};
use super::sections::defaults;

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

impl Default for Cluster {
    fn default() -> Self {
        defaults("cluster")
    }
}

/// A node that this one knows of.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownNode {
    pub id: u64,
    pub peer: String,
    pub http: Option<String>,
}

/// The keys of this section and of its list, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "cluster.name",
        Kind::Name,
        Fallback::Text("erlmcp"),
        "A name for people, shown in status and metrics. What tells clusters apart is the id that init \
         makes.",
    ),
    Key::int(
        "cluster.nodes_expected",
        4,
        (1, 64),
        "nodes",
        "How many nodes this cluster should have. Status says \"forming 2/4\" until they are there; \
         nobody waits for them. Where it is set above 1, start --init makes no cluster secret.",
    ),
    Key::int(
        "cluster.port_base",
        8080,
        (1024, 64_000),
        "",
        "Base B of the ports of node N, where \"auto\" leaves them to us: HTTP B+N-1, peers B+1120+N; \
         B+1020+N is kept for TCP. Clusters with other bases may run side by side. Also ERLMCP_PORT_BASE.",
    ),
    Key::new(
        "cluster.data_dir",
        Kind::Text { empty: false },
        Fallback::Text("data"),
        "Node N keeps its identity, store and snapshots in clusterN below this directory. Relative to \
         the working directory. Also ERLMCP_DATA_DIR.",
    ),
    Key::new(
        "cluster.secret_file",
        Kind::Text { empty: false },
        Fallback::Text("auto"),
        "The secret that all nodes share and that signs every message between them; mode 0600. \
         \"auto\" is cluster.secret in data_dir, made by the first init. A further machine needs a \
         copy.",
    ),
    Key::int(
        "cluster.nodes.id",
        0,
        (1, 1_000_000),
        "",
        "The node's number, for ever its own; it is what --id takes.",
    )
    .required(),
    Key::new(
        "cluster.nodes.peer",
        Kind::Address { auto: false },
        Fallback::Required,
        "Where the other nodes reach it: the address of its peer port.",
    ),
    Key::new(
        "cluster.nodes.http",
        Kind::Address { auto: false },
        Fallback::Absent,
        "Where operators and clients reach it, shown in status. Left out: not shown until the node \
         says so itself.",
    ),
];
