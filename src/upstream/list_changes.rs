//! Lists that an upstream has announced as changed, as a level: a flood of announcements is one more reading
//! of the lists, not a queue.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::mcp::ListKind;

use super::catalog_store::KINDS;

/// Announcements within this time are one change; it also bounds how often a noisy upstream's lists are read.
const SETTLE: Duration = Duration::from_millis(50);

/// Lists announced as changed and not read since. One reader.
#[derive(Debug, Default)]
pub(super) struct ListChanges {
    kinds: AtomicU8,
    news: Notify,
}

impl ListChanges {
    /// Takes the method of a notification; false if it announces no list change.
    pub(super) fn note_announced(&self, method: &str) -> bool {
        let bits = bits_where(|kind| *kind.changed_method() == *method);
        self.mark(bits);
        bits != 0
    }

    /// Anything may have changed.
    pub(super) fn anything(&self) {
        self.mark(bits_where(|_| true));
    }

    fn mark(&self, bits: u8) {
        if bits != 0 {
            self.kinds.fetch_or(bits, Ordering::Relaxed);
            self.news.notify_one();
        }
    }

    /// Waits for changes and takes them. May be cancelled without loss.
    pub(super) async fn next(&self) -> Vec<ListKind> {
        loop {
            if self.kinds.load(Ordering::Relaxed) != 0 {
                tokio::time::sleep(SETTLE).await;
                let bits = self.kinds.swap(0, Ordering::Relaxed);
                return KINDS
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| bits >> at & 1 == 1)
                    .map(|(_, k)| *k)
                    .collect();
            }
            self.news.notified().await;
        }
    }
}

fn bits_where(hits: impl Fn(ListKind) -> bool) -> u8 {
    KINDS.iter().enumerate().filter(|(_, kind)| hits(**kind)).fold(0, |bits, (at, _)| bits | 1 << at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_one_change() {
        let changes = ListChanges::default();
        for _ in 0..1_000 {
            assert!(changes.note_announced("notifications/resources/list_changed"));
        }
        assert!(!changes.note_announced("notifications/message"));
        assert_eq!(changes.next().await, [ListKind::Resources, ListKind::Templates]);
        assert!(tokio::time::timeout(Duration::from_secs(9), changes.next()).await.is_err());
    }
}
