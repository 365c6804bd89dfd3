//! Connections beyond every limit, kept so that probes and the operator reach a node that is full or
//! stopping.
//!
//! One request each, about the node itself; everything else is refused as if these places were not there.
//! A connection that does not say its purpose gives its place to the next, so that silence cannot take them
//! all. Not counted as connections of clients.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::answer;
use crate::admission::Guest;
use crate::client_address::TrustedProxies;
use crate::refusal::Refusal;

/// A few probes and a few commands at once; within `connections.reserve_files`.
const PLACES: usize = 16;
/// Clients that are being told at once that there is no place; more are closed without a word.
const TURNED_AWAY_MAX: usize = 64;
/// Time for a whole request.
const REQUEST_TIME: Duration = Duration::from_secs(1);
/// Time for a connection as a whole: an order goes through the group, which takes seconds without a leader.
const WHOLE_TIME: Duration = Duration::from_secs(30);
/// Time for a client to take its last answer.
const PARTING_TIME: Duration = Duration::from_secs(1);
/// Bytes of a head; the least that hyper takes.
const HEAD_BYTES_MAX: usize = 8192;
/// An order is a few numbers.
const BODY_BYTES_MAX: usize = 4096;

/// The places, and how those are served who hold one.
#[derive(Clone)]
pub(super) struct Reserve {
    routes: TowerToHyperService<Router>,
    http: Arc<http1::Builder>,
    proxies: TrustedProxies,
    /// Oldest first.
    places: Arc<Mutex<Vec<Place>>>,
    turning_away: Arc<Semaphore>,
}

/// A place that is taken.
struct Place {
    is_asking: Arc<AtomicBool>,
    leave: oneshot::Sender<OwnedSemaphorePermit>,
}

/// The holder's end of a place, free again when it is dropped.
struct Seat {
    /// Nothing would be lost if it had to go: its request is not whole yet, or it has been answered.
    is_asking: Arc<AtomicBool>,
    left: oneshot::Receiver<OwnedSemaphorePermit>,
    places: Arc<Mutex<Vec<Place>>>,
    /// A client's open file instead of a place, and what would take it away.
    _guest: Option<(Guest, oneshot::Sender<OwnedSemaphorePermit>)>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.lock().retain(|place| !Arc::ptr_eq(&place.is_asking, &self.is_asking));
    }
}

/// Why a connection is served no longer.
enum End {
    Answered,
    TurnedAway(Option<OwnedSemaphorePermit>),
}

impl Reserve {
    /// Serves the part of `routes` that is about the node.
    pub(super) fn new(routes: Router, proxies: TrustedProxies) -> Reserve {
        let mut http = http1::Builder::new();
        http.keep_alive(false).max_buf_size(HEAD_BYTES_MAX);
        Reserve {
            routes: TowerToHyperService::new(routes),
            http: Arc::new(http),
            proxies,
            places: Arc::default(),
            turning_away: Arc::new(Semaphore::new(TURNED_AWAY_MAX)),
        }
    }

    /// Fate of a connection that is not let in: one request is answered if it is about the
    /// node, else `refusal` is said. As a `guest` it takes no place. `None`: close it.
    pub(super) fn admit(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        refusal: Refusal,
        guest: Option<Guest>,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let seat = guest.map(|guest| self.seat_of(guest)).or_else(|| self.seat());
        let turn =
            if seat.is_none() { Some(self.turning_away.clone().try_acquire_owned().ok()?) } else { None };
        let reserve = self.clone();
        Some(async move {
            match seat {
                Some(seat) => {
                    let _ =
                        tokio::time::timeout(WHOLE_TIME, reserve.serve(stream, address, refusal, seat)).await;
                }
                None => reject_full(stream, address, refusal).await,
            }
            drop(turn);
        })
    }

