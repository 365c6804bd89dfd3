//! The two eras of the protocol and the revisions in each.
//!
//! Legacy (up to 2025-11-25): initialize, sessions, server-to-client requests. Modern (2026-07-28): every
//! request carries its own metadata and there are no sessions.

use std::fmt;

/// The newest revision with sessions.
pub const LEGACY_LATEST: Version = Version("2025-11-25");
/// The newest revision of all.
pub const MODERN_LATEST: Version = Version("2026-07-28");

const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const MODERN: [&str; 1] = ["2026-07-28"];

/// Which of the two families of revisions a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// Up to 2025-11-25: stateful.
    Legacy,
    /// From 2026-07-28: stateless.
    Modern,
}

/// A revision of the protocol that this node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(&'static str);

impl Version {
    /// The revision named `text`, if this node speaks it.
    #[must_use]
    pub fn known(text: &str) -> Option<Version> {
        LEGACY.iter().chain(&MODERN).find(|known| **known == text).map(|known| Version(known))
    }

    /// Its era.
    #[must_use]
    pub fn era(self) -> Era {
        if MODERN.contains(&self.0) { Era::Modern } else { Era::Legacy }
    }

    /// Its date, as on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// All revisions of an era, oldest first.
    #[must_use]
    pub fn all(era: Era) -> &'static [&'static str] {
        match era {
            Era::Legacy => &LEGACY,
            Era::Modern => &MODERN,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
