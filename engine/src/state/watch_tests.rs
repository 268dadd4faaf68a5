//! What a watched table tells, beside a map that is compared before and after.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::checkpoint::Rows;
use crate::state::map_store::LockedMap;
use crate::state::snapshot::Snapshot;
use crate::{MapTable, Table};

#[derive(Clone, Debug)]
enum Do {
    Set(u8, u16),
    Remove(u8),
    /// Reads only.
    Look(u8),
    /// Writes, or removes, which is undone.
    Undone(u8, Option<u16>),
    /// An epoch ends.
    Seal,
    /// A checkpoint begins, or some of its rows are encoded.
    Begin,
    Encode(usize),
}

fn steps() -> impl Strategy<Value = Vec<Do>> {
    let key = || 0..6_u8;
    let step = prop_oneof![
        6 => (key(), 0..3_u16).prop_map(|(key, value)| Do::Set(key, value)),
        3 => key().prop_map(Do::Remove),
        1 => key().prop_map(Do::Look),
        3 => (key(), any::<Option<u16>>()).prop_map(|(key, value)| Do::Undone(key, value)),
        3 => Just(Do::Seal),
        1 => Just(Do::Begin),
        2 => (1..4_usize).prop_map(Do::Encode),
    ];
    prop::collection::vec(step, 1..80)
}

type Told = BTreeMap<u8, (Option<u16>, Option<u16>)>;

/// What changed from one map to the other.
fn changed(before: &BTreeMap<u8, u16>, after: &BTreeMap<u8, u16>) -> Told {
    let keys = before.keys().chain(after.keys());
    let both = keys.map(|key| (*key, (before.get(key).copied(), after.get(key).copied())));
    both.filter(|(_, (before, after))| before != after).collect()
}

fn of_row(store: &Store<u8, u16>, step: &Do) {
    let mut locked = Locked::new(store);
    match *step {
        Do::Set(key, value) => {
            *locked.row(&key) = value;
            locked.settle(&key);
        }
        Do::Remove(key) => {
            locked.row(&key).remove();
            locked.settle(&key);
        }
        Do::Look(key) => {
            std::hint::black_box(*locked.row(&key));
            locked.settle(&key);
        }
        Do::Undone(key, value) => {
            locked.attempt();
            let mut row = locked.row(&key);
            match value {
                Some(value) => *row = value,
                None => drop(row.remove()),
            }
            locked.undo(&key);
            locked.settle(&key);
        }
        Do::Seal | Do::Begin | Do::Encode(_) => {}
    }
}

fn of_entry(store: &MapStore<u8, u8, u16>, step: &Do) {
    let mut locked = LockedMap::new(store);
    let apply = |locked: &mut LockedMap<'_, u8, u8, u16>, key: u8, value: Option<u16>| {
        let (row, sub_key) = (key % 2, key / 2);
        let mut entries = locked.row(&row);
        match value {
            Some(value) if value % 2 == 0 => drop(entries.insert(sub_key, value)),
            Some(value) => *entries.entry(sub_key) = value,
            None => drop(entries.remove(&sub_key)),
        }
    };
    match *step {
        Do::Set(key, value) => {
            apply(&mut locked, key, Some(value));
            locked.settle(&(key % 2));
        }
        Do::Remove(key) => {
            apply(&mut locked, key, None);
            locked.settle(&(key % 2));
        }
        Do::Look(key) => {
            std::hint::black_box(locked.row(&(key % 2)).len());
            locked.settle(&(key % 2));
        }
        Do::Undone(key, value) => {
            locked.attempt();
            apply(&mut locked, key, value);
            if value.is_none() {
                locked.row(&(key % 2)).clear();
            }
            locked.undo(&(key % 2));
            locked.settle(&(key % 2));
        }
        Do::Seal | Do::Begin | Do::Encode(_) => {}
    }
}

/// Goes through `steps` with a table; `seal` gives what it tells.
fn check(
    steps: &[Do],
    table: &dyn Snapshot,
    apply: impl Fn(&Do),
    seal: impl Fn() -> Told,
) -> Result<(), TestCaseError> {
    let (mut model, mut before) = (BTreeMap::new(), BTreeMap::new());
    for step in steps.iter().chain([&Do::Seal]) {
        apply(step);
        match step {
            Do::Set(key, value) => drop(model.insert(*key, *value)),
            Do::Remove(key) => drop(model.remove(key)),
            Do::Look(_) | Do::Undone(..) => {}
            Do::Seal => {
                prop_assert_eq!(seal(), changed(&before, &model));
                before.clone_from(&model);
            }
            Do::Begin => drop(table.begin()),
            Do::Encode(rows) => drop(table.encode(*rows, &mut Rows::default()).unwrap()),
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn rows_are_told_as_they_changed(steps in steps(), tracked in any::<bool>()) {
        let store = Store::new(Table::new("rows"));
        store.watch();
        if tracked {
            store.track(4);
        }
        check(&steps, &store, |step| of_row(&store, step), || {
            let mut told = Told::new();
            store.changes(|key, before, after| {
                assert!(told.insert(*key, (before.copied(), after.copied())).is_none());
            });
            told.retain(|_, (before, after)| before != after);
            told
        })?;
    }

    #[test]
    fn entries_are_told_as_they_changed(steps in steps(), tracked in any::<bool>()) {
        let store = MapStore::new(MapTable::new("entries"));
        store.watch();
        if tracked {
            store.track(4);
        }
        check(&steps, &store, |step| of_entry(&store, step), || {
            let mut told = Told::new();
            store.changes(|row, sub_key, before, after| {
                told.insert(sub_key * 2 + row, (before.copied(), after.copied()));
            });
            told.retain(|_, (before, after)| before != after);
            told
        })?;
    }
}
