//! What the operator says about one upstream, proven once and then trusted.
//!
//! Independent of the configuration file, so that a test writes a struct literal. `Debug` never shows the
//! environment or the headers: they hold secrets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// One upstream MCP server.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// Short name: letters, digits, `-`, `_` and `.`, unique in the node.
    pub name: String,
    /// Where it is.
    pub reach: Reach,
    /// Which eras to try.
    pub speaks: Speaks,
    /// Which of its tools are offered.
    pub tools: NameRules,
    /// Longest silence of a running request, in milliseconds; while the client is being asked something it
    /// does not count.
    pub timeout_ms: u64,
    /// Longest a request may run in all, in milliseconds.
    pub call_max_ms: u64,
    /// Longest a start (child process and handshake, or the first probe of a URL) may take, in milliseconds.
    pub start_timeout_ms: u64,
    /// First pause before another start, in milliseconds; doubles with each failure.
    pub restart_min_ms: u64,
    /// Longest pause before another start, in milliseconds.
    pub restart_max_ms: u64,
    /// Time without failure after which the pause is back at its first value, in milliseconds.
    pub healthy_after_ms: u64,
    /// What each step of an orderly end may take (stdin closed, SIGTERM, SIGKILL), in milliseconds.
    pub stop_step_ms: u64,
    /// Requests that may run at once; more are answered with an error.
    pub in_flight_max: usize,
    /// How long a request that was given up goes on to count among them, in milliseconds, unless the upstream
    /// answers it before.
    pub abandoned_place_ms: u64,
    /// Sessions of clients that may be open to it at once (children with [`Instances::Session`], or HTTP
    /// sessions).
    pub sessions_max: usize,
    /// How often an HTTP upstream's lists are read again, in milliseconds, for those that do not announce
    /// changes.
    pub refresh_ms: u64,
    /// A shared child that nobody used for this long is ended, and the next request starts it again, in
    /// milliseconds. One that is subscribed to is used. 0: never. The child of a session lives as long as the
    /// session.
    pub idle_ms: u64,
    /// Longest message read from it, in bytes; a longer one is skipped and its request gets an error.
    pub message_bytes_max: usize,
    /// Longest wait for a connection to a URL, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Idle connections kept to a URL.
    pub connections_idle_max: usize,
}

impl UpstreamOptions {
    /// The defaults for an upstream at `reach`.
    #[must_use]
    pub fn new(name: &str, reach: Reach) -> UpstreamOptions {
        UpstreamOptions {
            name: name.to_owned(),
            reach,
            speaks: Speaks::Both,
            tools: NameRules::default(),
            timeout_ms: 60_000,
            call_max_ms: 600_000,
            start_timeout_ms: 30_000,
            restart_min_ms: 250,
            restart_max_ms: 30_000,
            healthy_after_ms: 60_000,
            stop_step_ms: 2_000,
            in_flight_max: 1_024,
            abandoned_place_ms: 10_000,
            sessions_max: 10_000,
            refresh_ms: 60_000,
            idle_ms: 0,
            message_bytes_max: 16 * 1024 * 1024,
            connect_timeout_ms: 5_000,
            connections_idle_max: 100,
        }
    }

    /// Proves what the types do not.
    ///
    /// # Errors
    /// One line that names the upstream, the key and what it must be.
    pub fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(format!("upstream {name:?}: a name has 1 to 64 letters, digits, '-', '_' and '.'"));
        }
        let times = [
            ("timeout_ms", self.timeout_ms),
            ("call_max_ms", self.call_max_ms),
            ("start_timeout_ms", self.start_timeout_ms),
            ("restart_min_ms", self.restart_min_ms),
            ("restart_max_ms", self.restart_max_ms),
            ("healthy_after_ms", self.healthy_after_ms),
            ("stop_step_ms", self.stop_step_ms),
            ("refresh_ms", self.refresh_ms),
            ("abandoned_place_ms", self.abandoned_place_ms),
            ("connect_timeout_ms", self.connect_timeout_ms),
        ];
        if let Some((key, value)) = times.iter().find(|(_, value)| !(1..=86_400_000).contains(value)) {
            return Err(format!("upstream {name:?}: {key} is {value}; it must be between 1 and 86400000"));
        }
        if self.restart_min_ms > self.restart_max_ms {
            return Err(format!("upstream {name:?}: restart_min_ms is above restart_max_ms"));
        }
        let counts = [
            ("in_flight_max", self.in_flight_max, 1_000_000),
            ("sessions_max", self.sessions_max, 10_000_000),
            ("message_bytes_max", self.message_bytes_max, 256 * 1024 * 1024),
        ];
        if let Some((key, value, max)) = counts.iter().find(|(_, value, max)| !(1..=*max).contains(value)) {
            return Err(format!("upstream {name:?}: {key} is {value}; it must be between 1 and {max}"));
        }
        self.reach.check().map_err(|why| format!("upstream {name:?}: {why}"))
    }
}

