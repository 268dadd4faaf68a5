//! What a changed program computes anew: what was told is corrected, at once and once, on any number of workers
//! and through crashes; and it goes on as if the changed program had always run.

mod batches;
mod refused;
mod timed;

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

/// The same computation, of which a view is told and not its results: of each key the sum, and how many keys have
/// what rest.
fn draw_views(app: &App, version: u8, items: &Memory<Item>, told: impl Sink<Item = String>) {
    draw(app, version, items, anabranch::sink::null(), anabranch::sink::null());
    let sums = app.view("sums", SUMS, |t| t.map(|(key, sum)| (u32::from(key), sum)));
    let rests = app.view("rests", SUMS, |t| {
        t.map(|(_, sum)| 100 + (sum % 3) as u32).count().map(|(rest, count)| (rest, count as u64))
    });
    let line = |told: Upsert<u32, u64>| {
        format!("{:?} {} 0 {:?} {:?}", told.op, told.key, told.value, told.before)
    };
    sums.upserts().merge(rests.upserts()).map(line).sink("told-of-views", told);
}

/// What the views have, by a loop.
fn viewed(version: u8, items: &[Item]) -> BTreeMap<(u32, u32), u64> {
    let mut views = BTreeMap::new();
    for (id, results) in looped(version, items).0 {
        *views.entry((id % 7, 0)).or_default() += results.iter().sum::<u64>();
    }
    for sum in views.clone().into_values() {
        *views.entry((100 + (sum % 3) as u32, 0)).or_default() += 1;
    }
    views
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
    looped_by(items, |_| version)
}

