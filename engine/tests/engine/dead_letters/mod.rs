//! Dead letters that are kept: listed, tried again, changed and closed, each record applied once, on any number
//! of workers and after crashes.

mod batches;
mod bounds;
mod middle;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch::checkpoint::{Manifest, Store};
use anabranch::config::{Config, LettersAction, LettersCommand, LettersSelection};
use anabranch::prelude::*;
use anabranch::sink::{Guarantee, Outgoing, Sink, Taken, Writer};
use anabranch::source::{Nature, OpenContext, Waker};
use anabranch::{Drain, Error, Undo, dead_letters, run_until};

use crate::durability::Folder;
use crate::support::Memory;

/// A key, a number, and whether the program cannot do it until it is corrected.
type Item = (u8, u64, bool);

const SUMS: Table<u8, u64> = Table::new("sums");

/// What a transactional sink has, over all runs.
#[derive(Clone, Default)]
struct Kept {
    lines: Arc<Mutex<Vec<String>>>,
    /// It fails when it has so many.
    breaks: Option<usize>,
    /// How many the checkpoint had that a start has gone on from, start by start.
    resumed: Arc<Mutex<Vec<usize>>>,
    /// From so many on it takes one at a time, and fails when there is a checkpoint with more of those than the
    /// one that it has gone on from.
    crawls: Option<(usize, Arc<dyn Fn() -> usize + Send + Sync>)>,
}

impl Kept {
    fn len(&self) -> usize {
        self.lines.lock().unwrap().len()
    }
}

impl Sink for Kept {
    type Item = String;

    fn describe(&self) -> String {
        "kept".to_string()
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn Writer<String>>> {
        let position = <[u8; 8]>::try_from(context.resume.position.as_slice());
        let at = position.map_or(0, u64::from_le_bytes) as usize;
        self.resumed.lock().unwrap().push(at);
        let (of, waker) = (self.clone(), context.waker.clone());
        Ok(Box::new(Keeping { of, at, resumed: at, waker }))
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Transactional
    }
}

struct Keeping {
    of: Kept,
    at: usize,
    resumed: usize,
    waker: Waker,
}

impl Keeping {
    /// Whether it has all that it takes for now.
    ///
    /// # Errors
    /// When it is time to fail.
    fn crawls(&self) -> Result<bool> {
        let crawls = self.of.crawls.as_ref().filter(|(from, _)| self.at > *from);
        let Some((from, checkpointed)) = crawls else { return Ok(false) };
        if checkpointed() > self.resumed.max(*from) {
            return Err(Error::Connector("the sink is broken".to_string()));
        }
        self.waker.wake();
        Ok(true)
    }
}

impl Writer<String> for Keeping {
    fn write(&mut self, batch: &mut Outgoing<String>) -> Result<Taken> {
        let mut lines = self.of.lines.lock().unwrap();
        while let Some((_, record)) = batch.peek() {
            if self.of.breaks.is_some_and(|breaks| self.at >= breaks) {
                return Err(Error::Connector("the sink is broken".to_string()));
            }
            match lines.get(self.at) {
                Some(known) => assert_eq!(record, known, "line {} was another one", self.at),
                None => lines.push(record.clone()),
            }
            self.at += 1;
            batch.pop();
            if self.crawls()? {
                return Ok(Taken::Partly);
            }
        }
        Ok(Taken::All)
    }

    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(Some((self.at as u64).to_le_bytes().to_vec()))
    }
}

/// A program that can be corrected, its input, and what it has left.
#[derive(Clone)]
struct World {
    folder: Arc<Folder>,
    input: Memory<Item>,
    corrected: Arc<AtomicBool>,
    kept: Kept,
    /// Whether it panics where it cannot do a number, in a computation that does not try.
    panics: bool,
    /// Whether it breaks when the last item comes.
    breaks: Arc<AtomicBool>,
    /// A program on batches, in its place.
    batches: Option<batches::Program>,
    interval: &'static str,
    flags: &'static [&'static str],
}

