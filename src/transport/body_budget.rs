//! Bytes of messages that are arriving or being served, for the whole node: who holds most gives way, never
//! the newcomer.
//!
//! Charged as bytes arrive, not as they are announced, until the call ends. A small message that comes in one
//! piece, as nearly all do, is never charged, so that the lock is no matter for those.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::client_address::address_block;

/// The budget; a clone is the same.
#[derive(Clone, Debug)]
pub(super) struct BodyBudget(Arc<BudgetInner>);

#[derive(Debug)]
struct BudgetInner {
    bytes_max: usize,
    state: Mutex<BudgetState>,
}

#[derive(Debug, Default)]
struct BudgetState {
    /// Held, and not given up.
    bytes: usize,
    next: u64,
    holders: HashMap<IpAddr, Holder>,
}

/// The bodies of one address.
#[derive(Debug, Default)]
struct Holder {
    bytes: usize,
    /// Oldest first.
    bodies: BTreeMap<u64, CountedBody>,
}

#[derive(Debug)]
struct CountedBody {
    bytes: usize,
    /// It is still arriving, and can be told.
    give_up: Option<CancellationToken>,
}

/// One body that is arriving or being served; what it holds is free again when this is dropped.
#[derive(Debug)]
pub(super) struct ChargedBody {
    budget: Arc<BudgetInner>,
    address: IpAddr,
    number: u64,
    give_up: CancellationToken,
}

impl BodyBudget {
    pub(super) fn new(bytes_max: usize) -> BodyBudget {
        BodyBudget(Arc::new(BudgetInner { bytes_max, state: Mutex::default() }))
    }

    /// The most that may be held.
    pub(super) fn bytes_max(&self) -> usize {
        self.0.bytes_max
    }

    /// A body begins to arrive from `address`.
    pub(super) fn begin(&self, address: IpAddr) -> ChargedBody {
        let give_up = CancellationToken::new();
        let (budget, address) = (self.0.clone(), address_block(address));
        let mut state = budget.state.lock();
        state.next += 1;
        let number = state.next;
        let body = CountedBody { bytes: 0, give_up: Some(give_up.clone()) };
        state.holders.entry(address).or_default().bodies.insert(number, body);
        drop(state);
        ChargedBody { budget, address, number, give_up }
    }

    /// Bytes that are held now.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.0.state.lock().bytes
    }
}

impl BudgetState {
    /// Takes a body out of the account, and returns how to tell it; `None` if it is not in it any more.
    fn remove(&mut self, address: IpAddr, number: u64) -> Option<CancellationToken> {
        let holder = self.holders.get_mut(&address)?;
        let body = holder.bodies.remove(&number)?;
        holder.bytes -= body.bytes;
        self.bytes -= body.bytes;
        if holder.bodies.is_empty() {
            self.holders.remove(&address);
        }
        body.give_up
    }

    /// The oldest body of the address that holds most which still arrives. `None`: what that address holds is
    /// being served; it gets no more, and others do.
    fn first_to_go(&self) -> Option<(IpAddr, u64)> {
        let (address, holder) = self.holders.iter().max_by_key(|(_, holder)| holder.bytes)?;
        let oldest = holder.bodies.iter().find(|(_, body)| body.bytes > 0 && body.give_up.is_some());
        oldest.map(|(number, _)| (*address, *number))
    }
}

impl ChargedBody {
    /// So many bytes more have arrived.
    pub(super) fn charge(&self, bytes: usize) {
        let mut state = self.budget.state.lock();
        let Some(holder) = state.holders.get_mut(&self.address) else { return };
        let Some(body) = holder.bodies.get_mut(&self.number) else { return };
        body.bytes += bytes;
        holder.bytes += bytes;
        state.bytes += bytes;
        while state.bytes > self.budget.bytes_max {
            let Some((address, number)) = state.first_to_go() else { return };
            if let Some(give_up) = state.remove(address, number) {
                give_up.cancel();
            }
        }
    }

    /// It has arrived, and is charged until this is dropped. False: it was given up.
    pub(super) fn arrived(&self) -> bool {
        let mut state = self.budget.state.lock();
        let body = state.holders.get_mut(&self.address).and_then(|of| of.bodies.get_mut(&self.number));
        body.map(|body| body.give_up = None).is_some()
    }

    /// Resolves when this body is to be given up.
    pub(super) async fn given_up(&self) {
        self.give_up.cancelled().await;
    }
}

impl Drop for ChargedBody {
    fn drop(&mut self) {
        self.budget.state.lock().remove(self.address, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    #[test]
    fn the_oldest_body_of_the_address_that_holds_most_gives_way() {
        let budget = BodyBudget::new(100);
        let first: Vec<_> = (0..3).map(|_| budget.begin(address(2))).collect();
        first.iter().for_each(|body| body.charge(20));
        let honest = budget.begin(address(1));
        honest.charge(40);
        assert_eq!(budget.bytes(), 100);
        honest.charge(10);
        let gone: Vec<_> = first.iter().map(|body| body.give_up.is_cancelled()).collect();
        assert_eq!((gone, budget.bytes()), (vec![true, false, false], 90));
        // The newcomer is only one of many: who holds most goes, be it itself.
        honest.charge(51);
        assert!(honest.give_up.is_cancelled());
        honest.charge(50);
        assert_eq!(budget.bytes(), 40, "what was given up is charged no more");
        drop((first, honest));
        assert_eq!(budget.bytes(), 0);
        assert!(budget.0.state.lock().holders.is_empty());
    }

    #[test]
    fn an_address_whose_messages_are_being_served_gets_no_more_and_others_do() {
        let budget = BodyBudget::new(100);
        let served = budget.begin(address(2));
        served.charge(80);
        assert!(served.arrived());
        let more = budget.begin(address(2));
        more.charge(30);
        assert!(!more.arrived() && more.give_up.is_cancelled());
        let honest = budget.begin(address(1));
        honest.charge(30);
        assert!(honest.arrived());
        assert_eq!(budget.bytes(), 110, "what is being served stays");
        drop((served, honest));
        assert_eq!(budget.bytes(), 0);
    }

    #[test]
    fn addresses_of_one_block_are_one_holder() {
        let budget = BodyBudget::new(100);
        let bodies: Vec<_> = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
            .map(|text| budget.begin(text.parse().unwrap()))
            .into();
        bodies[0].charge(30);
        bodies[1].charge(30);
        bodies[2].charge(41);
        assert!(bodies[0].give_up.is_cancelled(), "60 of one block are more than 41");
        assert!(!bodies[2].give_up.is_cancelled());
    }
}
