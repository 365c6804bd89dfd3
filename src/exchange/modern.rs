//! Modern requests: each stands alone, and its link is its stream.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::revision::missing;
use super::{
    EncodedResponse, Exchange, MessageOrigin, PendingCall, Rejected, Reply, Revision, capabilities, listen,
};
use crate::client_address::address_block;
use crate::mcp::{
    Caller, ClientCapabilities, Era, Method, Request, Responder, Routing, RpcError, add_server_meta,
};

impl Exchange {
    pub(super) fn serve_modern(
        self: &Arc<Self>,
        request: Request,
        revision: Revision,
        sender: MessageOrigin<'_>,
    ) -> Result<Reply, Rejected> {
        let Revision::Modern(version) = revision else { unreachable!("{revision:?} is not modern") };
        let refuse = |fault: RpcError| Rejected::of(&request.id, fault);
        let capabilities = request.meta.client_capabilities.as_deref();
        let capabilities = capabilities.ok_or_else(|| refuse(missing("clientCapabilities")))?;
        let capabilities = ClientCapabilities::read(capabilities).map_err(refuse)?;
        let method = &request.method;
        let catalog = self.router.catalog(Era::Modern);
        if !capabilities::offered(&catalog.borrow(), Era::Modern, method) {
            return Err(refuse(RpcError::method_not_found(Era::Modern, method)));
        }
        if *method == Method::Discover {
            return Ok(Reply::Answer(EncodedResponse::result(&request.id, &self.discover())));
        }
        if let Routing::List(kind) = method.routing() {
            return Ok(Reply::Answer(self.list(Era::Modern, kind, &request)));
        }
        let cancelled = CancellationToken::new();
        let (responder, frames) = Responder::new(None, cancelled.clone());
        let caller = Caller {
            version,
            principal: sender.principal.clone(),
            address: address_block(sender.address),
            capabilities: Arc::new(capabilities),
            client_info: request.meta.client_info.clone().map(Arc::from),
            log_level: request.meta.log_level,
            session: None,
        };
        if *method == Method::Listen {
            let listening = listen::open(self, &request, &caller).map_err(refuse)?;
            let work = Box::pin(listening.run(self.clone(), caller, responder));
            return Ok(Reply::Call(PendingCall::new(work, frames, None, cancelled).listening(), None));
        }
        let log_level = caller.log_level;
        let work = Box::pin(self.clone().work_modern(request, caller, responder));
        Ok(Reply::Call(PendingCall::new(work, frames, log_level, cancelled), None))
    }

    async fn work_modern(
        self: Arc<Self>,
        request: Request,
        caller: Caller,
        responder: Responder,
    ) -> EncodedResponse {
        let started_us = self.clock.monotonic_us();
        let _running = self.recorder.call_begun();
        let outcome = match self.serve_in_time(&request, &caller, &responder).await {
            Ok(result) => EncodedResponse::result(&request.id, &add_server_meta(&result, &self.server_info)),
            Err(fault) => EncodedResponse::fault(&request.id, &fault),
        };
        self.recorder.answered(self.clock.monotonic_us().saturating_sub(started_us), outcome.is_fault);
        outcome
    }
}
