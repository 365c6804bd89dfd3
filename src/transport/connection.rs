//! Serves HTTP/1.1 and HTTP/2 on single connections, within limits of bytes and time.
//!
//! A connection ends by itself, with the node's drain, when it is told to make room, or at once when the
//! node's share ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::socket::{Socket, Timeouts};
use super::stalls::{StreamExecutor, WatchedBody};
use super::{Ending, answer, long_streams};
use crate::admission::{Gate, Turn};
use crate::client_address::TrustedProxies;
use crate::clock::Clock;
use crate::config::{self, ServiceConfig};
use crate::drain::DrainState;

/// Answers that wait for a slow reader of one HTTP/2 stream, in bytes; as much as its window by default.
const HTTP2_SEND_BYTES_MAX: usize = 65_536;
/// Silence on an HTTP/2 connection after which we ask whether the client is there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Time to answer that.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for a connection without any request to send one, once the node drains.
const FIRST_TIME: Duration = Duration::from_secs(1);
/// Time for a connection that is told to leave to close by itself.
const FAREWELL_TIME: Duration = Duration::from_millis(25);

/// Serves HTTP on single connections.
#[derive(Clone)]
pub(super) struct ConnectionServer {
    routes: TowerToHyperService<Router>,
    http: Arc<auto::Builder<StreamExecutor>>,
    timeouts: Timeouts,
    idle: Duration,
    pub(super) proxies: TrustedProxies,
    gate: Gate,
    state: DrainState,
    stop: CancellationToken,
    pub(super) kill: CancellationToken,
}

impl ConnectionServer {
    pub(super) fn new(
        routes: Router,
        config: &ServiceConfig,
        gate: Gate,
        ending: &Ending,
    ) -> ConnectionServer {
        let (limits, connections) = (&config.http, &config.connections);
        let stall = Duration::from_millis(connections.write_stall_ms);
        let mut http = auto::Builder::new(StreamExecutor { stall });
        http.http1()
            .timer(TokioTimer::new())
            // The socket keeps time for heads; see there.
            .header_read_timeout(None)
            .max_buf_size(limits.header_bytes_max.max(8192));
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams_max)
            .initial_stream_window_size(limits.http2_stream_window_bytes)
            .initial_connection_window_size(limits.http2_connection_window_bytes)
            .max_send_buf_size(HTTP2_SEND_BYTES_MAX)
            .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let timeouts = Timeouts {
            first: Duration::from_millis(limits.first_message_timeout_ms),
            head: Duration::from_millis(limits.header_timeout_ms),
            write: stall,
        };
        let proxies = limits.trusted_proxies.iter().filter_map(|block| config::network(block));
        ConnectionServer {
            routes: TowerToHyperService::new(routes),
            http: Arc::new(http),
            timeouts,
            idle: Duration::from_secs(connections.idle_timeout_s),
            proxies: TrustedProxies::new(&proxies.collect::<Vec<_>>()),
            gate,
            state: ending.state.clone(),
            stop: ending.drain.clone(),
            kill: CancellationToken::new(),
        }
    }

    pub(super) async fn run(
        self,
        stream: TcpStream,
        address: SocketAddr,
        activity: Arc<Activity>,
        turn: Arc<Turn>,
    ) {
        let socket = Socket::new(stream, self.timeouts, activity.clone(), turn.clone());
        let (routes, begun, gate) = (self.routes.clone(), activity.clone(), self.gate.clone());
        let (state, arrival) = (self.state.clone(), self.state.arrival());
        let peer = self.proxies.peer(address);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let serving = begun.begin(request.version());
            let client = peer.client(request.headers());
            request.extensions_mut().insert(client);
            request.extensions_mut().insert(ConnectInfo(address));
            request.extensions_mut().insert(arrival);
            let (state, version) = (state.clone(), request.version());
            let admitted = long_streams::admit(&gate, &begun, &request);
            let answering = admitted.map(|stream| (routes.call(request.map(Body::new)), stream));
            async move {
                let (mut response, stream) = match answering {
                    Ok((answering, stream)) => (answering.await?, stream),
                    Err(refusal) => (answer::refusal(refusal, u64::from(address.port())), None),
                };
                if state.is_stopping() {
                    answer::close(&mut response, version);
                }
                Ok::<_, Infallible>(response.map(|body| WatchedBody::new(body, (serving, stream))))
            }
        });
        let connection = self.http.serve_connection(TokioIo::new(socket), service);
        tokio::pin!(connection);
        let asked_to_leave = async {
            tokio::select! {
                () = self.draining(&activity) => false,
                () = activity.dismissed() => true,
                () = idle_for(&activity, self.idle) => true,
            }
        };
        let cut = async {
            tokio::select! {
                () = self.kill.cancelled() => {}
                () = turn.closing() => {}
            }
        };
        tokio::pin!(cut);
        let served = tokio::select! {
            // Of a share that has ended nothing is served any more.
            biased;
            () = cut.as_mut() => return,
            served = connection.as_mut() => served,
            is_idle = asked_to_leave => {
                // A request that has just come is answered; HTTP/2 says goodbye, and may be slow to hear it.
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    () = cut.as_mut() => return,
                    served = connection.as_mut() => served,
                    () = quiet_for(&activity, FAREWELL_TIME), if is_idle => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, %address, "a connection ended");
        }
    }

    /// Resolves when the node drains, somewhat later if no request has arrived.
    async fn draining(&self, activity: &Activity) {
        self.stop.cancelled().await;
        // It may be a probe that has only just come.
        if activity.begun() == 0 {
            tokio::time::sleep(FIRST_TIME).await;
        }
    }
}

/// Resolves when nothing has been served for `time`. Whatever was asked for counts, and nothing but requests
/// does: no ping, no answer to one.
async fn idle_for(activity: &Activity, time: Duration) {
    let clock = Clock::new();
    loop {
        let quiet = activity.quiet_since_ms().map(|since_ms| clock.monotonic_ms().saturating_sub(since_ms));
        match quiet.map(|ms| time.saturating_sub(Duration::from_millis(ms))) {
            Some(Duration::ZERO) => return,
            left => tokio::time::sleep(left.unwrap_or(time)).await,
        }
    }
}

/// Resolves when nothing is being served, looked at every `time`.
async fn quiet_for(activity: &Activity, time: Duration) {
    loop {
        tokio::time::sleep(time).await;
        if !activity.is_serving() {
            return;
        }
    }
}
