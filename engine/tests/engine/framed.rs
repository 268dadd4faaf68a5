//! Time frames of streams: each is calculated once its time is over, on any number of workers and before
//! and after a restart; one that fails is tried again, told of, and blocks nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anabranch::aggregate::{count, max};
use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::{Nature, Source};
use anabranch::window::frames::{Frame, FrameEvent, FrameState, frames, query};
use anabranch::window::{FrameInput, Window};
use anabranch::{TestDriver, Watermarks, sink, source};

use crate::durability::{Folder, Released, in_pieces_of};
use crate::support::{Memory, Sequence, uninterrupted};

/// A key, milliseconds, and a number.
type Item = (u8, i64, u32);
/// How many, and the greatest number.
type Counts = (u64, Option<u32>);
type Made = (u8, FrameEvent<Item, Counts>);

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn time(item: &Item) -> Time {
    Time::from_millis(item.1)
}

fn counts(app: &App, items: impl Source<Item = Item>, made: impl Sink<Item = Made>) -> Result<()> {
    let task = frames(ms(50)).lateness(ms(30)).batch(3).keep(ms(400));
    app.source("items", items)
        .event_time(Watermarks::bounded(ms(6), time))
        .key_by(|item| item.0)
        .frames("counts", time, task.aggregate((count(), max(|item: &Item| item.2))))
        .sink("made", made);
    Ok(())
}

fn inputs(seed: u64) -> Memory<Item> {
    let mut sequence = Sequence(seed);
    let mut number = 0;
    let partitions = (0..3).map(|_| {
        let mut now = 0;
        let mut record = || {
            now += if sequence.below(80) == 0 { 400 } else { sequence.below(4) as i64 };
            number += 1;
            let most = if sequence.below(12) == 0 { 3_000 } else { 6 };
            let late = sequence.below(most) as i64;
            (Some(now * 1_000_000), (sequence.below(12) as u8, now - late, number))
        };
        (0..3_000).map(|_| record()).collect()
    });
    Memory { nature: Nature::Recorded, ..Memory::new(partitions.collect()) }
}

fn on_workers(inputs: &Memory<Item>, count: usize) -> Vec<String> {
    let inputs = inputs.clone();
    uninterrupted(count, move |app, out| counts(app, inputs.clone(), out))
}

#[test]
fn frames_are_the_same_wherever_they_are() {
    let inputs = inputs(1);
    let one = on_workers(&inputs, 1);
    for part in ["Calculated", "Late {", "Some((0, None))", "revision: 1"] {
        assert!(one.iter().any(|line| line.contains(part)), "{part}");
    }
    for count in [2, 3, 4] {
        assert!(on_workers(&inputs, count) == one, "{count} workers");
    }
    let folder = Folder::new("framed");
    let steps = [(1, 500), (3, 1), (2, 900), (4, 10), (1, 700), (2, usize::MAX)];
    let released = in_pieces_of(&folder, &steps, move |app, of: Released<Made>| {
        counts(app, inputs.clone(), of).unwrap();
    });
    assert_eq!(released.len(), one.len());
    assert!(released == one);
}

#[test]
fn a_frame_has_the_records_of_its_time() {
    let mut too_late = 0;
    for seed in 0..20 {
        let mut sequence = Sequence(seed);
        let draw = |app: &App| counts(app, source::empty::<Item>(), sink::null());
        let workers = 1 + seed as usize % 4;
        let mut driver = TestDriver::new(draw).workers(workers).seed(seed).start().unwrap();
        let (mut now, mut number) = (0, 0);
        let mut taken: Vec<Item> = Vec::new();
        let mut made = Vec::new();
        for _ in 0..60 {
            now += sequence.below(30) as i64;
            for _ in 0..sequence.below(5) {
                number += 1;
                let item = (sequence.below(3) as u8, now - sequence.below(70) as i64, number);
                driver.send("items", item).unwrap();
                taken.push(item);
            }
            driver.run().unwrap();
            made.extend(driver.outputs::<Made>("made"));
        }
        driver.finish().unwrap();
        made.extend(driver.outputs::<Made>("made"));
        let mut last: BTreeMap<(u8, i64), (i64, Counts)> = BTreeMap::new();
        let mut late = BTreeSet::new();
        for (key, event) in made {
            match event {
                FrameEvent::Calculated(frame) => {
                    let [start, end] = [frame.start, frame.end].map(|t| t.as_nanos() / 1_000_000);
                    last.insert((key, start), (end, frame.result.unwrap()));
                }
                FrameEvent::Late { value, .. } => drop(late.insert(value.2)),
                FrameEvent::Failed(frame) => panic!("{frame:?}"),
            }
        }
        too_late += late.len();
        taken.retain(|item| !late.contains(&item.2));
        let framed: u64 = last.values().map(|(_, result)| result.0).sum();
        assert_eq!(framed, taken.len() as u64, "seed {seed}");
        for ((key, start), (end, result)) in &last {
            let within = |it: &&Item| it.0 == *key && (*start..*end).contains(&it.1);
            let of: Vec<_> = taken.iter().filter(within).map(|item| item.2).collect();
            assert_eq!(*result, (of.len() as u64, of.into_iter().max()), "seed {seed}");
        }
    }
    assert!(too_late > 20, "{too_late}");
}

