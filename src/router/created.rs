//! Which tasks of upstreams each owner created through this node, so that a list shows no others.
//!
//! Bounded: past a limit the oldest is forgotten; it is then missing from lists, and its id still works. Ids
//! are kept as fingerprints, whose size does not depend on the upstream.

use std::collections::{BTreeMap, HashMap, HashSet};

use parking_lot::Mutex;
use ring::digest::{Context, SHA256};

use super::owner::Owner;

/// Tasks remembered of one owner; a client that has more open at once is none that reads its list.
pub(super) const OWNED_MAX: usize = 1_000;
/// Tasks remembered in all, of however many owners: each is a fingerprint in two indexes.
pub(super) const HELD_MAX: usize = 100_000;

type Print = [u8; 32];

/// The tasks of one owner at the moment of asking.
pub(super) struct Mine(HashSet<Print>);

impl Mine {
    /// Whether `own` of `upstream` is among them.
    pub(super) fn has(&self, upstream: &str, own: &str) -> bool {
        self.0.contains(&print(upstream, own))
    }
}

#[derive(Default)]
struct Books {
    next: u64,
    by_age: BTreeMap<u64, (Owner, Print)>,
    by_owner: HashMap<Owner, HashMap<Print, u64>>,
}

impl Books {
    fn remove(&mut self, age: u64) {
        let Some((owner, print)) = self.by_age.remove(&age) else { return };
        if let Some(owned) = self.by_owner.get_mut(&owner) {
            owned.remove(&print);
            if owned.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
    }
}

/// The memory of this node.
pub(super) struct Created {
    owned_max: usize,
    held_max: usize,
    books: Mutex<Books>,
}

impl Created {
    pub(super) fn new(owned_max: usize, held_max: usize) -> Created {
        Created { owned_max, held_max, books: Mutex::default() }
    }

    /// Remembers that `owner` created `own` at `upstream`.
    pub(super) fn note(&self, owner: &Owner, upstream: &str, own: &str) {
        let print = print(upstream, own);
        let mut books = self.books.lock();
        if let Some(owned) = books.by_owner.get(owner) {
            if owned.contains_key(&print) {
                return;
            }
            if owned.len() >= self.owned_max
                && let Some(oldest) = owned.values().min().copied()
            {
                books.remove(oldest);
            }
        }
        if books.by_age.len() >= self.held_max
            && let Some(oldest) = books.by_age.keys().next().copied()
        {
            books.remove(oldest);
        }
        let age = books.next;
        books.next += 1;
        books.by_age.insert(age, (owner.clone(), print));
        books.by_owner.entry(owner.clone()).or_default().insert(print, age);
    }

    /// Tasks that `owner` created and that are remembered.
    pub(super) fn of(&self, owner: &Owner) -> Mine {
        let books = self.books.lock();
        Mine(books.by_owner.get(owner).map(|owned| owned.keys().copied().collect()).unwrap_or_default())
    }

    /// Forgets all of `owner`.
    pub(super) fn forget(&self, owner: &Owner) {
        let mut books = self.books.lock();
        for age in books.by_owner.remove(owner).unwrap_or_default().values() {
            books.by_age.remove(age);
        }
    }
}

fn print(upstream: &str, own: &str) -> Print {
    let mut context = Context::new(&SHA256);
    context.update(upstream.as_bytes());
    context.update(b"\0");
    context.update(own.as_bytes());
    let mut print = [0; 32];
    print.copy_from_slice(context.finish().as_ref());
    print
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(created: &Created, owner: &Owner) -> Vec<usize> {
        let mine = created.of(owner);
        (0..9).filter(|n| mine.has("up", &n.to_string())).collect()
    }

    #[test]
    fn the_oldest_task_is_forgotten_at_each_limit_and_none_below_it() {
        let created = Created::new(3, 5);
        let (a, b) = (Owner::session("a"), Owner::session("b"));
        for n in [0, 1, 1, 2] {
            created.note(&a, "up", &n.to_string());
        }
        assert_eq!(held(&created, &a), [0, 1, 2]);
        created.note(&a, "up", "3");
        assert_eq!(held(&created, &a), [1, 2, 3]);
        for n in 0..2 {
            created.note(&b, "up", &n.to_string());
        }
        assert_eq!(held(&created, &a), [1, 2, 3]);
        created.note(&b, "up", "2");
        assert_eq!((held(&created, &a), held(&created, &b)), (vec![2, 3], vec![0, 1, 2]));
        assert!(!created.of(&b).has("other", "2"));
    }

    #[test]
    fn an_owner_that_is_gone_holds_nothing() {
        let created = Created::new(3, 5);
        let (a, b) = (Owner::session("a"), Owner::session("b"));
        created.note(&a, "up", "1");
        created.note(&b, "up", "1");
        created.forget(&a);
        assert_eq!((held(&created, &a), held(&created, &b)), (vec![], vec![1]));
        created.forget(&b);
        let books = created.books.lock();
        assert!(books.by_age.is_empty() && books.by_owner.is_empty());
    }
}
