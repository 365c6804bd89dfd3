//! Addresses as users write them: to listen on, and to be reached by.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

/// Address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Loopback and the port that the node's number gives.
    Auto,
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "auto" => Ok(Listen::Auto),
            "off" => Ok(Listen::Off),
            _ => text.parse().map(Listen::At).map_err(serde::de::Error::custom),
        }
    }
}

/// An address to be reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Found out at start.
    Auto,
    /// HOST:PORT.
    At(String),
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(if text == "auto" { Address::Auto } else { Address::At(text) })
    }
}

/// A block of addresses, or a single one; `None` if `text` is neither.
///
/// Addresses of clients are never IPv4 within IPv6, so that a block written so would hold nobody: it is none.
#[must_use]
pub fn network(text: &str) -> Option<IpNet> {
    let block: Option<IpNet> = text.parse().ok().or_else(|| text.parse().ok().map(IpAddr::into));
    block.filter(|block| block.addr().to_canonical() == block.addr())
}
