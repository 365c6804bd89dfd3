//! The life of an HTTP upstream: probed in both eras, its lists read and kept fresh, probed again when it was
//! lost.

use std::sync::Arc;
use std::time::Duration;

use crate::mcp::{Era, ListKind, Message, Method, RawObject, RpcError, parse};
use crate::upstream::backoff::{Backoff, chance};
use crate::upstream::collect::{Asker, collect};
use crate::upstream::health::State;
use crate::upstream::hello;
use crate::upstream::inbox::Outside;
use crate::upstream::options::{HEALTHY_AFTER, START_TIMEOUT, Speaks};
use crate::upstream::seats::Seat;
use crate::upstream::stock::{Greeting, KINDS, Lists};

use super::core::{Core, ModernAsker, own_request};
use super::headers::annotations;
use super::session::{HttpSession, SessionAsker};
use super::stream;
use super::talk::Step;

/// Longest wait for the answer to `server/discover`; older servers may give none.
const DISCOVER_MAX: Duration = Duration::from_secs(10);
/// How often lists are read again, for servers that do not announce changes.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// Pauses before a listen stream is opened again.
const LISTEN_PAUSE_MS: (u64, u64) = (500, 60_000);

/// What the probe found.
struct Found {
    modern: Option<Greeting>,
    legacy: Option<Arc<HttpSession>>,
}

/// Keeps the upstream until the node stops.
pub(super) async fn keep(core: Arc<Core>) {
    let pulse = core.base.pulse();
    let options = &core.base.options;
    let mut backoff = Backoff::new(options.upstream.restart_min_ms, options.upstream.restart_max_ms);
    loop {
        let why = tokio::select! {
            why = serve_once(&core, &pulse, &mut backoff) => why,
            () = core.stop.cancelled() => break,
        };
        if core.stop.is_cancelled() {
            break;
        }
        core.set_own(None);
        core.seats.shut(&format!("it is down: {why}"));
        let pause = backoff.pause(chance());
        tracing::warn!(upstream = core.base.name(), why, pause_ms = pause.as_millis(), "an upstream is down");
        pulse.failed(&why);
        let woken = async {
            tokio::time::sleep(pause.min(Duration::from_millis(options.upstream.restart_min_ms))).await;
            core.wake.notified().await;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = woken => {}
            () = core.stop.cancelled() => break,
        }
        pulse.restarting();
    }
    core.seats.shut("the node is stopping");
    if let Some(own) = core.own() {
        own.end().await;
    }
    pulse.set(State::Stopped);
}

/// Probes it, opens it, and keeps it open; says why it is over.
async fn serve_once(
    core: &Arc<Core>,
    pulse: &crate::upstream::health::Pulse,
    backoff: &mut Backoff,
) -> String {
    let found = match probe(core).await {
        Ok(found) => found,
        Err(why) => return why,
    };
    if let Err(why) = read_lists(core, &found, &KINDS, &[]).await {
        return why;
    }
    for (era, is_spoken) in [(Era::Modern, found.modern.is_some()), (Era::Legacy, found.legacy.is_some())] {
        if is_spoken {
            core.seats.set(era, Seat::Open(()));
        } else {
            core.base.stock.unspoken(era);
            core.seats.set(era, Seat::Shut(format!("it does not speak the {era:?} era").into()));
        }
    }
    pulse.set(State::Ready);
    watch(core, &found, backoff).await
}

async fn probe(core: &Arc<Core>) -> Result<Found, String> {
    let within = START_TIMEOUT;
    let speaks = core.base.options.speaks;
    let modern = match speaks {
        Speaks::Legacy => Err("modern: not tried".to_owned()),
        _ => discover(core, within.min(DISCOVER_MAX)).await.map_err(|fault| fault.message),
    };
    let legacy = match speaks {
        Speaks::Modern => Err("legacy: not tried".to_owned()),
        _ => open_own(core).await.map_err(|fault| fault.message),
    };
    match (modern, legacy) {
        (Err(modern), Err(legacy)) if modern == legacy => Err(modern),
        (Err(modern), Err(legacy)) => Err(format!("{modern}; {legacy}")),
        (modern, legacy) => Ok(Found { modern: modern.ok(), legacy: legacy.ok() }),
    }
}

async fn discover(core: &Core, within: Duration) -> Result<Greeting, RpcError> {
    let result = core.ask_modern(&Method::Discover, RawObject::new(), within).await?;
    hello::read_discovered(&result).map_err(RpcError::internal)
}

async fn open_own(core: &Arc<Core>) -> Result<Arc<HttpSession>, RpcError> {
    let outside: Arc<dyn Outside> = core.clone();
    let hello = hello::initialize_for_us();
    let opened =
        HttpSession::open(&core.base, &core.endpoint, &hello, outside, &core.calls, &core.stop).await;
    let session = opened?;
    core.tasks.spawn(stream::hold(session.clone()));
    core.set_own(Some(session.clone()));
    Ok(session)
}

