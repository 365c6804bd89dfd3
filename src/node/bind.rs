//! The node's ports, bound early.

use std::net::TcpListener;

use super::error::NodeError;
use crate::config::Config;
use crate::transport::listener;

/// Every listener of the node.
pub(super) struct Bound {
    pub(super) http: TcpListener,
    pub(super) peer: TcpListener,
}

impl Bound {
    /// Binds all ports of the configuration. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`NodeError::Bind`] with the port that cannot be had.
    pub(super) fn bind(config: &Config) -> Result<Bound, NodeError> {
        let backlog = config.sections.runtime.backlog;
        let open = |what, address| {
            listener::bind(address, backlog).map_err(|source| NodeError::Bind { what, address, source })
        };
        Ok(Bound { http: open("HTTP", config.http_listen)?, peer: open("peers", config.peer_listen)? })
    }
}
