//! Supervision of an HTTP upstream: probed in both eras, its lists read and kept fresh, probed again when it
//! was lost.

use std::sync::Arc;
use std::time::Duration;

use crate::mcp::{Era, ListKind, Message, Method, RawObject, RpcError, parse};
use crate::upstream::availability::Availability;
use crate::upstream::backoff::{Backoff, jitter};
use crate::upstream::catalog_store::{KINDS, Lists, ServerDescription};
use crate::upstream::handshake;
use crate::upstream::health::State;
use crate::upstream::inbox::NotificationSink;
use crate::upstream::list_reader::{RpcClient, collect};
use crate::upstream::options::{EraSupport, HEALTHY_AFTER, START_TIMEOUT};

use super::headers::annotations;
use super::resumable_response::Step;
use super::session::{HttpSession, SessionRpcClient};
use super::stream;
use super::upstream::{HttpUpstream, ModernRpcClient, own_request};

/// Longest wait for the answer to `server/discover`; older servers may give none.
const DISCOVER_MAX: Duration = Duration::from_secs(10);
/// How often lists are read again, for servers that do not announce changes.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// Pauses before a listen stream is opened again.
const LISTEN_PAUSE_MS: (u64, u64) = (500, 60_000);

/// What the probe found.
struct Found {
    modern: Option<ServerDescription>,
    legacy: Option<Arc<HttpSession>>,
}

/// Keeps the upstream until the node stops.
pub(super) async fn supervise(upstream: Arc<HttpUpstream>) {
    let health_cell = upstream.state.health_cell();
    let options = &upstream.state.options;
    let mut backoff = Backoff::new(options.upstream.restart_min_ms, options.upstream.restart_max_ms);
    loop {
        let why = tokio::select! {
            why = serve_once(&upstream, &health_cell, &mut backoff) => why,
            () = upstream.stop.cancelled() => break,
        };
        if upstream.stop.is_cancelled() {
            break;
        }
        upstream.set_own(None);
        upstream.availability.set_unavailable(&format!("it is down: {why}"));
        let pause = backoff.pause(jitter());
        tracing::warn!(
            upstream = upstream.state.name(),
            why,
            pause_ms = pause.as_millis(),
            "an upstream is down"
        );
        health_cell.failed(&why);
        let woken = async {
            tokio::time::sleep(pause.min(Duration::from_millis(options.upstream.restart_min_ms))).await;
            upstream.wake.notified().await;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = woken => {}
            () = upstream.stop.cancelled() => break,
        }
        health_cell.restarting();
    }
    upstream.availability.set_unavailable("the node is stopping");
    if let Some(own) = upstream.own() {
        own.end().await;
    }
    health_cell.set(State::Stopped);
}

/// Probes it, opens it, and keeps it open; says why it is over.
async fn serve_once(
    upstream: &Arc<HttpUpstream>,
    health_cell: &crate::upstream::health::HealthCell,
    backoff: &mut Backoff,
) -> String {
    let found = match probe(upstream).await {
        Ok(found) => found,
        Err(why) => return why,
    };
    if let Err(why) = read_lists(upstream, &found, &KINDS, &[]).await {
        return why;
    }
    for (era, is_spoken) in [(Era::Modern, found.modern.is_some()), (Era::Legacy, found.legacy.is_some())] {
        if is_spoken {
            upstream.availability.set(era, Availability::Ready(()));
        } else {
            upstream.state.catalogs.unspoken(era);
            upstream
                .availability
                .set(era, Availability::Unavailable(format!("it does not speak the {era:?} era").into()));
        }
    }
    health_cell.set(State::Ready);
    watch(upstream, &found, backoff).await
}

async fn probe(upstream: &Arc<HttpUpstream>) -> Result<Found, String> {
    let within = START_TIMEOUT;
    let era_support = upstream.state.options.era_support;
    let modern = match era_support {
        EraSupport::Legacy => Err("modern: not tried".to_owned()),
        _ => discover(upstream, within.min(DISCOVER_MAX)).await.map_err(|fault| fault.message),
    };
    let legacy = match era_support {
        EraSupport::Modern => Err("legacy: not tried".to_owned()),
        _ => open_own(upstream).await.map_err(|fault| fault.message),
    };
    match (modern, legacy) {
        (Err(modern), Err(legacy)) if modern == legacy => Err(modern),
        (Err(modern), Err(legacy)) => Err(format!("{modern}; {legacy}")),
        (modern, legacy) => Ok(Found { modern: modern.ok(), legacy: legacy.ok() }),
    }
}

async fn discover(upstream: &HttpUpstream, within: Duration) -> Result<ServerDescription, RpcError> {
    let result = upstream.ask_modern(&Method::Discover, RawObject::new(), within).await?;
    handshake::read_discovered(&result).map_err(RpcError::internal)
}

async fn open_own(upstream: &Arc<HttpUpstream>) -> Result<Arc<HttpSession>, RpcError> {
    let sink: Arc<dyn NotificationSink> = upstream.clone();
    let hello = handshake::initialize_for_us();
    let opened =
        HttpSession::open(&upstream.state, &upstream.endpoint, &hello, sink, &upstream.calls, &upstream.stop)
            .await;
    let session = opened?;
    upstream.tasks.spawn(stream::hold(session.clone()));
    upstream.set_own(Some(session.clone()));
    Ok(session)
}

