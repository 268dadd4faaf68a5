//! Rows: reading creates nothing, writing creates, what is removed or emptied is gone; a map row
//! is an ordered map, whatever is done to it.

use std::collections::BTreeMap;

use anabranch::prelude::*;
use anabranch::{TestDriver, sink, source};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

const SUMS: Table<u8, u64> = Table::new("sums");
const MARKS: MapTable<u8, u16, u64> = MapTable::new("marks");

/// What is done to the row of a key, and what was seen.
type Seen = (bool, u64);

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Do {
    Look,
    Default,
    Add(u64),
    Remove,
}

fn rows(app: &App) -> Result<()> {
    app.source("do", source::empty::<(u8, Do)>())
        .key_by(|(key, _)| *key)
        .compute("do", SUMS, |(_, what), mut sum, out: &mut Context<'_, Seen>| {
            out.emit((sum.exists(), *sum));
            match what {
                Do::Look => {}
                Do::Default => *sum = 0,
                Do::Add(n) => *sum += n,
                Do::Remove => {
                    let exists = sum.exists();
                    let value = *sum;
                    assert_eq!(sum.remove(), exists.then_some(value));
                    return;
                }
            }
            out.emit((sum.exists(), *sum));
        })
        .sink("seen", sink::null());
    app.source("look", source::empty::<u8>())
        .key_by(|key| *key)
        .compute(
            "look",
            (SUMS.read(), MARKS.read()),
            |_, (sum, marks), out: &mut Context<'_, (Seen, Vec<(u16, u64)>)>| {
                let entries = marks.iter().map(|(k, v)| (*k, *v)).collect();
                assert_eq!(marks.exists(), !marks.is_empty());
                out.emit(((sum.exists(), *sum), entries));
            },
        )
        .sink("looks", sink::null());
    Ok(())
}

fn step(driver: &mut TestDriver, what: Do) -> Vec<Seen> {
    driver.send("do", (1_u8, what)).unwrap();
    driver.run().unwrap();
    driver.outputs("seen")
}

#[test]
fn a_row_exists_once_it_was_written() {
    let mut driver = TestDriver::new(rows).workers(2).start().unwrap();
    assert_eq!(step(&mut driver, Do::Look), [(false, 0); 2]);
    assert_eq!(driver.get(SUMS, &1).unwrap(), None, "reading creates nothing");
    assert_eq!(step(&mut driver, Do::Remove), [(false, 0)]);
    assert_eq!(step(&mut driver, Do::Default), [(false, 0), (true, 0)]);
    assert_eq!(driver.get(SUMS, &1).unwrap(), Some(0), "writing the default is writing");
    assert_eq!(step(&mut driver, Do::Add(5)), [(true, 0), (true, 5)]);
    assert_eq!(driver.get(SUMS, &2).unwrap(), None, "another key has a row of its own");
    assert_eq!(step(&mut driver, Do::Remove), [(true, 5)]);
    assert_eq!(driver.get(SUMS, &1).unwrap(), None);
    assert_eq!(step(&mut driver, Do::Add(7)), [(false, 0), (true, 7)]);
}

#[test]
fn a_row_that_is_only_read_is_the_same_row() {
    let mut driver = TestDriver::new(rows).workers(3).start().unwrap();
    step(&mut driver, Do::Add(7));
    for key in [1_u8, 2] {
        driver.send("look", key).unwrap();
    }
    driver.run().unwrap();
    let looks: Vec<(Seen, Vec<(u16, u64)>)> = driver.outputs("looks");
    assert_eq!(looks, [((true, 7), vec![]), ((false, 0), vec![])]);
    assert_eq!(driver.get(SUMS, &2).unwrap(), None, "reading creates nothing");
}

/// One operation on a map row.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Op {
    Insert(u16, u64),
    Update(u16, u64),
    Entry(u16, u64),
    Remove(u16),
    PopFirst,
    PopLast,
    Clear,
    Read(u16, u16),
}

/// All that an operation and a look at the row afterwards give.
type Answer = (Option<u64>, Vec<(u16, u64)>, Option<(u16, u64)>, Option<(u16, u64)>, usize);

fn owned((key, value): (&u16, &u64)) -> (u16, u64) {
    (*key, *value)
}

