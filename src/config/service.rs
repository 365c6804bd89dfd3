//! The sections that bound one client's way through the node, from its connection to its session.

use super::{Connections, Drain, Http, Limits, Sections, Session};

/// Sections that transport, exchange and sessions read, shared by all of them.
///
/// A key of theirs is read where it acts; nothing copies it under another name. What this node cannot give
/// is lowered here before it starts, see `node`.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "each field is a section; its file says what it is")]
pub struct ServiceConfig {
    pub http: Http,
    pub connections: Connections,
    pub session: Session,
    pub limits: Limits,
    pub drain: Drain,
}

impl From<&Sections> for ServiceConfig {
    fn from(sections: &Sections) -> ServiceConfig {
        ServiceConfig {
            http: sections.http.clone(),
            connections: sections.connections.clone(),
            session: sections.session.clone(),
            limits: sections.limits.clone(),
            drain: sections.drain.clone(),
        }
    }
}
