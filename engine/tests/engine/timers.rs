//! Timers: each is fired once, when the watermark has come to it, unless it was replaced or cancelled;
//! in the order of times for a key, in one order for all on any number of workers, and before and
//! after a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::Nature;
use anabranch::{Clock, Context, TestDriver, Timer, Watermarks, run, sink, source};

use crate::durability::{Folder, Released, in_pieces_of};
use crate::support::{Lines, Memory, Sequence, bounded, uninterrupted, workers};

const SEEN: Table<u8, u64> = Table::new("seen");

/// A key, a time in milliseconds, and what to do.
type Order = (u8, i64, u8);
/// A key, the name of a timer, its time in milliseconds, and how many records and timers came before it.
type Fired = (u8, String, i64, u64);

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Sets timers by name for some time after a record, or before it, or cancels them; one that is fired
/// for an even time sets itself once more.
struct Timed;

impl Computation<u8, Order, Table<u8, u64>> for Timed {
    type Output = Fired;
    const TIMERS: bool = true;

    fn apply(
        &mut self,
        _: &u8,
        order: Order,
        mut seen: Row<'_, u64>,
        out: &mut Context<'_, Fired>,
    ) {
        *seen += 1;
        let (_, ms, what) = order;
        let name = NAMES[usize::from(what % 3)];
        match what / 3 {
            0..4 => out.set_timer(name, Time::from_millis(ms + i64::from(what) * 9 - 12)),
            4 => out.cancel_timer(name),
            _ => {}
        }
    }

    fn on_timer(
        &mut self,
        key: &u8,
        timer: Timer<'_>,
        mut seen: Row<'_, u64>,
        out: &mut Context<'_, Fired>,
    ) {
        *seen += 1;
        let ms = timer.time.as_nanos() / 1_000_000;
        assert!(timer.time <= out.watermark());
        out.emit((*key, timer.name.to_string(), ms, *seen));
        if ms % 2 == 0 {
            out.set_timer(timer.name, Time::from_millis(ms + 5));
        }
    }
}

/// Sets one timer again and again, for ever.
struct Endless;

impl Computation<u8, i64, ()> for Endless {
    type Output = i64;
    const TIMERS: bool = true;

    fn apply(&mut self, _: &u8, ms: i64, (): (), out: &mut Context<'_, i64>) {
        out.set_timer("endless", Time::from_millis(ms));
    }

    fn on_timer(&mut self, _: &u8, timer: Timer<'_>, (): (), out: &mut Context<'_, i64>) {
        out.set_timer("endless", timer.time.after(Duration::from_millis(1)));
    }
}

fn timed(
    app: &App,
    orders: impl source::Source<Item = Order>,
    fired: impl Sink<Item = Fired>,
) -> Result<()> {
    let disorder = Duration::from_millis(4);
    app.source("orders", orders)
        .event_time(Watermarks::bounded(disorder, |(_, ms, _): &Order| Time::from_millis(*ms)))
        .key_by(|(key, ..)| *key)
        .computation("timed", SEEN, Timed)
        .sink("fired", fired);
    Ok(())
}