/// Asserts inside that one way of reading gives what another does.
fn apply(op: Op, row: &mut MapRow<'_, u16, u64>) -> Answer {
    let answer = match op {
        Op::Insert(k, v) => row.insert(k, v),
        Op::Update(k, v) => row.update(&k, |value| {
            *value = value.wrapping_mul(3).wrapping_add(v);
            *value
        }),
        Op::Entry(k, v) => {
            let value = row.entry(k);
            *value = value.wrapping_add(v);
            Some(*value)
        }
        Op::Remove(k) => row.remove(&k),
        Op::PopFirst => row.pop_first().map(|(k, v)| v.wrapping_add(u64::from(k))),
        Op::PopLast => row.pop_last().map(|(k, v)| v.wrapping_add(u64::from(k))),
        Op::Clear => {
            row.clear();
            None
        }
        Op::Read(from, to) => {
            assert_eq!(row.contains_key(&from), row.get(&from).is_some());
            let range: Vec<_> = row.range(from..=to.max(from)).map(owned).collect();
            let filtered: Vec<_> =
                row.iter().map(owned).filter(|(k, _)| (from..=to.max(from)).contains(k)).collect();
            assert_eq!(range, filtered);
            row.get(&from).copied()
        }
    };
    assert_eq!(row.is_empty(), row.iter().next().is_none());
    let entries: Vec<_> = row.iter().map(owned).collect();
    (answer, entries, row.first().map(owned), row.last().map(owned), row.len())
}

fn apply_to_model(op: Op, row: &mut BTreeMap<u16, u64>) -> Answer {
    let answer = match op {
        Op::Insert(k, v) => row.insert(k, v),
        Op::Update(k, v) => row.get_mut(&k).map(|value| {
            *value = value.wrapping_mul(3).wrapping_add(v);
            *value
        }),
        Op::Entry(k, v) => {
            let value = row.get(&k).copied().unwrap_or(0).wrapping_add(v);
            row.insert(k, value);
            Some(value)
        }
        Op::Remove(k) => row.remove(&k),
        Op::PopFirst => row.pop_first().map(|(k, v)| v.wrapping_add(u64::from(k))),
        Op::PopLast => row.pop_last().map(|(k, v)| v.wrapping_add(u64::from(k))),
        Op::Clear => {
            row.clear();
            None
        }
        Op::Read(from, _) => row.get(&from).copied(),
    };
    let entries: Vec<_> = row.iter().map(owned).collect();
    let (first, last) = (entries.first().copied(), entries.last().copied());
    let len = entries.len();
    (answer, entries, first, last, len)
}

/// Several operations on the row of one key, in one invocation.
type Batch = (u8, Vec<Op>);

fn map_rows(app: &App) -> Result<()> {
    app.source("batches", source::empty::<Batch>())
        .key_by(|(key, _)| *key)
        .compute("apply", MARKS, |(_, ops), mut row, out| {
            for op in ops {
                out.emit(apply(op, &mut row));
            }
        })
        .sink("answers", sink::null());
    rows(app)
}

fn op() -> impl Strategy<Value = Op> {
    let (k, v) = (0..6_u16, any::<u64>());
    prop_oneof![
        3 => (k.clone(), v).prop_map(|(k, v)| Op::Insert(k, v)),
        1 => (k.clone(), v).prop_map(|(k, v)| Op::Update(k, v)),
        1 => (k.clone(), v).prop_map(|(k, v)| Op::Entry(k, v)),
        3 => k.clone().prop_map(Op::Remove),
        1 => Just(Op::PopFirst),
        1 => Just(Op::PopLast),
        1 => Just(Op::Clear),
        1 => (k.clone(), k).prop_map(|(a, b)| Op::Read(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn a_map_table_is_a_map_of_ordered_maps(
        batches in proptest::collection::vec((0..4_u8, proptest::collection::vec(op(), 0..4)), 0..60),
        workers in 1..4_usize,
    ) {
        let mut driver = TestDriver::new(map_rows).workers(workers).start().unwrap();
        let mut model: BTreeMap<u8, BTreeMap<u16, u64>> = BTreeMap::new();
        let mut expected = Vec::new();
        for (key, ops) in batches {
            let row = model.entry(key).or_default();
            expected.extend(ops.iter().map(|op| apply_to_model(*op, row)));
            driver.send("batches", (key, ops)).unwrap();
        }
        driver.run().unwrap();
        prop_assert_eq!(driver.outputs::<Answer>("answers"), expected);
        for key in 0..4_u8 {
            let row: Vec<(u16, u64)> = model.remove(&key).unwrap_or_default().into_iter().collect();
            prop_assert_eq!(&driver.entries(MARKS, &key).unwrap(), &row);
            // A row without entries is no row.
            driver.send("look", key).unwrap();
            driver.run().unwrap();
            let looks = driver.outputs::<(Seen, Vec<(u16, u64)>)>("looks");
            prop_assert_eq!(looks, vec![((false, 0), row)]);
        }
    }
}
