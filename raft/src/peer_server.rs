//! The peer port: an HTTP/1.1 listener of its own that serves signed requests only.
//!
//! In order: few places and a short time for strangers, the size that the route allows, the signature, and
//! only then the body; many places for those who have signed. Routes are mounted by others; this file knows
//! no Raft and is the only one of the crate that names axum.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auth_error::AuthError;
use crate::node_tag::NodeTag;
use crate::peer_auth::{PeerAuth, PeerCounts};
use crate::peer_client::RefusalBody;
use crate::peer_error::LeaderHint;
use crate::peer_strangers::{Acquaintance, Guest, Strangers};

/// Connections at once: five lanes of 8 from each of 63 peers, with room for strangers to be turned away.
const CONNECTIONS_MAX: usize = 4_096;

/// How long a connection may take to send its next headers; longer than a client keeps one idle, so that it
/// is the client who closes and no request meets a closing connection.
const HEADER_TIME: Duration = Duration::from_secs(90);

/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Headers of a request: ours have seven of some 100 bytes.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// How long open exchanges may go on when the port closes.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// How long to pause after `accept` failed, such as for want of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A signed request, whole.
#[derive(Debug)]
pub struct PeerRequest {
    /// Node that sent it. Mounted routers find it as an `Extension<NodeTag>`.
    pub from: NodeTag,
    /// Its body.
    pub body: Bytes,
}

/// The answer to a peer.
#[derive(Debug)]
pub struct PeerReply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body, in JSON.
    pub body: Bytes,
}

impl PeerReply {
    /// A good answer in JSON.
    #[must_use]
    pub fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { status: StatusCode::OK, body: body.into() },
            Err(error) => {
                Self::refuse(StatusCode::INTERNAL_SERVER_ERROR, "unwritable", &format!("the answer: {error}"))
            }
        }
    }

    /// A refusal: a word for programs and a sentence for people.
    #[must_use]
    pub fn refuse(status: StatusCode, code: &str, message: &str) -> Self {
        Self::refuse_with(status, code, message, None)
    }

    /// A refusal that says whom to ask instead.
    pub(crate) fn refuse_with(
        status: StatusCode,
        code: &str,
        message: &str,
        leader: Option<LeaderHint>,
    ) -> Self {
        let body = RefusalBody { error: code.to_owned(), message: message.to_owned(), leader };
        // Two strings: nothing JSON could refuse.
        Self { status, body: serde_json::to_vec(&body).unwrap_or_default().into() }
    }
}

/// Service of the peer port.
#[derive(Default)]
pub struct PeerRoutes {
    router: Router,
    limits: Vec<(String, usize)>,
}

impl PeerRoutes {
    /// Serves POST on `path` with bodies of up to `body_bytes_max`.
    #[must_use]
    pub fn post<F>(mut self, path: &str, body_bytes_max: usize, handler: F) -> Self
    where
        F: Fn(PeerRequest) -> BoxFuture<'static, PeerReply> + Clone + Send + Sync + 'static,
    {
        self.limits.push((path.to_owned(), body_bytes_max));
        let serve = move |request: Request| serve(handler.clone(), request);
        self.router = self.router.route(path, axum::routing::post(serve));
        self
    }

    /// Mounts further routes, which may stream their answers, with bodies of up to `body_bytes_max` for every
    /// path that begins with `prefix`. The sender is in the request's extensions as a [`NodeTag`].
    #[must_use]
    pub fn mount(mut self, prefix: &str, body_bytes_max: usize, router: Router) -> Self {
        self.limits.push((prefix.to_owned(), body_bytes_max));
        self.router = self.router.merge(router);
        self
    }
}

impl std::fmt::Debug for PeerRoutes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerRoutes").field("limits", &self.limits).finish_non_exhaustive()
    }
}

async fn serve<F>(handler: F, request: Request) -> Response
where
    F: Fn(PeerRequest) -> BoxFuture<'static, PeerReply>,
{
    let (head, body) = request.into_parts();
    let Some(from) = head.extensions.get::<NodeTag>().copied() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // The size was checked, and the body is in memory already.
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    respond(handler(PeerRequest { from, body }).await)
}

