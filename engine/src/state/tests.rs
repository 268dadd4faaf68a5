//! Tables and what changed of them, against a plain map: whatever is done to rows, and whenever, what
//! is encoded between two boundaries makes of the older state the newer one, exactly.

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;

use super::snapshot::{Snapshot, Stored};
use super::{MapRow, MapTable, Row, Stores, Table, Tables};
use crate::Key;
use crate::checkpoint::{Codec, RowBytes, Rows};

const PLAIN: Table<u16, String> = Table::new("plain");
const MAP: MapTable<u16, u16, String> = MapTable::new("map");
const AS_IS: Stored = Stored { codec: Codec::MessagePack, migrate: false };

type PlainModel = BTreeMap<u16, String>;
type MapModel = BTreeMap<(u16, u16), String>;

/// What a computation does to the row.
#[derive(Clone, Debug)]
enum OnRow {
    Look,
    Write(String),
    Remove,
    WriteAndRemove(String),
}

/// What a computation does to the entries of a row.
#[derive(Clone, Debug)]
enum OnEntries {
    Look(u16),
    Insert(u16, String),
    Update(u16, String),
    Entry(u16, String),
    Remove(u16),
    PopFirst,
    PopLast,
    Clear,
}

#[derive(Clone, Debug)]
enum Step<T> {
    /// One invocation on the row of a key.
    Invoke(u16, T),
    /// A computation that may only read looks at the row.
    Read(u16),
    Begin,
    Encode(usize),
    All,
}

fn text() -> impl Strategy<Value = String> {
    "[a-c]{0,2}"
}

fn on_row() -> impl Strategy<Value = OnRow> {
    prop_oneof![
        2 => Just(OnRow::Look),
        4 => text().prop_map(OnRow::Write),
        3 => Just(OnRow::Remove),
        1 => text().prop_map(OnRow::WriteAndRemove),
    ]
}

fn on_entries() -> impl Strategy<Value = OnEntries> {
    let sub_key = || 0..4_u16;
    prop_oneof![
        1 => sub_key().prop_map(OnEntries::Look),
        4 => (sub_key(), text()).prop_map(|(s, v)| OnEntries::Insert(s, v)),
        2 => (sub_key(), text()).prop_map(|(s, v)| OnEntries::Update(s, v)),
        2 => (sub_key(), text()).prop_map(|(s, v)| OnEntries::Entry(s, v)),
        4 => sub_key().prop_map(OnEntries::Remove),
        1 => Just(OnEntries::PopFirst),
        1 => Just(OnEntries::PopLast),
        1 => Just(OnEntries::Clear),
    ]
}

fn steps<T: Clone + Debug + 'static>(
    invoke: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Vec<Step<T>>> {
    let step = prop_oneof![
        8 => (0..4_u16, invoke).prop_map(|(key, does)| Step::Invoke(key, does)),
        1 => (0..4_u16).prop_map(Step::Read),
        2 => Just(Step::Begin),
        2 => (0..4_usize).prop_map(Step::Encode),
        1 => Just(Step::All),
    ];
    vec(step, 1..80)
}

