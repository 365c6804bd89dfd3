//! Long streams of an HTTP/2 connection: each beyond the first takes a place of the node's share, as it would
//! on a connection of its own.
//!
//! Long are those on which a client listens. A call that answers as a stream ends by itself, and has begun
//! when that shows, so it takes none.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Version, header};

use super::activity::{Activity, OpenStream};
use crate::admission::{Gate, Slot};
use crate::refusal::Refusal;

/// A long stream; to be dropped at its end.
pub(super) struct LongStream {
    _listening: OpenStream,
    _slot: Option<Slot>,
}

/// Admits the stream that `request` asks for; `None` if it asks for no long one.
///
/// # Errors
/// [`Refusal`] of the gate, which has counted it.
pub(super) fn admit<B>(
    gate: &Gate,
    activity: &Arc<Activity>,
    request: &Request<B>,
) -> Result<Option<LongStream>, Refusal> {
    if request.version() < Version::HTTP_2 || !listens(request.method(), request.headers()) {
        return Ok(None);
    }
    let (listening, is_further) = activity.listen();
    let slot =
        if is_further { Some(gate.admit().inspect_err(|why| gate.count_refused(*why))?) } else { None };
    Ok(Some(LongStream { _listening: listening, _slot: slot }))
}

fn listens(method: &Method, headers: &HeaderMap) -> bool {
    let has = |name: &str, part: &str| {
        headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|text| text.contains(part)))
    };
    match *method {
        Method::GET => has(header::ACCEPT.as_str(), "text/event-stream"),
        Method::POST => has("mcp-method", "subscriptions/listen"),
        _ => false,
    }
}
