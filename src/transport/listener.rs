//! Accepts connections, as many as the gate admits; how each is served is in `connection`.
//!
//! Own accept loop: `axum::serve` has no time limit for heads. Whom the gate does not admit is told so and
//! closed, unless another makes room, and only the operator is served; without open files the loop waits
//! instead of spinning. Once the node stops each answer asks its client to connect elsewhere. While it drains
//! no client is let in, what runs may finish in time, the rest is closed, and probes are answered until the
//! port closes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Ending;
use super::activity::Activity;
use super::connection::ConnectionServer;
use super::idle::IdleConnections;
use super::reserve::Reserve;
use crate::admission::{Gate, Slot};
use crate::clock::Clock;
use crate::config::ServiceConfig;
use crate::monitor::Recorder;
use crate::refusal::Refusal;

/// Connections that the kernel holds for us to accept.
pub const BACKLOG: u32 = 2048;
/// Pause after accept failed for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Newcomers that wait at once until another connection has left; more are refused.
const WAITING_MAX: usize = 64;
/// The longest wait of one.
const ROOM_TIME: Duration = Duration::from_millis(50);
/// Time for the last probes to be answered once the port is closed.
const CLOSE_TIME: Duration = Duration::from_millis(100);

/// Binds `address` with a long queue. Port 0 takes any.
///
/// # Errors
/// The system's own, for instance that the address is in use.
pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)?.into_std()
}

/// Serves `routes` to those whom `admission` admits, until it is drained and closed, see [`Ending`].
///
/// In the request's extensions handlers find the client's address as [`ClientAddress`], the other end of the
/// connection as `ConnectInfo<SocketAddr>`, and when it connected as [`Arrival`].
///
/// [`Arrival`]: crate::drain::Arrival
/// [`ClientAddress`]: crate::client_address::ClientAddress
///
/// # Errors
/// If the listener cannot be used at all.
pub async fn serve(
    listener: std::net::TcpListener,
    routes: Router,
    config: &ServiceConfig,
    admission: Gate,
    recorder: Arc<Recorder>,
    ending: Ending,
) -> io::Result<()> {
    // Nobody is to wait for a listener that failed.
    let _drained = ending.drained.clone().drop_guard();
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let server = ConnectionServer::new(routes.clone(), config, admission.clone(), &ending);
    let acceptor = Arc::new(Acceptor {
        reserve: Reserve::new(routes, server.proxies.clone()),
        server,
        gate: admission,
        recorder,
        clients: TaskTracker::new(),
        probes: TaskTracker::new(),
        over: CancellationToken::new(),
        ending,
        nodelay: config.connections.tcp_nodelay,
        idle: Arc::default(),
        idle_ms: config.connections.make_room_idle_ms,
        waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        clock: Clock::new(),
    });
    tokio::join!(acceptor.accept(listener), acceptor.drain(Duration::from_millis(config.drain.timeout_ms)));
    acceptor.probes.close();
    if tokio::time::timeout(CLOSE_TIME, acceptor.probes.wait()).await.is_err() {
        acceptor.over.cancel();
        acceptor.probes.wait().await;
    }
    Ok(())
}

/// The client went before we took it: the next one may be fine.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Lets connections in as long as the gate admits them, and into the reserve when it does not.
struct Acceptor {
    server: ConnectionServer,
    gate: Gate,
    reserve: Reserve,
    recorder: Arc<Recorder>,
    clients: TaskTracker,
    /// Those in the reserve; nothing waits for them but the very end.
    probes: TaskTracker,
    over: CancellationToken,
    ending: Ending,
    nodelay: bool,
    idle: Arc<IdleConnections>,
    /// A connection makes room when it has carried nothing for so long, in milliseconds.
    idle_ms: u64,
    /// Newcomers that wait until another has left.
    waiting: Arc<Semaphore>,
    clock: Clock,
}

impl Acceptor {
    /// Takes connections until the port is to close, and those that have come by then.
    async fn accept(self: &Arc<Self>, listener: TcpListener) {
        let mut failures = 0_u64;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.ending.close.cancelled() => break,
            };
            match accepted {
                Ok((stream, address)) => self.admit(stream, address),
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    failures += 1;
                    // It may go on for hours, ten times a second.
                    if failures.is_power_of_two() {
                        tracing::warn!(%error, failures, "cannot accept connections for now");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        for _ in 0..BACKLOG {
            let Some(Ok((stream, address))) = listener.accept().now_or_never() else { break };
            self.admit(stream, address);
        }
    }

    /// Waits for the drain, then until what runs has ended or its time is over.
    async fn drain(&self, time: Duration) {
        self.ending.drain.cancelled().await;
        self.clients.close();
        if tokio::time::timeout(time, self.clients.wait()).await.is_err() {
            self.server.kill.cancel();
            self.clients.wait().await;
        }
        self.ending.drained.cancel();
    }

    fn serve(&self, stream: TcpStream, address: SocketAddr, slot: Slot) {
        let counted = self.recorder.connection_opened();
        let activity = Arc::new(Activity::at(self.clock.monotonic_ms()));
        let entry = self.idle.enter(activity.clone());
        let serving = self.server.clone().run(stream, address, activity, slot.turn().clone());
        self.clients.spawn(async move {
            serving.await;
            // The socket is closed by now: another may be admitted.
            drop((slot, counted));
            drop(entry);
        });
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        if self.nodelay {
            // It can only fail on a socket that is closed already.
            let _ = stream.set_nodelay(true);
        }
        let refusal = match self.ask_gate() {
            Ok(slot) => return self.serve(stream, address, slot),
            Err(refusal) => refusal,
        };
        match self.make_room(refusal) {
            Some(room) => {
                let acceptor = self.clone();
                self.clients.spawn(async move { acceptor.admit_after(room, stream, address).await });
            }
            None => self.refuse(stream, address, refusal),
        }
    }

    fn ask_gate(&self) -> Result<Slot, Refusal> {
        if self.ending.drain.is_cancelled() { Err(Refusal::Stopping) } else { self.gate.admit() }
    }

    /// Tells an idle connection to leave, if a newcomer would get its place.
    fn make_room(&self, refusal: Refusal) -> Option<Room> {
        let is_used_up = matches!(refusal, Refusal::LimitReached | Refusal::ConnectionsFull);
        if !is_used_up || !self.gate.replaces() {
            return None;
        }
        let turn = self.waiting.clone().try_acquire_owned().ok()?;
        let is_gone = self.idle.dismiss_one(self.clock.monotonic_ms(), self.idle_ms)?;
        Some(Room { is_gone, _turn: turn })
    }

    /// Admits a newcomer once the other is gone.
    async fn admit_after(&self, room: Room, stream: TcpStream, address: SocketAddr) {
        let _ = tokio::time::timeout(ROOM_TIME, room.is_gone).await;
        match self.ask_gate() {
            Ok(slot) => self.serve(stream, address, slot),
            Err(refusal) => self.refuse(stream, address, refusal),
        }
    }

    fn refuse(&self, stream: TcpStream, address: SocketAddr, refusal: Refusal) {
        self.gate.count_refused(refusal);
        // While the node stops there is room for clients to be told so.
        let guest = if refusal == Refusal::Stopping { self.gate.guest() } else { None };
        if let Some(serving) = self.reserve.admit(stream, address, refusal, guest) {
            self.probes.spawn(self.over.clone().run_until_cancelled_owned(serving));
        }
    }
}

/// A place that is about to be free.
struct Room {
    is_gone: oneshot::Receiver<()>,
    _turn: OwnedSemaphorePermit,
}
