//! Batches whose items fail: what is left, told and refused is what a plain loop on plain maps leaves, that copies
//! all it has before each item.

use std::collections::BTreeMap;

use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::{Nature, Source};
use anabranch::{OnFailure, Scoped, TestDriver, TryBatch, Undo, sink, source};

use crate::durability::{Folder, Released, in_pieces_of};
use crate::support::{Memory, Sequence, uninterrupted};

/// A key, what follows from a seed, and how it ends in the first computation and in the second.
type Item = (u8, u64, u8, u8);

const OK: u8 = 0;
const IGNORED: u8 = 1;
const BROKEN: u8 = 2;
const FAILED: u8 = 3;
const ABORTED: u8 = 4;
const PANICKED: u8 = 5;

const FIRST: Table<u8, u64> = Table::new("first");
const SUMS: Table<u8, u64> = Table::new("sums");
const PARTS: MapTable<u8, u64, u64> = MapTable::new("parts");
const OF_RECORD: Scoped<u64> = Scoped::record("value");
const OF_BATCH: Scoped<u64> = Scoped::batch("value");
const OF_CHAIN: Scoped<u64> = Scoped::chain("value");

/// What a seed has done to a row and the values, which both sides count by.
fn step(seed: &mut Sequence, sum: u64) -> (u64, u64, u64) {
    (seed.below(8), seed.below(5), sum % 100 + seed.below(9))
}

fn end(ends: u8) -> std::result::Result<(), Undo> {
    match ends {
        OK => Ok(()),
        IGNORED => Err(Undo::Ignore),
        BROKEN => Err(Undo::Break),
        FAILED => Err(Undo::fail("it was asked to")),
        ABORTED => Err(Undo::abort("it was asked to")),
        _ => panic!("it was asked to, at once"),
    }
}

/// The second computation.
struct AtRandom;

type Tables = (anabranch::Read<Table<u8, u64>>, Table<u8, u64>, MapTable<u8, u64, u64>);

impl TryBatch<u8, Item, Tables> for AtRandom {
    type Output = [u64; 6];

    fn prepare(
        &mut self,
        _: &u8,
        items: &mut Vec<&Item>,
        (_, mut sum, _): (ReadRow<u64>, Row<u64>, MapRow<u64, u64>),
        out: &mut Context<[u64; 6]>,
    ) -> std::result::Result<(), Undo> {
        let seed = items.first().map_or(0, |item| item.1);
        *sum += 1;
        *out.scoped(OF_BATCH) += 1;
        items.retain(|item| !item.1.is_multiple_of(11));
        if seed.is_multiple_of(17) { Err(Undo::fail("it is not prepared")) } else { Ok(()) }
    }

    fn try_apply(
        &mut self,
        _: &u8,
        (_, seed, _, ends): &Item,
        (first, mut sum, mut parts): (ReadRow<u64>, Row<u64>, MapRow<u64, u64>),
        out: &mut Context<[u64; 6]>,
    ) -> std::result::Result<(), Undo> {
        let mut seed = Sequence(*seed);
        for _ in 0..seed.below(6) {
            let (what, part, value) = step(&mut seed, *sum);
            match what {
                0 => *sum += value,
                1 => drop(parts.insert(part, value)),
                2 => *parts.entry(part) += value,
                3 => drop(parts.remove(&part)),
                4 => drop(parts.pop_last()),
                5 => *out.scoped(OF_BATCH) += value,
                6 => *out.scoped(OF_CHAIN) += value,
                _ => *out.scoped(OF_RECORD) += value,
            }
        }
        let values = [OF_RECORD, OF_BATCH, OF_CHAIN].map(|value| *out.scoped(value));
        out.emit([*first, *sum, parts.values_sum(), values[0], values[1], values[2]]);
        end(*ends)?;
        if *sum % 13 == 12 {
            sum.remove();
        }
        Ok(())
    }

    fn finish(
        &mut self,
        _: &u8,
        items: &[&Item],
        (_, mut sum, _): (ReadRow<u64>, Row<u64>, MapRow<u64, u64>),
        out: &mut Context<[u64; 6]>,
    ) -> std::result::Result<(), Undo> {
        *sum += items.len() as u64;
        out.emit([0, *sum, items.len() as u64, 0, 0, 0]);
        if *sum % 7 == 6 { Err(Undo::Ignore) } else { Ok(()) }
    }
}

trait ValuesSum {
    fn values_sum(&self) -> u64;
}

impl ValuesSum for MapRow<'_, u64, u64> {
    fn values_sum(&self) -> u64 {
        self.iter().map(|(part, value)| part * value).sum()
    }
}

fn draw(
    app: &App,
    failed: OnFailure,
    batches: impl Source<Item = Vec<Item>>,
    told: impl Sink<Item = Vec<[u64; 6]>>,
) -> Result<()> {
    app.source("batches", batches)
        .key_by(|batch| batch.first().map_or(0, |item| item.0))
        .depends("first", FIRST, failed, |(_, seed, ends, _), mut first: Row<u64>, out| {
            *first += seed % 5;
            *out.scoped(OF_CHAIN) += seed % 7;
            *out.scoped(OF_RECORD) += 1;
            assert_eq!((*out.scoped(OF_RECORD), *out.scoped(OF_BATCH)), (1, 0));
            end(*ends)
        })
        .batch_computation("second", (FIRST.read(), SUMS, PARTS), AtRandom)
        .sink("told", told);
    Ok(())
}

