//! Records that come again: what was told of them is corrected, and what is told, taken down, is what the last
//! time gave that did not fail.

use std::collections::BTreeMap;

use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::{Nature, Source};
use anabranch::{
    Correction, OnIgnore, Op, ResultKey, Scoped, TestDriver, Undo, Upsert, sink, source,
};

use crate::durability::{Folder, Released, in_pieces_from_checkpoints};
use crate::support::{Memory, Sequence, uninterrupted};

/// A key, an identity within it, what follows from a seed, and how it ends.
type Item = (u8, u32, u64, u8);
type Told = Correction<u32, u64>;

const OK: u8 = 0;
const IGNORED: u8 = 1;
const FAILED: u8 = 2;
const PANICKED: u8 = 3;

const SUMS: Table<u8, u64> = Table::new("sums");

/// As many results as the seed says.
fn results(seed: u64) -> Vec<u64> {
    let mut sequence = Sequence(seed);
    (0..sequence.below(4)).map(|_| sequence.below(5)).collect()
}

fn draw(
    app: &App,
    on_ignore: OnIgnore,
    items: impl Source<Item = Item>,
    told: impl Sink<Item = Told>,
) -> Result<()> {
    app.source("items", items)
        .key_by(|item| item.0)
        .identified_by(|item| item.1)
        .on_ignore(on_ignore)
        .try_compute("import", SUMS, |(_, _, seed, ends), mut sum: Row<u64>, out| {
            *sum -= out.former().iter().sum::<u64>();
            for result in results(*seed) {
                *sum += result;
                out.emit(result);
            }
            match *ends {
                OK => Ok(()),
                IGNORED => Err(Undo::Ignore),
                FAILED => Err(Undo::fail("it was asked to")),
                _ => panic!("it was asked to, at once"),
            }
        })
        .sink("told", told);
    Ok(())
}

fn items(seed: u64, count: usize) -> Vec<Item> {
    let mut sequence = Sequence(seed);
    let mut item = |_| {
        let ends = match sequence.below(8) {
            0 => IGNORED,
            1 => FAILED,
            2 => PANICKED,
            _ => OK,
        };
        (sequence.below(4) as u8, sequence.below(12) as u32, sequence.below(40), ends)
    };
    (0..count).map(&mut item).collect()
}

/// The results of items, by key and identity.
type Left = BTreeMap<(u8, u32), Vec<u64>>;

/// What is left and what was told, by a loop that keeps the results of all items.
fn expected(items: &[Item], on_ignore: OnIgnore) -> (Left, Vec<Told>) {
    let mut all = Left::new();
    let mut told = Vec::new();
    for (key, id, seed, ends) in items {
        let now = match *ends {
            OK => results(*seed),
            IGNORED if on_ignore == OnIgnore::Retract => Vec::new(),
            _ => continue,
        };
        let former = all.insert((*key, *id), now.clone()).unwrap_or_default();
        for place in 0..former.len().max(now.len()) {
            let (before, value) = (former.get(place).copied(), now.get(place).copied());
            let op = match (before, value) {
                (None, _) => Op::Insert,
                (_, None) => Op::Delete,
                (before, value) if before == value => continue,
                _ => Op::Update,
            };
            told.push(Upsert { op, key: (*id, place as u32), value, before });
        }
    }
    all.retain(|_, results| !results.is_empty());
    (all, told)
}

#[test]
fn what_comes_again_corrects_what_was_told() {
    for seed in 0..30 {
        let on_ignore = if seed % 2 == 0 { OnIgnore::Keep } else { OnIgnore::Retract };
        let draw = move |app: &App| draw(app, on_ignore, source::empty::<Item>(), sink::null());
        let mut driver = TestDriver::new(draw).workers(1 + seed as usize % 3).start().unwrap();
        let items = items(seed, 600);
        for (index, item) in items.iter().enumerate() {
            driver.send("items", *item).unwrap();
            if index % 7 == 0 {
                driver.run().unwrap();
            }
        }
        driver.run().unwrap();
        let (left, told) = expected(&items, on_ignore);
        assert_eq!(driver.outputs::<Told>("told"), told, "seed {seed}");
        let ops = [Op::Insert, Op::Update, Op::Delete];
        assert!(ops.iter().all(|op| told.iter().any(|told| told.op == *op)));
        let kept: MapTable<u8, u32, Vec<u64>> = MapTable::new("import.results");
        for key in 0..4_u8 {
            let of_key = left.iter().filter(|((of, _), _)| *of == key);
            let of_key: Vec<_> = of_key.map(|((_, id), results)| (*id, results.clone())).collect();
            assert_eq!(driver.entries(kept, &key).unwrap(), of_key, "seed {seed}");
            if on_ignore == OnIgnore::Keep {
                let sum: u64 = of_key.iter().flat_map(|(_, results)| results).sum();
                assert_eq!(driver.get(SUMS, &key).unwrap().unwrap_or_default(), sum);
            }
        }
    }
}

