//! What a changed program computes anew: what was told is corrected, at once and once, on any number of workers
//! and through crashes; and it goes on as if the changed program had always run.

use std::collections::{BTreeMap, BTreeSet};

use anabranch::config::{LettersAction, LettersCommand, LettersSelection};
use anabranch::{Correction, Op, Undo, Upsert, dead_letters, reprocess, verify};

use super::*;

/// A key, an identity, and what follows from a seed.
type Item = (u8, u32, u64);

const SUMS: Table<u8, u64> = Table::new("sums");
const COUNTS: Table<u32, u64> = Table::new("counts");

/// What a version of the program makes of a seed.
fn results(version: u8, seed: u64) -> Vec<u64> {
    let mut sequence = Sequence(seed);
    let results = (0..sequence.below(4)).map(|_| sequence.below(5));
    match version {
        2 if seed.is_multiple_of(3) => results.map(|result| result + 100).collect(),
        2 if seed % 5 == 1 => Vec::new(),
        _ => results.collect(),
    }
}

/// Whether a version of the program cannot do it.
fn fails(version: u8, seed: u64) -> bool {
    seed % 20 == u64::from(version)
}

/// As a line, so that it can be taken down.
fn line(told: &Correction<u32, u64>) -> String {
    format!("{:?} {} {} {:?} {:?}", told.op, told.key.0, told.key.1, told.value, told.before)
}

/// Tells results; and how many corrections there were of each identity, by those that come after it.
fn draw(
    app: &App,
    version: u8,
    items: &Memory<Item>,
    told: impl Sink<Item = String>,
    counts: impl Sink<Item = (u32, u64)>,
) {
    let corrections = app
        .source("items", items.clone())
        .key_by(|item| item.0)
        .identified_by(|item| item.1)
        .try_compute("import", SUMS, move |(_, _, seed), mut sum: Row<u64>, out| {
            *sum -= out.former().iter().sum::<u64>();
            if fails(version, *seed) {
                return Err(Undo::fail(format!("version {version} cannot do {seed}")));
            }
            for result in results(version, *seed) {
                *sum += result;
                out.emit(result);
            }
            Ok(())
        })
        .share();
    let counted = corrections.clone().key_by(|told| told.key.0).compute(
        "count",
        COUNTS,
        |told, mut n, out| {
            *n += 1;
            out.emit((told.key.0, *n));
        },
    );
    counted.sink("counts", counts);
    corrections.map(|told| line(&told)).sink("told", told);
}

/// The results by identity, and what is told, in order.
type Loop = (BTreeMap<u32, Vec<u64>>, Vec<Correction<u32, u64>>);

fn differences(id: u32, former: &[u64], now: &[u64]) -> Vec<Correction<u32, u64>> {
    let places = 0..former.len().max(now.len());
    let of = |place: usize| {
        let (before, value) = (former.get(place).copied(), now.get(place).copied());
        let op = match (before, value) {
            (None, _) => Op::Insert,
            (_, None) => Op::Delete,
            (before, value) if before == value => return None,
            _ => Op::Update,
        };
        Some(Upsert { op, key: (id, place as u32), value, before })
    };
    places.filter_map(of).collect()
}

/// What a loop makes of items.
fn looped(version: u8, items: &[Item]) -> Loop {
    let (mut all, mut told) = (BTreeMap::new(), Vec::new());
    for (_, id, seed) in items.iter().filter(|(.., seed)| !fails(version, *seed)) {
        let now = results(version, *seed);
        let former: Vec<u64> = all.insert(*id, now.clone()).unwrap_or_default();
        told.extend(differences(*id, &former, &now));
    }
    (all, told)
}

fn items(seed: u64, count: usize) -> Vec<Item> {
    let mut sequence = Sequence(seed);
    let item = |_| {
        let id = sequence.below(300) as u32;
        ((id % 7) as u8, id, sequence.below(60))
    };
    (0..count).map(item).collect()
}

/// The first `count` of `items`: recorded, in three partitions; live, in one, so that their order is known.
fn input(nature: Nature, items: &[Item], count: usize) -> Memory<Item> {
    let mut partitions = vec![Vec::new(); if nature == Nature::Live { 1 } else { 3 }];
    for (time, item) in (1_i64..).zip(&items[..count]) {
        let partition = (time % 7) as usize % partitions.len();
        partitions[partition].push(((nature == Nature::Recorded).then_some(time), *item));
    }
    Memory { nature, ..Memory::new(partitions) }
}

/// What the sinks have, over all runs.
struct World {
    folder: Folder,
    nature: Nature,
    items: Vec<Item>,
    told: Released<String>,
    counts: Released<(u32, u64)>,
}

impl World {
    fn new(nature: Nature, seed: u64) -> Self {
        let folder = Folder(Folder::new("reprocess").0.clone(), "forever");
        let (told, counts) = (Released::new(), Released::new());
        Self { folder, nature, items: items(seed, 6_000), told, counts }
    }