async fn read_lists(
    upstream: &HttpUpstream,
    found: &Found,
    kinds: &[ListKind],
    announced: &[ListKind],
) -> Result<(), String> {
    let within = START_TIMEOUT;
    if let Some(description) = &found.modern {
        let rpc = ModernRpcClient { upstream, within };
        read_era(upstream, Era::Modern, &rpc, description, kinds, announced).await?;
        let tools = annotations(&upstream.state.catalogs.newest(Era::Modern).tools.items);
        *upstream.annotated.lock() = Arc::new(tools);
    }
    if let Some(session) = &found.legacy {
        let rpc = SessionRpcClient { session: session.clone(), within };
        read_era(upstream, Era::Legacy, &rpc, &session.description, kinds, announced).await?;
    }
    Ok(())
}

async fn read_era(
    upstream: &HttpUpstream,
    era: Era,
    rpc: &dyn RpcClient,
    description: &ServerDescription,
    kinds: &[ListKind],
    announced: &[ListKind],
) -> Result<(), String> {
    let newest = upstream.state.catalogs.newest(era);
    let mut lists: Lists = KINDS.map(|kind| newest.list(kind).items.clone());
    collect(rpc, description, &upstream.state.options, kinds, &mut lists).await?;
    upstream.state.catalogs.publish(era, description, &lists, announced);
    Ok(())
}

/// Until it cannot be reached; says why.
async fn watch(upstream: &Arc<HttpUpstream>, found: &Found, backoff: &mut Backoff) -> String {
    let healthy = tokio::time::sleep(HEALTHY_AFTER);
    tokio::pin!(healthy);
    let session_ended = async {
        match &found.legacy {
            Some(session) => session.ended.cancelled().await,
            None => std::future::pending().await,
        }
    };
    let listening = listen(upstream, found);
    tokio::pin!(session_ended, listening);
    loop {
        let read = tokio::select! {
            () = &mut session_ended => return "it has forgotten our session".to_owned(),
            () = &mut listening => unreachable!("listening has no end"),
            () = &mut healthy, if !healthy.is_elapsed() => {
                backoff.reset();
                continue;
            }
            kinds = upstream.changes.next() => read_lists(upstream, found, &kinds, &kinds).await,
            () = tokio::time::sleep(REFRESH_INTERVAL) => refresh(upstream, found).await,
        };
        if let Err(why) = read {
            return why;
        }
    }
}

/// Reads everything again, and looks whether it speaks more than before.
async fn refresh(upstream: &Arc<HttpUpstream>, found: &Found) -> Result<(), String> {
    let within = START_TIMEOUT.min(DISCOVER_MAX);
    let era_support = upstream.state.options.era_support;
    if found.modern.is_none() && era_support != EraSupport::Legacy && discover(upstream, within).await.is_ok()
    {
        return Err("it speaks the modern era now".to_owned());
    }
    if found.legacy.is_none() && era_support != EraSupport::Modern && open_own(upstream).await.is_ok() {
        return Err("it speaks the legacy era now".to_owned());
    }
    read_lists(upstream, found, &KINDS, &[]).await
}

/// Holds one `subscriptions/listen` while there is something to listen for. Never ends.
async fn listen(upstream: &HttpUpstream, found: &Found) {
    let Some(description) = &found.modern else { return std::future::pending().await };
    let mut subscriptions = upstream.subscriptions.watch();
    let mut backoff = Backoff::new(LISTEN_PAUSE_MS.0, LISTEN_PAUSE_MS.1);
    let mut is_first = true;
    loop {
        let uris: Vec<String> = subscriptions.borrow_and_update().keys().cloned().collect();
        let Some(params) = handshake::listen_params(description, &uris) else {
            let _ = subscriptions.changed().await;
            continue;
        };
        let refused = tokio::select! {
            ended = listen_once(upstream, params, !is_first, &mut backoff) => ended,
            changed = subscriptions.changed() => match changed {
                Ok(()) => continue,
                Err(_) => std::future::pending().await,
            },
        };
        is_first = false;
        if refused {
            let _ = subscriptions.changed().await;
        }
        tokio::time::sleep(backoff.pause(jitter())).await;
    }
}

/// One listen stream; true if the upstream refuses to have any. After a gap anything may have changed.
async fn listen_once(
    upstream: &HttpUpstream,
    params: RawObject,
    after_gap: bool,
    backoff: &mut Backoff,
) -> bool {
    let request = own_request(Method::Listen, params);
    let (_, mut response) = upstream.send_modern(&request);
    loop {
        match response.next().await {
            Step::Message(message) => match parse(&message) {
                Ok(Message::Notification(notification)) => {
                    if notification.method == Method::ListenAcknowledged {
                        backoff.reset();
                        if after_gap {
                            upstream.changes.anything();
                        }
                    }
                    upstream.on_notification(notification);
                }
                Ok(Message::Response(response)) => return response.outcome.is_err(),
                Ok(Message::Request(_)) => upstream.state.invalid("a request on a listen stream"),
                Err((_, fault)) => upstream.state.invalid(&fault.message),
            },
            Step::TooLong => upstream.state.invalid("an event is too long"),
            Step::Pause { .. } => {}
            Step::Refused(status, _) => return status.is_client_error() && status.as_u16() != 429,
            Step::Over(_) => return false,
        }
    }
}
