//! The upstreams of the configuration.

use super::error::NodeError;
use crate::clock::Clock;
use crate::config::{Config, FilesPlan};
use crate::upstream::{Surroundings, UpstreamOptions, Upstreams};

/// Starts them all; none is waited for.
pub(super) fn start(config: &Config, files: &FilesPlan) -> Result<Upstreams, NodeError> {
    let own = std::env::current_exe()
        .map_err(|source| NodeError::System { what: "find the path of this program", source })?;
    let around =
        Surroundings { launcher: Some(vec![own.into_os_string()]), now_unix_ms: || Clock::new().unix_ms() };
    let upstreams = config.sections.upstream.iter().cloned();
    let options = upstreams.map(|upstream| UpstreamOptions::new(upstream, files.gateway.clone())).collect();
    Ok(Upstreams::start(options, &around)?)
}
