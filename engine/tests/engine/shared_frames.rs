//! Several tasks of time frames over the same records: each makes what it makes alone, anywhere, and a record
//! goes when none needs it.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::Nature;
use anabranch::window::Window;
use anabranch::window::entries::Stored;
use anabranch::window::frames::{Attempt, Frame, FrameEvent, Items, Place, Task, frames, query};
use anabranch::{TestDriver, Watermarks, sink, source};

use crate::durability::{Folder, Released, in_pieces_of};
use crate::support::{Memory, Sequence, uninterrupted};

/// A key, milliseconds, and a number.
type Item = (u8, i64, u32);
type Event = FrameEvent<Item, Vec<u32>>;
type Made = (u8, u32, Event);
type Calculate = fn(&mut Attempt, &[(Time, &Item)]) -> std::result::Result<Vec<u32>, String>;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn time(item: &Item) -> Time {
    Time::from_millis(item.1)
}

/// Some fail at first, some for good, but none if it has no records.
fn numbers(
    attempt: &mut Attempt,
    items: &[(Time, &Item)],
) -> std::result::Result<Vec<u32>, String> {
    let numbers: Vec<_> = items.iter().map(|(_, item)| item.2).collect();
    let fails = match numbers.first().map_or(9, |first| first % 10) {
        0 => 9,
        1 => 1,
        _ => 0,
    };
    if attempt.number <= fails { Err("not yet".to_string()) } else { Ok(numbers) }
}

fn tasks() -> Vec<Task<Item, Items<Calculate>>> {
    [
        frames(ms(50)).lateness(ms(30)).retries(2, ms(1)),
        frames(ms(170)).anchored(Time::from_millis(-30)).batch(2).retries(2, ms(3)),
        frames(ms(20)).lateness(ms(90)).keep(ms(300)).retries(2, ms(2)),
    ]
    .map(|options| options.calculate(numbers as Calculate))
    .into()
}

fn together(app: &App, items: Memory<Item>, made: impl Sink<Item = Made>) -> Result<()> {
    app.source("items", items)
        .event_time(Watermarks::bounded(ms(6), time))
        .key_by(|item| item.0)
        .frames_shared("shared", time, tasks())
        .sink("made", made);
    Ok(())
}

fn inputs() -> Memory<Item> {
    let (mut sequence, mut number) = (Sequence(3), 0);
    let partitions = (0..2).map(|_| {
        let mut now = 0;
        let mut record = || {
            now += if sequence.below(80) == 0 { 400 } else { sequence.below(4) as i64 };
            number += 1;
            let most = if sequence.below(12) == 0 { 300 } else { 6 };
            let late = sequence.below(most) as i64;
            (Some(now * 1_000_000), (sequence.below(5) as u8, now - late, number))
        };
        (0..2_500).map(|_| record()).collect()
    });
    Memory { nature: Nature::Recorded, ..Memory::new(partitions.collect()) }
}

/// The events of each key and task, without the names of records, which tell of their places among all.
fn by_key(lines: &[String]) -> BTreeMap<(String, String), Vec<String>> {
    let mut events: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in lines {
        let told = line.split_once(" (").unwrap().1;
        let mut parts = told.splitn(3, ", ");
        let [key, task, event] = [(); 3].map(|()| parts.next().unwrap().to_string());
        events.entry((key, task)).or_default().push(event);
    }
    events
}

#[test]
fn tasks_that_share_records_make_what_each_makes_alone() {
    let inputs = inputs();
    let of = inputs.clone();
    let one = uninterrupted(1, move |app, out| together(app, of.clone(), out));
    for part in ["Calculated", "Late {", "Failed", "revision: 1"] {
        assert!(one.iter().any(|line| line.contains(part)), "{part}");
    }
    let mut alone = BTreeMap::new();
    for number in 0..3 {
        let of = inputs.clone();
        let lines = uninterrupted(2, move |app: &App, out| {
            let task = tasks().swap_remove(number as usize);
            app.source("items", of.clone())
                .event_time(Watermarks::bounded(ms(6), time))
                .key_by(|item| item.0)
                .frames("alone", time, task)
                .map(move |(key, event): (u8, Event)| (key, number, event))
                .sink("made", out);
            Ok(())
        });
        alone.extend(by_key(&lines));
    }
    let shared = by_key(&one);
    assert_eq!(shared.keys().collect::<Vec<_>>(), alone.keys().collect::<Vec<_>>());
    assert_eq!(shared.len(), 15);
    for (of, events) in &shared {
        assert_eq!(events, &alone[of], "{of:?}");
    }
    for count in [2, 3] {
        let of = inputs.clone();
        let other = uninterrupted(count, move |app, out| together(app, of.clone(), out));
        assert!(other == one, "{count} workers");
    }
    let folder = Folder::new("shared-frames");
    let steps = [(1, 500), (3, 1), (2, 900), (1, 700), (2, usize::MAX)];
    let released = in_pieces_of(&folder, &steps, move |app, of: Released<Made>| {
        together(app, inputs.clone(), of).unwrap();
    });
    assert!(released == one, "{} and {}", released.len(), one.len());
}

