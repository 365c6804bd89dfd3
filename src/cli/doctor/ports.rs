//! Ports: whether this node's are free, how long the kernel's queue is, and what is left for others.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use crate::config::Config;

use super::Finding;

/// Fewer ephemeral ports than this are soon used up by a proxy or a load generator on this host.
const EPHEMERAL_MIN: u32 = 20_000;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let somaxconn = read("/proc/sys/net/core/somaxconn").and_then(|text| text.trim().parse().ok());
    let range = read("/proc/sys/net/ipv4/ip_local_port_range").and_then(|text| port_range(&text));
    let mut all = vec![backlog(config.sections.runtime.backlog, somaxconn)];
    all.extend(range.map(ephemeral));
    for (name, address) in [("HTTP port", config.http_listen), ("peer port", config.peer_listen)] {
        all.push(port(name, address, TcpListener::bind(address).map(|_| ()), range));
    }
    all
}

fn backlog(wanted: u32, somaxconn: Option<u32>) -> Finding {
    let Some(cap) = somaxconn else {
        return Finding::ok("backlog", wanted.to_string(), "the system does not say how much it allows");
    };
    let finding = Finding::ok(
        "backlog",
        format!("{wanted} wanted, {cap} allowed"),
        "connections that may wait while we are busy",
    );
    if cap < wanted {
        return finding.warn(
            format!("the system cuts it to {cap}: a storm of clients meets resets sooner"),
            format!("sysctl -w net.core.somaxconn={wanted}"),
        );
    }
    finding
}

fn ephemeral((low, high): (u16, u16)) -> Finding {
    let count = u32::from(high).saturating_sub(u32::from(low)) + 1;
    let finding = Finding::ok(
        "port range",
        format!("{low} to {high}, {count} ports"),
        "for connections that start on this host: proxies, upstreams, load generators",
    );
    if count < EPHEMERAL_MIN {
        return finding.warn(
            "a proxy or load generator here runs out of source ports for one address",
            "sysctl -w net.ipv4.ip_local_port_range=\"10240 65535\"",
        );
    }
    finding
}

fn port(
    name: &'static str,
    address: SocketAddr,
    bound: std::io::Result<()>,
    range: Option<(u16, u16)>,
) -> Finding {
    let finding = Finding::ok(name, address.to_string(), "free");
    match bound {
        Err(error) if error.kind() == ErrorKind::AddrInUse => finding.warn(
            "in use; fine if it is this node, already running",
            "if it is not: end what listens there, or shift all ports with ERLMCP_PORT_BASE",
        ),
        Err(error) => finding.fail(
            format!("cannot be listened on: {error}"),
            "listen on an address of this host, with a port that this user may open",
        ),
        Ok(()) if range.is_some_and(|(low, high)| (low..=high).contains(&address.port())) => finding.warn(
            "free now, but the kernel may give it to any outgoing connection",
            format!("sysctl -w net.ipv4.ip_local_reserved_ports={}", address.port()),
        ),
        Ok(()) => finding,
    }
}

/// Two numbers with white space between.
fn port_range(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn the_range_is_read_as_it_is_written() {
        assert_eq!(port_range("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(port_range("x 1"), None);
        assert_eq!(ephemeral((32_768, 60_999)).verdict, Verdict::Ok);
        assert_eq!(ephemeral((32_768, 40_000)).verdict, Verdict::Warn);
    }

    #[test]
    fn a_cut_backlog_is_warned_of() {
        assert_eq!(backlog(2048, Some(4096)).verdict, Verdict::Ok);
        assert_eq!(backlog(2048, Some(128)).verdict, Verdict::Warn);
        assert_eq!(backlog(2048, None).verdict, Verdict::Ok);
    }

    #[test]
    fn a_port_is_free_in_use_out_of_reach_or_in_the_way() {
        let address: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let judge = |bound, range| port("HTTP port", address, bound, range).verdict;
        assert_eq!(judge(Ok(()), Some((32_768, 60_999))), Verdict::Ok);
        assert_eq!(judge(Ok(()), Some((1024, 60_999))), Verdict::Warn);
        assert_eq!(judge(Err(ErrorKind::AddrInUse.into()), None), Verdict::Warn);
        assert_eq!(judge(Err(ErrorKind::AddrNotAvailable.into()), None), Verdict::Fail);
    }
}