async fn read_lists(
    core: &Core,
    found: &Found,
    kinds: &[ListKind],
    announced: &[ListKind],
) -> Result<(), String> {
    let within = START_TIMEOUT;
    if let Some(greeting) = &found.modern {
        let asker = ModernAsker { core, within };
        read_era(core, Era::Modern, &asker, greeting, kinds, announced).await?;
        let tools = annotations(&core.base.stock.newest(Era::Modern).tools.items);
        *core.annotated.lock() = Arc::new(tools);
    }
    if let Some(session) = &found.legacy {
        let asker = SessionAsker { session: session.clone(), within };
        read_era(core, Era::Legacy, &asker, &session.greeting, kinds, announced).await?;
    }
    Ok(())
}

async fn read_era(
    core: &Core,
    era: Era,
    asker: &dyn Asker,
    greeting: &Greeting,
    kinds: &[ListKind],
    announced: &[ListKind],
) -> Result<(), String> {
    let newest = core.base.stock.newest(era);
    let mut lists: Lists = KINDS.map(|kind| newest.list(kind).items.clone());
    collect(asker, greeting, &core.base.options, kinds, &mut lists).await?;
    core.base.stock.publish(era, greeting, &lists, announced);
    Ok(())
}

/// Until it cannot be reached; says why.
async fn watch(core: &Arc<Core>, found: &Found, backoff: &mut Backoff) -> String {
    let healthy = tokio::time::sleep(HEALTHY_AFTER);
    tokio::pin!(healthy);
    let session_ended = async {
        match &found.legacy {
            Some(session) => session.ended.cancelled().await,
            None => std::future::pending().await,
        }
    };
    let listening = listen(core, found);
    tokio::pin!(session_ended, listening);
    loop {
        let read = tokio::select! {
            () = &mut session_ended => return "it has forgotten our session".to_owned(),
            () = &mut listening => unreachable!("listening has no end"),
            () = &mut healthy, if !healthy.is_elapsed() => {
                backoff.reset();
                continue;
            }
            kinds = core.changes.next() => read_lists(core, found, &kinds, &kinds).await,
            () = tokio::time::sleep(REFRESH_INTERVAL) => refresh(core, found).await,
        };
        if let Err(why) = read {
            return why;
        }
    }
}

/// Reads everything again, and looks whether it speaks more than before.
async fn refresh(core: &Arc<Core>, found: &Found) -> Result<(), String> {
    let within = START_TIMEOUT.min(DISCOVER_MAX);
    let speaks = core.base.options.speaks;
    if found.modern.is_none() && speaks != Speaks::Legacy && discover(core, within).await.is_ok() {
        return Err("it speaks the modern era now".to_owned());
    }
    if found.legacy.is_none() && speaks != Speaks::Modern && open_own(core).await.is_ok() {
        return Err("it speaks the legacy era now".to_owned());
    }
    read_lists(core, found, &KINDS, &[]).await
}

/// Holds one `subscriptions/listen` while there is something to listen for. Never ends.
async fn listen(core: &Core, found: &Found) {
    let Some(greeting) = &found.modern else { return std::future::pending().await };
    let mut wishes = core.wishes.watch();
    let mut backoff = Backoff::new(LISTEN_PAUSE_MS.0, LISTEN_PAUSE_MS.1);
    let mut is_first = true;
    loop {
        let uris: Vec<String> = wishes.borrow_and_update().keys().cloned().collect();
        let Some(params) = hello::listen_params(greeting, &uris) else {
            let _ = wishes.changed().await;
            continue;
        };
        let refused = tokio::select! {
            ended = listen_once(core, params, !is_first, &mut backoff) => ended,
            changed = wishes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => std::future::pending().await,
            },
        };
        is_first = false;
        if refused {
            let _ = wishes.changed().await;
        }
        tokio::time::sleep(backoff.pause(chance())).await;
    }
}

/// One listen stream; true if the upstream refuses to have any. After a gap anything may have changed.
async fn listen_once(core: &Core, params: RawObject, after_gap: bool, backoff: &mut Backoff) -> bool {
    let request = own_request(Method::Listen, params);
    let (_, mut talk) = core.talk_modern(&request);
    loop {
        match talk.next().await {
            Step::Message(message) => match parse(&message) {
                Ok(Message::Notification(notification)) => {
                    if notification.method == Method::ListenAcknowledged {
                        backoff.reset();
                        if after_gap {
                            core.changes.anything();
                        }
                    }
                    core.heard(notification);
                }
                Ok(Message::Response(response)) => return response.outcome.is_err(),
                Ok(Message::Request(_)) => core.base.invalid("a request on a listen stream"),
                Err((_, fault)) => core.base.invalid(&fault.message),
            },
            Step::TooLong => core.base.invalid("an event is too long"),
            Step::Pause { .. } => {}
            Step::Refused(status, _) => return status.is_client_error() && status.as_u16() != 429,
            Step::Over(_) => return false,
        }
    }
}
