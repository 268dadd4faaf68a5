//! Time that passes while live input is silent: it is input, which is journaled and replayed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::{Outgoing, Sink, Taken, Writer};
use anabranch::source::{Intake, Nature, OpenContext, Progress, Reader, Source};
use anabranch::{Clock, Drain, Span, Timer, Watermarks, replay, run_until, verify};

use crate::durability::{Folder, Released, in_pieces_of, in_pieces_up_to};
use crate::engine_timers::{Fired, inputs, ms, two_groups};
use crate::support::{Lines, bounded, workers};

/// Brings what it has, and is silent then for ever.
#[derive(Clone)]
struct Silent<T>(Vec<T>);

impl<T: Record + Sync> Source for Silent<T> {
    type Item = T;

    fn describe(&self) -> String {
        "silent".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn Reader<T>>> {
        Ok(Box::new(Silence { of: self.clone(), next: context.resume.from as usize }))
    }
}

struct Silence<T> {
    of: Silent<T>,
    next: usize,
}

impl<T: Record + Sync> Reader<T> for Silence<T> {
    fn read(&mut self, intake: &mut Intake<T>) -> Result<Progress> {
        while let Some(record) = self.of.0.get(self.next).cloned() {
            intake.frame(self.next as u64, None, 8);
            intake.accept(record);
            self.next += 1;
        }
        Ok(Progress::Idle)
    }
}

/// Keeps what it gets, and asks for the end when it has so many.
#[derive(Clone)]
struct Until<T> {
    got: Arc<Mutex<Vec<T>>>,
    many: usize,
    drain: Drain,
}

impl<T: Record> Sink for Until<T> {
    type Item = T;

    fn describe(&self) -> String {
        "until".to_string()
    }

    fn open(&self, _: &OpenContext) -> Result<Box<dyn Writer<T>>> {
        let Self { got, many, drain } = self;
        Ok(Box::new(Self { got: Arc::clone(got), many: *many, drain: drain.clone() }))
    }
}

impl<T: Record> Writer<T> for Until<T> {
    fn write(&mut self, batch: &mut Outgoing<T>) -> Result<Taken> {
        let mut got = self.got.lock().unwrap();
        while let Some(record) = batch.pop() {
            got.push(record);
        }
        if got.len() >= self.many {
            self.drain.request();
        }
        Ok(Taken::All)
    }
}

/// Runs until a sink has so many.
fn until<T: Record>(
    count: usize,
    many: usize,
    draw: impl Fn(&App, Until<T>) + Send + Sync + 'static,
) -> Vec<T> {
    let of = Until { got: Arc::default(), many, drain: Drain::default() };
    let (into, drain) = (of.clone(), of.drain.clone());
    bounded(move || {
        let build = move |app: &App| {
            draw(app, into.clone());
            Ok(())
        };
        run_until(&workers(count), build, &drain).unwrap();
    });
    std::mem::take(&mut *of.got.lock().unwrap())
}

const FIRED: Table<u8, u64> = Table::new("fired");

/// Fires three times for each key, 20 ms and more after one another.
struct Thrice;

impl Computation<u8, u8, Table<u8, u64>> for Thrice {
    type Output = (u8, u64, i64);
    const ENGINE_TIMERS: bool = true;

    fn apply(&mut self, key: &u8, _: u8, _: Row<'_, u64>, out: &mut Context<'_, (u8, u64, i64)>) {
        let after = Duration::from_millis(20 + u64::from(*key) * 3);
        out.set_engine_timer("next", out.now().after(after));
    }

