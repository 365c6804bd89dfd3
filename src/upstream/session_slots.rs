//! Children and sessions at one upstream that belong to sessions of clients, and their limits.
//!
//! There are so many in all, and so many of them for the clients at one address. Where there is no room, the
//! address that has its part, or the one that holds most, loses the one that it has not used for longest; one
//! whose request is running stays.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::places::{NoPlace, part_of};

/// How long one start or end keeps the next one waiting.
const TURN: Duration = Duration::from_secs(2);

/// All slots of one upstream, by the key of the client's session.
pub(super) struct SessionSlots<T> {
    pub(super) max: usize,
    pub(super) of_client_max: usize,
    turns: Arc<AtomicU64>,
    held: Mutex<Held<T>>,
}

struct Held<T> {
    by_key: HashMap<Box<str>, Arc<SessionSlot<T>>>,
    by_address: HashMap<IpAddr, OfAddress>,
}

struct OfAddress {
    count: usize,
    starts: Arc<Semaphore>,
}

/// What one session holds.
pub(super) struct SessionSlot<T> {
    value: T,
    address: IpAddr,
    /// The clients at one address start one after the other.
    starts: Arc<Semaphore>,
    running: AtomicUsize,
    last_used: AtomicU64,
}

/// A slot in use: it stays as long as this is held.
pub(super) struct InUse<T> {
    slot: Arc<SessionSlot<T>>,
    turns: Arc<AtomicU64>,
}

/// A slot, and who had to go for it.
pub(super) struct Taken<T> {
    pub(super) slot: InUse<T>,
    pub(super) displaced: Option<Arc<SessionSlot<T>>>,
}

impl<T> SessionSlots<T> {
    /// `max` slots, of which one address has at most `percent`, but always one.
    pub(super) fn new(max: usize, percent: u32) -> SessionSlots<T> {
        let held = Held { by_key: HashMap::new(), by_address: HashMap::new() };
        let of_client_max = part_of(max, percent);
        SessionSlots { max, of_client_max, turns: Arc::default(), held: Mutex::new(held) }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.held.lock().by_key.len()
    }

    /// The slot of the session, if it has one.
    pub(super) fn get(&self, key: &str) -> Option<Arc<SessionSlot<T>>> {
        self.held.lock().by_key.get(key).cloned()
    }

    /// The slot of the session, to use it; a new one if it has none.
    pub(super) fn take(
        &self,
        key: &str,
        address: IpAddr,
        new: impl FnOnce() -> T,
    ) -> Result<Taken<T>, NoPlace> {
        let mut held = self.held.lock();
        if let Some(slot) = held.by_key.get(key) {
            return Ok(Taken { slot: self.in_use(slot.clone()), displaced: None });
        }
        let of_client = held.by_address.get(&address).map_or(0, |of| of.count);
        let displaced = if of_client >= self.of_client_max {
            Some(held.idle_longest(address).ok_or(NoPlace::ClientFull)?)
        } else if held.by_key.len() >= self.max {
            let most = held.by_address.iter().max_by_key(|(_, of)| of.count).map(|(address, _)| *address);
            Some(most.and_then(|address| held.idle_longest(address)).ok_or(NoPlace::Full)?)
        } else {
            None
        };
        let displaced = displaced.and_then(|key| held.remove(&key));
        let of = held.by_address.entry(address);
        let of = of.or_insert_with(|| OfAddress { count: 0, starts: Arc::new(Semaphore::new(1)) });
        of.count += 1;
        let slot = Arc::new(SessionSlot {
            value: new(),
            address,
            starts: of.starts.clone(),
            running: AtomicUsize::new(0),
            last_used: AtomicU64::new(0),
        });
        held.by_key.insert(key.into(), slot.clone());
        Ok(Taken { slot: self.in_use(slot), displaced })
    }

    fn in_use(&self, slot: Arc<SessionSlot<T>>) -> InUse<T> {
        slot.running.fetch_add(1, Ordering::Relaxed);
        InUse { slot, turns: self.turns.clone() }
    }

    /// The session is over.
    pub(super) fn remove(&self, key: &str) -> Option<Arc<SessionSlot<T>>> {
        self.held.lock().remove(key)
    }

    /// Whether the session still has this slot.
    pub(super) fn has(&self, key: &str, slot: &SessionSlot<T>) -> bool {
        self.held.lock().by_key.get(key).is_some_and(|now| std::ptr::eq(&raw const **now, slot))
    }

    /// All of them, for the end.
    pub(super) fn take_all(&self) -> Vec<Arc<SessionSlot<T>>> {
        let mut held = self.held.lock();
        held.by_address.clear();
        held.by_key.drain().map(|(_, slot)| slot).collect()
    }
}

