//! Name of a node among its peers: its id and the incarnation of its data directory.

use std::fmt;
use std::str::FromStr;

use erlmcp_ledger::{Incarnation, NodeId};

/// A node in one life of its data directory: `2/<incarnation>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeTag {
    /// The node.
    pub id: NodeId,
    /// The life of its directory.
    pub incarnation: Incarnation,
}

impl fmt::Display for NodeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.id, self.incarnation)
    }
}

impl FromStr for NodeTag {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (id, incarnation) = text.split_once('/').ok_or(())?;
        Ok(Self { id: id.parse().map_err(|_| ())?, incarnation: incarnation.parse().map_err(|_| ())? })
    }
}