    /// Runs a version on the first `count` items, until the sink breaks at so many lines, if it does.
    fn run(&mut self, version: u8, workers: usize, count: usize, breaks: usize) {
        self.told.breaks = breaks;
        let items = input(self.nature, &self.items, count);
        let (told, counts) = (self.told.clone(), self.counts.clone());
        let config = self.folder.config(workers);
        let ended = bounded(move || {
            let build = move |app: &App| {
                draw(app, version, &items, told.clone(), counts.clone());
                Ok(())
            };
            run(&config, build).map(drop).map_err(|error| error.to_string())
        });
        assert!(
            ended.is_ok() || breaks < usize::MAX && ended.clone().unwrap_err().contains("broken"),
            "{ended:?}"
        );
    }

    fn reprocess(&self, version: u8, from: Option<Time>) -> Result<String> {
        let items = input(self.nature, &self.items, 0);
        reprocess(&self.folder.config(1), from, move |app| {
            draw(app, version, &items, anabranch::sink::null(), anabranch::sink::null());
            Ok(())
        })
    }

    /// The names of the dead letters that are open.
    fn letters(&self) -> BTreeSet<String> {
        let (action, which) = (LettersAction::List { groups: false }, LettersSelection::default());
        let mut out = Vec::new();
        dead_letters(&self.folder.config(1), &LettersCommand { action, which }, &mut out).unwrap();
        let lines = String::from_utf8(out).unwrap();
        lines.lines().map(|line| line.split(' ').next().unwrap().to_string()).collect()
    }

    /// The names of the dead letters that a version leaves of the first `count` items.
    fn refused(&self, version: u8, count: usize) -> BTreeSet<String> {
        let partitions = if self.nature == Nature::Live { 1 } else { 3 };
        let mut offsets = [0; 3];
        let mut names = BTreeSet::new();
        for (time, (.., seed)) in (1..).zip(&self.items[..count]) {
            let partition = time % 7 % partitions;
            if fails(version, *seed) {
                names.insert(format!("items-{partition}-{}/import", offsets[partition]));
            }
            offsets[partition] += 1;
        }
        names
    }

    /// What was told after the first `from` lines.
    fn told(&self, from: usize) -> Vec<String> {
        let lines = self.told.lines();
        lines[from..].iter().map(|line| line.split_once('"').unwrap().1.replace('"', "")).collect()
    }
}

/// How many there are of each identity.
fn counted(told: &[Correction<u32, u64>]) -> BTreeMap<u32, u64> {
    let mut counts = BTreeMap::new();
    told.iter().for_each(|told| *counts.entry(told.key.0).or_default() += 1);
    counts
}

fn changed_program(nature: Nature, seed: u64) -> Vec<String> {
    let mut world = World::new(nature, seed);
    let (first, all) = (4_000, 6_000);
    world.run(1, 1 + seed as usize % 3, first, usize::MAX);
    let (was, told) = looped(1, &world.items[..first]);
    assert_eq!(world.told(0), told.iter().map(line).collect::<Vec<_>>());
    assert_eq!(world.letters(), world.refused(1, first));
    let said = world.reprocess(2, None).unwrap();
    assert!(
        said.starts_with("the next start of this program computes anew from the beg"),
        "{said}"
    );

    let (is, anew) = looped(2, &world.items[..first]);
    let mut corrections = BTreeSet::new();
    for id in 0..300 {
        let (former, now) = (was.get(&id).cloned().unwrap_or_default(), is.get(&id));
        let now = now.cloned().unwrap_or_default();
        corrections.extend(differences(id, &former, &now).iter().map(line));
    }
    assert!(corrections.len() > 100, "{}", corrections.len());
    // It is cut off before corrections were told, in the middle of them, and after them.
    let at = told.len();
    let ends = [at, at + corrections.len() / 2, at + corrections.len() + 40, usize::MAX];
    for (breaks, workers) in ends.into_iter().zip([2, 4, 1, 3]) {
        world.run(2, workers, all, breaks);
    }
    assert_eq!(world.letters(), world.refused(2, all), "those of what fails now, and no other");
    let now = world.told(at);
    let (corrected, rest) = now.split_at(corrections.len());
    assert_eq!(corrected.iter().cloned().collect::<BTreeSet<_>>(), corrections);
    let after = looped(2, &world.items).1;
    assert!(rest.iter().cloned().eq(after[anew.len()..].iter().map(line)), "it goes on");

    // What depends on the results was computed anew as well, and is told of nothing twice.
    let counts: Vec<String> = world.counts.lines();
    let told_then = told.len();
    let last: BTreeMap<u32, u64> = counts[told_then..]
        .iter()
        .map(|line| {
            let (_, pair) = line.split_once('(').unwrap();
            let (id, count) = pair.trim_end_matches(')').split_once(", ").unwrap();
            (id.parse().unwrap(), count.parse().unwrap())
        })
        .collect();
    let all_counts = counted(&after);
    assert_eq!(counts.len() - told_then, after.len() - anew.len());
    assert!(last.iter().all(|(id, count)| all_counts[id] == *count), "{last:?}");
    now
}

#[test]
fn recorded_input_is_computed_anew() {
    for seed in 0..4 {
        changed_program(Nature::Recorded, seed);
    }
}

#[test]
fn live_input_is_computed_anew() {
    for seed in 0..4 {
        changed_program(Nature::Live, seed);
    }
}
