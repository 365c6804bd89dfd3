//! A replica by itself on a port of its own, for tests within this crate.

use std::net::TcpListener;
use std::path::Path;

use erlmcp_ledger::{Budget, Limits};

use crate::identity::Identity;
use crate::peer_server::PeerRoutes;
use crate::replica::ReplicaOptions;
use crate::secret::ClusterSecret;
use crate::timing_for_tests::timing;

/// Of the node `identity` with its data in `dir`; it knows nobody.
pub(crate) fn options(dir: &Path, identity: Identity, secret: &ClusterSecret) -> ReplicaOptions {
    ReplicaOptions {
        dir: dir.to_owned(),
        identity,
        secret: secret.clone(),
        peer_listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        advertise_peer: "127.0.0.1:1".to_owned(),
        advertise_http: String::new(),
        name: String::new(),
        known_peers: Vec::new(),
        join: Vec::new(),
        timing: timing(),
        nodes_expected: 1,
        limits: Limits::default(),
        budget: Budget::default(),
        store: erlmcp_storage::Options { min_free_bytes: 1024, ..Default::default() },
        routes: PeerRoutes::default(),
    }
}
