//! Addresses of the members.
//!
//! The ledger knows best, then the address a node joined with, then what the user configured. A node that
//! moved while everyone was down is found by the last, so all are tried in turn.

use std::sync::Arc;

use erlmcp_ledger::NodeId;
use tokio::sync::watch;

use crate::node_tag::NodeTag;
use crate::view::View;

/// Addresses of the members. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct AddressBook {
    view: watch::Receiver<Arc<View>>,
    known: Arc<Vec<(NodeId, String)>>,
}

impl AddressBook {
    pub(crate) fn new(view: watch::Receiver<Arc<View>>, known: Vec<(NodeId, String)>) -> Self {
        Self { view, known: Arc::new(known) }
    }

    /// The addresses at which `node` may be, best first, each once; `hint` is the one it joined with.
    pub(crate) fn addresses(&self, node: NodeTag, hint: &str) -> Vec<String> {
        let view = Arc::clone(&self.view.borrow());
        let member =
            view.ledger.members().get(&node.id).filter(|known| known.incarnation == node.incarnation);
        let recorded = member.map(|member| member.peer_address.as_str());
        let configured =
            self.known.iter().filter(|(id, _)| *id == node.id).map(|(_, address)| address.as_str());
        let mut all: Vec<String> = Vec::new();
        for address in recorded.into_iter().chain([hint]).chain(configured) {
            if !address.is_empty() && !all.iter().any(|known| known == address) {
                all.push(address.to_owned());
            }
        }
        all
    }

    /// Every address of others that a node that looks for its group may ask, each once.
    pub(crate) fn strangers(&self, me: NodeId) -> Vec<String> {
        let view = Arc::clone(&self.view.borrow());
        let members = view.ledger.members().iter().map(|(id, member)| (*id, member.peer_address.clone()));
        let mut all: Vec<String> = Vec::new();
        for (id, address) in self.known.iter().cloned().chain(members) {
            if id != me && !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }
}
