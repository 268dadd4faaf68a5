//! Frames in the rows of tables, in a program on several workers: the same as in sorted maps.
//!
//! Invariant: the program has the time and the timers that the other world has.

use super::*;
use crate::aggregate::count;
use crate::window::entries::{Plain, Stored};
use crate::{App, MapRow, MapTable, Row, Table, TestDriver, sink, source};

const HEADS: Table<String, Head> = Table::new("heads");
const FRAMES: MapTable<String, Time, Frame<u64>> = MapTable::new("frames");
const ENTRIES: MapTable<String, Place, Stored<u64>> = MapTable::new("entries");
const REWORK: MapTable<String, Time, Rework> = MapTable::new("rework");
const TIMERS: MapTable<String, FrameTimer, Time> = MapTable::new("timers");

struct Rows<'a> {
    head: Row<'a, Head>,
    frames: Plain<'a, Time, Frame<u64>>,
    entries: MapRow<'a, Place, Stored<u64>>,
    rework: Plain<'a, Time, Rework>,
    timers: Plain<'a, FrameTimer, Time>,
}

impl FrameStore<u64, u64> for Rows<'_> {
    fn head(&self) -> &Head {
        &self.head
    }
    fn head_mut(&mut self) -> &mut Head {
        &mut self.head
    }
    fn frames(&self) -> &impl Ordered<Time, Frame<u64>> {
        &self.frames
    }
    fn frames_mut(&mut self) -> &mut impl OrderedMut<Time, Frame<u64>> {
        &mut self.frames
    }
    fn entries(&self) -> &impl Ordered<Place, u64> {
        &self.entries
    }
    fn entries_mut(&mut self) -> &mut impl OrderedMut<Place, u64> {
        &mut self.entries
    }
    fn rework(&self) -> &impl Ordered<Time, Rework> {
        &self.rework
    }
    fn rework_mut(&mut self) -> &mut impl OrderedMut<Time, Rework> {
        &mut self.rework
    }
    fn set_timer(&mut self, timer: FrameTimer, at: Time) {
        self.timers.insert(timer, at);
    }
    fn cancel_timer(&mut self, timer: FrameTimer) {
        self.timers.remove(&timer);
    }
}

fn task() -> Task<u64, Aggregated<crate::aggregate::Count>> {
    quarters().lateness(seconds(30)).batch(3).aggregate(count())
}

fn shown(key: &str, event: FrameEvent<u64, u64>) -> String {
    match event {
        FrameEvent::Calculated(frame) | FrameEvent::Failed(frame) => {
            let start = clock_of(frame.start);
            format!("{key} {start} {} {:?}", frame.revision, frame.result)
        }
        FrameEvent::Late { time, .. } => format!("{key} late {}", clock_of(time)),
    }
}

fn build(app: &App) -> crate::Result<()> {
    let mut task = task();
    let tables = (HEADS, FRAMES, ENTRIES, REWORK, TIMERS);
    app.source("records", source::empty::<(String, Time, Time)>())
        .key_by(|(key, _, _)| key.clone())
        .compute("frames", tables, move |(key, time, watermark), rows, out| {
            let (head, frames, entries, rework, timers) = rows;
            let (frames, rework, timers) = (Plain(frames), Plain(rework), Plain(timers));
            let mut store = Rows { head, frames, entries, rework, timers };
            let (mut events, now) = (Vec::new(), Time::ZERO);
            let stopwatch = &mut || Duration::ZERO;
            let mut turn = Turn { watermark, now, stopwatch, out: &mut events };
            task.on_record(&mut store, time, 1, &mut turn);
            loop {
                let due = due(&mut store.timers, watermark, now);
                if due.is_empty() {
                    break;
                }
                for timer in due {
                    task.on_timer(&mut store, timer, &mut turn);
                }
            }
            out.emit_all(events.into_iter().map(|event| shown(&key, event)));
        })
        .sink("made", sink::null());
    Ok(())
}

#[test]
fn rows_of_tables_give_the_frames_of_sorted_maps() {
    let base = at("12:00:07").as_nanos() / 1_000_000;
    // Up to 50 s out of order, so that some are late, some are corrections; with gaps.
    let records: Vec<_> = (0..400_i64)
        .map(|n| {
            let key = ["a", "b", "c"][usize::try_from((n + n / 7) % 3).unwrap()].to_string();
            let watermark = n * 900 + n / 50 * 60_000;
            let time = watermark - n * 7_919 % 50_000 + 3_000;
            (key, Time::from_millis(base + time), Time::from_millis(base + watermark))
        })
        .collect();
    let mut worlds: BTreeMap<String, World<_>> = BTreeMap::new();
    let mut expected = Vec::new();
    for (key, time, watermark) in &records {
        let world = worlds.entry(key.clone()).or_insert_with(|| World::new(task()));
        world.watermark = *watermark;
        world.record(*time, 1);
        world.fire();
        expected.extend(world.out.drain(..).map(|event| shown(key, event)));
    }
    for part in [" 0 ", " 1 ", " late ", "Some(0)"] {
        assert!(expected.iter().any(|line| line.contains(part)), "{part}");
    }
    for workers in [1, 3] {
        let mut driver = TestDriver::new(build).workers(workers).start().unwrap();
        for part in records.chunks(37) {
            for record in part {
                driver.send("records", record.clone()).unwrap();
            }
            driver.run().unwrap();
        }
        assert_eq!(driver.outputs::<String>("made"), expected);
        for (key, world) in &worlds {
            let frames = driver.entries(FRAMES, key).unwrap();
            assert_eq!(BTreeMap::from_iter(frames), world.kept.frames);
            assert_eq!(driver.get(HEADS, key).unwrap(), Some(world.kept.head.clone()));
        }
    }
}
