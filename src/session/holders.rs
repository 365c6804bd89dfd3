//! The sessions of each address, in the order in which they would have to go: when sessions or their bytes
//! run out, the address that holds most loses the one that is idle longest, never the newcomer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::account::HolderBytes;
use super::session::Session;

/// Sessions looked at before none is found that is idle: one with a stream or a running request stays.
const LOOKED_AT_MAX: usize = 64;

/// A lack for which a session has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Places for sessions.
    Sessions,
    /// Bytes that sessions keep.
    Bytes,
}

/// All sessions by address.
#[derive(Default)]
pub(super) struct Holders {
    by_address: HashMap<IpAddr, SessionsOfAddress>,
    by_count: BTreeSet<(usize, IpAddr)>,
    next: u64,
}

/// The sessions of one address.
struct SessionsOfAddress {
    kept: Arc<HolderBytes>,
    /// By when each was used last, as far as it was looked at, and the order in which they came.
    queue: BTreeMap<(u64, u64), Arc<Session>>,
}

impl Holders {
    /// The bytes of `address`.
    pub(super) fn kept(&self, address: IpAddr) -> Arc<HolderBytes> {
        let known = self.by_address.get(&address).map(|holder| holder.kept.clone());
        known.unwrap_or_else(|| Arc::new(HolderBytes::new(address)))
    }

