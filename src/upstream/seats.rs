//! Whether clients of an era can be served now, and over what: a level that calls wait for while a start is
//! under way.

use std::sync::Arc;

use tokio::sync::watch;

use crate::mcp::{Era, RpcError};

use super::base::Base;
use super::options::START_TIMEOUT;

/// The answer for one era.
#[derive(Clone)]
pub(super) enum Seat<T> {
    /// Not known yet, or starting for the first time.
    Waiting,
    /// Over this.
    Open(T),
    /// Nobody used it; the next request wakes it.
    Asleep,
    /// No, for this reason; later perhaps.
    Shut(Arc<str>),
}

/// The answers for both eras.
pub(super) struct Seats<T> {
    modern: watch::Sender<Seat<T>>,
    legacy: watch::Sender<Seat<T>>,
}

impl<T: Clone> Seats<T> {
    /// Nothing is known.
    pub(super) fn new() -> Seats<T> {
        Seats { modern: watch::Sender::new(Seat::Waiting), legacy: watch::Sender::new(Seat::Waiting) }
    }

    fn of(&self, era: Era) -> &watch::Sender<Seat<T>> {
        match era {
            Era::Modern => &self.modern,
            Era::Legacy => &self.legacy,
        }
    }

    /// Sets the answer for `era`.
    pub(super) fn set(&self, era: Era, seat: Seat<T>) {
        self.of(era).send_replace(seat);
    }

    /// Sets both to "no", for the same reason.
    pub(super) fn shut(&self, why: &str) {
        for era in [Era::Modern, Era::Legacy] {
            self.set(era, Seat::Shut(why.into()));
        }
    }

    /// What serves `era`, if anything does now.
    pub(super) fn now(&self, era: Era) -> Option<T> {
        match &*self.of(era).borrow() {
            Seat::Open(open) => Some(open.clone()),
            _ => None,
        }
    }

    /// Resolves when one of `eras`, all asleep until now, is wanted.
    pub(super) async fn wanted(&self, eras: &[Era]) {
        let (mut modern, mut legacy) = (self.modern.subscribe(), self.legacy.subscribe());
        let is_awake = |seat: &Seat<T>| !matches!(seat, Seat::Asleep);
        tokio::select! {
            _ = modern.wait_for(is_awake), if eras.contains(&Era::Modern) => {}
            _ = legacy.wait_for(is_awake), if eras.contains(&Era::Legacy) => {}
        }
    }

    /// What serves `era`. Waits for a first start, in bounded time; fails at once while the upstream is down.
    ///
    /// # Errors
    /// A fault that says why `method` cannot be served.
    pub(super) async fn open(&self, base: &Base, era: Era, method: &str) -> Result<T, RpcError> {
        let mut seat = self.of(era).subscribe();
        self.of(era).send_if_modified(|seat| {
            let is_asleep = matches!(seat, Seat::Asleep);
            if is_asleep {
                *seat = Seat::Waiting;
            }
            is_asleep
        });
        let within = START_TIMEOUT;
        let known =
            tokio::time::timeout(within, seat.wait_for(|seat| matches!(seat, Seat::Open(_) | Seat::Shut(_))))
                .await;
        let why = match known.as_ref().map(|known| known.as_deref()) {
            Ok(Ok(Seat::Open(open))) => return Ok(open.clone()),
            Ok(Ok(Seat::Shut(why))) => why.to_string(),
            _ => format!("it has not started within {} ms", within.as_millis()),
        };
        Err(base.fault(method, &why))
    }
}
