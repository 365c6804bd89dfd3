//! A small cluster for tests: nodes with directories and ports of their own, waits that are bounded.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use erlmcp_ledger::{Budget, Limits, NodeId};
use erlmcp_raft::{
    ClusterSecret, Identity, PeerRoutes, RaftError, Replica, ReplicaOptions, ReplicaStatus, Timing,
};
use erlmcp_storage::{Faults, Options};

/// The bound of waits that are usually over within a second; generous, for a machine that does much else.
pub const SOON: Duration = Duration::from_secs(30);

#[path = "../../src/timing_for_tests.rs"]
mod timing_for_tests;
use timing_for_tests::timing;

pub struct Cluster {
    pub dir: tempfile::TempDir,
    pub secret: ClusterSecret,
    pub nodes: BTreeMap<NodeId, Replica>,
    pub addresses: BTreeMap<NodeId, SocketAddr>,
    listeners: BTreeMap<NodeId, TcpListener>,
    pub timing: Timing,
    /// Faults of the disk of each node.
    pub faults: BTreeMap<NodeId, Faults>,
    expected: u64,
}

impl Cluster {
    pub fn new(expected: u64) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let dir = tempfile::tempdir().unwrap();
        let secret = ClusterSecret::open(&dir.path().join("secret"), true).unwrap();
        let mut addresses = BTreeMap::new();
        let mut listeners = BTreeMap::new();
        for id in 1..=expected {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            addresses.insert(id, listener.local_addr().unwrap());
            listeners.insert(id, listener);
        }
        let nodes = BTreeMap::new();
        let faults = (1..=expected).map(|id| (id, Faults::none())).collect();
        Self { dir, secret, nodes, addresses, listeners, timing: timing(), faults, expected }
    }

    pub fn node_dir(&self, id: NodeId) -> PathBuf {
        self.dir.path().join(format!("cluster{id}"))
    }

    pub fn options(&mut self, id: NodeId) -> ReplicaOptions {
        let dir = self.node_dir(id);
        let (identity, _) = Identity::init(&dir, id, id == 1, &self.secret).unwrap();
        let address = self.addresses[&id];
        let listener = self.listeners.remove(&id).unwrap_or_else(|| bind_again(address));
        ReplicaOptions {
            dir,
            identity,
            secret: self.secret.clone(),
            peer_listener: listener,
            advertise_peer: address.to_string(),
            advertise_http: format!("127.0.0.1:{}", 8079 + id),
            name: format!("node {id}"),
            known_peers: self.addresses.iter().map(|(id, address)| (*id, address.to_string())).collect(),
            join: Vec::new(),
            timing: self.timing.clone(),
            nodes_expected: self.expected,
            limits: Limits::default(),
            budget: Budget::default(),
            store: Options {
                min_free_bytes: 1024,
                cache_bytes: 4 * 1024 * 1024,
                faults: self.faults[&id].clone(),
            },
            routes: PeerRoutes::default(),
        }
    }

    pub async fn try_start(&mut self, id: NodeId) -> Result<(), RaftError> {
        let options = self.options(id);
        let replica = Replica::start(options).await?;
        self.nodes.insert(id, replica);
        Ok(())
    }

    pub async fn start(&mut self, id: NodeId) {
        self.try_start(id).await.unwrap();
    }

    pub async fn start_all(&mut self) {
        for id in 1..=self.expected {
            self.start(id).await;
        }
    }

    pub fn node(&self, id: NodeId) -> &Replica {
        &self.nodes[&id]
    }

    pub async fn wait(&self, id: NodeId, time: Duration, is_so: impl Fn(&ReplicaStatus) -> bool) {
        let node = self.node(id);
        let mut changed = node.status_changed();
        let arrival = async {
            while !is_so(&node.status()) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(time, arrival).await.is_err() {
            panic!("node {id} did not get there in {time:?}: {:#?}", node.status());
        }
    }

    pub async fn wait_formed(&self) {
        for id in self.nodes.keys() {
            self.wait(*id, SOON, |status| {
                status.formation.complete && status.leader.is_some() && !status.changing
            })
            .await;
        }
    }

    pub async fn wait_limit(&self, connections: u32) {
        for (id, node) in &self.nodes {
            let mut view = node.view();
            let arrived = view.wait_for(|view| view.ledger.limits().connections == connections);
            tokio::time::timeout(SOON, arrived)
                .await
                .unwrap_or_else(|_| panic!("node {id} did not see limit {connections}"))
                .unwrap();
        }
    }

    pub fn leader(&self) -> NodeId {
        self.nodes.values().find_map(|node| node.status().leader).unwrap()
    }

    pub async fn stop(&mut self, id: NodeId) {
        self.nodes.remove(&id).unwrap().stop().await.unwrap();
    }

    pub async fn kill(&mut self, id: NodeId) {
        self.nodes.remove(&id).unwrap().stop_at_once().await.unwrap();
    }

    pub async fn stop_all(&mut self) {
        for (_, node) in std::mem::take(&mut self.nodes) {
            node.stop_at_once().await.unwrap();
        }
    }
}

/// The port of a node that was stopped; its connections may still be closing.
fn bind_again(address: SocketAddr) -> TcpListener {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(address) {
            return listener;
        }
        std::thread::yield_now();
    }
    TcpListener::bind(address).unwrap()
}