impl<T> Held<T> {
    /// The session of `address` whose slot was not used for longest.
    fn idle_longest(&self, address: IpAddr) -> Option<Box<str>> {
        let of_address = self.by_key.iter().filter(|(_, slot)| slot.address == address);
        let idle = of_address.filter(|(_, slot)| slot.running.load(Ordering::Relaxed) == 0);
        idle.min_by_key(|(_, slot)| slot.last_used.load(Ordering::Relaxed)).map(|(key, _)| key.clone())
    }

    fn remove(&mut self, key: &str) -> Option<Arc<SessionSlot<T>>> {
        let slot = self.by_key.remove(key)?;
        if let Some(of) = self.by_address.get_mut(&slot.address) {
            of.count -= 1;
            if of.count == 0 {
                self.by_address.remove(&slot.address);
            }
        }
        Some(slot)
    }
}

impl<T> SessionSlot<T> {
    /// Runs a start when it is its turn among those of its address: what starts takes a processor, and
    /// whoever opens many sessions is not to have all of them. One that takes long does not keep the others.
    pub(super) async fn in_turn<R>(&self, start: impl Future<Output = R>) -> R {
        in_turn(&self.starts, start).await
    }
}

/// Runs `work` when one of the `turns` is free; work that takes long gives its turn away.
pub(super) async fn in_turn<R>(turns: &Semaphore, work: impl Future<Output = R>) -> R {
    let turn = turns.acquire().await;
    let mut work = std::pin::pin!(work);
    if let Ok(done) = tokio::time::timeout(TURN, work.as_mut()).await {
        return done;
    }
    drop(turn);
    work.await
}

impl<T> Deref for SessionSlot<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Deref for InUse<T> {
    type Target = SessionSlot<T>;

    fn deref(&self) -> &SessionSlot<T> {
        &self.slot
    }
}

impl<T> Drop for InUse<T> {
    fn drop(&mut self) {
        let now = self.turns.fetch_add(1, Ordering::Relaxed);
        self.slot.last_used.store(now, Ordering::Relaxed);
        self.slot.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Slots = SessionSlots<&'static str>;

    fn take(slots: &Slots, key: &'static str, address: &str) -> Result<Taken<&'static str>, NoPlace> {
        slots.take(key, address.parse().unwrap(), || key)
    }

    fn displaced(taken: &Taken<&'static str>) -> Option<&'static str> {
        taken.displaced.as_ref().map(|slot| ***slot)
    }

    #[test]
    fn who_has_its_part_loses_what_it_has_not_used_for_longest() {
        let slots = Slots::new(4, 50);
        let (a, b) = (take(&slots, "a", "127.0.0.2").unwrap(), take(&slots, "b", "127.0.0.2").unwrap());
        assert_eq!(take(&slots, "c", "127.0.0.2").err(), Some(NoPlace::ClientFull), "both are in use");
        drop((b, a));
        drop(take(&slots, "b", "127.0.0.2").unwrap());
        let c = take(&slots, "c", "127.0.0.2").unwrap();
        assert_eq!((displaced(&c), slots.count()), (Some("a"), 2));
        assert_eq!(displaced(&take(&slots, "d", "127.0.0.1").unwrap()), None);
    }

    #[test]
    fn where_all_are_taken_the_address_that_holds_most_gives_one() {
        let slots = Slots::new(3, 100);
        for key in ["a", "b"] {
            drop(take(&slots, key, "127.0.0.2").unwrap());
        }
        drop(take(&slots, "c", "127.0.0.3").unwrap());
        assert_eq!(displaced(&take(&slots, "d", "127.0.0.1").unwrap()), Some("a"));
        assert!(slots.remove("d").is_some() && slots.remove("d").is_none());
        let b = take(&slots, "b", "127.0.0.2").unwrap();
        assert!(slots.has("b", &b.slot));
        assert_eq!(slots.take_all().len(), 2);
        assert!(!slots.has("b", &b.slot));
    }

    #[tokio::test(start_paused = true)]
    async fn the_starts_of_one_address_take_turns_and_a_long_one_keeps_nobody() {
        let slots = Slots::new(4, 100);
        let (a, b) = (take(&slots, "a", "127.0.0.2").unwrap(), take(&slots, "b", "127.0.0.2").unwrap());
        let other = take(&slots, "c", "127.0.0.1").unwrap();
        let mut hangs = std::pin::pin!(a.slot.in_turn(std::future::pending::<()>()));
        assert!(futures_util::poll!(hangs.as_mut()).is_pending());
        let mut waits = std::pin::pin!(b.slot.in_turn(async {}));
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        other.slot.in_turn(async {}).await;
        tokio::time::advance(TURN).await;
        assert!(futures_util::poll!(hangs.as_mut()).is_pending());
        waits.await;
    }
}