const RECORDS: MapTable<(), Place, Stored<i64>> = MapTable::new("counts.records");
const FRAMES: MapTable<(), (u32, Time), Frame<usize>> = MapTable::new("counts.frames");

/// By the quarter of a minute and by the minute.
fn counts(app: &App) -> Result<()> {
    let second = |second: &i64| Time::from_millis(second * 1_000);
    let count = |_: &mut Attempt, items: &[(Time, &i64)]| Ok::<_, String>(items.len());
    let [quarters, minutes] = [15, 60].map(|long| frames(Duration::from_secs(long)));
    let tasks = vec![quarters.calculate(count), minutes.calculate(count)];
    app.source("items", source::empty::<i64>())
        .event_time(Watermarks::monotonic(second))
        .key_by(|_| ())
        .frames_shared("counts", second, tasks)
        .sink("made", sink::null());
    app.source("asked", source::empty::<(u32, i64, i64)>())
        .key_by(|_| ())
        .compute("ask", FRAMES.read(), move |(task, from, to), frames, out| {
            let of_task = query::of_task(&*frames, task);
            let found = query::overlapping(&of_task, Window::new(second(&from), second(&to)));
            out.emit(found.map(|frame| frame.result).collect::<Vec<_>>());
        })
        .sink("answers", sink::null());
    Ok(())
}

#[test]
fn a_record_stays_until_no_task_needs_it() {
    let mut driver = TestDriver::new(counts).start().unwrap();
    let mut kept = |until: i64| {
        for second in (until - 30..until).step_by(10) {
            driver.send("items", second).unwrap();
        }
        driver.run().unwrap();
        let records = driver.entries(RECORDS, &()).unwrap();
        records.iter().map(|(place, _)| place.time.as_nanos() / 1_000_000_000).collect::<Vec<_>>()
    };
    // The frames of a quarter are made by now, but not that of the first minute.
    assert_eq!(kept(30), [0, 10, 20]);
    assert_eq!(kept(60), [0, 10, 20, 30, 40, 50]);
    // The watermark is at 80 s: what began before 60 is in no frame that is to come.
    assert_eq!(kept(90), [60, 70, 80]);
    for asked in [(0_u32, 20_i64, 40_i64), (1, 20, 40), (1, 60, 90), (2, 0, 90)] {
        driver.send("asked", asked).unwrap();
    }
    driver.run().unwrap();
    let answers = driver.outputs::<Vec<Option<usize>>>("answers");
    assert_eq!(answers, [vec![Some(1), Some(2)], vec![Some(6)], vec![], vec![]]);
}

#[test]
fn tasks_that_cannot_share_are_refused() {
    let refused = |tasks: fn() -> Vec<Task<Item, Items<Calculate>>>, advice: &str| {
        let draw = move |app: &App| {
            app.source("items", source::empty::<Item>())
                .event_time(Watermarks::monotonic(time))
                .key_by(|item| item.0)
                .frames_shared("shared", time, tasks())
                .sink("made", sink::null());
            Ok(())
        };
        let error = TestDriver::new(draw).start().err().unwrap().to_string();
        assert!(error.contains("`shared`") && error.contains(advice), "{error}");
    };
    refused(Vec::new, "give at least one");
    refused(
        || vec![frames(ms(5)).backfill(ms(50), ms(1)).calculate(numbers as Calculate)],
        "leave `backfill` out",
    );
}