impl World {
    /// The last of `items` comes only when `last` says so.
    fn new(name: &str, nature: Nature, items: &[Item], last: &Arc<AtomicBool>) -> Self {
        let stamp = |at: usize| (nature == Nature::Recorded).then_some(at as i64 * 1_000);
        let items = items.iter().enumerate().map(|(at, item)| (stamp(at), *item)).collect();
        let last = Arc::clone(last);
        let input = Memory {
            nature,
            last_when: Some(Arc::new(move || last.load(Ordering::SeqCst))),
            ..Memory::new(vec![items])
        };
        let (folder, interval) = (Arc::new(Folder::new(name)), "10ms");
        let (corrected, kept, breaks, batches) = Default::default();
        let (panics, flags) = (false, &[]);
        Self { folder, input, corrected, kept, panics, breaks, batches, interval, flags }
    }

    fn config(&self, workers: usize) -> Config {
        let (folder, workers) = (self.folder.0.to_str().unwrap(), workers.to_string());
        let flags = ["-w", &workers, "--data-dir", folder, "--checkpoint-interval", self.interval];
        Config::from_flags(flags.into_iter().chain(self.flags.iter().copied())).unwrap()
    }

    fn draw(&self, app: &App) {
        let (corrected, breaks) = (Arc::clone(&self.corrected), Arc::clone(&self.breaks));
        app.version("7.1");
        if let Some(program) = &self.batches {
            return program.draw(app, self);
        }
        let items = app
            .source("items", self.input.clone())
            .filter(move |(_, number, _)| {
                assert!(*number != LAST || !breaks.load(Ordering::SeqCst), "the program is broken");
                *number != LAST
            })
            .key_by(|item| item.0);
        if self.panics {
            let of = self.kept.clone();
            let sums =
                items.compute("add", SUMS, move |(key, number, bad), mut sum: Row<u64>, out| {
                    *sum += number;
                    assert!(!bad || corrected.load(Ordering::SeqCst), "it cannot do {number}");
                    out.emit(format!("{key}: {number} makes {}", *sum));
                });
            sums.sink("sums", of);
            return;
        }
        items
            .try_compute("add", SUMS, move |(key, number, bad), mut sum: Row<u64>, out| {
                *sum += number;
                if *bad && !corrected.load(Ordering::SeqCst) {
                    return Err(Undo::fail(format!("cannot add up numbers such as {number}")));
                }
                out.emit(format!("{key}: {number} makes {}", *sum));
                Ok(())
            })
            .sink("sums", self.kept.clone());
    }

    /// Runs it on so many workers until `full` says so; gives what it ended with.
    fn run(&self, workers: usize, full: impl Fn(&Self) -> bool) -> Result<()> {
        let drain = Drain::default();
        let (config, asked, world) = (self.config(workers), drain.clone(), self.clone());
        let running = std::thread::spawn(move || {
            let build = move |app: &App| {
                world.draw(app);
                Ok(())
            };
            run_until(&config, build, &asked).map(drop)
        });
        let mut looks = 0;
        while !running.is_finished() && !full(self) {
            std::thread::sleep(Duration::from_millis(2));
            looks += 1;
            assert!(looks < 15_000, "it does not come to that");
        }
        drain.request();
        running.join().unwrap()
    }

    /// How many entries of the log of dead letters the newest checkpoint knows of.
    fn settled(&self) -> u64 {
        position(&self.folder, "@dead-letters")
    }

    /// What a command prints.
    fn command(&self, action: LettersAction, which: LettersSelection) -> Result<Vec<String>> {
        let mut out = Vec::new();
        dead_letters(&self.config(1), &LettersCommand { action, which }, &mut out)?;
        Ok(String::from_utf8(out).unwrap().lines().map(str::to_string).collect())
    }

    fn list(&self) -> Vec<String> {
        // There is no data directory before the first start has made it.
        let listed =
            self.command(LettersAction::List { groups: false }, LettersSelection::default());
        listed.unwrap_or_default()
    }

    fn all(&self, action: LettersAction) -> Vec<String> {
        let which = LettersSelection { all: true, ..LettersSelection::default() };
        self.command(action, which).unwrap()
    }

