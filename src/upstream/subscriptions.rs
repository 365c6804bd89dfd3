//! Resources that modern clients listen for, counted, so that one stream to the upstream serves them all.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// Most resources listened for at one upstream.
const URIS_MAX: usize = 10_000;

/// Resources that the modern clients of one upstream listen for, with the number of listeners.
pub(super) struct ResourceSubscriptions {
    counted: watch::Sender<BTreeMap<String, u64>>,
}

impl ResourceSubscriptions {
    pub(super) fn new() -> ResourceSubscriptions {
        ResourceSubscriptions { counted: watch::Sender::new(BTreeMap::new()) }
    }

    /// One more listener for `uri`; false if there are too many resources already.
    pub(super) fn add(&self, uri: &str) -> bool {
        let mut added = true;
        self.counted.send_if_modified(|counted| {
            if let Some(count) = counted.get_mut(uri) {
                *count += 1;
                return false;
            }
            added = counted.len() < URIS_MAX;
            if added {
                counted.insert(uri.to_owned(), 1);
            }
            added
        });
        added
    }

    /// One listener less.
    pub(super) fn remove(&self, uri: &str) {
        self.counted.send_if_modified(|counted| {
            let Some(count) = counted.get_mut(uri) else { return false };
            *count -= 1;
            *count == 0 && counted.remove(uri).is_some()
        });
    }

    /// Changes with the set of resources.
    pub(super) fn watch(&self) -> watch::Receiver<BTreeMap<String, u64>> {
        self.counted.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_and_the_last_listener_change_the_set() {
        let subscriptions = ResourceSubscriptions::new();
        let mut watch = subscriptions.watch();
        let mut changed = |subscriptions: &dyn Fn()| {
            subscriptions();
            let changed = watch.has_changed().unwrap();
            watch.borrow_and_update();
            changed
        };
        assert!(changed(&|| assert!(subscriptions.add("a"))));
        assert!(!changed(&|| assert!(subscriptions.add("a"))));
        assert!(!changed(&|| subscriptions.remove("a")));
        assert!(changed(&|| subscriptions.remove("a")));
        assert!(!changed(&|| subscriptions.remove("a")));
    }
}