/// The same of one that changes on the way.
fn looped_by(items: &[Item], version: impl Fn(usize) -> u8) -> Loop {
    let (mut all, mut told) = (BTreeMap::new(), Vec::new());
    for (index, (_, id, seed)) in items.iter().enumerate() {
        let version = version(index);
        if fails(version, *seed) {
            continue;
        }
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
    interval: &'static str,
    views: bool,
}

impl World {
    fn new(nature: Nature, seed: u64) -> Self {
        let folder = Folder(Folder::new("reprocess").0.clone(), "forever");
        let (told, counts) = (Released::new(), Released::new());
        let (items, interval, views) = (items(seed, 6_000), "10ms", false);
        Self { folder, nature, items, told, counts, interval, views }
    }

    fn config(&self, workers: usize) -> Config {
        let (folder, workers) = (self.folder.0.to_str().unwrap(), workers.to_string());
        let flags = ["-w", &workers, "--data-dir", folder, "--keep-journal", "forever"];
        let interval = ["--checkpoint-interval", self.interval];
        Config::from_flags(flags.into_iter().chain(interval)).unwrap()
    }

    /// Runs a version on the first `count` items, until the sink breaks at so many lines, if it does.
    fn run(&mut self, version: u8, workers: usize, count: usize, breaks: usize) {
        self.told.breaks = breaks;
        let items = input(self.nature, &self.items, count);
        let (told, counts) = (self.told.clone(), self.counts.clone());
        let (config, views) = (self.config(workers), self.views);
        let ended = bounded(move || {
            let build = move |app: &App| {
                match views {
                    true => draw_views(app, version, &items, told.clone()),
                    false => draw(app, version, &items, told.clone(), counts.clone()),
                }
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
        let (items, views) = (input(self.nature, &self.items, 0), self.views);
        reprocess(&self.config(1), from, move |app| {
            let none = anabranch::sink::null();
            match views {
                true => draw_views(app, version, &items, none),
                false => draw(app, version, &items, none, anabranch::sink::null()),
            }
            Ok(())
        })
    }

    /// The names of the dead letters that are open.
    fn letters(&self) -> BTreeSet<String> {
        let (action, which) = (LettersAction::List { groups: false }, LettersSelection::default());
        let mut out = Vec::new();
        dead_letters(&self.config(1), &LettersCommand { action, which }, &mut out).unwrap();
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

    /// What is left when all that was told is taken down; each finds what it says was there before.
    fn left(&self) -> BTreeMap<(u32, u32), u64> {
        let mut left = BTreeMap::new();
        for line in self.told(0) {
            let words: Vec<&str> = line.split(' ').collect();
            let [op, id, place, value, before]: [&str; 5] = words.try_into().unwrap();
            let number = |word: &str| {
                let inner = word.strip_prefix("Some(").and_then(|word| word.strip_suffix(')'));
                inner.map(|number| number.parse::<u64>().unwrap())
            };
            let key = (id.parse().unwrap(), place.parse().unwrap());
            let was = match number(value) {
                Some(value) => left.insert(key, value),
                None => left.remove(&key),
            };
            assert_eq!(was, number(before), "{op}: {line}");
        }
        left
    }

    /// Asks that all dead letters are tried again.
    fn retry(&self) -> Result<()> {
        let which = LettersSelection { all: true, ..LettersSelection::default() };
        let command = LettersCommand { action: LettersAction::Retry, which };
        dead_letters(&self.config(1), &command, &mut Vec::new())
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

/// All results by their keys.
fn flat(results: BTreeMap<u32, Vec<u64>>) -> BTreeMap<(u32, u32), u64> {
    let of = |(id, results): (u32, Vec<u64>)| {
        (0..).zip(results).map(move |(place, result)| ((id, place), result))
    };
    results.into_iter().flat_map(of).collect()
}

#[test]
fn what_was_computed_anew_is_verified_and_computed_anew_again() {
    for nature in [Nature::Recorded, Nature::Live] {
        let mut world = World::new(nature, 7);
        world.run(1, 2, 3_000, usize::MAX);
        world.reprocess(2, None).unwrap();
        world.run(2, 3, 5_000, usize::MAX);
        assert_eq!(world.left(), flat(looped(2, &world.items[..5_000]).0));

        let items = input(nature, &world.items, 5_000);
        let build = move |app: &App| {
            draw(app, 2, &items, Released::new(), Released::new());
            Ok(())
        };
        let verified = verify(&world.config(1), Span::default(), build.clone()).unwrap();
        assert_eq!(verified.difference, None);
        let begins = Span { from: Some(Time::from_nanos(2)), to: None };
        let error = verify(&world.config(1), begins, build).unwrap_err().to_string();
        assert!(error.contains("was reprocessed before checkpoint"), "{error}");

        // Back to what it was, for all input.
        world.reprocess(1, None).unwrap();
        world.run(1, 1, 6_000, usize::MAX);
        assert_eq!(world.left(), flat(looped(1, &world.items).0), "{nature:?}");
        assert_eq!(world.letters(), world.refused(1, 6_000));
    }
}

#[test]
fn it_begins_where_it_is_told_to() {
    for nature in [Nature::Recorded, Nature::Live] {
        let mut world = World::new(nature, 8);
        world.interval = "1h";
        world.run(1, 1, 2_000, usize::MAX);
        let store = Store::directory(&world.folder.0.join("checkpoints"));
        let first = Manifest::list(&store).unwrap()[0];
        world.run(1, 2, 4_000, usize::MAX);
        let from = match nature {
            Nature::Recorded => 2_001,
            Nature::Live => first.epoch as i64,
        };
        let said = world.reprocess(2, Some(Time::from_nanos(from))).unwrap();
        assert!(said.contains(&format!("computes anew from {first} up to")), "{said}");
        world.run(2, 3, 6_000, usize::MAX);
        let version = |index| if index < 2_000 { 1 } else { 2 };
        assert_eq!(world.left(), flat(looped_by(&world.items, version).0), "{nature:?}");
        let mut letters = world.refused(1, 2_000);
        letters.extend(world.refused(2, 6_000).difference(&world.refused(2, 2_000)).cloned());
        assert_eq!(world.letters(), letters, "those of before stay");
    }
}

#[test]
fn views_are_corrected() {
    for (nature, seed) in [(Nature::Recorded, 10), (Nature::Live, 11), (Nature::Live, 12)] {
        let mut world = World::new(nature, seed);
        world.views = true;
        world.run(1, 2, 3_000, usize::MAX);
        assert_eq!(world.left(), viewed(1, &world.items[..3_000]));
        world.reprocess(2, None).unwrap();
        let before = world.told.len();
        for (breaks, workers) in [(before, 3), (before + 3, 1), (before + 40, 4)] {
            world.run(2, workers, 6_000, breaks);
        }
        world.run(2, 2, 6_000, usize::MAX);
        assert_eq!(world.left(), viewed(2, &world.items), "{nature:?}");
        // At once: of each key and each rest no more than one.
        let ids: Vec<String> = world.told.lines().split_off(before);
        let moment = |line: &String| line.split('-').nth(2).unwrap().to_string();
        let first = ids.iter().filter(|line| moment(line) == moment(&ids[0])).count();
        assert!((3..=10).contains(&first), "{first}: {:?}", &ids[..12]);
    }
}
