//! Dead letters that are batches: of one that is tried again some items are done, and each of the others is a
//! letter of its own, which holds that item alone.

use anabranch::OnFailure;

use super::*;

/// Of a batch that is bad the second item aborts it.
const ABORTS: u8 = 0;
/// It fails alone, and so does the third if the batch is [`WORSE`].
const FAILS: u8 = 1;
const CORRECTED: u8 = 2;

const WORSE: u64 = 3;
/// More than a chunk of recorded input, which is complete with its records.
const CHUNK: usize = 1_100;

/// What becomes of the items of a batch that fails: [`None`] if there is nothing else to go on than results.
#[derive(Clone)]
pub(super) struct Program {
    onward: Option<OnFailure>,
    phase: Arc<AtomicU8>,
}

impl Program {
    /// Makes a batch of three of each number, adds up its items, and tells what goes on, with the sum after it.
    pub(super) fn draw(&self, app: &App, world: &World) {
        let phase = Arc::clone(&self.phase);
        let end = move |(_, number, bad): &Item| {
            let reason = || format!("cannot add up numbers such as {number}");
            match (*bad, phase.load(Ordering::SeqCst), number % 10) {
                (true, ABORTS, 1) => Err(Undo::abort(reason())),
                (true, FAILS, 1) => Err(Undo::fail(reason())),
                (true, FAILS, 2) if number / 10 == WORSE => Err(Undo::fail(reason())),
                _ => Ok(()),
            }
        };
        let tell = |(key, number, _): &Item, sum: ReadRow<u64>, out: &mut Context<'_, String>| {
            out.emit(format!("{key}: {number}, so {}", *sum));
            Ok(())
        };
        let batches = app
            .source("items", world.input.clone())
            .filter(|(_, number, _)| *number != LAST)
            .map(|(key, number, bad)| [0, 1, 2].map(|item| (key, number * 10 + item, bad)).to_vec())
            .key_by(|batch: &Vec<Item>| batch[0].0);
        let told = match self.onward {
            None => batches
                .try_batch("add", SUMS, move |item: &Item, mut sum: Row<u64>, out| {
                    *sum += item.1;
                    out.emit(*item);
                    end(item)
                })
                .try_batch("tell", SUMS.read(), tell)
                .share(),
            Some(onward) => batches
                .depends("add", SUMS, onward, move |item: &Item, mut sum: Row<u64>, _| {
                    *sum += item.1;
                    end(item)
                })
                .try_batch("tell", SUMS.read(), tell)
                .share(),
        };
        told.flat_map(|lines: Vec<String>| lines).sink("sums", world.kept.clone());
    }
}

/// Sums by key, and what was told of them.
#[derive(Default)]
struct Loop {
    sums: [u64; 2],
    told: Vec<String>,
}

impl Loop {
    /// Items of a batch were done, and items went on.
    fn batch(&mut self, done: &[u64], onward: &[u64]) {
        let key = |number: &u64| (number / 10 % 2) as usize;
        done.iter().for_each(|number| self.sums[key(number)] += number);
        let line = |number| format!("{}: {number}, so {}", key(number), self.sums[key(number)]);
        self.told.extend(onward.iter().map(line));
    }
}

fn of_a_batch(nature: Nature, onward: Option<OnFailure>, workers: [usize; 4]) {
    let last = Arc::default();
    let mut items = vec![(1, 1, false), (0, 2, true), (1, 3, true), (0, 4, false)];
    items.extend(vec![(0, LAST, false); 5 * CHUNK]);
    // It shows what its key has come to.
    items.push((0, 6, false));
    let mut world = World::new("letters-batch", nature, &items, &last);
    let phase = Arc::new(AtomicU8::new(ABORTS));
    world.batches = Some(Program { onward, phase: Arc::clone(&phase) });
    let goes_on = onward == Some(OnFailure::Continue);
    let mut expected = Loop::default();
    // A chunk more comes in each start: what is tried again follows what may have left the program, and goes
    // before that.
    let start = |world: &mut World, chunks: usize, workers: usize, full: fn(&World) -> bool| {
        world.input.held_from = Some(chunks * CHUNK);
        world.run(workers, full)
    };
    let ids = |world: &World| -> Vec<String> {
        world.list().iter().map(|it| it.split("  ").next().unwrap().to_string()).collect()
    };

    start(&mut world, 1, workers[0], |world| world.settled() == 2).unwrap();
    expected.batch(&[10, 11, 12], &[10, 11, 12]);
    expected.batch(&[], if goes_on { &[20, 21, 22] } else { &[] });
    expected.batch(&[], if goes_on { &[30, 31, 32] } else { &[] });
    expected.batch(&[40, 41, 42], &[40, 41, 42]);
    assert_eq!(world.lines(), expected.told);
    assert_eq!(ids(&world), ["items-0-1/add", "items-0-2/add"]);

    // What is done of a batch stays done and goes on, if it has not gone on before; a crash in the middle of it
    // changes nothing.
    phase.store(FAILS, Ordering::SeqCst);
    world.all(LettersAction::Retry);
    if !goes_on {
        world.kept.breaks = Some(world.kept.len() + 1);
        assert!(start(&mut world, 2, workers[1], |_| false).is_err());
        world.kept.breaks = None;
    }
    start(&mut world, 3, workers[2], |world| world.settled() == 7).unwrap();
    expected.batch(&[20, 22], if goes_on { &[] } else { &[20, 22] });
    expected.batch(&[30], if goes_on { &[] } else { &[30] });
    assert_eq!(world.lines(), expected.told);
    let left = ["@retries-0-0/add", "@retries-0-1/add", "@retries-0-1.0.1/add"];
    assert_eq!(ids(&world), left, "those of the batches are closed");
    for (id, item) in left.iter().zip(["[[0,21,true]]", "[[1,31,true]]", "[[1,32,true]]"]) {
        let shown = world.one(LettersAction::Show, id).unwrap().join("|");
        assert!(shown.ends_with(&format!("|record: {item}")), "{shown}");
    }

    // One that holds a single item stays what it is if it fails once more.
    assert!(world.all(LettersAction::Retry)[0].starts_with("3 to be tried again"));
    start(&mut world, 4, workers[3], |world| world.settled() == 10).unwrap();
    assert_eq!((world.lines(), ids(&world)), (expected.told.clone(), left.map(Into::into).into()));
    let shown = world.one(LettersAction::Show, left[0]).unwrap().join("|");
    assert!(shown.contains("tried again 1 times"), "{shown}");

    phase.store(CORRECTED, Ordering::SeqCst);
    world.all(LettersAction::Retry);
    start(&mut world, 5, workers[1], |world| world.list().is_empty()).unwrap();
    for number in [21, 31, 32] {
        expected.batch(&[number], if goes_on { &[] } else { std::slice::from_ref(&number) });
    }
    last.store(true, Ordering::SeqCst);
    start(&mut world, 5, workers[0], |_| false).unwrap();
    expected.batch(&[60, 61, 62], &[60, 61, 62]);
    assert_eq!(world.lines(), expected.told);
    assert_eq!((ids(&world).len(), world.all(LettersAction::List { groups: false }).len()), (0, 5));
}

#[test]
fn of_a_batch_that_is_tried_again_each_item_that_fails_is_a_letter() {
    for nature in [Nature::Live, Nature::Recorded] {
        for onward in [None, Some(OnFailure::Block), Some(OnFailure::Continue)] {
            for workers in [[2, 1, 3, 4], [1, 4, 2, 3]] {
                of_a_batch(nature, onward, workers);
            }
        }
    }
}