    fn one(&self, action: LettersAction, id: &str) -> Result<Vec<String>> {
        let ids = vec![id.to_string()];
        self.command(action, LettersSelection { ids, ..LettersSelection::default() })
    }

    fn lines(&self) -> Vec<String> {
        self.kept.lines.lock().unwrap().clone()
    }
}

/// How much of a sink the newest checkpoint knows of.
fn position(folder: &Folder, sink: &str) -> u64 {
    let store = Store::directory(&folder.0.join("checkpoints"));
    let Ok(ids) = Manifest::list(&store) else { return 0 };
    let manifest = ids.first().and_then(|id| Manifest::load(&store, *id).ok());
    let sinks = manifest.map(|manifest| manifest.sinks).unwrap_or_default();
    let sink = sinks.into_iter().find(|it| it.name == sink);
    sink.map_or(0, |sink| u64::from_le_bytes(sink.position.try_into().unwrap()))
}

/// A number that the program leaves out.
const LAST: u64 = u64::MAX;

/// What a plain loop makes of numbers in that order.
fn sums(items: impl IntoIterator<Item = Item>) -> Vec<String> {
    let mut sums = BTreeMap::new();
    let add = |(key, number, _): Item| {
        let sum: &mut u64 = sums.entry(key).or_default();
        *sum += number;
        format!("{key}: {number} makes {sum}")
    };
    items.into_iter().map(add).collect()
}

fn dp_22(nature: Nature, name: &str) {
    let (one, two, three) = ((0, 1, false), (0, 2, true), (0, 3, false));
    for (before, after) in [(1, 1), (2, 1), (1, 4), (3, 2)] {
        let last = Arc::default();
        // A chunk of recorded input is complete with its records.
        let items = [one, two, three].into_iter().chain(vec![(0, LAST, false); 1_100]);
        let world = World::new(name, nature, &items.collect::<Vec<_>>(), &last);
        world.run(before, |world| world.settled() > 0).unwrap();
        assert_eq!(world.lines(), sums([one, three]));
        let letters = world.list();
        assert_eq!(letters.len(), 1);
        assert!(letters[0].starts_with("items-0-1/add  "), "{letters:?}");
        assert!(letters[0].ends_with("  failed  cannot add up numbers such as 2"), "{letters:?}");

        world.corrected.store(true, Ordering::SeqCst);
        let told = world.all(LettersAction::Retry);
        assert_eq!(told, ["1 to be tried again, by the program that runs or at its next start"]);
        let told = world.all(LettersAction::Retry);
        assert_eq!(told[1..], ["1 left out: it is being tried again"]);
        last.store(true, Ordering::SeqCst);
        world.run(after, |world| world.list().is_empty()).unwrap();
        assert_eq!(world.lines(), sums([one, three, two]), "{before} workers, then {after}");
        assert_eq!(world.list(), [""; 0]);
        let letters = world.all(LettersAction::List { groups: false });
        assert!(letters.len() == 1 && letters[0].contains("  [closed]  "), "{letters:?}");
        assert_eq!(world.all(LettersAction::Retry)[0].split(' ').next(), Some("0"));
        let refused = world.one(LettersAction::Retry, "items-0-1/add").unwrap_err().to_string();
        assert!(refused.contains("it is closed"), "{refused}");
    }
}

#[test]
fn dp_22_a_retry_after_a_correction_closes_the_letter_of_live_input() {
    dp_22(Nature::Live, "dp-22-live");
}

#[test]
fn dp_22_a_retry_after_a_correction_closes_the_letter_of_recorded_input() {
    dp_22(Nature::Recorded, "dp-22-recorded");
}

/// Half of them cannot be done at first.
fn many(count: u64) -> Vec<Item> {
    let mut items: Vec<Item> = (0..count).map(|n| ((n * n % 13) as u8, n, n % 2 == 1)).collect();
    items.push((0, LAST, false));
    items
}

