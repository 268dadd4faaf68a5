//! Watermarks: what a computation sees of event time is a function of the records before its epoch,
//! on any number of workers, and before and after a restart.

use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::Nature;
use anabranch::{SideOutput, TestDriver, Watermarks, run, sink, source};

use crate::durability::{Folder, Released, in_pieces_of};
use crate::support::{Lines, Memory, Sequence, bounded, uninterrupted, workers};

const NEVER: i64 = i64::MIN;
const COUNTS: Table<u8, u64> = Table::new("counts");
const SIDE: SideOutput<i64> = SideOutput::new("side");

/// Three milliseconds, and a silence of twenty.
fn two_sources(app: &App) -> Result<()> {
    let bounded = Watermarks::bounded(Duration::from_millis(3), |ms: &i64| Time::from_millis(*ms));
    let monotonic = Watermarks::monotonic(|ms: &i64| Time::from_millis(*ms));
    let left = app.source("left", source::empty::<i64>()).event_time(bounded);
    let right = app
        .source("right", source::empty::<i64>())
        .event_time(monotonic.idle_after(Duration::from_millis(20)));
    left.merge(right)
        .key_by(|ms| (ms % 5) as u8)
        .compute("observe", COUNTS, |ms, mut count, out| {
            *count += 1;
            out.emit((ms, out.watermark().as_nanos()));
        })
        .sink("observed", sink::null());
    Ok(())
}

/// What [`two_sources`] is by a plain loop.
#[derive(Default)]
struct Oracle {
    /// Newest event time less the disorder, and when something came last, in milliseconds.
    lanes: [Option<(i64, i64)>; 2],
    first: Option<i64>,
    watermark: Option<i64>,
}

impl Oracle {
    fn ended(&mut self, now: i64, records: &[(usize, i64)]) {
        for (lane, ms) in records {
            let newest = ms - [3, 0][*lane];
            let before = self.lanes[*lane].map_or(newest, |(newest, _)| newest);
            self.lanes[*lane] = Some((newest.max(before), now));
            self.first.get_or_insert(now);
        }
        if records.is_empty() {
            return;
        }
        let first = self.first.unwrap();
        let idle = self.lanes[1].map_or(first, |(_, last)| last) + 20 <= now;
        let sides: Vec<_> = self
            .lanes
            .iter()
            .take(if idle { 1 } else { 2 })
            .map(|lane| lane.map(|it| it.0))
            .collect();
        let least = sides.into_iter().min().unwrap();
        self.watermark = self.watermark.max(least);
    }
}

#[test]
fn a_watermark_is_the_least_of_its_sources_before_the_epoch() {
    for seed in 0..60 {
        let mut sequence = Sequence(seed);
        let mut driver =
            TestDriver::new(two_sources).workers(1 + seed as usize % 3).seed(seed).start().unwrap();
        let (mut oracle, mut expected, mut now) = (Oracle::default(), Vec::new(), 0);
        for _ in 0..30 {
            let step = sequence.below(15) as i64;
            driver.advance(Duration::from_millis(step as u64));
            now += step;
            let quiet = sequence.below(4) == 0;
            let mut records: Vec<(usize, i64)> = (0..sequence.below(4))
                .map(|_| {
                    let lane = if quiet { 0 } else { sequence.below(2) as usize };
                    (lane, now + sequence.below(9) as i64)
                })
                .collect();
            records.sort_by_key(|(lane, _)| *lane);
            for (lane, ms) in &records {
                driver.send(["left", "right"][*lane], *ms).unwrap();
            }
            driver.run().unwrap();
            let watermark = oracle.watermark.map_or(NEVER, |ms| ms * 1_000_000);
            expected.extend(records.iter().map(|(_, ms)| (*ms, watermark)));
            oracle.ended(now, &records);
        }
        assert_eq!(driver.outputs::<(i64, i64)>("observed"), expected, "seed {seed}");
        let shown = driver.counters().snapshot()["observe.watermark_ms"];
        assert_eq!(shown, oracle.watermark.unwrap_or(0).max(0) as u64, "seed {seed}");
    }
}