    /// A place: a free one, or that of whoever has kept silent longest.
    fn seat(&self) -> Option<Seat> {
        let mut places = self.places.lock();
        if places.len() >= PLACES {
            let silent = places.iter().position(|place| place.is_asking.load(Ordering::Relaxed))?;
            let turn = self.turning_away.clone().try_acquire_owned().ok()?;
            // One whose time has just ended is gone by itself.
            let _ = places.remove(silent).leave.send(turn);
        }
        let (leave, left) = oneshot::channel();
        let is_asking = Arc::new(AtomicBool::new(true));
        places.push(Place { is_asking: is_asking.clone(), leave });
        Some(Seat { is_asking, left, places: self.places.clone(), _guest: None })
    }

    fn seat_of(&self, guest: Guest) -> Seat {
        let (leave, left) = oneshot::channel();
        let is_asking = Arc::new(AtomicBool::new(true));
        Seat { is_asking, left, places: self.places.clone(), _guest: Some((guest, leave)) }
    }

    async fn serve(self, stream: TcpStream, address: SocketAddr, refusal: Refusal, mut seat: Seat) {
        let (routes, is_asking, peer) = (self.routes, seat.is_asking.clone(), self.proxies.peer(address));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let client = peer.client(request.headers());
            request.extensions_mut().insert(client);
            Box::pin(respond(routes.clone(), request, address, refusal, is_asking.clone()))
        });
        let mut connection = self.http.serve_connection(TokioIo::new(stream), service);
        let end = tokio::select! {
            // What has arrived is looked at before its place goes to another.
            biased;
            // An answer may have gone out although the request was none.
            _ = poll_fn(|cx| connection.poll_without_shutdown(cx)) => End::Answered,
            turn = &mut seat.left => End::TurnedAway(turn.ok()),
            () = silence(&seat.is_asking) => End::TurnedAway(self.turning_away.try_acquire_owned().ok()),
        };
        let mut stream = connection.into_parts().io.into_inner();
        match end {
            End::Answered => {
                seat.is_asking.store(true, Ordering::Relaxed);
                tokio::select! {
                    () = part(&mut stream) => {}
                    _ = &mut seat.left => {}
                }
            }
            End::TurnedAway(Some(turn)) => {
                drop(seat);
                reject_full(stream, address, refusal).await;
                drop(turn);
            }
            End::TurnedAway(None) => {}
        }
    }
}

/// Returns when the request is not whole in time.
async fn silence(is_asking: &AtomicBool) {
    tokio::time::sleep(REQUEST_TIME).await;
    if !is_asking.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

async fn respond(
    routes: TowerToHyperService<Router>,
    request: Request<Incoming>,
    address: SocketAddr,
    refusal: Refusal,
    is_asking: Arc<AtomicBool>,
) -> Result<Response, Infallible> {
    if !is_about_the_node(request.uri().path()) {
        is_asking.store(false, Ordering::Relaxed);
        return Ok(answer::refusal(refusal, address.port().into()));
    }
    let (mut parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    is_asking.store(false, Ordering::Relaxed);
    let Ok(body) = body else { return Ok(answer::empty(StatusCode::PAYLOAD_TOO_LARGE)) };
    parts.extensions.insert(ConnectInfo(address));
    routes.call(Request::from_parts(parts, Body::from(body.to_bytes()))).await
}

/// Routes that stay reachable whatever the clients do.
fn is_about_the_node(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/health") || path.starts_with("/cluster/")
}

/// Says no without having read anything.
async fn reject_full(mut stream: TcpStream, address: SocketAddr, refusal: Refusal) {
    let body = format!(r#"{{"jsonrpc":"2.0","error":{{"code":{},"message":"{refusal}"}}}}"#, refusal.code());
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Retry-After: {}\r\nConnection: close\r\n\r\n{body}",
        body.len(),
        refusal.retry_after_s(address.port().into()),
    );
    let told = async {
        if stream.write_all(answer.as_bytes()).await.is_ok() {
            part(&mut stream).await;
        }
    };
    let _ = tokio::time::timeout(PARTING_TIME, told).await;
}

/// Closes after the answer. What the client still sends is read, as closing before would take the answer from
/// it.
async fn part(stream: &mut TcpStream) {
    let parting = async {
        stream.shutdown().await?;
        let mut rest = [0_u8; 4096];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(PARTING_TIME, parting).await;
}