    /// The number of the next session.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn insert(&mut self, session: Arc<Session>, kept: Arc<HolderBytes>) {
        let address = kept.address;
        let key = (session.place.queued_ms.load(Ordering::Relaxed), session.place.number);
        let holder = self
            .by_address
            .entry(address)
            .or_insert_with(|| SessionsOfAddress { kept, queue: BTreeMap::new() });
        self.by_count.remove(&(holder.queue.len(), address));
        holder.queue.insert(key, session);
        self.by_count.insert((holder.queue.len(), address));
    }

    pub(super) fn remove(&mut self, session: &Session) {
        let address = session.address();
        let Some(holder) = self.by_address.get_mut(&address) else { return };
        let count = holder.queue.len();
        let key = (session.place.queued_ms.load(Ordering::Relaxed), session.place.number);
        if holder.queue.remove(&key).is_none() {
            return;
        }
        self.by_count.remove(&(count, address));
        if count == 1 {
            self.by_address.remove(&address);
        } else {
            self.by_count.insert((count - 1, address));
        }
    }

    /// The session that has to go; `None` if the address that holds most has none that is idle.
    pub(super) fn first_to_go(&mut self, shortage: Shortage, now_ms: u64) -> Option<Arc<Session>> {
        let address = match shortage {
            Shortage::Sessions => self.by_count.last()?.1,
            Shortage::Bytes => {
                let bytes = |holder: &SessionsOfAddress| holder.kept.bytes();
                *self.by_address.iter().max_by_key(|(_, holder)| bytes(holder))?.0
            }
        };
        let holder = self.by_address.get_mut(&address)?;
        for _ in 0..LOOKED_AT_MAX {
            let (key, session) = holder.queue.pop_first()?;
            // One that is busy goes behind all that were used by now.
            let idle_since_ms = session.idle_since_ms();
            let used_ms = idle_since_ms.unwrap_or(now_ms + 1).max(key.0);
            session.place.queued_ms.store(used_ms, Ordering::Relaxed);
            holder.queue.insert((used_ms, key.1), session.clone());
            if idle_since_ms.is_some() && used_ms == key.0 {
                return Some(session);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Sessions;
    use super::*;
    use crate::config::{self, ServiceConfig};
    use crate::mcp::{ANONYMOUS, LEGACY_LATEST};
    use crate::refusal::Refusal;
    use crate::session::SessionParams;

    fn sessions(session: config::Session) -> Sessions {
        Sessions::new(1, Arc::new(ServiceConfig { session, ..ServiceConfig::default() }))
    }

    fn open(sessions: &Sessions, address: &str, bytes: usize, now_ms: u64) -> Result<Arc<Session>, Refusal> {
        let params = SessionParams {
            principal: ANONYMOUS.into(),
            version: LEGACY_LATEST,
            capabilities: Arc::default(),
            client_info: None,
            described_bytes: bytes,
            address: address.parse().unwrap(),
        };
        sessions.open(params, now_ms)
    }

    fn goes(sessions: &Sessions, shortage: Shortage, now_ms: u64) -> Option<Arc<str>> {
        sessions.first_to_go(shortage, now_ms).map(|session| session.id().clone())
    }

    #[test]
    fn the_address_with_most_sessions_loses_the_one_that_is_idle_longest() {
        let sessions = sessions(config::Session { per_node_max: 4, ..config::Session::default() });
        let honest = open(&sessions, "127.0.0.1", 0, 0).unwrap();
        let many: Vec<_> = (1..4).map(|ms| open(&sessions, "127.0.0.2", 0, ms).unwrap()).collect();
        assert_eq!(open(&sessions, "127.0.0.3", 0, 5).err(), Some(Refusal::SessionsFull));
        assert_eq!(goes(&sessions, Shortage::Sessions, 5).as_ref(), Some(many[0].id()));
        many[0].touch(6);
        assert_eq!(goes(&sessions, Shortage::Sessions, 6).as_ref(), Some(many[1].id()));
        let reader = many[1].read(None).unwrap();
        assert_eq!(goes(&sessions, Shortage::Sessions, 7).as_ref(), Some(many[2].id()));
        sessions.end(&many[2]);
        sessions.end(&many[0]);
        assert!(open(&sessions, "127.0.0.3", 0, 8).is_ok());
        drop((honest, reader));
    }

    #[test]
    fn sessions_with_streams_stay_and_then_nobody_goes() {
        let sessions = sessions(config::Session { per_node_max: 2, ..config::Session::default() });
        let first = open(&sessions, "127.0.0.2", 0, 9).unwrap();
        let mut readers = vec![first.read(None).unwrap()];
        let second = open(&sessions, "127.0.0.2", 0, 9).unwrap();
        assert_eq!(goes(&sessions, Shortage::Sessions, 9).as_ref(), Some(second.id()), "in one millisecond");
        readers.push(second.read(None).unwrap());
        assert_eq!(goes(&sessions, Shortage::Sessions, 9), None);
        drop(readers);
        assert!(goes(&sessions, Shortage::Sessions, 9).is_some());
    }

    #[test]
    fn the_address_that_keeps_most_bytes_loses_although_another_has_more_sessions() {
        let sessions = sessions(config::Session { bytes_max: 65_536, ..config::Session::default() });
        let large: Vec<_> = (0..2).map(|_| open(&sessions, "127.0.0.2", 30_000, 0).unwrap()).collect();
        let small: Vec<_> = (0..3).map(|_| open(&sessions, "127.0.0.1", 100, 0).unwrap()).collect();
        assert_eq!(open(&sessions, "127.0.0.3", 6_000, 1).err(), Some(Refusal::SessionBytesFull));
        assert_eq!(goes(&sessions, Shortage::Bytes, 1).as_ref(), Some(large[0].id()));
        sessions.end(&large[0]);
        assert!(open(&sessions, "127.0.0.3", 6_000, 1).is_ok());
        drop(small);
    }

    #[test]
    fn bytes_of_descriptions_and_subscriptions_are_given_back() {
        let sessions = sessions(config::Session::default());
        let session = open(&sessions, "127.0.0.2", 1_000, 0).unwrap();
        assert_eq!(sessions.subscribe(&session, "test://x"), Some(true));
        assert_eq!(sessions.subscribe(&session, "test://x"), Some(false));
        let subscribed = sessions.kept_bytes();
        assert_eq!(subscribed, 1_000 + "test://x".len() + 256);
        assert_eq!(sessions.subscribe(&session, "test://y"), Some(true));
        sessions.unsubscribe(&session, "test://y");
        sessions.unsubscribe(&session, "test://y");
        assert_eq!(sessions.kept_bytes(), subscribed);
        sessions.end(&session);
        sessions.unsubscribe(&session, "test://x");
        assert_eq!(sessions.kept_bytes(), 0);
    }

    #[tokio::test]
    async fn bytes_for_replay_call_for_room_before_they_run_out() {
        let sessions = sessions(config::Session { bytes_max: 65_536, ..config::Session::default() });
        let session = open(&sessions, "127.0.0.2", 0, 0).unwrap();
        let mut short = std::pin::pin!(sessions.short_of_bytes());
        session.push_level(vec![b'x'; 60_000].into());
        assert!(futures_util::poll!(short.as_mut()).is_pending());
        session.push_level(vec![b'y'; 2_000].into());
        assert!(futures_util::poll!(short.as_mut()).is_ready());
        assert!(!sessions.is_low() && sessions.has_room());
        sessions.end(&session);
        assert!(sessions.is_low());
    }
}
