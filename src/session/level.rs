//! Which log messages a client wants to see.
//!
//! Messages travel encoded, so only those that look like a log message are read, and only their level.

use bytes::Bytes;

use crate::mcp::{LogLevel, Method, RawObject};

/// Whether `message` may be sent to a client that wants `at_least`; everything that is no log message may.
///
/// `at_least` of `None` lets no log message pass.
#[must_use]
pub fn passes(message: &Bytes, at_least: Option<LogLevel>) -> bool {
    if !contains(message, Method::LogMessage.as_bytes()) {
        return true;
    }
    let Some(level) = log_level(message) else { return true };
    at_least.is_some_and(|wanted| level >= wanted)
}

/// The level of a log message; `None` if it is something else.
fn log_level(message: &[u8]) -> Option<LogLevel> {
    let envelope = RawObject::parse(std::str::from_utf8(message).ok()?).ok()?;
    if envelope.text("method")? != *Method::LogMessage {
        return None;
    }
    let params = envelope.read::<RawObject>("params").ok().flatten().unwrap_or_default();
    Some(params.read("level").ok().flatten().unwrap_or(LogLevel::Info))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(level: &str) -> Bytes {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":1}}}}"#
        )
        .into()
    }

    #[test]
    fn a_log_message_passes_at_its_level_and_above_only() {
        assert!(!passes(&log("info"), Some(LogLevel::Notice)));
        assert!(passes(&log("notice"), Some(LogLevel::Notice)));
        assert!(passes(&log("error"), Some(LogLevel::Notice)));
        assert!(!passes(&log("emergency"), None));
    }

    #[test]
    fn whatever_only_mentions_logging_passes() {
        let progress = Bytes::from_static(
            br#"{"method":"notifications/progress","params":{"message":"notifications/message"}}"#,
        );
        assert!(passes(&progress, None));
    }
}
