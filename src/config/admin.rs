//! Section `admin`: how operators prove themselves.
#![allow(missing_docs, reason = "each field is a key; KEYS has its unit, range and reason")]

use serde::Deserialize;

use super::key::{Fallback, Key, Kind};
use super::sections::defaults;

/// Operator access.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    pub token_file: String,
}

impl Default for Admin {
    fn default() -> Self {
        defaults("admin")
    }
}

/// The keys of this section, in the order of the shipped files.
pub(super) const KEYS: &[Key] = &[Key::new(
    "admin.token_file",
    Kind::Text { empty: false },
    Fallback::Text("auto"),
    "The token that operator actions need; mode 0600. \"auto\" is admin.token in the node's own \
         directory, made by init.",
)];