#[test]
fn ten_thousand_letters_are_listed_grouped_and_tried_again_through_crashes() {
    let last = Arc::default();
    let items = many(20_000);
    let mut world = World::new("letters-many", Nature::Live, &items, &last);
    let good = items.iter().filter(|item| item.1 != LAST && !item.2).copied();
    let bad = items.iter().filter(|item| item.2).copied();
    let expected = sums(good.chain(bad));
    // A crash while letters come.
    world.kept.breaks = Some(4_000);
    assert!(world.run(2, |_| false).is_err());
    world.kept.breaks = None;
    world.run(3, |world| world.settled() == 10_000).unwrap();
    assert_eq!(world.lines(), expected[..10_000]);
    let listed = world.list();
    let named = |line: &String| line.split("  ").next().unwrap().to_string();
    let names: Vec<String> = listed.iter().map(named).collect();
    let expected_names = (0..10_000).map(|n| format!("items-0-{}/add", 2 * n + 1));
    assert_eq!(names, expected_names.collect::<Vec<_>>());
    let groups = world.command(LettersAction::List { groups: true }, LettersSelection::default());
    let groups = groups.unwrap();
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert!(groups[0].contains("  10000  items -> add: failed at "), "{groups:?}");
    let group = groups[0].split(' ').next().unwrap().to_string();

    world.corrected.store(true, Ordering::SeqCst);
    let which = LettersSelection { group: Some(group), ..LettersSelection::default() };
    let told = world.command(LettersAction::Retry, which.clone()).unwrap();
    assert!(told[0].starts_with("10000 to be tried again"), "{told:?}");
    // Crashes while they are tried, and other numbers of workers.
    for (workers, breaks) in [(4, 11_003), (1, 11_004), (2, 15_000)] {
        world.kept.breaks = Some(breaks);
        assert!(world.run(workers, |_| false).is_err(), "{breaks}");
    }
    world.kept.breaks = None;
    world.run(3, |world| world.kept.len() >= 15_777).unwrap();
    last.store(true, Ordering::SeqCst);
    world.run(2, |world| world.list().is_empty()).unwrap();
    assert!(world.lines() == expected, "they are applied in the order in which it was asked");
    assert_eq!(world.command(LettersAction::Retry, which).unwrap()[0].split(' ').next(), Some("0"));
    assert_eq!(world.all(LettersAction::List { groups: false }).len(), 10_000);
}

#[test]
fn a_letter_fails_again_is_edited_and_closed_and_another_is_ignored() {
    let last = Arc::default();
    let items = [(0, 1, true), (1, 2, true), (0, 3, true), (0, 4, false), (0, LAST, false)];
    let world = World::new("letters-edit", Nature::Live, &items, &last);
    world.run(2, |world| world.settled() == 3).unwrap();
    let (first, second, third) = ("items-0-0/add", "items-0-1/add", "items-0-2/add");
    // In vain: nothing was corrected.
    world.one(LettersAction::Retry, first).unwrap();
    let again = |world: &World| world.one(LettersAction::Show, first).unwrap().join("|");
    world.run(3, |world| again(world).contains("tried again 1 times")).unwrap();
    assert!(again(&world).starts_with("items-0-0/add: open|group "), "{}", again(&world));
    assert_eq!(world.list().len(), 3);
    // Another record in its place, which can be done; what is no record stays open and says so.
    let edit = |record: &str| LettersAction::Edit { record: Some(record.to_string()) };
    assert!(world.one(edit("{"), first).unwrap_err().to_string().contains("must be JSON"));
    world.one(edit("[0,70,false]"), first).unwrap();
    world.one(edit("[0,\"seventy\",false]"), second).unwrap();
    world.one(LettersAction::Ignore, third).unwrap();
    assert!(world.one(LettersAction::Ignore, third).is_err());
    assert!(
        world.one(LettersAction::Retry, third).unwrap_err().to_string().contains("was ignored")
    );
    assert!(world.one(LettersAction::Show, "items-0-9/add").is_err());
    world.all(LettersAction::Retry);
    assert!(
        again(&world).contains("|record: [0,1,true]|edited: [0,70,false]"),
        "{}",
        again(&world)
    );
    let failed = |world: &World| world.one(LettersAction::Show, second).unwrap().join("|");
    world.run(1, |world| failed(world).contains("it is no record of this program")).unwrap();
    assert_eq!(world.lines(), sums([(0, 4, false), (0, 70, false)]));
    assert_eq!(world.list().len(), 1);
    let status: Vec<String> = world
        .all(LettersAction::Export)
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|it| format!("{} {} {} {}", it["id"], it["status"], it["tries"], it["program"]))
        .collect();
    assert_eq!(
        status,
        [
            r#""items-0-0/add" "closed" 1 "7.1""#,
            r#""items-0-1/add" "open" 1 "7.1""#,
            r#""items-0-2/add" "ignored" 0 "7.1""#
        ]
    );
}