/// What [`Timed`] does, with every timer looked at whenever the watermark moves.
#[derive(Default)]
struct Oracle {
    timers: BTreeMap<(u8, &'static str), i64>,
    seen: BTreeMap<u8, u64>,
    watermark: Option<i64>,
}

impl Oracle {
    fn epoch(&mut self, orders: &[Order]) -> Vec<Fired> {
        for (key, ms, what) in orders {
            *self.seen.entry(*key).or_default() += 1;
            let name = NAMES[usize::from(what % 3)];
            match what / 3 {
                0..4 => {
                    self.timers.insert((*key, name), ms + i64::from(*what) * 9 - 12);
                }
                4 => {
                    self.timers.remove(&(*key, name));
                }
                _ => {}
            }
            self.watermark = self.watermark.max(Some(ms - 4));
        }
        let mut fired = Vec::new();
        if orders.is_empty() {
            return fired;
        }
        let due = |timers: &BTreeMap<(u8, &'static str), i64>, until| {
            let due = timers.iter().filter(|(_, ms)| **ms <= until);
            due.map(|((key, name), ms)| (*ms, *key, *name)).min()
        };
        while let Some((ms, key, name)) = due(&self.timers, self.watermark.unwrap()) {
            self.timers.remove(&(key, name));
            let seen = self.seen.entry(key).or_default();
            *seen += 1;
            fired.push((key, name.to_string(), ms, *seen));
            if ms % 2 == 0 {
                self.timers.insert((key, name), ms + 5);
            }
        }
        fired
    }
}

#[test]
fn what_is_due_is_fired_once_in_order_of_time() {
    for seed in 0..60 {
        let mut sequence = Sequence(seed);
        let of = |workers| {
            let draw = |app: &App| timed(app, source::empty::<Order>(), sink::null());
            TestDriver::new(draw).workers(workers).seed(seed).start().unwrap()
        };
        let mut drivers = [1, 2, 3].map(of);
        let mut oracle = Oracle::default();
        let mut now = 0;
        for _ in 0..40 {
            now += sequence.below(20) as i64;
            let orders: Vec<Order> = (0..sequence.below(5))
                .map(|_| {
                    let time = now - sequence.below(9) as i64;
                    (sequence.below(6) as u8, time, sequence.below(18) as u8)
                })
                .collect();
            for driver in &mut drivers {
                orders.iter().for_each(|order| driver.send("orders", *order).unwrap());
                driver.run().unwrap();
            }
            let [one, others @ ..] = &mut drivers;
            let mut new = one.outputs::<Fired>("fired");
            for other in others {
                assert_eq!(other.outputs::<Fired>("fired"), new, "seed {seed}");
            }
            // Of timers for one time, or set for the past, partitions say which comes first.
            let before = oracle.watermark.unwrap_or(i64::MIN);
            assert!(new.is_sorted_by_key(|(.., ms, _)| (*ms).max(before)), "seed {seed}: {new:?}");
            let mut wanted = oracle.epoch(&orders);
            for fired in [&mut new, &mut wanted] {
                fired.sort_by_key(|(key, _, ms, seen)| (*ms, *key, *seen));
            }
            assert_eq!(new, wanted, "seed {seed}");
        }
    }
}

#[test]
fn at_the_end_all_that_is_set_is_due() {
    let draw = |app: &App| timed(app, source::empty::<Order>(), sink::null());
    let mut driver = TestDriver::new(draw).workers(2).start().unwrap();
    driver.send("orders", (1_u8, 1_000_i64, 0_u8)).unwrap();
    driver.run().unwrap();
    // 988 is even, so there is one for 993.
    driver.send("orders", (2_u8, 1_000_i64, 4_u8)).unwrap();
    driver.run().unwrap();
    let mut fired = driver.outputs::<Fired>("fired");
    driver.finish().unwrap();
    fired.extend(driver.outputs::<Fired>("fired"));
    let fired: Vec<_> = fired.iter().map(|(key, name, ms, _)| (*key, name.as_str(), *ms)).collect();
    assert_eq!(fired, [(1, "a", 988), (1, "a", 993), (2, "b", 1_024), (2, "b", 1_029)]);
}

#[test]
fn a_timer_without_end_is_told_of() {
    let endless = |app: &App| {
        let once = vec![vec![(Time::ZERO, 1_i64)]];
        app.source("numbers", source::memory(once.into()))
            .event_time(Watermarks::monotonic(|ms| Time::from_millis(*ms)))
            .key_by(|_| 0_u8)
            .computation("endless", (), Endless)
            .sink("fired", sink::null());
        Ok(())
    };
    let error = run(&workers(1), endless).unwrap_err().to_string();
    assert!(error.contains("as `endless`") && error.contains("`Time::END`"), "{error}");
}

#[test]
fn a_timer_that_sets_itself_for_its_own_time_waits_for_the_next_epoch() {
    struct Again;

    impl Computation<u8, i64, ()> for Again {
        type Output = i64;
        const TIMERS: bool = true;

        fn apply(&mut self, _: &u8, ms: i64, (): (), out: &mut Context<'_, i64>) {
            out.set_timer("again", Time::from_millis(ms));
        }

        fn on_timer(&mut self, _: &u8, timer: Timer<'_>, (): (), out: &mut Context<'_, i64>) {
            out.emit(timer.time.as_nanos() / 1_000_000);
            out.set_timer("again", timer.time);
        }
    }

    let draw = |app: &App| {
        app.source("numbers", source::empty::<i64>())
            .event_time(Watermarks::monotonic(|ms| Time::from_millis(*ms)))
            .key_by(|ms| (ms / 100) as u8)
            .computation("again", (), Again)
            .sink("fired", sink::null());
        Ok(())
    };
    let mut driver = TestDriver::new(draw).start().unwrap();
    for ms in [1_i64, 200, 300] {
        driver.send("numbers", ms).unwrap();
        driver.run().unwrap();
    }
    assert_eq!(driver.outputs::<i64>("fired"), [1, 1, 200, 1, 200, 300]);
}

/// Sets a timer of event time when one of engine time is due.
struct Handed;

impl Computation<u8, i64, ()> for Handed {
    type Output = i64;
    const TIMERS: bool = true;
    const ENGINE_TIMERS: bool = true;

    fn apply(&mut self, _: &u8, ms: i64, (): (), out: &mut Context<'_, i64>) {
        out.set_engine_timer(ms.to_string(), out.now().after(Duration::from_millis(1)));
    }