/// The rows of a key, and the values; nothing of a row that is not there.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    first: Option<u64>,
    sum: Option<u64>,
    parts: BTreeMap<u64, u64>,
    chain: u64,
}

/// What came of all batches: what was told, and how many letters there are.
#[derive(Debug, Default, PartialEq)]
struct Loop {
    rows: BTreeMap<u8, Model>,
    told: Vec<Vec<[u64; 6]>>,
    letters: Vec<String>,
}

impl Loop {
    fn run(batches: &[Vec<Item>], failed: OnFailure) -> Self {
        let mut all = Self::default();
        for batch in batches {
            all.batch(batch, failed);
        }
        all
    }

    fn batch(&mut self, batch: &[Item], failed: OnFailure) {
        let Some(first) = batch.first() else { return };
        let model = self.rows.entry(first.0).or_default();
        model.chain = 0;
        let letters = &mut self.letters;
        let letter = |items: &[Item]| serde_json::to_string(items).unwrap();
        let before = (model.clone(), letters.len());
        let mut kept = Vec::new();
        let mut aborted = false;
        for item in batch {
            let saved = model.clone();
            model.first = Some(model.first.unwrap_or(0) + item.1 % 5);
            model.chain += item.1 % 7;
            match item.2 {
                OK => kept.push(*item),
                IGNORED => *model = saved,
                BROKEN => {
                    *model = saved;
                    break;
                }
                ABORTED => {
                    (*model, aborted) = (before.0.clone(), true);
                    letters.truncate(before.1);
                    letters.push(letter(batch));
                    break;
                }
                _ => {
                    *model = saved;
                    letters.push(letter(&[*item]));
                }
            }
        }
        let goes_on = match failed {
            OnFailure::Continue => batch.to_vec(),
            OnFailure::Block if aborted => Vec::new(),
            OnFailure::Block => kept,
        };
        if !goes_on.is_empty() {
            self.second(first.0, &goes_on);
        }
    }

    fn second(&mut self, key: u8, batch: &[Item]) {
        let Self { rows, told, letters } = self;
        let model = rows.entry(key).or_default();
        let letter = |items: &[Item]| serde_json::to_string(items).unwrap();
        let before = (model.clone(), letters.len());
        if batch[0].1.is_multiple_of(17) {
            letters.push(letter(batch));
            return;
        }
        model.sum = Some(model.sum.unwrap_or(0) + 1);
        let (mut of_batch, mut out, mut kept) = (1, Vec::new(), 0);
        for item in batch.iter().filter(|item| !item.1.is_multiple_of(11)) {
            let saved = (model.clone(), of_batch, out.len());
            let mut of_record = 0;
            let mut seed = Sequence(item.1);
            for _ in 0..seed.below(6) {
                let (what, part, value) = step(&mut seed, model.sum.unwrap_or(0));
                match what {
                    0 => model.sum = Some(model.sum.unwrap_or(0) + value),
                    1 => drop(model.parts.insert(part, value)),
                    2 => *model.parts.entry(part).or_default() += value,
                    3 => drop(model.parts.remove(&part)),
                    4 => drop(model.parts.pop_last()),
                    5 => of_batch += value,
                    6 => model.chain += value,
                    _ => of_record += value,
                }
            }
            let parts = model.parts.iter().map(|(part, value)| part * value).sum();
            let (first, sum) = (model.first.unwrap_or(0), model.sum.unwrap_or(0));
            out.push([first, sum, parts, of_record, of_batch, model.chain]);
            if item.3 == OK {
                kept += 1;
                if sum % 13 == 12 {
                    model.sum = None;
                }
                continue;
            }
            *model = saved.0;
            of_batch = saved.1;
            out.truncate(saved.2);
            match item.3 {
                FAILED | PANICKED => letters.push(letter(&[*item])),
                BROKEN => break,
                ABORTED => {
                    *model = before.0;
                    letters.truncate(before.1);
                    letters.push(letter(batch));
                    return;
                }
                _ => {}
            }
        }
        let sum = model.sum.unwrap_or(0) + kept;
        if sum % 7 != 6 {
            model.sum = Some(sum);
            out.push([0, sum, kept, 0, 0, 0]);
        }
        if !out.is_empty() {
            told.push(out);
        }
    }
}

fn batches(seed: u64, count: usize) -> Vec<Vec<Item>> {
    let mut sequence = Sequence(seed);
    let mut batch = |_| {
        let key = sequence.below(4) as u8;
        let ends = |sequence: &mut Sequence| match sequence.below(14) {
            1 => IGNORED,
            2 => BROKEN,
            3 => FAILED,
            4 => ABORTED,
            5 => PANICKED,
            _ => OK,
        };
        let count = sequence.below(8);
        (0..count)
            .map(|_| {
                let seed = sequence.below(1 << 30);
                (key, seed, ends(&mut sequence), ends(&mut sequence))
            })
            .collect()
    };
    (0..count).map(&mut batch).collect()
}

