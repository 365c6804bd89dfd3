//! The whole story of one message: which era, which session, who serves it, what goes back.
//!
//! Every transport hands its messages in here and only frames what comes out; nothing here knows of HTTP but
//! the status that a fault carries. No waiting happens before [`PendingCall::next`].

mod answer;
mod bounds;
mod call;
mod capabilities;
mod changes;
mod handshake;
mod legacy;
mod listen;
mod lists;
mod modern;
mod revision;
mod subscription_guard;

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use answer::{EncodedResponse, Rejected};
pub use call::{PendingCall, StreamItem};
pub use listen::LISTENERS_MAX;
pub use revision::{Revision, VersionHeader, detect_revision, parse_revision};

use crate::clock::Clock;
use crate::config::ServiceConfig;
use crate::drain::{Arrival, DrainState};
use crate::mcp::{Era, Message, Method};
use crate::monitor::Recorder;
use crate::refusal::Refusal;
use crate::router::Router;
use crate::session::{Session, Sessions, Shortage};

/// Parts of an exchange.
pub struct ExchangeOptions {
    /// Way to all providers.
    pub router: Arc<Router>,
    /// Counters of messages and calls.
    pub recorder: Arc<Recorder>,
    /// `serverInfo`, raw: at least name and version.
    pub server_info: Box<RawValue>,
    /// The home that session ids name.
    pub node_id: u64,
    /// Sections of the configuration that bound requests and sessions.
    pub config: Arc<ServiceConfig>,
    /// Open `subscriptions/listen` streams; [`LISTENERS_MAX`] but in tests.
    pub listeners_max: usize,
    /// Time.
    pub clock: Clock,
    /// Whether new clients are let in.
    pub drain: DrainState,
    /// Cancelled to drain: listening streams end with a result, own tasks stop.
    pub stop: CancellationToken,
}

/// Serves messages of both eras.
pub struct Exchange {
    router: Arc<Router>,
    recorder: Arc<Recorder>,
    server_info: Box<RawValue>,
    discovered: lists::Discovered,
    config: Arc<ServiceConfig>,
    clock: Clock,
    drain: DrainState,
    stop: CancellationToken,
    sessions: Sessions,
    listeners: Arc<Semaphore>,
}

/// Sender of a message, as far as the transport knows.
#[derive(Clone, Copy)]
pub struct MessageOrigin<'a> {
    /// From credentials; `anonymous` without.
    pub principal: &'a Arc<str>,
    /// The session that the message names.
    pub session_id: Option<&'a str>,
    /// The client's address.
    pub address: IpAddr,
    /// When its connection came.
    pub arrival: Arrival,
}

/// Reply to one message.
pub enum Reply {
    /// Nothing: the message was a notification or a response.
    Accepted,
    /// This, at once.
    Answer(EncodedResponse),
    /// This, and from now on there is a session.
    Opened(EncodedResponse, Arc<Session>),
    /// Whatever comes out of the call, in the session if there is one.
    Call(PendingCall, Option<Arc<Session>>),
}

impl Exchange {
    /// Starts to serve; its tasks end with `options.stop`.
    #[must_use]
    pub fn start(options: ExchangeOptions) -> Arc<Exchange> {
        let exchange = Arc::new(Exchange {
            sessions: Sessions::new(options.node_id, options.config.clone()),
            listeners: Arc::new(Semaphore::new(options.listeners_max)),
            router: options.router,
            recorder: options.recorder,
            server_info: options.server_info,
            discovered: lists::Discovered::default(),
            config: options.config,
            clock: options.clock,
            drain: options.drain,
            stop: options.stop,
        });
        changes::follow(&exchange);
        exchange
    }

    /// Takes one message, whose era [`detect_revision`] has found.
    ///
    /// # Errors
    /// The fault, and the id to answer under if the message had one.
    pub fn receive(
        self: &Arc<Self>,
        message: Message,
        revision: Revision,
        sender: MessageOrigin<'_>,
    ) -> Result<Reply, Rejected> {
        self.recorder.message_in();
        self.let_in(&message, revision.era(), sender.arrival)?;
        match (message, revision.era()) {
            (Message::Request(request), Era::Modern) => self.serve_modern(request, revision, sender),
            (Message::Request(request), Era::Legacy) if request.method == Method::Initialize => {
                self.initialize(&request, sender)
            }
            (Message::Request(request), Era::Legacy) => {
                let session = self.session(sender).map_err(|fault| Rejected::of(&request.id, fault))?;
                self.serve_legacy(request, session)
            }
            // Modern HTTP has no notifications from clients: closing the stream is the cancellation.
            (Message::Notification(_), Era::Modern) => Ok(Reply::Accepted),
            (Message::Notification(notification), Era::Legacy) => {
                self.on_notification(&notification, &self.session(sender)?);
                Ok(Reply::Accepted)
            }
            (Message::Response(response), _) => {
                self.session(sender)?.asks().answer(response);
                Ok(Reply::Accepted)
            }
        }
    }

    /// Names have their bounds. While an operator drains the node it opens no sessions, and serves clients
    /// without one only on the connections that they had. A task that they began here they may ask for from
    /// anywhere.
    fn let_in(&self, message: &Message, era: Era, arrival: Arrival) -> Result<(), Rejected> {
        let Message::Request(request) = message else { return Ok(()) };
        bounds::check_names(request, self.config.http.name_bytes_max)
            .map_err(|fault| Rejected::of(&request.id, fault))?;
        let is_new = match era {
            Era::Legacy => self.drain.is_draining() && request.method == Method::Initialize,
            Era::Modern => self.drain.came_while_draining(arrival) && !request.method.is_about_task(),
        };
        if is_new { Err(Rejected::of(&request.id, answer::refused(Refusal::Draining))) } else { Ok(()) }
    }

    /// The sessions of this node.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Ends `session` for everyone.
    pub fn end(&self, session: &Arc<Session>) {
        if self.sessions.end(session) {
            self.recorder.sessions_ended(1);
            self.router.session_ended(session.id());
        }
    }

    /// Ends the session that has to go; false if there is none.
    fn give_way(&self, shortage: Shortage) -> bool {
        let idle = self.sessions.first_to_go(shortage, self.clock.monotonic_ms());
        idle.inspect(|session| {
            self.recorder.session_displaced();
            self.end(session);
        })
        .is_some()
    }

    /// Cancelled when this node drains.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Counters of messages and calls.
    #[must_use]
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// The parameters of `tool` that modern clients repeat in headers.
    #[must_use]
    pub fn header_params(&self, tool: &str) -> Vec<crate::router::HeaderParam> {
        self.router.header_params(Era::Modern, tool)
    }
}
