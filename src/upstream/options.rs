//! Options of an upstream: its section of the configuration, and what no key says.
//!
//! There is no `Debug`: arguments, environment and headers hold secrets.

use std::time::Duration;

use crate::config;

/// Longest a start (child process and handshake, or the first probe of a URL) may take: interpreters that
/// load much at a cold start need most of it.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Time without failure after which the pause before a restart is back at its first value.
pub(super) const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// One upstream MCP server.
#[derive(Clone)]
pub struct UpstreamOptions {
    /// Its section.
    pub upstream: config::Upstream,
    /// The section of all upstreams.
    pub gateway: config::Gateway,
    /// Which eras to try.
    pub era_support: EraSupport,
    /// Headers sent to its URL with every request, for example an API key of the operator's. Never a client's
    /// token.
    pub headers: Vec<(String, String)>,
    /// Longest a request may run in all, in milliseconds.
    pub call_max_ms: u64,
    /// What each step of an orderly end may take (stdin closed, SIGTERM, SIGKILL), in milliseconds.
    pub stop_step_ms: u64,
    /// How long a request that was given up goes on to count among those that run, in milliseconds, unless
    /// the upstream answers it before.
    pub abandoned_place_ms: u64,
}

impl UpstreamOptions {
    /// The upstream of a section, and what only tests set otherwise.
    #[must_use]
    pub fn new(upstream: config::Upstream, gateway: config::Gateway) -> UpstreamOptions {
        UpstreamOptions {
            upstream,
            gateway,
            era_support: EraSupport::Both,
            headers: Vec::new(),
            call_max_ms: 600_000,
            stop_step_ms: 2_000,
            abandoned_place_ms: 10_000,
        }
    }

    /// Proves what the configuration does not.
    ///
    /// # Errors
    /// One line that names the upstream, the key and what it must be.
    pub fn check(&self) -> Result<(), String> {
        let fault = |why: String| Err(format!("upstream {:?}: {why}", self.upstream.name));
        let url = match (&self.upstream.command, &self.upstream.url) {
            (Some(_), None) => return Ok(()),
            (None, Some(url)) => url,
            _ => return fault("it needs either command or url, not both or neither".to_owned()),
        };
        let uri: http::Uri = match url.parse() {
            Ok(uri) => uri,
            Err(error) => return fault(format!("url: {error}")),
        };
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return fault("url must be http://host... or https://host...".to_owned());
        }
        let fits = |(name, value): &&(String, String)| {
            http::HeaderName::try_from(name).is_ok() && http::HeaderValue::try_from(value).is_ok()
        };
        match self.headers.iter().find(|header| !fits(header)) {
            Some((name, _)) => fault(format!("header {name:?} cannot be sent")),
            None => Ok(()),
        }
    }

    /// Whether its tool `name` is offered: an `allow` pattern matches (any does, if there is none) and no
    /// `deny` pattern does. A pattern is a name in which `*` stands for any run of characters.
    pub(super) fn admits(&self, name: &str) -> bool {
        let (allow, deny) = (&self.upstream.allow, &self.upstream.deny);
        let hits = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        (allow.is_empty() || hits(allow)) && !hits(deny)
    }
}

/// Which eras are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EraSupport {
    /// Both: `server/discover`, then `initialize`.
    #[default]
    Both,
    /// Only revisions with sessions.
    Legacy,
    /// Only the stateless ones.
    Modern,
}

/// Greedy match with one point of return: linear in the name for each `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, from)) = star {
            p = at + 1;
            n = from + 1;
            star = Some((at, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream() -> UpstreamOptions {
        UpstreamOptions::new(config::Upstream::new("up"), config::Gateway::default())
    }

    #[test]
    fn a_pattern_matches_exactly_or_with_stars() {
        for (pattern, name, hit) in [
            ("read_file", "read_file", true),
            ("read_file", "read_file2", false),
            ("read_*", "read_file", true),
            ("*_file", "read_file", true),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(matches(pattern, name), hit, "{pattern} {name}");
        }
    }

    #[test]
    fn deny_wins_over_allow() {
        let mut options = upstream();
        assert!(options.admits("anything"));
        (options.upstream.allow, options.upstream.deny) = (vec!["a*".into()], vec!["ab".into()]);
        assert!(options.admits("aa") && !options.admits("ab") && !options.admits("b"));
    }

    #[test]
    fn a_wrong_option_is_named() {
        let with = |url: Option<&str>, command: Option<&str>, header: &str| {
            let mut options = upstream();
            options.upstream.url = url.map(str::to_owned);
            options.upstream.command = command.map(str::to_owned);
            options.headers = vec![(header.to_owned(), "hunter2".to_owned())];
            options.check()
        };
        let url = Some("http://localhost:1/mcp");
        assert_eq!((with(url, None, "x-key"), with(None, Some("server"), "x-key")), (Ok(()), Ok(())));
        assert!(with(None, None, "x-key").unwrap_err().contains("either command or url"));
        assert!(with(url, Some("server"), "x-key").unwrap_err().contains("either command or url"));
        assert!(with(Some("ftp://host/x"), None, "x-key").unwrap_err().contains("http://"));
        assert!(with(Some("http://"), None, "x-key").unwrap_err().contains("url"));
        let header = with(url, None, "x key").unwrap_err();
        assert!(header.contains("\"x key\"") && !header.contains("hunter2"), "{header}");
    }
}
