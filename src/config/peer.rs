//! Section `peer`: how nodes reach each other.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use serde::Deserialize;

use super::address::{Address, Listen};
use super::key::{Fallback, Key, Kind};
use super::sections::defaults;

/// How nodes reach each other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub listen: Listen,
    pub advertise: Address,
}

impl Default for Peer {
    fn default() -> Self {
        defaults("peer")
    }
}

/// The keys of this section, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "peer.listen",
        Kind::Listen,
        Fallback::Text("auto"),
        "Where this node hears the others: Raft, and later forwarding. \"auto\" is 127.0.0.1 and the \
         port of port_base; \"off\" is not possible. Every request is signed, so it may face a \
         network.",
    ),
    Key::new(
        "peer.advertise",
        Kind::Address { auto: true },
        Fallback::Text("auto"),
        "What this node tells the others to reach it by. \"auto\": its entry in cluster.nodes, else \
         what it listens on.",
    ),
];
