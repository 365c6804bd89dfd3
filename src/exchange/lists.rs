//! Answers that are the same for many: lists and `server/discover`. They are encoded once for each version of
//! what they show; a request costs its id and one copy.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;

use super::{EncodedResponse, Exchange};
use crate::mcp::{Catalog, Era, ListKind, RawObject, Request, Version, add_cache_meta, add_server_meta, raw};

/// How long a client may keep what `server/discover` says; listeners hear of changes to the lists at once.
const DISCOVER_TTL_MS: u64 = 60_000;

/// The answer to `server/discover` of the newest catalog.
#[derive(Default)]
pub(super) struct Discovered(Mutex<Option<(Arc<Catalog>, Arc<RawValue>)>>);

impl Exchange {
    /// The page of the list `kind` that a request asks for.
    pub(super) fn list(&self, era: Era, kind: ListKind, request: &Request) -> EncodedResponse {
        let started_us = self.clock.monotonic_us();
        let stamp = |result: Box<RawValue>| match (era, request.method.ttl_ms()) {
            (Era::Legacy, _) => result,
            (Era::Modern, None) => add_server_meta(&result, &self.server_info),
            (Era::Modern, Some(ttl_ms)) => {
                add_server_meta(&add_cache_meta(&result, ttl_ms, "private"), &self.server_info)
            }
        };
        let outcome = match self.router.page(era, kind, &request.params, stamp) {
            Ok(page) => EncodedResponse::result(&request.id, &page),
            Err(fault) => EncodedResponse::fault(&request.id, &fault),
        };
        self.recorder.answered(self.clock.monotonic_us().saturating_sub(started_us), outcome.is_fault);
        outcome
    }

    /// The result of `server/discover`.
    pub(super) fn discover(&self) -> Arc<RawValue> {
        let catalog = self.router.catalog(Era::Modern).borrow().clone();
        let mut newest = self.discovered.0.lock();
        match &*newest {
            Some((of, result)) if Arc::ptr_eq(of, &catalog) => result.clone(),
            _ => {
                let result = Arc::<RawValue>::from(self.discovered_now(&catalog));
                *newest = Some((catalog, result.clone()));
                result
            }
        }
    }

    fn discovered_now(&self, catalog: &Catalog) -> Box<RawValue> {
        let mut result = RawObject::new();
        result.set("supportedVersions", raw(Version::all(Era::Modern)));
        result.set("capabilities", catalog.offers.0.to_raw());
        if let Some(instructions) = &catalog.instructions {
            result.set("instructions", raw(&**instructions));
        }
        add_server_meta(&add_cache_meta(&result.to_raw(), DISCOVER_TTL_MS, "private"), &self.server_info)
    }
}