#[test]
fn markers_say_what_the_watermark_is() {
    fn build(app: &App) -> Result<()> {
        app.source("readings", source::empty::<(Option<i64>, u32)>())
            .event_time(Watermarks::marked(|(marker, _): &(Option<i64>, u32)| {
                marker.map(Time::from_millis)
            }))
            .filter(|(marker, _)| marker.is_none())
            .key_by(|_| 0_u8)
            .compute("observe", (), |(_, reading), (), out| {
                out.emit((reading, out.watermark().as_nanos()));
            })
            .sink("observed", sink::null());
        Ok(())
    }
    let mut driver = TestDriver::new(build).workers(2).start().unwrap();
    for record in [(None, 1_u32), (Some(5_i64), 0), (None, 2), (Some(4), 0), (None, 3)] {
        driver.send("readings", record).unwrap();
        driver.run().unwrap();
    }
    let observed = driver.outputs::<(u32, i64)>("observed");
    assert_eq!(observed, [(1, NEVER), (2, 5_000_000), (3, 5_000_000)]);
}

#[test]
fn event_times_are_said_once_and_of_a_source() {
    let refused = |build: fn(&App)| {
        let build = move |app: &App| {
            build(app);
            Ok(())
        };
        run(&workers(1), build).unwrap_err().to_string()
    };
    let twice = refused(|app| {
        let stream = app.source("numbers", source::empty::<i64>()).share();
        let say = || Watermarks::monotonic(|n: &i64| Time::from_nanos(*n));
        stream.clone().event_time(say()).sink("a", sink::null());
        stream.event_time(say()).sink("b", sink::null());
    });
    assert!(twice.contains("`numbers` is given event times twice"), "{twice}");
    let after = refused(|app| {
        let stream = app.source("numbers", source::empty::<i64>()).key_by(|n| *n).compute(
            "pass",
            (),
            |n, (), out| out.emit(n),
        );
        let (side, stream) = stream.side(SIDE);
        drop(stream);
        side.event_time(Watermarks::monotonic(|n| Time::from_nanos(*n))).sink("a", sink::null());
    });
    assert!(after.contains("`event_time` in pipeline `numbers -> pass`"), "{after}");
}

/// Milliseconds of ingest, out of order by up to 40 as event times; partitions fall silent and end.
fn inputs(seed: u64, nature: Nature) -> Vec<Memory<u64>> {
    let mut sequence = Sequence(seed);
    let mut input = |partitions: usize, records: usize| {
        let partitions = (0..partitions).map(|partition| {
            let mut time = 0;
            let mut record = || {
                let silent = sequence.below(500) == 0;
                time += sequence.below(if silent { 20_000 } else { 30 }) as i64;
                (Some(time * 1_000_000), time as u64 + sequence.below(40))
            };
            (0..records / (partition + 1)).map(|_| record()).collect()
        });
        Memory { nature, ..Memory::new(partitions.collect()) }
    };
    vec![input(2, 30_000), input(1, 9_000)]
}

fn observe(app: &App, inputs: &[Memory<u64>], released: impl Sink<Item = (u64, i64, u64)>) {
    let times =
        || Watermarks::bounded(Duration::from_millis(30), |ms: &u64| Time::from_millis(*ms as i64));
    let left = app
        .source("left", inputs[0].clone())
        .event_time(times().idle_after(Duration::from_secs(1)));
    let right = app.source("right", inputs[1].clone()).event_time(times());
    left.merge(right)
        .key_by(|ms| (ms % 13) as u8)
        .compute("observe", COUNTS, |ms, mut count, out| {
            *count += 1;
            out.emit((ms, out.watermark().as_nanos(), *count));
        })
        .sink("released", released);
}

fn on_workers(inputs: &[Memory<u64>], count: usize) -> Vec<String> {
    let inputs = inputs.to_vec();
    uninterrupted(count, move |app, out| {
        observe(app, &inputs, out);
        Ok(())
    })
}

