//! Sessions that were sent to a page (URL elicitation), so that the notification of its end reaches that
//! session alone.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;

use crate::mcp::{Method, RawObject, Request, SessionPort};

/// Elicitations remembered for one peer; the oldest go first. Each is an id of the upstream and a pointer.
const ELICITED_MAX: usize = 256;
/// Longest id that is remembered, in bytes.
const ID_BYTES_MAX: usize = 256;
/// JSON-RPC code of an error that sends the client to pages first (MCP 2025-11-25, URLElicitationRequired).
const URL_ELICITATION_REQUIRED: i64 = -32_042;

type Known = VecDeque<(Box<str>, Arc<dyn SessionPort>)>;

/// The newest elicitations of one peer.
#[derive(Default)]
pub(super) struct ElicitationOwners(Mutex<Known>);

impl ElicitationOwners {
    /// A question goes to `session`.
    pub(super) fn asked(&self, question: &Request, session: &Arc<dyn SessionPort>) {
        if question.method == Method::CreateElicitation {
            self.remember(question.params.text("elicitationId"), session);
        }
    }

    /// An error goes to `session`; it may name pages that the client has to visit.
    pub(super) fn refused(&self, error: &RawValue, session: &Arc<dyn SessionPort>) {
        let Ok(error) = RawObject::parse(error.get()) else { return };
        if !matches!(error.read::<i64>("code"), Ok(Some(URL_ELICITATION_REQUIRED))) {
            return;
        }
        let data = error.read::<RawObject>("data").ok().flatten().unwrap_or_default();
        for page in data.read::<Vec<RawObject>>("elicitations").ok().flatten().unwrap_or_default() {
            self.remember(page.text("elicitationId"), session);
        }
    }

    fn remember(&self, id: Option<String>, session: &Arc<dyn SessionPort>) {
        let Some(id) = id.filter(|id| id.len() <= ID_BYTES_MAX) else { return };
        let mut known = self.0.lock();
        known.retain(|(other, owner)| **other != *id && !owner.ended().is_cancelled());
        if known.len() >= ELICITED_MAX {
            known.pop_front();
        }
        known.push_back((id.into(), session.clone()));
    }

    /// Whose elicitation `params.elicitationId` is.
    pub(super) fn owner(&self, params: &RawObject) -> Option<Arc<dyn SessionPort>> {
        let id = params.text("elicitationId")?;
        let known = self.0.lock();
        known.iter().find(|(other, _)| **other == *id).map(|(_, session)| session.clone())
    }
}
