//! Description that the node gives of itself: the answers to `initialize` and `server/discover`.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::answer::refused;
use super::{EncodedResponse, Exchange, MessageOrigin, Rejected, Reply, bounds};
use crate::mcp::{ClientCapabilities, Era, LEGACY_LATEST, RawObject, Request, RpcError, Version, raw};
use crate::refusal::Refusal;
use crate::session::{Session, SessionParams, Shortage};

/// Sessions that end at most for one that is opened.
const GIVING_WAY_MAX: usize = 4;

impl Exchange {
    /// Opens a session. A version that is not spoken here is answered with the newest legacy one.
    pub(super) fn initialize(&self, request: &Request, sender: MessageOrigin<'_>) -> Result<Reply, Rejected> {
        let started_us = self.clock.monotonic_us();
        let params =
            self.read_session_params(request, sender).map_err(|fault| Rejected::of(&request.id, fault))?;
        let version = params.version;
        let session =
            self.open_session(&params).map_err(|refusal| Rejected::of(&request.id, refused(refusal)))?;
        self.recorder.session_opened();
        let catalog = self.router.catalog(Era::Legacy).borrow().clone();
        let mut result = RawObject::new();
        result.set("protocolVersion", raw(version.as_str()));
        result.set("capabilities", catalog.offers.0.to_raw());
        result.set("serverInfo", self.server_info.clone());
        if let Some(instructions) = &catalog.instructions {
            result.set("instructions", raw(&**instructions));
        }
        let outcome = EncodedResponse::result(&request.id, &result.to_raw());
        self.recorder.answered(self.clock.monotonic_us().saturating_sub(started_us), false);
        Ok(Reply::Opened(outcome, session))
    }

    /// Opens a session; the address that holds most gives way if there is no room.
    fn open_session(&self, params: &SessionParams) -> Result<Arc<Session>, Refusal> {
        let now_ms = self.clock.monotonic_ms();
        let mut opened = self.sessions.open(params.clone(), now_ms);
        for _ in 0..GIVING_WAY_MAX {
            let shortage = match opened {
                Err(Refusal::SessionsFull) => Shortage::Sessions,
                Err(Refusal::SessionBytesFull) => Shortage::Bytes,
                _ => break,
            };
            if !self.give_way(shortage) {
                break;
            }
            opened = self.sessions.open(params.clone(), now_ms);
        }
        opened
    }

    fn read_session_params(
        &self,
        request: &Request,
        sender: MessageOrigin<'_>,
    ) -> Result<SessionParams, RpcError> {
        let bad = |what: &str| RpcError::invalid_params(format!("initialize: {what}")).with_status(400);
        let (params, session) = (&request.params, &self.config.session);
        let asked =
            params.text("protocolVersion").ok_or_else(|| bad("protocolVersion is missing or no string"))?;
        let version = Version::known(&asked).filter(|version| version.era() == Era::Legacy);
        let capabilities = bounds::described(
            params,
            "capabilities",
            session.capabilities_bytes_max,
            "session.capabilities_bytes_max",
        )?;
        let client_info = bounds::described(
            params,
            "clientInfo",
            session.client_info_bytes_max,
            "session.client_info_bytes_max",
        )?;
        let bytes = |raw: Option<&RawValue>| raw.map_or(0, |raw| raw.get().len());
        Ok(SessionParams {
            described_bytes: bytes(capabilities) + bytes(client_info),
            address: sender.address,
            principal: sender.principal.clone(),
            version: version.unwrap_or(LEGACY_LATEST),
            capabilities: Arc::new(match capabilities {
                Some(capabilities) => ClientCapabilities::read(capabilities)?,
                None => ClientCapabilities::default(),
            }),
            client_info: client_info.map(|info| Arc::from(info.to_owned())),
        })
    }
}
