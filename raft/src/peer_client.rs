//! Signed requests to other nodes, over HTTP/1.1 with kept connections.
//!
//! Each [`PeerChannel`] has connections of its own, so that a heartbeat never waits behind a snapshot. Every
//! request is bounded in time by its caller. Knows nothing of Raft: sessions are relayed over it too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::auth_error::AuthError;
use crate::node_tag::NodeTag;
use crate::peer_answer::ProvenAnswer;
use crate::peer_auth::PeerAuth;
use crate::peer_error::{LeaderHint, PeerError};

/// The largest answer that is read: a snapshot's acknowledgement or a list of members is far below.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Idle connections kept for one address and channel.
const IDLE_MAX: usize = 8;

/// How long an idle connection is kept.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// The longest wait for a connection; the whole request is bounded by its own time too.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// How many addresses are remembered with a clock that differs from ours.
const CLOCKS_MAX: usize = 1_024;

/// A difference between clocks that explains why a request was not taken.
const CLOCK_MS: u64 = 100;

/// Characters of what a stranger says that are shown.
const WORDS_MAX: usize = 300;

/// Which connections a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerChannel {
    /// Heartbeats, votes and other short words of Raft.
    Heartbeat,
    /// Log entries.
    Append,
    /// Snapshots.
    Snapshot,
    /// Commands, joining and operators' requests.
    Control,
    /// Clients' messages.
    Relay,
}

/// Target of a request.
#[derive(Debug, Clone)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// Node that must answer there; `None` when that is not known yet.
    pub node: Option<NodeTag>,
}

/// The body of a refusal on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RefusalBody {
    pub(crate) error: String,
    pub(crate) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) leader: Option<LeaderHint>,
}

type Pool = Client<HttpConnector, Full<Bytes>>;

/// Sends signed requests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PeerClient {
    auth: PeerAuth,
    lanes: Arc<[Pool; 5]>,
    clocks: Arc<Mutex<HashMap<String, i64>>>,
}

impl PeerClient {
    /// A client that signs with `auth`.
    #[must_use]
    pub fn new(auth: PeerAuth) -> Self {
        Self { auth, lanes: Arc::new(std::array::from_fn(|_| pool())), clocks: Arc::default() }
    }

    pub(crate) fn auth(&self) -> &PeerAuth {
        &self.auth
    }

    /// Sends `body` by POST and reads the whole answer, within `time`.
    ///
    /// # Errors
    /// [`PeerError`]; only [`PeerError::Lost`] leaves open what happened on the other side.
    pub async fn post(
        &self,
        target: &Target,
        channel: PeerChannel,
        path: &str,
        body: Bytes,
        time: Duration,
    ) -> Result<Bytes, PeerError> {
        let exchange = async {
            let no_more = http::HeaderMap::new();
            let (answer, proven) = self.request(target, channel, Method::POST, path, no_more, body).await?;
            let (head, body) = answer.into_parts();
            let body = read_answer(&target.address, body).await?;
            if !proven.is_body(&body) {
                return Err(lost(&target.address, "the answer is not the one that was signed".to_owned()));
            }
            if head.status.is_success() {
                Ok(body)
            } else {
                Err(refusal(&target.address, head.status, &body))
            }
        };
        match tokio::time::timeout(time, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(lost(&target.address, format!("nothing within {} ms", time.as_millis()))),
        }
    }

    /// Sends a request with further `headers` and returns the answer as it begins, whatever its status, so
    /// that a caller can stream it. Its head is proven to be a peer's; its body is only where
    /// [`ProvenAnswer::is_body`] says so. Not bounded in time: wrap it. A body must be within the receiver's
    /// limit for the path.
    ///
    /// # Errors
    /// [`PeerError::Unreachable`], [`PeerError::Lost`] or [`PeerError::Unproven`].
    pub async fn request(
        &self,
        target: &Target,
        channel: PeerChannel,
        method: Method,
        path: &str,
        headers: http::HeaderMap,
        body: Bytes,
    ) -> Result<(Response<Incoming>, ProvenAnswer), PeerError> {
        let ahead = self.ahead_ms(&target.address);
        let (answer, proven) =
            self.send_once(target, channel, &method, path, &headers, body.clone(), ahead).await?;
        // A receiver that has just started takes nothing from before that, so a little counts.
        let is_off = proven.ahead_ms.abs_diff(ahead) > CLOCK_MS;
        if answer.status() != StatusCode::UNAUTHORIZED || !is_off {
            return Ok((answer, proven));
        }
        self.note_clock(&target.address, proven.ahead_ms);
        self.send_once(target, channel, &method, path, &headers, body, proven.ahead_ms).await
    }

