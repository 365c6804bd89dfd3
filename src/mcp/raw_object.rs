//! The members of one JSON object in their order, each value raw.
//!
//! This is how unknown members survive: one level is read, everything below stays the text that the sender
//! wrote. A repeated key is an error, as two readers could disagree about which one counts.

use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::RpcError;

/// Most members read at one level; more is refused as malformed.
pub const MEMBERS_MAX: usize = 1024;

/// One JSON object, a level deep: `(key, raw value)` in the sender's order, keys unique.
#[derive(Clone, Debug, Default)]
pub struct RawObject(Vec<(Box<str>, Box<RawValue>)>);

/// Serialises a value that cannot fail to serialise (our own types) into raw JSON.
#[must_use]
pub fn raw<T: Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    match serde_json::value::to_raw_value(value) {
        Ok(raw) => raw,
        Err(error) => unreachable!("our own type did not serialise: {error}"),
    }
}

impl RawObject {
    /// No members: `{}`.
    #[must_use]
    pub fn new() -> RawObject {
        RawObject::default()
    }

    /// Reads one object.
    ///
    /// # Errors
    /// serde_json's own words if it is not an object, repeats a key or has more than [`MEMBERS_MAX`] members.
    pub fn parse(json: &str) -> Result<RawObject, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// The raw value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().find(|(k, _)| &**k == key).map(|(_, v)| &**v)
    }

    /// The value of `key` as `T`; `None` if absent or `null`.
    ///
    /// # Errors
    /// serde_json's own words if the value has another shape.
    pub fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, serde_json::Error> {
        match self.get(key) {
            Some(value) => serde_json::from_str(value.get()),
            None => Ok(None),
        }
    }

    /// The value of `key` if it is a string.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        self.get(key).and_then(|value| serde_json::from_str(value.get()).ok())
    }

    /// The string that `key` must be.
    ///
    /// # Errors
    /// -32602 that names the key.
    pub fn required(&self, key: &str) -> Result<String, RpcError> {
        self.text(key).ok_or_else(|| RpcError::invalid_params(format!("{key} is missing or no string")))
    }

    /// Sets `key`, in place if it is there, else at the end.
    pub fn set(&mut self, key: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(k, _)| &**k == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.into(), value)),
        }
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Box<RawValue>> {
        let at = self.0.iter().position(|(k, _)| &**k == key)?;
        Some(self.0.remove(at).1)
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }

    /// The object as raw JSON.
    #[must_use]
    pub fn to_raw(&self) -> Box<RawValue> {
        raw(self)
    }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawObject, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RawObject;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
                let mut members = RawObject::new();
                while let Some((key, value)) = map.next_entry::<Box<str>, Box<RawValue>>()? {
                    if members.get(&key).is_some() {
                        return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
                    }
                    if members.0.len() == MEMBERS_MAX {
                        return Err(A::Error::custom(format_args!("more than {MEMBERS_MAX} members")));
                    }
                    members.0.push((key, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_keep_their_text_and_order() {
        let json = r#"{"b":1.000,"a":{"x":[1 ,2]},"z":123456789012345678901234567890}"#;
        assert_eq!(RawObject::parse(json).unwrap().to_raw().get(), json);
    }

    #[test]
    fn a_repeated_key_is_an_error() {
        let error = RawObject::parse(r#"{"name":"a","name":"b"}"#).unwrap_err().to_string();
        assert!(error.contains("duplicate key \"name\""), "{error}");
    }
}
