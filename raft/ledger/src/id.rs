//! Names of things in the ledger: nodes, incarnations, tenants.
//!
//! Checked once, where they are made, so that no later code has to. A tenant's name comes from credentials
//! and is untrusted text: it must never be able to break out of a key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The lasting number of a node, from 1 upward.
pub type NodeId = u64;

/// The longest tenant name, in bytes; bounds keys of the state and labels of metrics.
pub const TENANT_BYTES_MAX: usize = 128;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A tenant name must have 1 to 128 bytes.
    #[error("tenant name has {0} bytes; it must have 1 to {TENANT_BYTES_MAX}")]
    TenantLength(usize),
    /// A tenant name may hold letters, digits and `.`, `_`, `-`, `@`, `:`.
    #[error("tenant name holds {0:?}; allowed are letters, digits and . _ - @ :")]
    TenantCharacter(char),
    /// An incarnation is 32 hexadecimal digits.
    #[error("incarnation {0:?} is not 32 hexadecimal digits")]
    Incarnation(String),
    /// An instance is 32 hexadecimal digits.
    #[error("instance {0:?} is not 32 hexadecimal digits")]
    Instance(String),
}

/// The number that 32 hexadecimal digits write.
pub(crate) fn hexadecimal(text: &str) -> Option<u128> {
    let is_whole = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_whole { u128::from_str_radix(text, 16).ok() } else { None }
}

/// One incarnation of a node's data directory: 128 random bits, made by `init`, written as 32 hexadecimal
/// digits.
///
/// A wiped directory gets another one, and that is how the group tells a node that forgot from one that did
/// not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Incarnation(u128);

impl Incarnation {
    /// Takes the random bits.
    #[must_use]
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Incarnation> for String {
    fn from(incarnation: Incarnation) -> Self {
        incarnation.to_string()
    }
}

impl FromStr for Incarnation {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        hexadecimal(text).map(Self).ok_or_else(|| IdError::Incarnation(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for Incarnation {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

/// A tenant: who is counted. 1 to 128 bytes of letters, digits and `. _ - @ :`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Tenant(String);

impl Tenant {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.0
    }
}

impl FromStr for Tenant {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Tenant {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > TENANT_BYTES_MAX {
            return Err(IdError::TenantLength(text.len()));
        }
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | ':');
        match text.chars().find(|&c| !is_allowed(c)) {
            Some(c) => Err(IdError::TenantCharacter(c)),
            None => Ok(Self(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_survives_its_text_form() {
        let incarnation = Incarnation::new(0x0123_4567_89ab_cdef);
        assert_eq!(incarnation.to_string().parse(), Ok(incarnation));
        assert!("+0000000000000000000000000000001".parse::<Incarnation>().is_err());
        assert!("12".parse::<Incarnation>().is_err());
    }

    #[test]
    fn a_tenant_name_cannot_hold_a_slash_or_be_too_long() {
        assert_eq!("a/b".parse::<Tenant>(), Err(IdError::TenantCharacter('/')));
        assert_eq!("".parse::<Tenant>(), Err(IdError::TenantLength(0)));
        assert!("x".repeat(TENANT_BYTES_MAX).parse::<Tenant>().is_ok());
        assert_eq!("x".repeat(129).parse::<Tenant>(), Err(IdError::TenantLength(129)));
    }
}
