//! Bytes that sessions keep, for the whole node and for each address: descriptions of clients, URIs they
//! subscribe to, and events kept for replay.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// From this part of the budget on, sessions are ended to have room again.
const HIGH: (usize, usize) = (15, 16);
/// Down to this part.
const LOW: (usize, usize) = (14, 16);

/// Bytes kept by all sessions of the node.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
    high: Notify,
}

/// Bytes kept by the sessions of one address, or of one IPv6 /64.
#[derive(Debug)]
pub(super) struct HolderBytes {
    pub(super) address: IpAddr,
    bytes: AtomicUsize,
}

/// The account of one session's bytes.
#[derive(Clone, Debug)]
pub(super) struct Account {
    budget: Arc<Budget>,
    holder: Arc<HolderBytes>,
}

impl Budget {
    pub(super) fn new(max: usize) -> Arc<Budget> {
        Arc::new(Budget { used: AtomicUsize::new(0), max, high: Notify::new() })
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether `more` bytes fit.
    pub(super) fn has_room(&self, more: usize) -> bool {
        self.used().saturating_add(more) <= self.max
    }

    /// Whether enough has been given back.
    pub(super) fn is_low(&self) -> bool {
        self.used() <= part(self.max, LOW)
    }

    /// Resolves when sessions should be ended to have room.
    pub(super) async fn high(&self) {
        self.high.notified().await;
    }
}

impl HolderBytes {
    pub(super) fn new(address: IpAddr) -> HolderBytes {
        HolderBytes { address, bytes: AtomicUsize::new(0) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Account {
    pub(super) fn new(budget: Arc<Budget>, holder: Arc<HolderBytes>) -> Account {
        Account { budget, holder }
    }

    pub(super) fn address(&self) -> IpAddr {
        self.holder.address
    }

    pub(super) fn charge(&self, bytes: usize) {
        self.holder.bytes.fetch_add(bytes, Ordering::Relaxed);
        let used = self.budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used > part(self.budget.max, HIGH) {
            self.budget.high.notify_one();
        }
    }

    pub(super) fn free(&self, bytes: usize) {
        self.holder.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether the node keeps more than it may: sessions then drop of their own what they can.
    pub(super) fn is_spent(&self) -> bool {
        !self.budget.has_room(0)
    }
}

fn part(whole: usize, (numerator, denominator): (usize, usize)) -> usize {
    whole / denominator * numerator
}
