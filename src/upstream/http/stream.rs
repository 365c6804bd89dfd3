//! The GET stream of a legacy session: held open as long as the session, taken up again where it stopped.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::mcp::parse;
use crate::upstream::backoff::{Backoff, jitter};

use super::client::{EventStream, Reply};
use super::session::HttpSession;

/// Pauses before the stream is opened again, where the upstream names none.
const PAUSE_MS: (u64, u64) = (500, 30_000);
/// Longest pause that an upstream may ask for.
const RETRY_MS_MAX: u64 = 60_000;

/// Holds the stream until the session ends, the upstream has none, or it has forgotten the session.
pub(super) async fn hold(session: Arc<HttpSession>) {
    let ended = session.ended.clone();
    tokio::select! {
        () = hold_on(&session) => {}
        () = ended.cancelled() => {}
    }
}

async fn hold_on(session: &Arc<HttpSession>) {
    let mut backoff = Backoff::new(PAUSE_MS.0, PAUSE_MS.1);
    let (mut last_event_id, mut retry_ms) = (None, None);
    loop {
        match session.endpoint.get(session.headers_after(last_event_id.as_deref())).await {
            Ok(Reply::Events(events, _)) => {
                if read(session, events, &mut last_event_id, &mut retry_ms).await {
                    backoff.reset();
                }
            }
            Ok(Reply::Refused(status, body)) if session.is_forgotten(status, &body) => return session.lose(),
            Ok(Reply::Refused(status, _)) if is_never(status) => return,
            Ok(Reply::Json(..) | Reply::Nothing) => return,
            Ok(Reply::Refused(..)) | Err(_) => {}
        }
        let pause = backoff.pause(jitter());
        let asked = retry_ms.map(|ms: u64| Duration::from_millis(ms.min(RETRY_MS_MAX)));
        tokio::time::sleep(asked.map_or(pause, |asked| asked.max(Duration::from_millis(50)))).await;
    }
}

/// Statuses that say that there is no such stream, now or later.
fn is_never(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 408 | 409 | 425 | 429)
}

/// Reads until the stream ends; whether anything came.
async fn read(
    session: &HttpSession,
    mut events: EventStream,
    last_event_id: &mut Option<String>,
    retry_ms: &mut Option<u64>,
) -> bool {
    let mut any = false;
    while let Some(event) = events.next().await {
        any = true;
        *last_event_id = event.id.or(last_event_id.take());
        *retry_ms = event.retry_ms.or(*retry_ms);
        if event.is_too_long {
            session.state.invalid("an event is too long");
        } else if !event.data.is_empty() {
            match parse(&event.data) {
                Ok(message) => session.take_stray(message),
                Err((_, fault)) => session.state.invalid(&fault.message),
            }
        }
    }
    any
}
