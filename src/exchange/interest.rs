//! Which resources a modern listener wants to hear of, told to whoever serves them, for as long as it
//! listens.
//!
//! An upstream reports updates only of what was subscribed to. A provider that reports anyway may answer that
//! it knows no such method.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Exchange;
use crate::mcp::{Caller, Id, Meta, Method, RawObject, Request, Responder, raw};

/// Subscriptions held for one listener; dropping it gives them back.
pub(super) struct Interest {
    exchange: Arc<Exchange>,
    caller: Caller,
    uris: Vec<String>,
}

impl Interest {
    /// Nothing subscribed to yet.
    pub(super) fn of(exchange: Arc<Exchange>, caller: Caller) -> Interest {
        Interest { exchange, caller, uris: Vec::new() }
    }

    /// Subscribes to each of `uris`.
    pub(super) async fn add<'a>(&mut self, uris: impl Iterator<Item = &'a String>) {
        for uri in uris {
            self.uris.push(uri.clone());
            serve_quietly(&self.exchange, &self.caller, Method::ResourcesSubscribe, uri).await;
        }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        if self.uris.is_empty() {
            return;
        }
        let (exchange, caller) = (self.exchange.clone(), self.caller.clone());
        let uris = std::mem::take(&mut self.uris);
        tokio::spawn(async move {
            for uri in &uris {
                serve_quietly(&exchange, &caller, Method::ResourcesUnsubscribe, uri).await;
            }
        });
    }
}

/// Providers bound the wait themselves.
async fn serve_quietly(exchange: &Exchange, caller: &Caller, method: Method, uri: &str) {
    let (responder, _frames) = Responder::new(None, CancellationToken::new());
    let mut params = RawObject::new();
    params.set("uri", raw(uri));
    let request =
        Request { id: Id::from_number(0), method, params, meta: Meta::default(), param_headers: Vec::new() };
    if let Err(fault) = exchange.router.serve(&request, caller, &responder).await {
        tracing::debug!(%fault, method = request.method.as_str(), "a listener's interest was not taken");
    }
}
