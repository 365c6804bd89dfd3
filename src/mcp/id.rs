//! Request ids, kept as the JSON text that the client wrote.
//!
//! An id is only ever compared and sent back, so it stays raw: a big integer must not turn into a float on
//! the way.

use std::fmt;

use serde_json::value::RawValue;

/// Longest id accepted, in bytes of its JSON text. Ids are echoed and kept while a request runs.
pub const ID_BYTES_MAX: usize = 1024;

/// A JSON-RPC id: the raw JSON text of a string or an integer.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(Box<str>);

impl Id {
    /// Takes the id from its raw JSON text.
    ///
    /// # Errors
    /// `None` if it is neither a string nor an integer, or longer than [`ID_BYTES_MAX`].
    #[must_use]
    pub fn from_raw(raw: &RawValue) -> Option<Id> {
        let text = raw.get();
        if text.len() > ID_BYTES_MAX {
            return None;
        }
        let first = text.bytes().next()?;
        let integer = || text.bytes().skip(1).all(|b| b.is_ascii_digit());
        match first {
            b'"' => Some(Id(text.into())),
            b'-' | b'0'..=b'9' if integer() && text != "-" => Some(Id(text.into())),
            _ => None,
        }
    }

    /// An id that we mint ourselves, from an integer.
    #[must_use]
    pub fn from_number(number: u64) -> Id {
        Id(number.to_string().into_boxed_str())
    }

    /// An id that we mint ourselves, from text.
    #[must_use]
    pub fn from_text(text: &str) -> Id {
        Id(serde_json::Value::from(text).to_string().into_boxed_str())
    }

    /// The JSON text of the id: quoted if it is a string.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(json: &str) -> Option<Id> {
        Id::from_raw(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn a_big_integer_keeps_every_digit() {
        assert_eq!(id("123456789012345678901234567890").unwrap().as_json(), "123456789012345678901234567890");
    }

    #[test]
    fn only_strings_and_integers_are_ids() {
        assert!(id("\"a\"").is_some() && id("-7").is_some() && id("0").is_some());
        for bad in ["null", "true", "1.5", "1e3", "[1]", "{}"] {
            assert!(id(bad).is_none(), "{bad} was taken as an id");
        }
    }

    #[test]
    fn an_id_longer_than_the_limit_is_refused() {
        assert!(id(&format!("\"{}\"", "a".repeat(ID_BYTES_MAX - 2))).is_some());
        assert!(id(&format!("\"{}\"", "a".repeat(ID_BYTES_MAX - 1))).is_none());
    }
}