#[test]
fn what_is_undone_of_batches_is_what_a_loop_undoes() {
    for seed in 0..40 {
        let failed = if seed % 2 == 0 { OnFailure::Block } else { OnFailure::Continue };
        let draw = move |app: &App| {
            draw(app, failed, source::empty::<Vec<Item>>(), sink::null())?;
            app.view("sums", SUMS, |rows| rows.map(|row| row));
            app.view("parts", PARTS, |rows| rows.map(|row| row));
            Ok(())
        };
        let workers = 1 + seed as usize % 3;
        let mut driver = TestDriver::new(draw).workers(workers).start().unwrap();
        let batches = batches(seed, 150);
        for (index, batch) in batches.iter().enumerate() {
            driver.send("batches", batch.clone()).unwrap();
            if index % 5 == 0 {
                driver.run().unwrap();
            }
        }
        driver.run().unwrap();
        let expected = Loop::run(&batches, failed);
        assert!(expected.told.len() > 30 && expected.letters.len() > 30, "{expected:?}");
        assert_eq!(driver.outputs::<Vec<[u64; 6]>>("told"), expected.told, "seed {seed}");
        let letters = driver.dead_letters();
        let letters: Vec<_> = letters.iter().map(|letter| letter.text().unwrap()).collect();
        assert_eq!(letters, expected.letters, "seed {seed}");
        for key in 0..4_u8 {
            let model = expected.rows.get(&key).cloned().unwrap_or_default();
            assert_eq!(driver.get(FIRST, &key).unwrap(), model.first, "seed {seed}");
            assert_eq!(driver.get(SUMS, &key).unwrap(), model.sum, "seed {seed}");
            let parts = driver.entries(PARTS, &key).unwrap();
            assert_eq!(parts, model.parts.into_iter().collect::<Vec<_>>(), "seed {seed}");
        }
        // What was undone never was in a view.
        let rows = || expected.rows.iter();
        let sums = rows().filter_map(|(key, model)| Some(((*key, model.sum?), 1)));
        assert_eq!(driver.view::<(u8, u64)>("sums").unwrap(), sums.collect::<Vec<_>>());
        let parts = rows().flat_map(|(key, model)| {
            model.parts.iter().map(|(part, value)| ((*key, *part, *value), 1))
        });
        assert_eq!(driver.view::<(u8, u64, u64)>("parts").unwrap(), parts.collect::<Vec<_>>());
    }
}

#[test]
fn what_is_undone_of_batches_is_undone_after_restarts() {
    let batches = batches(5, 6_000);
    let expected = Loop::run(&batches, OnFailure::Block).told;
    let mut partitions = vec![Vec::new(); 3];
    for (time, batch) in (1_i64..).zip(&batches) {
        partitions[(time % 7 % 3) as usize].push((Some(time), batch.clone()));
    }
    let input = Memory { nature: Nature::Recorded, ..Memory::new(partitions) };
    let lines = |released: &str| -> Vec<String> {
        released.lines().map(|line| line.split_once(' ').unwrap().1.to_string()).collect()
    };
    let told: Vec<String> = expected.iter().map(|batch| format!("{batch:?}")).collect();
    let mut one = String::new();
    for count in [1, 3] {
        let input = input.clone();
        let out =
            uninterrupted(count, move |app, out| draw(app, OnFailure::Block, input.clone(), out));
        one = out.join("\n");
        assert!(lines(&one) == told, "{count} workers");
    }
    let folder = Folder::new("batches");
    let steps = [(1, 300), (3, 1), (2, 900), (4, 10), (1, 1_700), (2, usize::MAX)];
    let released = in_pieces_of(&folder, &steps, move |app, out: Released<Vec<[u64; 6]>>| {
        draw(app, OnFailure::Block, input.clone(), out).unwrap();
    });
    assert!(released.join("\n") == one);
}

#[test]
fn a_batch_of_too_many_items_is_a_dead_letter() {
    let draw = |app: &App| {
        app.source("batches", source::empty::<Vec<u8>>())
            .key_by(|_| ())
            .try_batch("count", (), |item, (), out| {
                out.emit(*item);
                Ok(())
            })
            .sink("told", sink::null());
        Ok(())
    };
    let mut driver = TestDriver::new(draw).start().unwrap();
    driver.send("batches", vec![0_u8; anabranch::BATCH_ITEMS_MAX]).unwrap();
    driver.send("batches", vec![0_u8; anabranch::BATCH_ITEMS_MAX + 1]).unwrap();
    driver.send("batches", Vec::<u8>::new()).unwrap();
    driver.run().unwrap();
    let told = driver.outputs::<Vec<u8>>("told");
    assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [anabranch::BATCH_ITEMS_MAX]);
    let letters = driver.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        letters[0].reason(),
        "a batch of 65537 items is more than 65536; send it in several"
    );
}
