//! The upstreams of the configuration.

use std::ffi::OsString;
use std::path::Path;

use super::error::NodeError;
use crate::clock::Clock;
use crate::config::{Config, FilesPlan};
use crate::upstream::{UpstreamDeps, UpstreamOptions, Upstreams};

/// The program of the process that opens it.
const RUNNING_PROGRAM: &str = "/proc/self/exe";

/// Starts them all; none is waited for.
pub(super) fn start(config: &Config, files: &FilesPlan) -> Result<Upstreams, NodeError> {
    let launcher = Some(vec![own_program()?]);
    let around = UpstreamDeps { launcher, now_unix_ms: || Clock::new().unix_ms() };
    let upstreams = config.sections.upstream.iter().cloned();
    let options = upstreams.map(|upstream| UpstreamOptions::new(upstream, files.gateway.clone())).collect();
    Ok(Upstreams::start(options, &around)?)
}

/// A path to the very program that runs, also after another was put in its place.
fn own_program() -> Result<OsString, NodeError> {
    if Path::new(RUNNING_PROGRAM).exists() {
        return Ok(RUNNING_PROGRAM.into());
    }
    let path = std::env::current_exe();
    let path = path.map_err(|source| NodeError::System { what: "find the path of this program", source })?;
    Ok(path.into_os_string())
}