/// One invocation, as the engine does it.
fn invoke<S: Tables<u16>, R>(
    tables: S,
    stores: &mut Stores,
    key: u16,
    does: impl FnOnce(S::Rows<'_>) -> R,
) -> R {
    let bound = tables.bind(stores);
    let mut guard = S::lock(&bound);
    let result = does(S::rows(&mut guard, &key));
    S::settle(&mut guard, &key);
    result
}

fn do_to_row(mut row: Row<'_, String>, does: &OnRow, key: u16, model: &mut PlainModel) {
    assert_eq!(row.exists(), model.contains_key(&key));
    assert_eq!(Some(&*row), model.get(&key).or(Some(&String::new())));
    match does {
        OnRow::Look => {}
        OnRow::Write(value) => {
            row.clone_from(value);
            model.insert(key, value.clone());
        }
        OnRow::Remove => assert_eq!(row.remove(), model.remove(&key)),
        OnRow::WriteAndRemove(value) => {
            row.clone_from(value);
            assert_eq!(row.remove().as_ref(), Some(value));
            model.remove(&key);
        }
    }
}

fn do_to_entries(
    mut row: MapRow<'_, u16, String>,
    does: &[OnEntries],
    key: u16,
    all: &mut MapModel,
) {
    let mut model: BTreeMap<u16, String> = of_key(all, key);
    for does in does {
        assert!(row.iter().eq(model.iter()));
        assert_eq!((row.first(), row.last()), (model.first_key_value(), model.last_key_value()));
        assert_eq!((row.len(), row.is_empty()), (model.len(), model.is_empty()));
        match does {
            OnEntries::Look(sub_key) => assert_eq!(row.get(sub_key), model.get(sub_key)),
            OnEntries::Insert(sub_key, value) => {
                assert_eq!(
                    row.insert(*sub_key, value.clone()),
                    model.insert(*sub_key, value.clone())
                );
            }
            OnEntries::Update(sub_key, value) => {
                let change = |old: &mut String| old.push_str(value);
                assert_eq!(row.update(sub_key, change), model.get_mut(sub_key).map(change));
            }
            OnEntries::Entry(sub_key, value) => {
                row.entry(*sub_key).push_str(value);
                model.entry(*sub_key).or_default().push_str(value);
            }
            OnEntries::Remove(sub_key) => assert_eq!(row.remove(sub_key), model.remove(sub_key)),
            OnEntries::PopFirst => assert_eq!(row.pop_first(), model.pop_first()),
            OnEntries::PopLast => assert_eq!(row.pop_last(), model.pop_last()),
            OnEntries::Clear => {
                row.clear();
                model.clear();
            }
        }
    }
    all.retain(|(of, _), _| *of != key);
    all.extend(model.into_iter().map(|(sub_key, value)| ((key, sub_key), value)));
}

fn of_key(all: &MapModel, key: u16) -> BTreeMap<u16, String> {
    let of_key = all.range((key, 0)..=(key, u16::MAX));
    of_key.map(|((_, sub_key), value)| (*sub_key, value.clone())).collect()
}

/// A row of the model, as bytes by hand.
fn bytes<K: serde::Serialize>(key: &K) -> Vec<u8> {
    rmp_serde::to_vec_named(key).unwrap()
}

/// A table that is tracked, the checkpoints that were taken of it, and what should be in them.
struct Checked<M> {
    replica: Stores,
    model: M,
    /// The state at the last boundary.
    boundary: M,
    done: bool,
}

impl<M: Clone + Default + PartialEq + Debug> Checked<M> {
    fn new() -> Self {
        let mut replica = Stores::default();
        replica.store(PLAIN);
        replica.map_store(MAP);
        Self { replica, model: M::default(), boundary: M::default(), done: true }
    }

    fn begin(&mut self, table: &dyn Snapshot, content: fn(&dyn Snapshot) -> M) {
        if table.begin() {
            // If nothing had changed at the last one, there was nothing to wait for.
            let replica = self.replica.snapshot(&table.schema().name).unwrap();
            assert_eq!(content(&**replica), self.boundary);
            (self.boundary, self.done) = (self.model.clone(), false);
        } else {
            assert!(!self.done, "refused only while the last one is not done");
        }
    }

    /// Encodes some rows into the replica; when these were the last, it must be as the model was.
    fn encode(&mut self, table: &dyn Snapshot, max: usize, content: fn(&dyn Snapshot) -> M) {
        let name = table.schema().name;
        let replica = self.replica.snapshot(&name).unwrap();
        let mut rows = Rows::default();
        let done = table.encode(max, &mut rows).unwrap();
        for row in Rows::read(rows.bytes()) {
            replica.load(AS_IS, row.unwrap()).unwrap();
        }
        replica.loaded();
        if done && !self.done {
            assert_eq!(content(&**replica), self.boundary);
            self.done = true;
        }
        assert!(done == self.done);
        if done && self.model == self.boundary {
            assert_eq!(replica.digest().unwrap(), table.digest().unwrap());
        }
    }

    fn finish(mut self, table: &dyn Snapshot, content: fn(&dyn Snapshot) -> M) {
        assert_eq!(content(table), self.model);
        for _ in 0..2 {
            for _ in 0..1000 {
                self.encode(table, 1, content);
            }
            assert!(self.done, "a bounded number of calls ends it");
            self.begin(table, content);
        }
        assert_eq!(self.boundary, self.model);
        let mut rows = Rows::default();
        assert!(table.encode(usize::MAX, &mut rows).unwrap());
        assert!(rows.is_empty(), "nothing changed between the last two boundaries");
    }
}

fn plain_content(table: &dyn Snapshot) -> PlainModel {
    let mut content = PlainModel::new();
    let mut add = |row: RowBytes<'_>| {
        let key = rmp_serde::from_slice(row.key).unwrap();
        let value = rmp_serde::from_slice(row.value.unwrap()).unwrap();
        assert!(content.insert(key, value).is_none() && row.sub_key.is_none());
        Ok(())
    };
    table.each(&mut add).unwrap();
    content
}

