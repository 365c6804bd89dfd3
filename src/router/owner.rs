//! Owner of an upstream's task: the legacy session that created it, else the principal.
//!
//! A client without session and without credentials is nobody: for it, knowing a task's id is the right to
//! it.

use std::sync::Arc;

use crate::mcp::{ANONYMOUS, Caller};

/// One owner of tasks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner(Arc<str>);

impl Owner {
    /// The owner of what `caller` creates.
    pub(super) fn of(caller: &Caller) -> Owner {
        match &caller.session {
            Some(session) => Owner::session(session.key()),
            None if *caller.principal == *ANONYMOUS => Owner("".into()),
            None => Owner(format!("principal {}", caller.principal).into()),
        }
    }

    /// The legacy session `key`.
    pub(super) fn session(key: &str) -> Owner {
        Owner(format!("session {key}").into())
    }

    /// Whether it can be told from others.
    pub(super) fn is_somebody(&self) -> bool {
        !self.0.is_empty()
    }

    /// Bytes that seals are bound to.
    pub(super) fn binding(&self) -> &[u8] {
        self.0.as_bytes()
    }
}
