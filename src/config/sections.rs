//! All sections: what users may write, and as which types the program reads it.
//!
//! Each section has a file that holds its struct, one field a key, and its rows of the table: unit, range,
//! default, reason. A value gets into a struct only after its row has checked it, so that every message about
//! a bad value comes from one place. The rows are the one truth about defaults: those of the structs are
//! made from them. Rules that join several keys are in `checked.rs`.
#![allow(missing_docs, reason = "each field is a section; its file says what it is")]

use serde::Deserialize;
use serde::de::DeserializeOwned;
use strsim::levenshtein;
use toml::{Table, Value};

use super::admin::{self, Admin};
use super::cluster::{self, Cluster};
use super::connections::{self, Connections};
use super::drain::{self, Drain};
use super::gateway::{self, Gateway, Upstream};
use super::http::{self, Http};
use super::key::Key;
use super::limits::{self, Limits};
use super::peer::{self, Peer};
use super::planned::PLANNED;
use super::quota::{self, Budget, Quota};
use super::raft::{self, Raft};
use super::runtime::{self, Runtime};
use super::session::{self, Session};
use super::telemetry::{self, Telemetry};

/// All sections together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sections {
    pub cluster: Cluster,
    pub raft: Raft,
    pub peer: Peer,
    pub http: Http,
    pub connections: Connections,
    pub limits: Limits,
    pub budget: Budget,
    pub quota: Quota,
    pub session: Session,
    pub gateway: Gateway,
    pub upstream: Vec<Upstream>,
    pub telemetry: Telemetry,
    pub drain: Drain,
    pub admin: Admin,
    pub runtime: Runtime,
}

/// The rows of every section, in the order of the shipped files.
const SECTIONS: &[&[Key]] = &[
    cluster::KEYS,
    raft::KEYS,
    peer::KEYS,
    http::KEYS,
    connections::KEYS,
    limits::KEYS,
    quota::KEYS,
    session::KEYS,
    gateway::KEYS,
    telemetry::KEYS,
    drain::KEYS,
    admin::KEYS,
    runtime::KEYS,
];

/// Sections that are lists of tables, as in `[[upstream]]`.
pub const LISTS: &[&str] = &["cluster.nodes", "upstream"];

/// Every key that acts, in the order of the shipped files.
pub fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().copied().flatten()
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

/// A section as it is when nobody sets anything: the defaults of its rows, and lists without elements.
pub(super) fn defaults<S: DeserializeOwned>(section: &str) -> S {
    defaults_beside(section, Table::new())
}

/// A section as it is when nobody sets anything but the keys of `table`.
pub(super) fn defaults_beside<S: DeserializeOwned>(section: &str, mut table: Table) -> S {
    for list in LISTS.iter().filter_map(|list| list.strip_prefix(section)?.strip_prefix('.')) {
        table.insert(list.to_string(), Value::Array(Vec::new()));
    }
    for key in all().filter(|key| key.section() == section) {
        if let Some(value) = key.default_value() {
            table.entry(key.name()).or_insert(value);
        }
    }
    match S::deserialize(table) {
        Ok(section) => section,
        Err(error) => unreachable!("the rows of {section} and its struct differ: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::value::Error;
    use serde::de::{Deserializer, Error as _, Visitor};

    use super::super::cluster::KnownNode;
    use super::super::{Config, Settings, Sources};
    use super::*;

    /// The source that gives nothing and keeps which fields the struct asked for.
    struct Asked<'a>(&'a mut BTreeSet<&'static str>);

    impl<'de> Deserializer<'de> for Asked<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("not a struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(fields);
            Err(Error::custom("only its fields were wanted"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    fn fields<S: DeserializeOwned>() -> BTreeSet<&'static str> {
        let mut fields = BTreeSet::new();
        assert!(S::deserialize(Asked(&mut fields)).is_err());
        fields
    }

    #[test]
    fn every_field_is_a_key_and_every_key_a_field() {
        let sections = [
            ("admin", fields::<Admin>()),
            ("budget", fields::<Budget>()),
            ("cluster", fields::<Cluster>()),
            ("cluster.nodes", fields::<KnownNode>()),
            ("connections", fields::<Connections>()),
            ("drain", fields::<Drain>()),
            ("gateway", fields::<Gateway>()),
            ("http", fields::<Http>()),
            ("limits", fields::<Limits>()),
            ("peer", fields::<Peer>()),
            ("quota", fields::<Quota>()),
            ("raft", fields::<Raft>()),
            ("runtime", fields::<Runtime>()),
            ("session", fields::<Session>()),
            ("telemetry", fields::<Telemetry>()),
            ("upstream", fields::<Upstream>()),
        ];
        for (section, fields) in &sections {
            let mut names: BTreeSet<_> =
                all().filter(|key| key.section() == *section).map(Key::name).collect();
            names.extend(LISTS.iter().filter_map(|list| list.strip_prefix(section)?.strip_prefix('.')));
            assert_eq!(*fields, names, "left the fields, right the keys of {section}");
        }
        let named: BTreeSet<_> = sections.iter().map(|(section, _)| *section).collect();
        let keyed: BTreeSet<_> = all().map(Key::section).collect();
        assert_eq!(named, keyed, "left the sections of this test, right those of the table");
        let top: BTreeSet<_> = named.into_iter().filter(|section| !section.contains('.')).collect();
        assert_eq!(fields::<Sections>(), top);
    }

    #[test]
    fn the_default_of_the_structs_is_what_nobody_setting_anything_gives() {
        let settings = Settings::read(&Sources::default()).unwrap();
        let loaded = Config::check(1, settings).unwrap().sections;
        assert_eq!(format!("{:?}", Sections::default()), format!("{loaded:?}"));
    }

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