/// Where an upstream is.
#[derive(Clone)]
pub enum Reach {
    /// A child process that speaks on stdin and stdout.
    Command(Command),
    /// A Streamable HTTP endpoint.
    Url {
        /// `http://` or `https://`; redirects are not followed.
        url: String,
        /// Sent with every request, for example an API key of the operator's. Never a client's token.
        headers: Vec<(String, String)>,
    },
}

/// A child process.
#[derive(Clone, Default)]
pub struct Command {
    /// The program; looked up in `PATH` if it has no slash.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables set for it. Of the node's own it gets only the harmless ones (PATH, HOME, LANG, ...).
    pub env: BTreeMap<OsString, OsString>,
    /// Names of further variables of the node's own that it gets.
    pub env_pass: Vec<OsString>,
    /// Its working directory; `None`: the node's.
    pub cwd: Option<PathBuf>,
    /// One child for all, or one for each session.
    pub instances: Instances,
}

/// How many children a command has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Instances {
    /// One for all clients (one for each era, where it cannot speak both on one connection).
    #[default]
    Shared,
    /// One for each legacy session, initialised as that client initialised; the shared one serves the lists
    /// and the modern era.
    Session,
}

/// Which eras are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speaks {
    /// Both: `server/discover`, then `initialize`.
    #[default]
    Both,
    /// Only revisions with sessions.
    Legacy,
    /// Only the stateless ones.
    Modern,
}

impl Reach {
    fn check(&self) -> Result<(), String> {
        match self {
            Reach::Command(command) if command.program.is_empty() => Err("its command is empty".to_owned()),
            Reach::Command(_) => Ok(()),
            Reach::Url { url, headers } => {
                let uri: http::Uri = url.parse().map_err(|error| format!("url: {error}"))?;
                if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
                    return Err("url must be http://host... or https://host...".to_owned());
                }
                for (name, value) in headers {
                    let fits = http::HeaderName::try_from(name).is_ok();
                    if !fits || http::HeaderValue::try_from(value).is_err() {
                        return Err(format!("header {name:?} cannot be sent"));
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reach::Command(command) => write!(f, "Command({:?})", command.program),
            Reach::Url { url, .. } => {
                write!(f, "Url({:?})", url.split(['?', '@']).next().unwrap_or_default())
            }
        }
    }
}

/// Which names pass: those that an `allow` pattern matches (all, if there is none) and no `deny` pattern
/// does.
///
/// A pattern is a name in which `*` stands for any run of characters.
#[derive(Clone, Debug, Default)]
pub struct NameRules {
    /// Patterns of which one has to match; empty: everything passes.
    pub allow: Vec<String>,
    /// Patterns of which none may match.
    pub deny: Vec<String>,
}

impl NameRules {
    /// Whether `name` passes.
    #[must_use]
    pub fn admits(&self, name: &str) -> bool {
        let hits = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        (self.allow.is_empty() || hits(&self.allow)) && !hits(&self.deny)
    }
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
        let rules = NameRules { allow: vec!["a*".into()], deny: vec!["ab".into()] };
        assert!(rules.admits("aa") && !rules.admits("ab") && !rules.admits("b"));
        assert!(NameRules::default().admits("anything"));
    }

    #[test]
    fn a_wrong_option_is_named() {
        let with = |change: fn(&mut UpstreamOptions)| {
            let reach = Reach::Url { url: "http://localhost:1/mcp".into(), headers: vec![] };
            let mut options = UpstreamOptions::new("up", reach);
            change(&mut options);
            options.check()
        };
        assert_eq!(with(|_| {}), Ok(()));
        assert!(with(|o| o.name = "a b".into()).unwrap_err().contains("letters"));
        assert!(with(|o| o.timeout_ms = 0).unwrap_err().contains("timeout_ms is 0"));
        let file =
            |o: &mut UpstreamOptions| o.reach = Reach::Url { url: "ftp://host/x".into(), headers: vec![] };
        assert!(with(file).unwrap_err().contains("http://"));
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let mut command = Command { program: "server".into(), ..Command::default() };
        command.env.insert("TOKEN".into(), "hunter2".into());
        command.args.push("--key=hunter2".into());
        let options = UpstreamOptions::new("up", Reach::Command(command));
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