/// Former results are in checkpoints: a start that goes on from one corrects what an earlier start has told.
#[test]
fn what_comes_again_corrects_what_was_told_after_restarts() {
    for seed in 0..6 {
        let on_ignore = if seed % 2 == 0 { OnIgnore::Retract } else { OnIgnore::Keep };
        let items = items(seed, 30_000);
        let told = expected(&items, on_ignore).1;
        assert!(told.len() > 25_000, "{}", told.len());
        let mut partitions = vec![Vec::new(); 2];
        for (time, item) in (1_i64..).zip(&items) {
            partitions[(time % 7 % 2) as usize].push((Some(time), *item));
        }
        let input = Memory { nature: Nature::Recorded, ..Memory::new(partitions) };
        let (workers, from) = (1 + seed as usize % 4, input.clone());
        let one = uninterrupted(workers, move |app, out| draw(app, on_ignore, from.clone(), out));
        let records = one.iter().map(|line| line.split_once(' ').unwrap().1);
        assert!(records.eq(told.iter().map(|told| format!("{told:?}"))), "{workers} workers");
        let folder = Folder::new("corrections");
        let draw = move |app: &App, out: Released<Told>| {
            // More than two chunks.
            draw(app, on_ignore, out.hold(&input, 2_500), out).unwrap();
        };
        let mut steps = vec![1, 3, 2, 4, 1, 2];
        steps.rotate_left(workers);
        let (released, resumed) = in_pieces_from_checkpoints(&folder, &steps, draw);
        assert!(released == one, "seed {seed}");
        // Each start but the first has gone on from a later checkpoint than the one before.
        assert_eq!((resumed.len(), resumed[0]), (steps.len(), 0));
        assert!(resumed.is_sorted_by(|one, next| one < next), "seed {seed}: {resumed:?}");
    }
}

#[test]
fn dp_03_what_comes_again_as_it_was_changes_nothing() {
    const TOTAL: Scoped<f64> = Scoped::batch("total");
    let build = |app: &App| {
        app.source("items", source::empty::<Vec<u32>>())
            .key_by(|_| ())
            .items_identified_by(|item: &u32| *item)
            .try_batch("discount", (), |item, (), out| {
                let total = *out.scoped(TOTAL) * 0.99 + f64::from(*item);
                *out.scoped(TOTAL) = total;
                out.emit((total * 1e10).round() / 1e10);
                Ok(())
            })
            .sink("told", sink::null());
        Ok(())
    };
    let mut driver = TestDriver::new(build).workers(2).start().unwrap();
    let items: Vec<u32> = vec![1, 2, 3, 4];
    let first: Vec<Vec<Correction<u32, f64>>> =
        driver.eval("items", items.clone(), "told").unwrap();
    let values: Vec<f64> = first[0].iter().filter_map(|told| told.value).collect();
    assert_eq!(values, [1.0, 2.99, 5.9601, 9.900499]);
    let again: Vec<Vec<Correction<u32, f64>>> = driver.eval("items", items, "told").unwrap();
    assert!(again.is_empty(), "{again:?}");
    let kept: MapTable<(), u32, Vec<f64>> = MapTable::new("discount.results");
    assert_eq!(driver.entries(kept, &()).unwrap().len(), 4);
}