    #[allow(clippy::too_many_arguments, reason = "one request, told once")]
    async fn send_once(
        &self,
        target: &Target,
        channel: PeerChannel,
        method: &Method,
        path: &str,
        headers: &http::HeaderMap,
        body: Bytes,
        ahead_ms: i64,
    ) -> Result<(Response<Incoming>, ProvenAnswer), PeerError> {
        let unreachable =
            |problem: String| PeerError::Unreachable { address: target.address.clone(), problem };
        let uri: Uri = format!("http://{}{path}", target.address)
            .parse()
            .map_err(|error| unreachable(format!("not an address: {error}")))?;
        let proof = self
            .auth
            .sign(method.as_str(), path, &body, target.node, ahead_ms)
            .map_err(|error| unreachable(error.to_string()))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers.clone();
        request.headers_mut().extend(proof.clone());
        let answer = match self.lanes[channel as usize].request(request).await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Err(unreachable(chain(&error))),
            Err(error) => return Err(lost(&target.address, chain(&error))),
        };
        match self.auth.verify_answer(&proof, target.node, answer.status(), answer.headers()) {
            Some(proven) => Ok((answer, proven)),
            None => Err(unproven(&target.address, answer).await),
        }
    }

    fn ahead_ms(&self, address: &str) -> i64 {
        let clocks = self.clocks.lock();
        clocks.get(address).copied().unwrap_or_default()
    }

    fn note_clock(&self, address: &str, ahead_ms: i64) {
        let mut clocks = self.clocks.lock();
        if clocks.len() >= CLOCKS_MAX {
            clocks.clear();
        }
        tracing::warn!(address, ahead_ms, "a peer's clock differs from ours; correcting for it");
        clocks.insert(address.to_owned(), ahead_ms);
    }
}

fn pool() -> Pool {
    pool_by(GaiResolver::new())
}

/// Names are resolved for each new connection, never remembered: a peer that comes back in another container
/// has its old name and a new address.
fn pool_by<R>(resolver: R) -> Client<HttpConnector<R>, Full<Bytes>>
where
    HttpConnector<R>: Connect + Clone,
{
    let mut connector = HttpConnector::new_with_resolver(resolver);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIME));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(IDLE_MAX)
        .pool_idle_timeout(IDLE_TIME)
        .build(connector)
}

async fn read_answer(address: &str, body: Incoming) -> Result<Bytes, PeerError> {
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(lost(address, format!("the answer has more than {ANSWER_BYTES_MAX} bytes")))
        }
        Err(error) => Err(lost(address, error.to_string())),
    }
}

/// Answer of somebody who is no peer; most likely the operator gave one of the two another secret.
async fn unproven(address: &str, answer: Response<Incoming>) -> PeerError {
    let status = answer.status();
    let body = read_answer(address, answer.into_body()).await.unwrap_or_default();
    let told = told(status, &body);
    let printable = |text: String| text.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
    PeerError::Unproven {
        address: address.to_owned(),
        code: printable(told.error),
        message: printable(told.message),
    }
}

fn told(status: StatusCode, body: &[u8]) -> RefusalBody {
    serde_json::from_slice::<RefusalBody>(body).unwrap_or_else(|_| RefusalBody {
        error: "unknown".to_owned(),
        message: format!("status {status}; is this a peer port?"),
        leader: None,
    })
}

fn refusal(address: &str, status: StatusCode, body: &[u8]) -> PeerError {
    let told = told(status, body);
    PeerError::Refused {
        address: address.to_owned(),
        status,
        code: told.error,
        message: told.message,
        leader: told.leader.map(Box::new),
    }
}

fn lost(address: &str, problem: String) -> PeerError {
    PeerError::Lost { address: address.to_owned(), problem }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

impl From<&AuthError> for RefusalBody {
    fn from(error: &AuthError) -> Self {
        Self { error: error.code().to_owned(), message: error.to_string(), leader: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::{Ready, ready};
    use std::io;
    use std::iter::{Once, once};
    use std::net::SocketAddr;
    use std::task::{Context, Poll};

    use hyper_util::client::legacy::connect::dns::Name;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tower_service::Service;

    use super::*;

    /// A name whose address changes with every look.
    #[derive(Clone)]
    struct Moving(Arc<Mutex<VecDeque<SocketAddr>>>);

    impl Service<Name> for Moving {
        type Response = Once<SocketAddr>;
        type Error = io::Error;
        type Future = Ready<io::Result<Once<SocketAddr>>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Name) -> Self::Future {
            let next = self.0.lock().pop_front();
            ready(next.map(once).ok_or_else(|| io::Error::other("nowhere")))
        }
    }

    /// Answers one request with `word`, and is gone.
    async fn peer(word: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", word.len());
            let answer = format!("{head}{word}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_peer_whose_name_has_a_new_address_is_found_there() {
        let (old, new) = (peer("old").await, peer("new").await);
        let moving = Moving(Arc::new(Mutex::new(VecDeque::from([old, new]))));
        let pool = pool_by(moving.clone());
        for word in ["old", "new"] {
            // Without a port of its own the address keeps that of the peer.
            let answer = pool.get(Uri::from_static("http://node-1.peers/")).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), word);
        }
        assert!(moving.0.lock().is_empty());
    }
}