const FRAMES: MapTable<(), Time, Frame<usize>> = MapTable::new("strict.frames");

/// Milliseconds of an item; or a frame's start to try it again, or to remove it.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
enum Told {
    Item(i64),
    Retry(i64),
    Remove(i64),
}

/// Fails where there are three items or more, until `lenient` says otherwise.
fn strict(app: &App) -> Result<()> {
    let at = |ms: i64| Time::from_millis(ms);
    let told = app.source("told", source::empty::<Told>()).event_time(Watermarks::marked(
        move |told: &Told| match told {
            Told::Item(ms) => Some(at(*ms)),
            Told::Retry(_) | Told::Remove(_) => None,
        },
    ));
    let task = frames(ms(100)).retries(2, ms(10)).hold_failed().calculate(
        |attempt, items: &[(Time, &i64)]| match items.len() {
            3.. if attempt.revision == 0 => Err(format!("attempt {}", attempt.number)),
            count => Ok(count),
        },
    );
    told.key_by(|_| ())
        .frames_of(
            "strict",
            move |told| match told {
                Told::Item(ms) => FrameInput::Item { time: at(ms), value: ms },
                Told::Retry(ms) => FrameInput::Retry(at(ms)),
                Told::Remove(ms) => FrameInput::Remove(at(ms)),
            },
            task,
        )
        .sink("made", sink::null());
    let asked = app.source("asked", source::empty::<(i64, i64)>()).key_by(|_| ());
    asked
        .compute("ask", FRAMES.read(), move |(from, to), frames, out| {
            let window = Window::new(at(from), at(to));
            out.emit(query::overlapping(&*frames, window).map(|it| it.result).collect::<Vec<_>>());
        })
        .sink("answers", sink::null());
    Ok(())
}

#[test]
fn a_frame_that_fails_is_tried_again_and_blocks_nothing() {
    let mut driver = TestDriver::new(strict).workers(2).start().unwrap();
    for ms in [10, 20, 30, 110, 250, 301] {
        driver.send("told", Told::Item(ms)).unwrap();
    }
    driver.run().unwrap();
    let made = |driver: &mut TestDriver| -> Vec<(i64, FrameState, u32, Option<usize>)> {
        let made = driver.outputs::<((), FrameEvent<i64, usize>)>("made").into_iter();
        let frames = made.filter_map(|(_, event)| event.frame().cloned());
        frames
            .map(|it| (it.start.as_nanos() / 1_000_000, it.state, it.attempts, it.result))
            .collect()
    };
    let done = FrameState::Calculated;
    assert_eq!(made(&mut driver), [(100, done, 1, Some(1)), (200, done, 1, Some(1))]);
    // After 10 ms, and 20 more.
    driver.advance(ms(25));
    driver.run().unwrap();
    assert_eq!(made(&mut driver), []);
    driver.advance(ms(25));
    driver.run().unwrap();
    assert_eq!(made(&mut driver), [(0, FrameState::Failed, 3, None)]);
    driver.send("asked", (50_i64, 150_i64)).unwrap();
    driver.run().unwrap();
    assert_eq!(driver.outputs::<Vec<Option<usize>>>("answers"), [vec![None, Some(1)]]);
    // Asked for, it is calculated as a new revision; one that is removed is made anew.
    driver.send("told", Told::Retry(0)).unwrap();
    driver.send("told", Told::Remove(100)).unwrap();
    driver.advance(ms(1));
    driver.run().unwrap();
    driver.advance(ms(1));
    driver.run().unwrap();
    assert_eq!(made(&mut driver), [(0, done, 1, Some(3)), (100, done, 1, Some(1))]);
    let counters = driver.counters().snapshot();
    assert_eq!((counters["strict.failed"], counters["strict.calculated"]), (1, 4));
}