    fn on_timer(&mut self, _: &u8, timer: Timer<'_>, (): (), out: &mut Context<'_, i64>) {
        match timer.clock {
            Clock::Engine => out.set_timer(timer.name, timer.time),
            Clock::Event => out.emit(timer.name.parse().unwrap()),
        }
    }
}

#[test]
fn what_is_set_after_the_end_of_event_time_is_fired_though_other_records_come() {
    let lines = Lines::default();
    let of = lines.clone();
    let handed = move |app: &App| {
        let at = |ms: i64| (Time::from_millis(ms), ms);
        let timed = app.source("timed", source::memory(vec![vec![at(0)]].into()));
        let timed = timed.event_time(Watermarks::monotonic(|ms| Time::from_millis(*ms)));
        let others = source::memory(vec![(1..5_000).map(at).collect()].into());
        timed
            .merge(app.source("others", others))
            .key_by(|ms| (ms % 7) as u8)
            .computation("handed", (), Handed)
            .sink("fired", of.sink());
        Ok(())
    };
    run(&workers(2), handed).unwrap();
    let lines = lines.take();
    let mut fired: Vec<i64> =
        lines.lines().map(|line| line.split_once(' ').unwrap().1.parse().unwrap()).collect();
    fired.sort_unstable();
    assert_eq!(fired, (0..5_000).collect::<Vec<_>>());
}

#[test]
fn timers_need_event_times_and_to_be_declared() {
    let untimed = |app: &App| {
        app.source("orders", source::empty::<Order>())
            .key_by(|(key, ..)| *key)
            .computation("timed", SEEN, Timed)
            .sink("fired", sink::null());
        Ok(())
    };
    let error = run(&workers(1), untimed).unwrap_err().to_string();
    assert!(error.contains("`timed` of pipeline") && error.contains("`event_time`"), "{error}");
    let undeclared = |app: &App| {
        app.source("orders", source::memory(vec![vec![(Time::ZERO, 1_u8)]].into()))
            .event_time(Watermarks::monotonic(|_| Time::ZERO))
            .key_by(|key| *key)
            .compute("set", (), |_, (), out: &mut Context<'_, ()>| out.set_timer("a", Time::ZERO))
            .sink("fired", sink::null());
        Ok(())
    };
    let error = run(&workers(1), undeclared).unwrap_err().to_string();
    assert!(error.contains("const TIMERS: bool = true"), "{error}");
}

fn inputs(seed: u64, nature: Nature) -> Memory<Order> {
    let mut sequence = Sequence(seed);
    let partitions = (0..3).map(|_| {
        let mut time = 0;
        let mut record = || {
            time += sequence.below(4) as i64;
            let late = sequence.below(9) as i64;
            let key = sequence.below(40) as u8;
            (Some(time * 1_000_000), (key, time - late, sequence.below(18) as u8))
        };
        (0..9_000).map(|_| record()).collect()
    });
    Memory { nature, ..Memory::new(partitions.collect()) }
}

fn on_workers(inputs: &Memory<Order>, count: usize) -> Vec<String> {
    let inputs = inputs.clone();
    uninterrupted(count, move |app, out| timed(app, inputs.clone(), out))
}

#[test]
fn timers_are_the_same_on_any_number_of_workers() {
    let inputs = inputs(1, Nature::Recorded);
    let one = on_workers(&inputs, 1);
    assert!(one.len() > 1_000, "{}", one.len());
    for count in [2, 3, 4] {
        assert!(on_workers(&inputs, count) == one, "{count} workers");
    }
}

#[test]
fn timers_go_on_where_they_were() {
    let inputs = inputs(2, Nature::Recorded);
    let wanted = on_workers(&inputs, 2);
    let folder = Folder::new("timers");
    let steps = [(1, 300), (3, 1), (2, 500), (4, 300), (1, 10), (2, usize::MAX)];
    let released = in_pieces_of(&folder, &steps, move |app, of: Released<Fired>| {
        timed(app, inputs.clone(), of).unwrap();
    });
    assert_eq!(released.len(), wanted.len());
    assert!(released == wanted);
}

#[test]
fn timers_of_live_input_are_replayed() {
    let inputs = inputs(3, Nature::Live);
    let mut folder = Folder::new("timers-live");
    folder.1 = "forever";
    let of_inputs = inputs.clone();
    let steps = [(2, 20), (1, 20), (3, usize::MAX)];
    let released = in_pieces_of(&folder, &steps, move |app, of: Released<Fired>| {
        timed(app, of_inputs.clone(), of).unwrap();
    });
    assert!(!released.is_empty());
    let (lines, config) = (Lines::default(), folder.config(2));
    let of = lines.clone();
    bounded(move || {
        let build = move |app: &App| timed(app, inputs.clone(), of.sink());
        anabranch::replay(&config, anabranch::Span::default(), build).unwrap();
    });
    assert!(lines.take().lines().eq(released.iter().map(String::as_str)));
}
