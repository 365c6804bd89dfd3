//! The node's ports, bound early.

use std::net::{SocketAddr, TcpListener};

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use super::error::NodeError;
use crate::config::Config;

/// Every listener of the node.
pub(super) struct Bound {
    pub(super) http: TcpListener,
    pub(super) peer: TcpListener,
}

impl Bound {
    /// Binds all ports of the configuration.
    ///
    /// # Errors
    /// [`NodeError::Bind`] with the port that cannot be had.
    pub(super) fn bind(config: &Config) -> Result<Bound, NodeError> {
        let backlog = i32::try_from(config.sections.runtime.backlog).unwrap_or(i32::MAX);
        let open = |what, address| {
            listener(address, backlog).map_err(|source| NodeError::Bind { what, address, source })
        };
        Ok(Bound { http: open("HTTP", config.http_listen)?, peer: open("peers", config.peer_listen)? })
    }
}

/// The standard library gives no backlog of one's own, so this speaks to the system itself.
fn listener(address: SocketAddr, backlog: i32) -> Result<TcpListener, std::io::Error> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, backlog)?;
    Ok(TcpListener::from(socket))
}
