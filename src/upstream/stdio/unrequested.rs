//! Messages that a child sends without being asked: questions, log lines, progress, changes.
//!
//! What names a request goes to the one who waits for it. What names none reaches the client to whom alone it
//! can belong, or nobody: one client must never see what is another's.

use crate::mcp::{
    Id, Method, Notification, RawObject, Request, RpcError, encode_error, encode_notification, encode_result,
    raw,
};
use crate::upstream::forwarder::Inbound;
use crate::upstream::health::Counts;
use crate::upstream::inbox::InboxSender;
use crate::upstream::request_table::{Attribution, Owner};

use super::connection::StdioConnection;
use super::wire::{number, refusal_of_question};

impl StdioConnection {
    pub(super) fn take_request(&self, request: Request) {
        if request.method == Method::Ping {
            return self.try_send(encode_result(&request.id, &raw(&serde_json::json!({}))));
        }
        let id = request.id.clone();
        let why = match self.calls.attribution() {
            Attribution::Client(owner, inbox) => {
                if let Owner::Session(session) = &owner {
                    self.elicitations.asked(&request, session);
                }
                if inbox.put(Inbound::Request(request)) {
                    return;
                }
                "the client does not read its messages".to_owned()
            }
            attribution => {
                self.state.unowned(&request.method);
                refusal_of_question(&attribution)
            }
        };
        self.try_send(encode_error(&id, &RpcError::internal(why)));
    }

    pub(super) fn take_notification(&self, notification: Notification) {
        match &notification.method {
            Method::Progress => self.take_progress(notification),
            Method::ElicitationComplete => match self.elicitations.owner(&notification.params) {
                Some(session) => {
                    let params = notification.params.to_raw();
                    session.push(encode_notification(&notification.method, Some(&params)));
                }
                None => self.state.unowned(&notification.method),
            },
            Method::LogMessage => match self.calls.attribution() {
                Attribution::Client(_, inbox) => self.put(&inbox, notification.method, notification.params),
                Attribution::Nobody => self.sink.on_notification(notification),
                Attribution::Gone | Attribution::Several { .. } => self.state.unowned(&notification.method),
            },
            Method::Cancelled => {
                // Whoever has this question open; ids of questions are the child's and unique.
                if let Some(id) = notification.params.get("requestId").and_then(Id::from_raw) {
                    for inbox in self.calls.inboxes() {
                        inbox.put(Inbound::RequestCancelled(id.clone()));
                    }
                }
            }
            method => {
                if method.tells_of_task() {
                    self.calls.task_told(&notification.params);
                }
                self.sink.on_notification(notification);
            }
        }
    }

    fn take_progress(&self, mut notification: Notification) {
        let token = notification.params.get("progressToken").and_then(Id::from_raw);
        let inbox = token.and_then(|token| number(&token)).and_then(|id| self.calls.inbox(id));
        let Some((inbox, token)) = inbox.and_then(|inbox| inbox.token.clone().map(|token| (inbox, token)))
        else {
            Counts::add(&self.state.counts.dropped);
            return;
        };
        notification.params.set("progressToken", token);
        self.put(&inbox, notification.method, notification.params);
    }

    fn put(&self, inbox: &InboxSender, method: Method, params: RawObject) {
        if !inbox.put(Inbound::Notification { method, params }) {
            Counts::add(&self.state.counts.dropped);
        }
    }
}