#[test]
fn what_came_after_the_last_checkpoint_is_not_tried_again() {
    let last = Arc::default();
    let mut world = World::new("letters-new", Nature::Live, &many(4), &last);
    world.interval = "1h";
    world.breaks.store(true, Ordering::SeqCst);
    let ended = world.run(1, |world| {
        last.store(world.list().len() == 2, Ordering::SeqCst);
        false
    });
    assert!(ended.unwrap_err().to_string().contains("the program is broken"));
    world.breaks.store(false, Ordering::SeqCst);
    let told = world.all(LettersAction::Retry);
    assert!(told[0].starts_with("0 to be tried"), "{told:?}");
    assert!(told[1].starts_with("2 left out: it came after the last checkpoint"), "{told:?}");
    // Corrected, it is applied by the start itself; and there is no letter any more.
    world.corrected.store(true, Ordering::SeqCst);
    world.kept.lines.lock().unwrap().clear();
    world.run(2, |_| false).unwrap();
    assert_eq!(world.lines(), sums(many(4).into_iter().take(4)));
    assert_eq!(world.all(LettersAction::List { groups: false }), [""; 0]);
}

/// It has left a checkpoint at its end.
#[test]
fn what_a_program_has_refused_until_its_end_is_tried_again() {
    for workers in [1, 3] {
        let last = Arc::default();
        let mut world = World::new("letters-end", Nature::Live, &many(4), &last);
        world.interval = "1h";
        world.run(workers, |world| world.list().len() == 2).unwrap();
        assert!(world.all(LettersAction::Retry)[0].starts_with("2 to be tried"));
        world.corrected.store(true, Ordering::SeqCst);
        last.store(true, Ordering::SeqCst);
        world.run(2, |_| false).unwrap();
        let items = many(4);
        assert_eq!(world.lines(), sums([items[0], items[2], items[1], items[3]]));
        assert_eq!(world.list(), [""; 0]);
    }
}

/// A panic in a computation that does not try ends the generation; the next one makes a letter of the record.
#[test]
fn what_was_set_aside_is_tried_again_and_set_aside_again() {
    let last = Arc::default();
    let (one, two, three) = ((0, 1, false), (0, 2, true), (0, 3, false));
    let items = [one, two, three, (0, LAST, false)];
    let mut world = World::new("letters-aside", Nature::Live, &items, &last);
    world.panics = true;
    assert!(matches!(world.run(2, |_| false), Err(Error::SetAside { .. })));
    world.run(1, |world| world.settled() > 0).unwrap();
    assert_eq!(world.lines(), sums([one, three]));
    let letters = world.list();
    assert!(letters.len() == 1 && letters[0].starts_with("items-0-1  "), "{letters:?}");
    // In vain: it panics once more, and then the program goes on without it.
    world.one(LettersAction::Retry, "items-0-1").unwrap();
    assert!(matches!(world.run(3, |_| false), Err(Error::SetAside { .. })));
    let told = |world: &World| world.one(LettersAction::Show, "items-0-1").unwrap().join("|");
    world.run(2, |world| told(world).contains("tried again 1 times, last: ")).unwrap();
    assert!(told(&world).starts_with("items-0-1: open|"), "{}", told(&world));
    world.corrected.store(true, Ordering::SeqCst);
    world.one(LettersAction::Retry, "items-0-1").unwrap();
    world.run(1, |world| world.list().is_empty()).unwrap();
    assert_eq!(world.lines(), sums([one, three, two]));
}
