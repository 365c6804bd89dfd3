//! Which resources a modern listener wants to hear of, told to whoever serves them, for as long as it
//! listens.
//!
//! An upstream reports updates only of what was subscribed to. A provider that reports anyway may answer that
//! it knows no such method.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Exchange;
use crate::mcp::{Caller, Id, Meta, Method, RawObject, Request, Responder, raw};

/// Subscriptions of one listener that are asked for at once.
const AT_ONCE: usize = 16;

/// Subscriptions held for one listener; dropping it gives back those that were taken.
pub(super) struct SubscriptionGuard {
    taken: mpsc::Receiver<String>,
    _held: DropGuard,
}

impl SubscriptionGuard {
    /// Subscribes to each of `uris`, in a task: what was asked is waited for, so that nothing is given back
    /// that was not taken.
    pub(super) fn in_resources(
        exchange: Arc<Exchange>,
        caller: Caller,
        uris: Vec<String>,
    ) -> SubscriptionGuard {
        let (tell, taken) = mpsc::channel(uris.len().max(1));
        let over = CancellationToken::new();
        let held = over.clone().drop_guard();
        tokio::spawn(async move {
            let (exchange, caller, over) = (&*exchange, &caller, &over);
            let asked = iter(uris).map(|uri| {
                let tell = tell.clone();
                async move {
                    let wanted = !over.is_cancelled();
                    let is_taken = wanted && serve(exchange, caller, Method::ResourcesSubscribe, &uri).await;
                    let _ = tell.try_send(uri.clone());
                    is_taken.then_some(uri)
                }
            });
            let taken: Vec<Option<String>> = asked.buffer_unordered(AT_ONCE).collect().await;
            drop(tell);
            over.cancelled().await;
            let given_back = iter(taken.into_iter().flatten()).map(|uri| async move {
                serve(exchange, caller, Method::ResourcesUnsubscribe, &uri).await;
            });
            given_back.buffer_unordered(AT_ONCE).for_each(async |()| {}).await;
        });
        SubscriptionGuard { taken, _held: held }
    }

    /// The next resource whose provider has answered; `None` when all have.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.taken.recv().await
    }
}

/// Whether it was taken. Providers bound the wait themselves.
async fn serve(exchange: &Exchange, caller: &Caller, method: Method, uri: &str) -> bool {
    let (responder, _frames) = Responder::new(None, CancellationToken::new());
    let mut params = RawObject::new();
    params.set("uri", raw(uri));
    let request =
        Request { id: Id::from_number(0), method, params, meta: Meta::default(), param_headers: Vec::new() };
    let served = exchange.router.serve(&request, caller, &responder).await;
    if let Err(fault) = &served {
        let (method, fault) = (request.method.as_str(), &fault.message);
        tracing::debug!(method, ?fault, "a listener's interest was not taken");
    }
    served.is_ok()
}
