//! Names that clients see, made from the providers' own: `<provider>__<name>` and `<provider>+<uri>` where
//! they could collide.
//!
//! The node's own tools keep their names. When two upstreams collide both get the prefix: were the first to
//! keep the plain name, a call could silently reach another tool after a restart.

use std::collections::HashMap;
use std::sync::Arc;

use crate::mcp::ListKind;

/// When names of upstreams get the upstream's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Naming {
    /// Only names that more than one provider uses.
    #[default]
    OnConflict,
    /// All names of upstreams.
    Always,
    /// None: of colliding names the first provider's wins.
    Never,
}

/// The name of a provider's entry as clients see it, with the prefix.
#[must_use]
pub(super) fn prefixed(kind: ListKind, provider: &str, own: &str) -> String {
    match kind {
        ListKind::Tools | ListKind::Prompts => format!("{provider}__{own}"),
        ListKind::Resources | ListKind::Templates => format!("{provider}+{own}"),
    }
}

/// How many providers use each name of one list.
pub(super) struct Uses<'a>(HashMap<&'a str, usize>);

impl<'a> Uses<'a> {
    /// Counts the names; each provider's own names are unique.
    pub(super) fn count(names: impl Iterator<Item = &'a Arc<str>>) -> Uses<'a> {
        let mut uses = HashMap::new();
        for name in names {
            *uses.entry(&**name).or_insert(0) += 1;
        }
        Uses(uses)
    }

    /// Whether `own` gets the prefix of its provider.
    pub(super) fn wants_prefix(&self, naming: Naming, native: bool, own: &str) -> bool {
        match naming {
            _ if native => false,
            Naming::Always => true,
            Naming::Never => false,
            Naming::OnConflict => self.0.get(own).is_some_and(|uses| *uses > 1),
        }
    }
}
