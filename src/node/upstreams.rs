//! The upstreams of the configuration.

use std::ffi::OsString;

use super::error::NodeError;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::upstream::{Command, Instances, NameRules, Reach, Surroundings, UpstreamOptions, Upstreams};

/// Starts them all; none is waited for.
pub(super) fn start(config: &Config) -> Result<Upstreams, NodeError> {
    let own = std::env::current_exe()
        .map_err(|source| NodeError::System { what: "find the path of this program", source })?;
    let around =
        Surroundings { launcher: Some(vec![own.into_os_string()]), now_unix_ms: || Clock::new().unix_ms() };
    let gateway = &config.sections.gateway;
    let options = config.sections.upstream.iter().map(|upstream| options(gateway, upstream)).collect();
    Ok(Upstreams::start(options, &around)?)
}

fn options(gateway: &config::Gateway, upstream: &config::Upstream) -> UpstreamOptions {
    UpstreamOptions {
        tools: NameRules { allow: upstream.allow.clone(), deny: upstream.deny.clone() },
        timeout_ms: upstream.timeout_ms,
        restart_min_ms: upstream.restart_min_ms,
        restart_max_ms: upstream.restart_max_ms,
        idle_ms: upstream.idle_s.saturating_mul(1_000),
        message_bytes_max: gateway.message_bytes_max,
        connect_timeout_ms: gateway.connect_timeout_ms,
        connections_idle_max: gateway.pool_connections as usize,
        in_flight_max: gateway.queue_requests_max as usize,
        ..UpstreamOptions::new(&upstream.name, reach(upstream))
    }
}

fn reach(upstream: &config::Upstream) -> Reach {
    match (&upstream.command, &upstream.url) {
        (Some(program), None) => Reach::Command(Command {
            program: program.into(),
            args: upstream.args.iter().map(OsString::from).collect(),
            env: upstream.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: upstream.cwd.as_ref().map(Into::into),
            instances: match upstream.instances {
                config::Instances::Shared => Instances::Shared,
                config::Instances::Session => Instances::Session,
            },
            ..Command::default()
        }),
        (None, Some(url)) => Reach::Url { url: url.clone(), headers: Vec::new() },
        _ => unreachable!("upstream {:?} has both command and url, or neither", upstream.name),
    }
}
