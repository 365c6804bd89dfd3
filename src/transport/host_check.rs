//! Which names this node answers to and which pages may call it: the stop to DNS rebinding.
//!
//! A page of a stranger whose name was made to point here still sends its own name as Host and Origin.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, Uri, header};

use crate::config::ServiceConfig;

/// The request came for another host, or from a page of another origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// `Host` is missing, none of ours, or another than the request is for.
    #[error("Host is missing, not one that this node answers to, or another than the request is for")]
    Host,
    /// `Origin` is not allowed.
    #[error("pages of this Origin may not call this node")]
    Origin,
}

/// The allow-lists. Loopback, with any port, is always on both.
#[derive(Clone, Debug)]
pub struct HostCheck {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl HostCheck {
    /// Allows the hosts (names without port) and origins (scheme, name and port) that the configuration
    /// names, and the host of `address`, on which the service listens, beside loopback.
    #[must_use]
    pub fn new(config: &ServiceConfig, address: SocketAddr) -> HostCheck {
        let http = &config.http;
        let lower = |name: &String| name.to_ascii_lowercase();
        HostCheck {
            hosts: http.allowed_hosts.iter().map(lower).chain(host_of(address)).collect(),
            origins: http.allowed_origins.iter().map(lower).collect(),
        }
    }

    /// Checks a request and returns its origin, if it has one, to be allowed to read the answer.
    ///
    /// # Errors
    /// [`OriginError`]
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<HeaderValue>, OriginError> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let target = uri.authority().map(http::uri::Authority::as_str);
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok(),
            (None, _) => target,
            (Some(_), Some(_)) => None,
        };
        // Two names in one request: whoever is in front may have looked at the other one.
        let is_one = |host: &str| target.is_none_or(|target| is_same_host(target, host));
        if !host.is_some_and(|host| self.allows_host(host) && is_one(host)) {
            return Err(OriginError::Host);
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Ok(None),
            (Some(origin), None) if origin.to_str().is_ok_and(|text| self.allows_origin(text)) => {
                Ok(Some(origin.clone()))
            }
            _ => Err(OriginError::Origin),
        }
    }

    fn allows_host(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        is_loopback(name) || self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }

    fn allows_origin(&self, origin: &str) -> bool {
        if self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host.and_then(without_port).is_some_and(is_loopback)
    }
}

fn is_same_host(one: &str, other: &str) -> bool {
    let names = without_port(one).zip(without_port(other));
    names.is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
}

/// The name that clients of a server listening on `address` may use; an address that stands for all of the
/// host's is none.
fn host_of(address: SocketAddr) -> Option<String> {
    match address.ip() {
        ip if ip.is_unspecified() => None,
        IpAddr::V4(ip) => Some(ip.to_string()),
        IpAddr::V6(ip) => Some(format!("[{ip}]")),
    }
}

/// The name in `name[:port]`, brackets of IPv6 included; `None` if it is something else.
fn without_port(host: &str) -> Option<&str> {
    let end = match host.find(']') {
        Some(end) if host.starts_with('[') => end + 1,
        Some(_) => return None,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let port_is_fine = match port.strip_prefix(':') {
        Some(digits) => digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()),
        None => port.is_empty(),
    };
    (port_is_fine && !name.is_empty() && !name.contains(['/', '@', '?', '#'])).then_some(name)
}

fn is_loopback(name: &str) -> bool {
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || literal.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowing(hosts: &[&str], origins: &[&str], address: &str) -> HostCheck {
        let mut config = ServiceConfig::default();
        config.http.allowed_hosts = hosts.iter().map(ToString::to_string).collect();
        config.http.allowed_origins = origins.iter().map(ToString::to_string).collect();
        HostCheck::new(&config, address.parse().unwrap())
    }

    fn check(host: Option<&str>, origin: Option<&str>) -> Result<bool, OriginError> {
        let guard = allowing(&["mcp.example.com"], &["https://app.example.com:8443"], "127.0.0.1:80");
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, host.parse().unwrap());
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        guard.check(&Uri::from_static("/mcp"), &headers).map(|origin| origin.is_some())
    }

    #[test]
    fn loopback_and_configured_names_are_answered_with_any_port() {
        for host in
            ["localhost", "LocalHost:8080", "127.0.0.1:1", "127.8.9.1", "[::1]:80", "mcp.Example.com:443"]
        {
            assert_eq!(check(Some(host), None), Ok(false), "{host}");
        }
    }

    #[test]
    fn a_request_for_one_host_that_names_another_is_refused() {
        let guard = allowing(&["mcp.example.com"], &[], "127.0.0.1:80");
        for (target, host, is_fine) in [
            ("http://mcp.example.com/mcp", "MCP.example.com:80", true),
            ("http://evil.example.com/mcp", "mcp.example.com", false),
            ("http://mcp.example.com/mcp", "localhost", false),
            ("http://mcp.example.com/mcp", "evil.example.com", false),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            assert_eq!(guard.check(&target.parse().unwrap(), &headers).is_ok(), is_fine, "{target} {host}");
        }
    }

    #[test]
    fn the_address_listened_on_is_a_name_unless_it_is_all_of_them() {
        let named = |address: &str| host_of(address.parse().unwrap());
        assert_eq!(named("10.0.0.7:8080").as_deref(), Some("10.0.0.7"));
        assert_eq!(named("[fd00::7]:8080").as_deref(), Some("[fd00::7]"));
        assert_eq!((named("0.0.0.0:8080"), named("[::]:8080")), (None, None));
        let guard = allowing(&[], &[], "[fd00::7]:80");
        let headers = HeaderMap::from_iter([(header::HOST, "[fd00::7]:80".parse().unwrap())]);
        assert_eq!(guard.check(&Uri::from_static("/mcp"), &headers), Ok(None));
    }

    #[test]
    fn other_hosts_are_foreign() {
        let foreign = [
            "evil.example.com",
            "localhost.evil.com",
            "localhost:80:80",
            "localhost:x",
            "",
            "10.0.0.1",
            "[::1",
            "[::2]",
            "evil@localhost",
            "localhost/",
            "127.0.0.1.evil.com",
            "127.0.0.1]",
        ];
        for host in foreign {
            assert_eq!(check(Some(host), None), Err(OriginError::Host), "{host}");
        }
        assert_eq!(check(None, None), Err(OriginError::Host));
    }

    #[test]
    fn only_loopback_and_configured_origins_may_call() {
        for origin in
            ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:9", "https://app.example.com:8443"]
        {
            assert_eq!(check(Some("localhost"), Some(origin)), Ok(true), "{origin}");
        }
        for origin in [
            "null",
            "http://evil.example.com",
            "https://app.example.com",
            "file://localhost",
            "localhost",
            "http://localhost.evil.com",
            "http://localhost@evil.com",
        ] {
            assert_eq!(check(Some("localhost"), Some(origin)), Err(OriginError::Origin), "{origin}");
        }
    }

    #[test]
    fn two_hosts_or_two_origins_are_foreign() {
        let guard = allowing(&[], &[], "0.0.0.0:80");
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert_eq!(guard.check(&Uri::from_static("/"), &headers), Ok(None));
        headers.append(header::ORIGIN, "http://localhost".parse().unwrap());
        headers.append(header::ORIGIN, "http://localhost".parse().unwrap());
        assert_eq!(guard.check(&Uri::from_static("/"), &headers), Err(OriginError::Origin));
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert_eq!(guard.check(&Uri::from_static("/"), &headers), Err(OriginError::Host));
    }
}