/// Results of `imp`, and what `tag`, which runs on them, has of each.
fn rerun(app: &App) -> Result<()> {
    const TAGS: MapTable<(), ResultKey<u32>, u64> = MapTable::new("tags");
    app.source("items", source::empty::<Vec<u32>>())
        .key_by(|_| ())
        .items_identified_by(|item: &u32| *item)
        .try_batch("imp", (), |item, (), out| {
            out.emit(u64::from(*item) * 10);
            Ok(())
        })
        .share()
        .named("imp");
    app.named::<Vec<Told>>("imp")
        .key_by(|_| ())
        .try_batch("tag", TAGS, |told: &Told, mut tags: MapRow<ResultKey<u32>, u64>, out| {
            match told.value {
                Some(value) => drop(tags.insert(told.key, value)),
                None => drop(tags.remove(&told.key)),
            }
            out.emit(tags.iter().map(|(_, value)| *value).collect::<Vec<_>>());
            Ok(())
        })
        .sink("told", sink::null());
    Ok(())
}

#[test]
fn dp_15_what_runs_again_leaves_the_same_results() {
    let mut driver = TestDriver::new(rerun).start().unwrap();
    for _ in 0..2 {
        driver.send("items", vec![1_u32, 2]).unwrap();
        driver.run().unwrap();
        let tags: MapTable<(), ResultKey<u32>, u64> = MapTable::new("tags");
        let left: Vec<_> = driver.entries(tags, &()).unwrap().into_iter().map(|(_, v)| v).collect();
        assert_eq!(left, [10, 20]);
    }
    let told: Vec<Vec<Vec<u64>>> = driver.outputs("told");
    assert_eq!(told, [[vec![10], vec![10, 20]]]);
}

/// Items 1, 2 and 3 come as they are, and come again with a half more; the second ends so.
fn reparsed(on_ignore: OnIgnore, before_it_emits: bool, ends: u8) -> (Vec<f64>, usize) {
    let build = move |app: &App| {
        app.source("items", source::empty::<(u32, f64, u8)>())
            .key_by(|_| ())
            .identified_by(|item| item.0)
            .on_ignore(on_ignore)
            .try_compute("parse", (), move |(_, value, ends), (), out| {
                if !before_it_emits {
                    out.emit(*value);
                }
                match *ends {
                    IGNORED => return Err(Undo::Ignore),
                    FAILED => return Err(Undo::fail("it cannot be parsed")),
                    _ => {}
                }
                if before_it_emits {
                    out.emit(*value);
                }
                Ok(())
            })
            .sink("told", sink::null());
        Ok(())
    };
    let mut driver = TestDriver::new(build).start().unwrap();
    for more in [0.0, 0.5] {
        for id in [1_u32, 2, 3] {
            let ends = if id == 2 && more > 0.0 { ends } else { OK };
            driver.send("items", (id, f64::from(id) + more, ends)).unwrap();
        }
        driver.run().unwrap();
    }
    let kept: MapTable<(), u32, Vec<f64>> = MapTable::new("parse.results");
    let left = driver.entries(kept, &()).unwrap();
    let mut taken_down = BTreeMap::new();
    for Upsert { key, value, .. } in driver.outputs::<Correction<u32, f64>>("told") {
        match value {
            Some(value) => taken_down.insert(key, value),
            None => taken_down.remove(&key),
        };
    }
    let left: Vec<f64> = left.into_iter().flat_map(|(_, results)| results).collect();
    assert_eq!(taken_down.into_values().collect::<Vec<_>>(), left);
    (left, driver.dead_letters().len())
}

#[test]
fn dp_25_the_old_result_stays_until_the_new_one_succeeds() {
    assert_eq!(reparsed(OnIgnore::Keep, false, FAILED), (vec![1.5, 2.0, 3.5], 1));
}

#[test]
fn dp_26_wherever_it_fails() {
    assert_eq!(reparsed(OnIgnore::Keep, true, FAILED), (vec![1.5, 2.0, 3.5], 1));
    assert_eq!(reparsed(OnIgnore::Retract, true, FAILED), (vec![1.5, 2.0, 3.5], 1));
}

#[test]
fn dp_27_what_is_ignored_keeps_its_old_result_or_does_not() {
    assert_eq!(reparsed(OnIgnore::Keep, true, IGNORED), (vec![1.5, 2.0, 3.5], 0));
    assert_eq!(reparsed(OnIgnore::Retract, true, IGNORED), (vec![1.5, 3.5], 0));
}
