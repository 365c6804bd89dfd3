//! Logs: where they go, in which form, and how much of them.
//!
//! Always standard error, so that standard output stays for answers. The useful default is quiet: our
//! own crates speak at the asked level, everyone else only warns, and the two loudest only fail. Takes
//! plain values and knows no configuration, so that it is there before the configuration is read.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Our crates, as they appear in log targets.
const OURS: &[&str] = &["erlmcp", "erlmcp_node", "erlmcp_raft", "erlmcp_storage", "erlmcp_ledger"];

/// Levels that a single word may name.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// Level of other crates when nobody asks for more.
const OTHERS: &str = "warn,openraft=error,sled=error";

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// For people; coloured on a terminal.
    Text,
    /// One JSON object each.
    Json,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is none, nor a list of directives.
    #[error("\"{level}\" is no log level: {why}; write info, debug, or target=level, separated by commas")]
    Level {
        /// Text that was given.
        level: String,
        /// Reason.
        why: String,
    },
    /// Somebody set up logging before.
    #[error("logging is set up already")]
    Twice,
}

/// Sets up logging for this process, once.
///
/// # Errors
/// [`TelemetryError`] when the level cannot be read or logging is there already.
pub fn start(level: &str, lines: Lines) -> Result<(), TelemetryError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    match lines {
        Lines::Text => builder.with_target(false).try_init(),
        Lines::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| TelemetryError::Twice)
}

/// Whether `level` can be used, without starting anything.
///
/// # Errors
/// [`TelemetryError::Level`] when it cannot.
pub fn check(level: &str) -> Result<(), TelemetryError> {
    filter(level).map(|_| ())
}

fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let fail = |why: String| TelemetryError::Level { level: level.to_string(), why };
    // A misspelt level would pass as the name of a target, so a single word must be a level.
    let is_list = level.contains(['=', ',']);
    if !is_list && !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
        return Err(fail(format!("it is none of {}", LEVELS.join(", "))));
    }
    EnvFilter::try_new(directives(level)).map_err(|error| fail(error.to_string()))
}

/// A single level is for our crates; a list of directives is taken as it is, over the quiet default.
fn directives(level: &str) -> String {
    let mut all = OTHERS.to_string();
    if level.contains(['=', ',']) {
        all.push(',');
        all.push_str(level);
    } else {
        for target in OURS {
            all.push_str(&format!(",{target}={level}"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_for_our_crates_and_others_stay_quiet() {
        let all = directives("debug");
        assert!(all.starts_with("warn,openraft=error,sled=error,"));
        assert!(all.contains("erlmcp_raft=debug"));
    }

    #[test]
    fn directives_come_after_the_default_and_so_win() {
        assert_eq!(directives("openraft=debug"), "warn,openraft=error,sled=error,openraft=debug");
    }

    #[test]
    fn what_is_no_level_is_refused_by_name() {
        for level in ["info", "TRACE", "off", "info,erlmcp_raft=debug"] {
            assert!(check(level).is_ok(), "{level}");
        }
        for level in ["loud", "erlmcp=loud", ""] {
            let error = check(level).unwrap_err().to_string();
            assert!(error.starts_with(&format!("\"{level}\" is no log level")), "{error}");
        }
    }
}