#[test]
fn watermarks_are_the_same_on_any_number_of_workers() {
    let inputs = inputs(1, Nature::Recorded);
    let one = on_workers(&inputs, 1);
    let watermarks: std::collections::BTreeSet<_> =
        one.iter().map(|line| line.split(", ").nth(1).unwrap()).collect();
    assert!(watermarks.len() > 20, "{watermarks:?}");
    for count in [2, 3, 4] {
        assert!(on_workers(&inputs, count) == one, "{count} workers");
    }
}

#[test]
fn watermarks_go_on_where_they_were() {
    let inputs = inputs(2, Nature::Recorded);
    let wanted = on_workers(&inputs, 2);
    let folder = Folder::new("event-time");
    let steps = [(1, 4_000), (3, 1), (2, 12_000), (4, 9_000), (1, 10), (2, usize::MAX)];
    let released = in_pieces_of(&folder, &steps, move |app, of: Released<(u64, i64, u64)>| {
        observe(app, &inputs, of);
    });
    assert_eq!(released.len(), wanted.len());
    assert!(released == wanted);
}

/// The order of live input is its own, so it is compared with a replay of its journal.
#[test]
fn watermarks_of_live_input_are_replayed() {
    let inputs = inputs(3, Nature::Live);
    let mut folder = Folder::new("event-time-live");
    folder.1 = "forever";
    let steps = [(2, 9_000), (1, 20_000), (3, usize::MAX)];
    let released = in_pieces_of(&folder, &steps, {
        let inputs = inputs.clone();
        move |app, of: Released<(u64, i64, u64)>| observe(app, &inputs, of)
    });
    assert_eq!(released.len(), 30_000 + 15_000 + 9_000);
    let (lines, config) = (Lines::default(), folder.config(2));
    let of = lines.clone();
    bounded(move || {
        let build = move |app: &App| {
            observe(app, &inputs, of.sink());
            Ok(())
        };
        anabranch::replay(&config, anabranch::Span::default(), build).unwrap();
    });
    assert!(lines.take().lines().eq(released.iter().map(String::as_str)));
}

#[test]
fn a_source_that_runs_far_ahead_waits_for_the_others() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const RECORDS: i64 = 1_000_000;
    for count in [1, 2] {
        let fast: Vec<_> = (0..RECORDS).map(|ms| (None, ms)).collect();
        let fast = Memory { nature: Nature::Live, ..Memory::new(vec![fast]) };
        let slow = vec![(None, 0), (None, RECORDS)];
        // The slow one goes on when the fast one has not moved for a long time.
        let (seen, still, stood_at) =
            (AtomicUsize::new(0), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let (read, at) = (Arc::clone(&fast.read), Arc::clone(&stood_at));
        let stands = move || {
            let now = read.load(Ordering::SeqCst);
            let before = seen.swap(now, Ordering::SeqCst);
            if now == 0 || now != before {
                still.store(0, Ordering::SeqCst);
                return false;
            }
            at.store(now, Ordering::SeqCst);
            still.fetch_add(1, Ordering::SeqCst) > 20_000
        };
        let last_when: Option<Arc<dyn Fn() -> bool + Send + Sync>> = Some(Arc::new(stands));
        let slow = Memory { nature: Nature::Live, last_when, ..Memory::new(vec![slow]) };
        let read = Arc::clone(&fast.read);
        bounded(move || {
            let draw = move |app: &App| {
                let time = |ms: &i64| Time::from_millis(*ms);
                let aligned =
                    Watermarks::monotonic(time).aligned_within(Duration::from_millis(500));
                let fast = app.source("fast", fast.clone()).event_time(aligned);
                let slow = app.source("slow", slow.clone()).event_time(Watermarks::monotonic(time));
                fast.merge(slow)
                    .key_by(|ms| (ms % 7) as u8)
                    .compute("see", (), |ms, (), out| out.emit(ms))
                    .sink("seen", sink::null());
                Ok(())
            };
            run(&workers(count), draw).unwrap();
        });
        // What was read at one go, and in the epochs under way, is over the drift.
        let stood = stood_at.load(Ordering::SeqCst);
        assert!((500..900_000).contains(&stood), "{stood} with {count} workers");
        assert_eq!(read.load(Ordering::SeqCst), RECORDS as usize);
    }
}
