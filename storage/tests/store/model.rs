//! Long runs of calls in any order, with restarts in between, against a model in memory.

use std::collections::BTreeMap;

use erlmcp_storage::{LogBounds, MetaKey, StateWrite, Store};

use crate::common::{Seeded, options, reopen, wait};

const CALLS: u64 = 400;
const META: [MetaKey; 3] = [MetaKey::Vote, MetaKey::Committed, MetaKey::Purged];

#[derive(Default)]
struct Model {
    log: BTreeMap<u64, Vec<u8>>,
    next: u64,
    meta: BTreeMap<usize, Vec<u8>>,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Mostly small, now and then in several parts.
fn bytes(seeded: &mut Seeded, max: usize) -> Vec<u8> {
    let bound = if seeded.below(10) == 0 { max as u64 + 1 } else { 100 };
    let len = usize::try_from(seeded.below(bound)).unwrap();
    vec![u8::try_from(seeded.below(256)).unwrap(); len]
}

fn append(store: &Store, model: &mut Model, seeded: &mut Seeded) {
    let count = seeded.below(60);
    let entries: Vec<_> = (model.next..model.next + count)
        .map(|index| (index, bytes(seeded, erlmcp_storage::ENTRY_BYTES_MAX)))
        .collect();
    model.next += count;
    model.log.extend(entries.clone());
    wait(|done| store.append(entries, done)).unwrap();
}

fn change_log(store: &Store, model: &mut Model, seeded: &mut Seeded) {
    let Some(first) = model.log.keys().next().copied() else { return };
    let at = first + seeded.below(model.next - first);
    if seeded.below(3) == 0 {
        model.log.split_off(&at);
        model.next = at;
        wait(|done| store.truncate_from(at, done)).unwrap();
    } else {
        model.log = model.log.split_off(&(at + 1));
        store.purge_to(at).unwrap();
    }
}

fn change_state(store: &Store, model: &mut Model, seeded: &mut Seeded) {
    let writes: Vec<_> = (0..seeded.below(40))
        .map(|_| {
            let key = format!("key/{}", seeded.below(300)).into_bytes();
            let value = bytes(seeded, erlmcp_storage::STATE_VALUE_BYTES_MAX);
            StateWrite { key, value: Some(value).filter(|value| value.len() % 3 > 0) }
        })
        .collect();
    for StateWrite { key, value } in writes.clone() {
        match value {
            Some(value) => model.state.insert(key, value),
            None => model.state.remove(&key),
        };
    }
    if seeded.below(8) == 0 {
        wait(|done| store.replace_state(model.state.clone().into_iter().collect(), done)).unwrap();
    } else {
        store.apply(writes).unwrap();
    }
}

fn check(store: &Store, model: &Model, call: u64) {
    let bounds =
        LogBounds { first: model.log.keys().next().copied(), last: model.log.keys().last().copied() };
    assert_eq!(store.log_bounds(), bounds, "call {call}");
    assert!(store.read(0, u64::MAX).unwrap().into_iter().eq(model.log.clone()), "call {call}");
    assert!(store.state().unwrap().into_iter().eq(model.state.clone()), "call {call}");
    for (at, key) in META.into_iter().enumerate() {
        assert_eq!(store.meta(key).unwrap().as_ref(), model.meta.get(&at), "call {call}");
    }
}

#[test]
fn any_order_of_calls_and_restarts_does_what_a_model_does() {
    for seed in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::create(dir.path(), options()).unwrap();
        let (mut model, mut seeded) = (Model::default(), Seeded(seed));
        for call in 0..CALLS {
            match seeded.below(10) {
                0..4 => append(&store, &mut model, &mut seeded),
                4 => change_log(&store, &mut model, &mut seeded),
                5..8 => change_state(&store, &mut model, &mut seeded),
                8 => {
                    let at = usize::try_from(seeded.below(3)).unwrap();
                    let value = bytes(&mut seeded, erlmcp_storage::META_BYTES_MAX);
                    model.meta.insert(at, value.clone());
                    wait(|done| store.put_meta(META[at], value, done)).unwrap();
                }
                _ if seeded.below(4) == 0 => store = reopen(store, dir.path()),
                _ => check(&store, &model, call),
            }
        }
        store = reopen(store, dir.path());
        check(&store, &model, CALLS);
    }
}
