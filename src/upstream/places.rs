//! Places for the requests that run at one upstream: so many in all, and so many of them for the clients at
//! one address, so that no client alone keeps the others from it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// All places of one upstream.
pub(super) struct Places {
    pub(super) max: usize,
    pub(super) of_client_max: usize,
    taken: Mutex<Taken>,
}

/// Addresses without a place that are remembered, beside those that have one: whoever calls again is there.
const IDLE_MAX: usize = 64;

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// All are taken.
    Full,
    /// This client has all that one may have.
    ClientFull,
}

/// A place for one running request, free again when the last who holds it lets go.
#[derive(Clone)]
pub(super) struct Place {
    _held: Arc<Held>,
}

struct Held {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// `max` places, of which one address has at most `percent`, but always one.
    pub(super) fn new(max: usize, percent: u32) -> Arc<Places> {
        Arc::new(Places { max, of_client_max: part_of(max, percent), taken: Mutex::default() })
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.lock().all
    }

    /// One for the client at `address`.
    pub(super) fn take(self: &Arc<Places>, address: IpAddr) -> Result<Place, NoPlace> {
        let mut taken = self.taken.lock();
        if taken.all >= self.max {
            return Err(NoPlace::Full);
        }
        let of_client = taken.by_address.entry(address).or_default();
        if *of_client >= self.of_client_max {
            return Err(NoPlace::ClientFull);
        }
        *of_client += 1;
        taken.all += 1;
        Ok(Place { _held: Arc::new(Held { places: self.clone(), address }) })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        if let Some(of_client) = taken.by_address.get_mut(&self.address) {
            *of_client -= 1;
        }
        if taken.by_address.len() > taken.all + IDLE_MAX {
            taken.by_address.retain(|_, of_client| *of_client > 0);
        }
    }
}

/// The part of `max` that is one client's, at least one.
pub(super) fn part_of(max: usize, percent: u32) -> usize {
    (max.saturating_mul(percent as usize) / 100).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_places_for_others_and_gives_its_own_back() {
        let (hostile, honest) = ("127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap());
        let places = Places::new(4, 50);
        let mut held = vec![places.take(hostile).unwrap(), places.take(hostile).unwrap()];
        assert_eq!(places.take(hostile).err(), Some(NoPlace::ClientFull));
        held.extend([places.take(honest).unwrap(), places.take(honest).unwrap()]);
        assert_eq!(places.take("::1".parse().unwrap()).err(), Some(NoPlace::Full));
        assert_eq!(places.taken(), 4);
        let copy = held[0].clone();
        held.clear();
        assert_eq!(places.taken(), 1, "a copy holds it");
        drop(copy);
        assert_eq!(places.taken(), 0);
        assert_eq!(Places::new(1, 1).of_client_max, 1);
    }

    #[test]
    fn addresses_that_have_no_place_are_forgotten() {
        let places = Places::new(4, 50);
        for last in 0..200 {
            drop(places.take(IpAddr::from([10, 0, 0, last])).unwrap());
        }
        assert!(places.taken.lock().by_address.len() <= IDLE_MAX + 1);
    }
}