fn map_content(table: &dyn Snapshot) -> MapModel {
    let mut content = MapModel::new();
    let mut add = |row: RowBytes<'_>| {
        let key = rmp_serde::from_slice(row.key).unwrap();
        let sub_key = rmp_serde::from_slice(row.sub_key.unwrap()).unwrap();
        let value = rmp_serde::from_slice(row.value.unwrap()).unwrap();
        assert!(content.insert((key, sub_key), value).is_none());
        Ok(())
    };
    table.each(&mut add).unwrap();
    content
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn rows_at_each_boundary_are_what_is_encoded(steps in steps(on_row())) {
        let mut stores = Stores::default();
        let store = stores.store(PLAIN);
        store.track(7);
        let mut checked = Checked::<PlainModel>::new();
        for step in &steps {
            match step {
                Step::Invoke(key, does) => invoke(PLAIN, &mut stores, *key, |row| {
                    do_to_row(row, does, *key, &mut checked.model);
                }),
                Step::Read(key) => invoke(PLAIN.read(), &mut stores, *key, |row| {
                    assert_eq!(row.exists(), checked.model.contains_key(key));
                    assert_eq!(&*row, checked.model.get(key).map_or("", String::as_str));
                }),
                Step::Begin => checked.begin(&*store, plain_content),
                Step::Encode(max) => checked.encode(&*store, *max, plain_content),
                Step::All => assert!(store.all() || !checked.done),
            }
        }
        for key in 0..5 {
            assert_eq!(stores.get(PLAIN, &key), checked.model.get(&key).cloned());
        }
        let rows = checked.model.len();
        checked.finish(&*store, plain_content);
        assert_eq!(store.held(), rows, "nothing is left of rows that are gone");
    }

    #[test]
    fn entries_at_each_boundary_are_what_is_encoded(steps in steps(vec(on_entries(), 0..4))) {
        let mut stores = Stores::default();
        let store = stores.map_store(MAP);
        store.track(7);
        let mut checked = Checked::<MapModel>::new();
        for step in &steps {
            match step {
                Step::Invoke(key, does) => invoke(MAP, &mut stores, *key, |row| {
                    do_to_entries(row, does, *key, &mut checked.model);
                }),
                Step::Read(key) => invoke(MAP.read(), &mut stores, *key, |row| {
                    let model = of_key(&checked.model, *key);
                    assert_eq!(row.exists(), !model.is_empty());
                    assert!(row.iter().eq(model.iter()));
                }),
                Step::Begin => checked.begin(&*store, map_content),
                Step::Encode(max) => checked.encode(&*store, *max, map_content),
                Step::All => assert!(store.all() || !checked.done),
            }
        }
        for key in 0..5 {
            let entries = stores.entries(MAP, &key).unwrap_or_default();
            assert!(entries.iter().eq(of_key(&checked.model, key).iter()));
        }
        checked.finish(&*store, map_content);
    }

    #[test]
    fn without_tracking_tables_are_plain_maps(
        rows in vec((0..4_u16, on_row()), 0..40),
        entries in vec((0..4_u16, vec(on_entries(), 0..4)), 0..40),
    ) {
        let mut stores = Stores::default();
        let (plain, map) = (stores.store(PLAIN), stores.map_store(MAP));
        let (mut plain_model, mut map_model) = (PlainModel::new(), MapModel::new());
        for (key, does) in &rows {
            invoke(PLAIN, &mut stores, *key, |row| do_to_row(row, does, *key, &mut plain_model));
        }
        for (key, does) in &entries {
            invoke(MAP, &mut stores, *key, |row| do_to_entries(row, does, *key, &mut map_model));
        }
        assert_eq!(plain_content(&*plain), plain_model);
        assert_eq!(map_content(&*map), map_model);
        assert!(!plain.begin() && !map.begin() && !plain.all() && !map.all());
    }

    #[test]
    fn digests_are_of_content_alone(
        model: BTreeMap<(u16, u16), String>, split: Vec<bool>, other: BTreeMap<(u16, u16), String>,
    ) {
        let load = |model: &MapModel, reversed: bool, split: &[bool]| {
            let stores: Vec<_> = (0..2).map(|_| Stores::default().map_store(MAP)).collect();
            let mut rows: Vec<_> = model.iter().collect();
            if reversed {
                rows.reverse();
            }
            for (at, ((key, sub_key), value)) in rows.into_iter().enumerate() {
                let to = usize::from(split.get(at).copied().unwrap_or_default());
                let (key, sub_key, value) = (bytes(key), bytes(sub_key), bytes(value));
                let (sub_key, value) = (Some(&*sub_key), Some(&*value));
                let row = RowBytes { partition: 0, key: &key, sub_key, value };
                stores[to].load(AS_IS, row).unwrap();
            }
            stores.iter().map(|store| store.digest().unwrap()).fold(0, u64::wrapping_add)
        };
        let digest = load(&model, false, &[]);
        prop_assert_eq!(load(&model, true, &split), digest);
        prop_assert_eq!(load(&other, false, &[]) == digest, other == model);
    }
}

