//! Readiness of an upstream for the clients of each era: a level that calls wait for while a start is under
//! way.

use std::sync::Arc;

use tokio::sync::watch;

use crate::mcp::{Era, RpcError};

use super::options::START_TIMEOUT;
use super::upstream_state::UpstreamState;

/// Readiness of an upstream for the clients of one era.
///
/// `T`: what serves them.
#[derive(Clone)]
pub(super) enum Availability<T> {
    /// Not known yet, or starting for the first time.
    Starting,
    /// It serves, over this.
    Ready(T),
    /// Nobody used it; the next request wakes it.
    Idle,
    /// No, for this reason; later perhaps.
    Unavailable(Arc<str>),
}

/// Readiness for both eras, as levels that calls wait for.
pub(super) struct EraAvailability<T> {
    modern: watch::Sender<Availability<T>>,
    legacy: watch::Sender<Availability<T>>,
}

impl<T: Clone> EraAvailability<T> {
    /// Of an upstream of which nothing is known yet.
    pub(super) fn new() -> EraAvailability<T> {
        EraAvailability {
            modern: watch::Sender::new(Availability::Starting),
            legacy: watch::Sender::new(Availability::Starting),
        }
    }

    fn of(&self, era: Era) -> &watch::Sender<Availability<T>> {
        match era {
            Era::Modern => &self.modern,
            Era::Legacy => &self.legacy,
        }
    }

    /// Sets the readiness for `era`.
    pub(super) fn set(&self, era: Era, availability: Availability<T>) {
        self.of(era).send_replace(availability);
    }

    /// Makes both eras unavailable, for the same reason.
    pub(super) fn set_unavailable(&self, why: &str) {
        for era in [Era::Modern, Era::Legacy] {
            self.set(era, Availability::Unavailable(why.into()));
        }
    }

    /// What serves `era`, if anything does now.
    pub(super) fn now(&self, era: Era) -> Option<T> {
        match &*self.of(era).borrow() {
            Availability::Ready(open) => Some(open.clone()),
            _ => None,
        }
    }

    /// Resolves when one of `eras`, all asleep until now, is wanted.
    pub(super) async fn wanted(&self, eras: &[Era]) {
        let (mut modern, mut legacy) = (self.modern.subscribe(), self.legacy.subscribe());
        let is_wanted = |availability: &Availability<T>| !matches!(availability, Availability::Idle);
        tokio::select! {
            _ = modern.wait_for(is_wanted), if eras.contains(&Era::Modern) => {}
            _ = legacy.wait_for(is_wanted), if eras.contains(&Era::Legacy) => {}
        }
    }

    /// What serves `era`. Waits for a first start, in bounded time; fails at once while the upstream is down.
    ///
    /// # Errors
    /// A fault that says why `method` cannot be served.
    pub(super) async fn ready(&self, state: &UpstreamState, era: Era, method: &str) -> Result<T, RpcError> {
        let mut availability = self.of(era).subscribe();
        self.of(era).send_if_modified(|availability| {
            let is_idle = matches!(availability, Availability::Idle);
            if is_idle {
                *availability = Availability::Starting;
            }
            is_idle
        });
        let within = START_TIMEOUT;
        let known = tokio::time::timeout(
            within,
            availability.wait_for(|availability| {
                matches!(availability, Availability::Ready(_) | Availability::Unavailable(_))
            }),
        )
        .await;
        let why = match known.as_ref().map(|known| known.as_deref()) {
            Ok(Ok(Availability::Ready(open))) => return Ok(open.clone()),
            Ok(Ok(Availability::Unavailable(why))) => why.to_string(),
            _ => format!("it has not started within {} ms", within.as_millis()),
        };
        Err(state.fault(method, &why))
    }
}
