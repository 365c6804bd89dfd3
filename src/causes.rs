//! An error with what led to it, on one line.

use std::error::Error;

/// The text of `error` and of its causes, which say what matters ("connection refused"). A text that already
/// ends with its cause's does not say it twice.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        source: io::Error,
    }

    #[test]
    fn a_cause_is_told_once() {
        let told = |text| with_causes(&Told { text, source: io::Error::other("refused") });
        assert_eq!(told("cannot connect"), "cannot connect: refused");
        assert_eq!(told("cannot connect: refused"), "cannot connect: refused");
    }
}