#[test]
fn of_a_large_row_only_what_changed_is_encoded() {
    const BOOK: MapTable<u16, u32, u32> = MapTable::new("book");
    let mut stores = Stores::default();
    let store = stores.map_store(BOOK);
    store.track(8);
    invoke(BOOK, &mut stores, 1, |mut row| {
        for sub_key in 0..1_000_000 {
            row.insert(sub_key, 0);
        }
    });
    let mut rows = Rows::default();
    assert!(store.begin() && store.encode(usize::MAX, &mut rows).unwrap());
    assert_eq!(rows.len(), 1_000_000);
    invoke(BOOK, &mut stores, 1, |mut row| {
        row.insert(7, 1);
        *row.entry(8) += 1;
        row.pop_last();
        row.insert(2_000_000, 1);
        row.remove(&2_000_000);
    });
    let mut rows = Rows::default();
    assert!(store.begin() && store.encode(usize::MAX, &mut rows).unwrap());
    assert_eq!(rows.len(), 3, "and what came and went between two boundaries is nobody's business");
    // All of it is frozen again, and none is encoded but what is about to change.
    assert!(store.all() && store.begin());
    invoke(BOOK, &mut stores, 1, |mut row| row.update(&7, |value| *value += 1));
    let mut rows = Rows::default();
    assert!(!store.encode(1, &mut rows).unwrap());
    assert_eq!(rows.len(), 1);
    let first = Rows::read(rows.bytes()).next().unwrap().unwrap();
    assert_eq!((first.sub_key, first.value), (Some(&*bytes(&7)), Some(&*bytes(&1))));
}

#[test]
fn a_call_encodes_no_more_than_was_asked_for() {
    let mut stores = Stores::default();
    let store = stores.store(PLAIN);
    store.track(1024);
    for key in 0..10_000 {
        invoke(PLAIN, &mut stores, key, |mut row| row.push('x'));
    }
    assert!(store.begin());
    let mut calls = 0;
    loop {
        calls += 1;
        let mut rows = Rows::default();
        // Some are encoded early, which does not make them more.
        invoke(PLAIN, &mut stores, calls % 10_000, |mut row| row.push('y'));
        let done = store.encode(100, &mut rows).unwrap();
        assert!(rows.len() <= 356, "a piece of early ones more at most");
        for row in Rows::read(rows.bytes()).map(Result::unwrap) {
            let key: u16 = rmp_serde::from_slice(row.key).unwrap();
            assert_eq!(row.partition, (key.placement_hash() % 1024) as u32);
            assert_eq!(row.value, Some(&*bytes(&"x")), "as it was at the boundary");
        }
        if done {
            break;
        }
    }
    assert!(calls <= 101, "{calls}");
}

#[test]
fn a_value_that_cannot_be_encoded_is_named() {
    #[derive(Clone, Default, serde::Deserialize)]
    struct Odd;
    impl serde::Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it is odd"))
        }
    }
    const ODD: Table<u16, Odd> = Table::new("odd");
    for touched in [false, true] {
        let mut stores = Stores::default();
        let store = stores.store(ODD);
        store.track(1);
        invoke(ODD, &mut stores, 1, |mut row| *row = Odd);
        assert!(store.begin());
        if touched {
            invoke(ODD, &mut stores, 1, |_| ());
        }
        let problem = store.encode(9, &mut Rows::default()).unwrap_err().to_string();
        assert!(problem.contains("table `odd`") && problem.contains("it is odd"), "{problem}");
        assert!(store.encode(9, &mut Rows::default()).is_err() && !store.begin());
    }
}

#[test]
fn tables_come_in_the_order_of_their_names() {
    let mut stores = Stores::default();
    stores.store(PLAIN);
    stores.map_store(MAP);
    stores.store(PLAIN);
    let names: Vec<_> = stores.snapshots().map(|(name, table)| (name, table.schema())).collect();
    assert!(names.iter().map(|(name, _)| *name).eq(["map", "plain"]));
    assert!(names.iter().all(|(name, schema)| schema.name == *name && schema.key == "u16"));
    assert_eq!(names[0].1.sub_key.as_deref(), Some("u16"));
}