    fn on_timer(
        &mut self,
        key: &u8,
        timer: Timer<'_>,
        mut fired: Row<'_, u64>,
        out: &mut Context<'_, (u8, u64, i64)>,
    ) {
        *fired += 1;
        assert!(timer.clock == Clock::Engine && out.now() == timer.time);
        out.emit((*key, *fired, timer.time.as_nanos()));
        if *fired < 3 {
            out.set_engine_timer("next", timer.time.after(Duration::from_millis(20)));
        }
    }
}

fn thrice(app: &App, keys: u8, fired: impl Sink<Item = (u8, u64, i64)>) {
    app.source("keys", Silent((0..keys).collect()))
        .key_by(|key| *key)
        .computation("thrice", FIRED, Thrice)
        .sink("fired", fired);
}

/// On two workers one has no source, but half of the keys.
#[test]
fn timers_are_fired_while_all_is_silent() {
    for count in [1, 2, 3] {
        let fired = until(count, 30, |app, of| thrice(app, 10, of));
        let times: BTreeSet<_> = fired.iter().map(|(_, _, nanos)| nanos).collect();
        assert!(fired.is_sorted_by_key(|(_, _, nanos)| *nanos), "{fired:?}");
        assert_eq!((fired.len(), times.len()), (30, 30));
        for key in 0..10 {
            let of: Vec<_> = fired.iter().filter(|it| it.0 == key).collect();
            assert_eq!(of.iter().map(|it| it.1).collect::<Vec<_>>(), [1, 2, 3]);
            assert!(of.windows(2).all(|two| two[1].2 == two[0].2 + 20_000_000), "{of:?}");
        }
    }
}

/// Input comes in the first run alone; what is due later is fired by the others, and all of it by replays.
#[test]
fn time_that_passes_is_journaled() {
    let mut folder = Folder::new("ticks");
    folder.1 = "forever";
    let steps = [(2, 7), (1, 5), (3, 100), (2, 50), (1, usize::MAX)];
    let draw = |app: &App, of: Released<(u8, u64, i64)>| thrice(app, 250, of);
    let released = in_pieces_up_to(750, &folder, &steps, draw);
    assert_eq!(released.len(), 750);
    let names: BTreeSet<_> = released.iter().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(names.len(), released.len());
    let nanos = |line: &str| -> i64 {
        line.trim_end_matches(')').rsplit_once(", ").unwrap().1.parse().unwrap()
    };
    let middle = Some(Time::from_nanos(nanos(&released[400])));
    for (count, from, to) in [(1, None, None), (3, None, middle), (2, middle, None)] {
        let (lines, config) = (Lines::default(), folder.config(count));
        let of = lines.clone();
        bounded(move || {
            let build = move |app: &App| {
                thrice(app, 250, of.sink());
                Ok(())
            };
            replay(&config, Span { from, to }, build).unwrap();
        });
        let is_in = |line: &&String| {
            let time = Time::from_nanos(nanos(line));
            from.is_none_or(|from| time >= from) && to.is_none_or(|to| time < to)
        };
        let wanted: Vec<_> = released.iter().filter(is_in).collect();
        assert!(lines.take().lines().eq(wanted), "{count} workers from {from:?} to {to:?}");
    }
    let config = folder.config(2);
    let verified = bounded(move || {
        let build = |app: &App| {
            thrice(app, 250, Lines::default().sink());
            Ok(())
        };
        verify(&config, Span::default(), build).unwrap()
    });
    assert!(verified.difference.is_none(), "{verified:?}");
}

/// The order of live input is its own, so it is compared with replays of its journal.
#[test]
fn timers_of_live_input_are_replayed() {
    let of_inputs = inputs(3, Nature::Live, 8);
    let mut folder = Folder::new("engine-timers-live");
    folder.1 = "forever";
    let steps = [(2, 200), (1, 2_000), (3, usize::MAX)];
    let inputs = of_inputs.clone();
    let released = in_pieces_of(&folder, &steps, move |app, of: Released<Fired>| {
        two_groups(app, of_inputs.clone(), of).unwrap();
    });
    let by_timers = released.iter().filter(|line| line.starts_with("engine-timer-")).count();
    // How many there are depends on how fast the machine reads.
    assert!(by_timers > 50, "{by_timers} of {}", released.len());
    for count in [2, 1] {
        let (lines, config, inputs) = (Lines::default(), folder.config(count), inputs.clone());
        let of = lines.clone();
        bounded(move || {
            let build = move |app: &App| two_groups(app, inputs.clone(), of.sink());
            replay(&config, Span::default(), build).unwrap();
        });
        assert!(lines.take().lines().eq(released.iter().map(String::as_str)), "{count} workers");
    }
}

/// Fires when the watermark is at 50 ms.
struct At50;

impl Computation<u8, i64, ()> for At50 {
    type Output = (u8, i64);
    const TIMERS: bool = true;

    fn apply(&mut self, _: &u8, _: i64, (): (), out: &mut Context<'_, (u8, i64)>) {
        out.set_timer("at-50", Time::from_millis(50));
    }

    fn on_timer(&mut self, key: &u8, _: Timer<'_>, (): (), out: &mut Context<'_, (u8, i64)>) {
        out.emit((*key, ms(out.watermark())));
    }
}

#[test]
fn a_partition_is_idle_though_all_are_silent() {
    let draw = |app: &App, of: Until<(u8, i64)>| {
        let monotonic = || Watermarks::monotonic(|ms: &i64| Time::from_millis(*ms));
        let steady = app.source("steady", Silent((90..100).collect())).event_time(monotonic());
        let lazy = app
            .source("lazy", Silent((0..10).collect()))
            .event_time(monotonic().idle_after(Duration::from_millis(30)));
        steady
            .merge(lazy)
            .key_by(|ms| (ms % 10) as u8)
            .computation("at-50", (), At50)
            .sink("fired", of);
    };
    for count in [1, 2] {
        let mut fired = until(count, 10, draw);
        fired.sort_unstable();
        // The watermark that a timer sees is that after the epoch.
        assert_eq!(fired, (0..10).map(|key| (key, 99)).collect::<Vec<_>>());
    }
}
