//! The upstreams of the configuration.

use super::error::NodeError;
use crate::clock::Clock;
use crate::config::Config;
use crate::upstream::{Surroundings, UpstreamOptions, Upstreams};

/// Starts them all; none is waited for.
pub(super) fn start(config: &Config) -> Result<Upstreams, NodeError> {
    let own = std::env::current_exe()
        .map_err(|source| NodeError::System { what: "find the path of this program", source })?;
    let around =
        Surroundings { launcher: Some(vec![own.into_os_string()]), now_unix_ms: || Clock::new().unix_ms() };
    let (gateway, upstreams) = (&config.sections.gateway, config.sections.upstream.iter().cloned());
    let options = upstreams.map(|upstream| UpstreamOptions::new(upstream, gateway.clone())).collect();
    Ok(Upstreams::start(options, &around)?)
}