fn respond(reply: PeerReply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = reply.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The gate before every route.
struct Gate {
    auth: PeerAuth,
    limits: Vec<(String, usize)>,
}

impl Gate {
    fn body_bytes_max(&self, path: &str) -> usize {
        let fitting = self.limits.iter().filter(|(prefix, _)| path.starts_with(prefix.as_str()));
        fitting.max_by_key(|(prefix, _)| prefix.len()).map_or(0, |(_, max)| *max)
    }
}

async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let asked = request.headers().clone();
    let response = answer(&gate, request, next).await;
    let (mut head, body) = response.into_parts();
    // What is in memory is signed whole; of a stream the head is.
    let (body, whole) = match http_body::Body::size_hint(&body).exact() {
        Some(_) => match to_bytes(body, usize::MAX).await {
            Ok(whole) => (Body::from(whole.clone()), Some(whole)),
            Err(error) => {
                tracing::warn!(%error, "an answer to a peer broke off");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
        },
        None => (body, None),
    };
    head.headers.extend(gate.auth.sign_answer(&asked, head.status, whole.as_deref()));
    Response::from_parts(head, body)
}

async fn answer(gate: &Gate, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let max = gate.body_bytes_max(head.uri.path());
    let length = head.headers.get(CONTENT_LENGTH).map(|length| length.to_str().ok()?.parse::<usize>().ok());
    // A peer always says how long its body is.
    let is_sized =
        matches!(length, Some(Some(length)) if length <= max) || (length.is_none() && is_empty(&body));
    if !is_sized {
        return refuse_size(max);
    }
    let proven = match gate.auth.verify(head.method.as_str(), path, &head.headers) {
        Ok(proven) => proven,
        Err(error) => return refuse(&error),
    };
    if let Some(connection) = head.extensions.get::<Acquaintance>() {
        connection.prove();
    }
    let Ok(Ok(body)) = tokio::time::timeout(BODY_TIME, to_bytes(body, max)).await else {
        return refuse_size(max);
    };
    if let Err(error) = proven.check_body(&body) {
        return refuse(&error);
    }
    head.extensions.insert(proven.from);
    next.run(Request::from_parts(head, Body::from(body))).await
}

fn is_empty(body: &Body) -> bool {
    http_body::Body::is_end_stream(body)
}

fn refuse(error: &AuthError) -> Response {
    respond(PeerReply::refuse(error.status(), error.code(), &error.to_string()))
}

fn refuse_size(max: usize) -> Response {
    let message = format!("a body of known length of at most {max} bytes is expected here");
    respond(PeerReply::refuse(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &message))
}

/// The running peer port.
#[derive(Debug)]
pub struct PeerServer {
    address: SocketAddr,
    closing: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl PeerServer {
    /// Serves `routes` on a bound listener, to peers that `auth` accepts.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn start(
        listener: std::net::TcpListener,
        auth: PeerAuth,
        routes: PeerRoutes,
    ) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let port = Port {
            strangers: Strangers::default(),
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            auth: auth.clone(),
        };
        let gate = Arc::new(Gate { auth, limits: routes.limits });
        let missing = || async {
            respond(PeerReply::refuse(StatusCode::NOT_FOUND, "no_route", "this node does not know the path"))
        };
        let router = routes.router.fallback(missing).layer(from_fn_with_state(gate, pass));
        let closing = CancellationToken::new();
        let task = tokio::spawn(accept(listener, router, closing.clone(), port));
        Ok(Self { address, closing, task })
    }

    /// Address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets open exchanges end for a moment, and closes the port.
    pub async fn stop(self) {
        self.closing.cancel();
        // A panic of the task has been reported by the runtime; there is nothing left to close.
        let _ = self.task.await;
    }
}

/// Connections that are let in.
#[derive(Clone)]
struct Port {
    strangers: Strangers,
    slots: Arc<Semaphore>,
    auth: PeerAuth,
}

impl Port {
    /// Waits until a peer has spoken on the connection of `guest`, and takes a place of peers for it; `None`:
    /// close it.
    async fn place(&self, guest: &Guest) -> Option<OwnedSemaphorePermit> {
        if guest.proven().await {
            return self.slots.clone().try_acquire_owned().ok();
        }
        PeerCounts::add(&self.auth.counts().strangers);
        None
    }
}

async fn accept(listener: TcpListener, router: Router, closing: CancellationToken, port: Port) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(converse(stream, router.clone(), closing.clone(), port.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the peer port");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(CLOSE_TIME, drained).await;
    connections.shutdown().await;
}

async fn converse(stream: TcpStream, router: Router, closing: CancellationToken, port: Port) {
    let _ = stream.set_nodelay(true);
    let guest = port.strangers.admit();
    let service = TowerToHyperService::new(router.layer(Extension(guest.acquaintance())));
    let exchanges = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut exchanges = std::pin::pin!(exchanges);
    let mut place = None;
    let ended: Result<(), hyper::Error> = loop {
        tokio::select! {
            ended = exchanges.as_mut() => break ended,
            slot = port.place(&guest), if place.is_none() => match slot {
                Some(slot) => place = Some(slot),
                None => return,
            },
            () = closing.cancelled() => {
                exchanges.as_mut().graceful_shutdown();
                break exchanges.await;
            }
        }
    };
    drop(place);
    if let Err(error) = ended {
        tracing::debug!(%error, "a peer connection ended");
    }
}
