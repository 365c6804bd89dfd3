//! The table of all keys, in the order of the shipped files.

mod cluster;
mod edge;
mod limits;
mod providers;
mod runtime;

use strsim::levenshtein;

use super::key::Key;
use super::planned::PLANNED;

/// Sections that are lists of tables, as in `[[upstream]]`.
pub const LISTS: &[&str] = &["cluster.nodes", "upstream"];

/// Every key that acts, in the order of the shipped files.
pub fn all() -> impl Iterator<Item = &'static Key> {
    [cluster::KEYS, edge::KEYS, limits::KEYS, providers::KEYS, runtime::KEYS].into_iter().flatten()
}

/// Every key that may be written: those that act, and those that do nothing in this release.
pub(super) fn known() -> impl Iterator<Item = &'static Key> {
    all().chain(PLANNED)
}

/// The key of this path.
#[must_use]
pub(super) fn find(path: &str) -> Option<&'static Key> {
    known().find(|key| key.path == path)
}

/// Whether `path` is a section, or a section of sections.
#[must_use]
pub(super) fn is_section(path: &str) -> bool {
    known().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Whether the key belongs to an element of a list.
#[must_use]
pub fn is_listed(key: &Key) -> bool {
    LISTS.contains(&key.section())
}

/// The known path that looks most like `path`, if any looks like it.
#[must_use]
pub(super) fn nearest(path: &str) -> Option<&'static str> {
    let name = path.rsplit('.').next().unwrap_or(path);
    let best = known()
        .map(|key| (levenshtein(path, key.path).min(levenshtein(name, key.name()) + 1), key.path))
        .min()?;
    (best.0 <= path.len().div_ceil(3)).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_key_and_no_variable_is_there_twice() {
        let paths: BTreeSet<_> = known().map(|key| key.path).collect();
        let variables: BTreeSet<_> = known().map(Key::variable).collect();
        assert_eq!((paths.len(), variables.len()), (known().count(), known().count()));
    }

    #[test]
    fn every_default_is_within_its_own_range_and_every_key_says_why() {
        for key in known() {
            if let Some(value) = key.default_value() {
                assert_eq!(key.check(&value), Ok(()), "{}", key.path);
            }
            assert!(key.about.ends_with('.'), "{}: {:?}", key.path, key.about);
        }
    }

    #[test]
    fn a_typing_error_finds_the_key_that_was_meant() {
        assert_eq!(nearest("connections.per_nod"), Some("connections.per_node"));
        assert_eq!(nearest("conections.per_node"), Some("connections.per_node"));
        assert_eq!(nearest("http.per_node"), Some("connections.per_node"));
        assert_eq!(nearest("upstream.comand"), Some("upstream.command"));
        assert_eq!(nearest("qqqqqqqqqq.zzzzzzzzz"), None);
    }
}
