//! Timers of engine time: each is fired after all records of its time and before the next, the same on any
//! number of workers, wherever epochs are cut, before and after a restart, and while live input is silent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::{Nature, Source};
use anabranch::{Clock, Span, TestDriver, Timer, replay, run, sink, source};

use crate::durability::{Folder, Released, in_pieces_of};
use crate::support::{Lines, Memory, Sequence, bounded, uninterrupted, workers};

const SEEN: Table<u8, u64> = Table::new("seen");
const TOTALS: Table<u8, u64> = Table::new("totals");

/// A key, after how many milliseconds, and what to do.
pub(crate) type Order = (u8, i64, u8);
/// A key, the group, the name of a timer, its time and when it was fired in milliseconds, and how many
/// records and timers of the key came before it.
pub(crate) type Fired = (u8, u8, String, i64, i64, u64);

const NAMES: [&str; 3] = ["a", "b", "c"];

pub(crate) fn ms(time: Time) -> i64 {
    time.as_nanos().div_euclid(1_000_000)
}

/// What a timer sets when it was the `seen`th of its key: which one of the names, and how long after its
/// own time. Before it is at once, but not again and again.
fn again(seen: u64) -> Option<(usize, i64)> {
    match seen % 8 {
        0 | 4 => Some((seen as usize % 3, 7)),
        1 => Some((seen as usize % 3, -1)),
        _ => None,
    }
}

/// Sets timers by name for some time after a record, or before it, or cancels them; some of those set
/// another.
struct First;

impl Computation<u8, Order, Table<u8, u64>> for First {
    type Output = Fired;
    const ENGINE_TIMERS: bool = true;

    fn apply(
        &mut self,
        key: &u8,
        (_, delay, what): Order,
        mut seen: Row<'_, u64>,
        out: &mut Context<'_, Fired>,
    ) {
        *seen += 1;
        let (name, now) = (NAMES[usize::from(what % 3)], ms(out.now()));
        match what / 3 {
            0..4 => out.set_engine_timer(name, Time::from_millis(now + delay)),
            4 => out.cancel_engine_timer(name),
            _ => out.emit((*key, 1, "record".to_string(), now, now, *seen)),
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
        assert!(timer.clock == Clock::Engine && timer.time <= out.now());
        let (time, name) = (ms(timer.time), timer.name.to_string());
        out.emit((*key, 1, name, time, ms(out.now()), *seen));
        if let Some((name, after)) = again(*seen).filter(|_| out.watermark() < Time::END) {
            out.set_engine_timer(NAMES[name], Time::from_millis(time + after));
        }
    }
}

/// Sets one timer after each record, and another one now and then.
struct Second;

impl Computation<u8, Fired, Table<u8, u64>> for Second {
    type Output = Fired;
    const ENGINE_TIMERS: bool = true;

    fn apply(
        &mut self,
        _: &u8,
        (.., seen): Fired,
        mut total: Row<'_, u64>,
        out: &mut Context<'_, Fired>,
    ) {
        *total += 1;
        let now = ms(out.now());
        out.set_engine_timer("late", Time::from_millis(now + seen as i64 % 5));
        if seen % 3 == 0 {
            out.set_engine_timer("later", Time::from_millis(now + 20));
        }
    }

    fn on_timer(
        &mut self,
        key: &u8,
        timer: Timer<'_>,
        mut total: Row<'_, u64>,
        out: &mut Context<'_, Fired>,
    ) {
        *total += 1;
        let name = timer.name.to_string();
        out.emit((*key, 2, name, ms(timer.time), ms(out.now()), *total));
    }
}

/// Two pipelines that share a table, and a second group after them.
pub(crate) fn two_groups(
    app: &App,
    [left, right]: [impl Source<Item = Order>; 2],
    fired: impl Sink<Item = Fired>,
) -> Result<()> {
    let left = app.source("left", left).key_by(|(key, ..)| *key);
    let left = left.computation("left-timers", SEEN, First).share();
    let right = app.source("right", right).key_by(|(key, ..)| *key);
    let right = right.computation("right-timers", SEEN, First).share();
    let first = left.merge(right);
    let second = first.clone().key_by(|(key, ..)| *key).computation("second", TOTALS, Second);
    first.merge(second.share()).sink("fired", fired);
    Ok(())
}

/// Timers of one key in one group: when they are due, for when they were set, name, and pipeline.
#[derive(Default)]
struct Timers(BTreeMap<(usize, &'static str), (i64, i64)>);

impl Timers {
    fn set(&mut self, port: usize, name: &'static str, time: i64, now: i64) {
        self.0.insert((port, name), (time.max(now), time));
    }

    /// The next one, if it is due before that time.
    fn next(&mut self, before: i64) -> Option<(i64, i64, &'static str, usize)> {
        let all = self.0.iter().map(|((port, name), (due, time))| (*due, *time, *name, *port));
        let next = all.min().filter(|(due, ..)| *due < before)?;
        self.0.remove(&(next.3, next.2));
        Some(next)
    }
}

/// What [`two_groups`] does for one key: by all that happens, one after the other. Input ends at `end`.
fn oracle(key: u8, orders: &[(i64, usize, Order)], end: i64) -> Vec<Fired> {
    let mut mine: Vec<_> = orders.iter().filter(|(.., order)| order.0 == key).collect();
    mine.sort_by_key(|(time, source, _)| (*time, *source));
    let (mut timers, mut seen) = (Timers::default(), 0);
    // Of one time: records, then what timers emit, pipeline by pipeline.
    let mut emitted: Vec<((i64, u8, usize, usize), Fired)> = Vec::new();
    let mut counts: BTreeMap<(i64, usize), usize> = BTreeMap::new();
    let mut orders = mine.into_iter().collect::<VecDeque<_>>();
    loop {
        let before = orders.front().map_or(i64::MAX, |(time, ..)| *time);
        if let Some((due, time, name, port)) = timers.next(before) {
            seen += 1;
            let count = counts.entry((due, port)).or_default();
            let fired = (key, 1, name.to_string(), time, due, seen);
            emitted.push(((due, 1, port, *count), fired));
            *count += 1;
            if let Some((name, after)) = again(seen).filter(|_| due <= end) {
                timers.set(port, NAMES[name], time + after, due);
            }
            continue;
        }
        let Some((now, source, (_, delay, what))) = orders.pop_front() else { break };
        seen += 1;
        let name = NAMES[usize::from(what % 3)];
        match what / 3 {
            0..4 => timers.set(*source, name, now + delay, *now),
            4 => drop(timers.0.remove(&(*source, name))),
            _ => {
                let fired = (key, 1, "record".to_string(), *now, *now, seen);
                emitted.push(((*now, 0, *source, 0), fired));
            }
        }
    }
    emitted.sort_by_key(|(place, _)| *place);
    let (mut timers, mut total, mut second) = (Timers::default(), 0, Vec::new());
    let mut records = emitted.iter().collect::<VecDeque<_>>();
    loop {
        let before = records.front().map_or(i64::MAX, |(place, _)| place.0);
        if let Some((due, time, name, _)) = timers.next(before) {
            total += 1;
            second.push((key, 2, name.to_string(), time, due, total));
            continue;
        }
        let Some(((now, ..), (.., seen))) = records.pop_front() else { break };
        total += 1;
        timers.set(0, "late", now + *seen as i64 % 5, *now);
        if seen % 3 == 0 {
            timers.set(0, "later", now + 20, *now);
        }
    }
    emitted.into_iter().map(|(_, fired)| fired).chain(second).collect()
}

/// Orders of two sources, in the order of their milliseconds.
fn orders(sequence: &mut Sequence, count: usize, keys: u64) -> Vec<(i64, usize, Order)> {
    let mut now = 0;
    let mut order = || {
        let steps = [0, 0, 1, 2, 3, 40];
        now += steps[sequence.below(6) as usize];
        let delay = sequence.below(60) as i64 - 10;
        let (key, what) = (sequence.below(keys) as u8, sequence.below(18) as u8);
        (now, sequence.below(2) as usize, (key, delay, what))
    };
    (0..count).map(|_| order()).collect()
}

/// Sends the orders, and cuts epochs where `cuts` says; to the end, which is at `end`.
fn driven(
    orders: &[(i64, usize, Order)],
    end: i64,
    (count, seed): (usize, u64),
    mut cuts: impl FnMut() -> Option<i64>,
) -> Vec<Fired> {
    let draw =
        |app: &App| two_groups(app, [source::empty(), source::empty()], sink::null::<Fired>());
    let mut driver = TestDriver::new(draw).workers(count).seed(seed).start().unwrap();
    let to = |driver: &mut TestDriver, nanos: i64| {
        let step = nanos - driver.now().as_nanos();
        driver.advance(Duration::from_nanos(u64::try_from(step).unwrap()));
    };
    for (time, source, order) in orders {
        let time = time * 1_000_000;
        // Between this and the one before, if there is a time in between.
        if let Some(part) = cuts()
            && driver.now().as_nanos() + 1 < time
        {
            let between = driver.now().as_nanos();
            to(&mut driver, between + (time - between - 1) * part / 100);
            driver.run().unwrap();
        }
        to(&mut driver, time);
        driver.send(["left", "right"][*source], *order).unwrap();
    }
    to(&mut driver, end * 1_000_000);
    driver.run().unwrap();
    driver.finish().unwrap();
    driver.outputs("fired")
}

#[test]
fn what_is_due_is_fired_between_records_wherever_epochs_are_cut() {
    for seed in 0..40 {
        let mut sequence = Sequence(seed);
        let orders = orders(&mut sequence, 120, 6);
        let end = orders.last().unwrap().0 + 30;
        let one = driven(&orders, end, (1, seed), || None);
        for key in 0..6 {
            let of = |group| one.iter().filter(move |it| (it.0, it.1) == (key, group)).cloned();
            let is: Vec<Fired> = of(1).chain(of(2)).collect();
            assert_eq!(is, oracle(key, &orders, end), "seed {seed}, key {key}");
        }
        for (workers, often) in [(2, 1), (3, 3), (1, 2), (4, 10)] {
            let cuts = || {
                let cut = sequence.below(often) == 0;
                cut.then(|| sequence.below(101) as i64)
            };
            let other = driven(&orders, end, (workers, seed), cuts);
            assert_eq!(other, one, "seed {seed} on {workers}");
        }
    }
}

/// The orders as recordings of two sources; the second has two partitions.
pub(crate) fn inputs(seed: u64, nature: Nature, bytes: usize) -> [Memory<Order>; 2] {
    let mut sequence = Sequence(seed);
    let orders = orders(&mut sequence, 24_000, 40);
    let of = |source: usize, partitions: usize| {
        let mut lanes = vec![Vec::new(); partitions];
        for (i, (time, _, order)) in orders.iter().filter(|it| it.1 == source).enumerate() {
            lanes[i % partitions].push((Some(time * 1_000_000), *order));
        }
        Memory { nature, bytes, ..Memory::new(lanes) }
    };
    [of(0, 1), of(1, 2)]
}

fn on_workers(inputs: &[Memory<Order>; 2], count: usize) -> Vec<String> {
    let inputs = inputs.clone();
    uninterrupted(count, move |app, out| two_groups(app, inputs.clone(), out))
}

/// Larger records make shorter epochs.
#[test]
fn they_are_the_same_on_any_number_of_workers_and_of_any_epochs() {
    let one = on_workers(&inputs(1, Nature::Recorded, 8), 1);
    assert!(one.len() > 10_000, "{}", one.len());
    let ids: BTreeSet<_> = one.iter().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(ids.len(), one.len(), "names are used once");
    for (count, bytes) in [(2, 8), (3, 2_000), (4, 8), (1, 9_000), (2, 1_000)] {
        let other = on_workers(&inputs(1, Nature::Recorded, bytes), count);
        assert!(other == one, "{count} workers, {bytes} bytes");
    }
}

#[test]
fn they_go_on_where_they_were() {
    let inputs = inputs(2, Nature::Recorded, 2_000);
    let wanted = on_workers(&inputs, 2);
    let mut folder = Folder::new("engine-timers");
    folder.1 = "forever";
    let steps = [(1, 3_000), (3, 1), (2, 5_000), (4, 3_000), (1, 10), (2, usize::MAX)];
    let of_inputs = inputs.clone();
    let released = in_pieces_of(&folder, &steps, move |app, of: Released<Fired>| {
        two_groups(app, of_inputs.clone(), of).unwrap();
    });
    assert_eq!(released.len(), wanted.len());
    assert!(released == wanted);
    let fired_at = |line: &str| -> i64 { line.split(", ").nth(4).unwrap().parse().unwrap() };
    let at = |part: usize| Some(fired_at(&wanted[wanted.len() * part / 4]));
    for (count, from, to) in [(2, at(1), at(2)), (1, None, at(3)), (3, at(3), None)] {
        let (lines, config, inputs) = (Lines::default(), folder.config(count), inputs.clone());
        let of = lines.clone();
        let span = Span { from: from.map(Time::from_millis), to: to.map(Time::from_millis) };
        bounded(move || {
            let build = move |app: &App| two_groups(app, inputs.clone(), of.sink());
            replay(&config, span, build).unwrap();
        });
        let is_in = |line: &&String| {
            let at = fired_at(line);
            from.is_none_or(|from| at >= from) && to.is_none_or(|to| at < to)
        };
        assert!(lines.take().lines().eq(wanted.iter().filter(is_in)), "{from:?} to {to:?}");
    }
}

#[test]
fn in_the_order_of_arrival_each_is_fired_too() {
    let [left, right] = inputs(4, Nature::Recorded, 2_000);
    let lines = Lines::default();
    let of = lines.clone();
    bounded(move || {
        let build = move |app: &App| {
            app.order(anabranch::Order::Arrival);
            two_groups(app, [left.clone(), right.clone()], of.sink())
        };
        run(&workers(3), build).unwrap();
    });
    let lines = lines.take();
    let late = |key: u64| {
        let of_key = format!("({key}, 2, \"late\", ");
        lines.lines().filter(|line| line.contains(&of_key)).count()
    };
    assert!((0..40).all(|key| late(key) > 20));
}

const STEPS: Table<u8, u64> = Table::new("steps");

/// A key, the clock, the timer's time and when it was fired, and whether all input had ended.
type Both = (u8, bool, i64, i64, bool);

/// Timers of one clock that set timers of the other.
struct ByTurns;

impl Computation<u8, i64, Table<u8, u64>> for ByTurns {
    type Output = Both;
    const TIMERS: bool = true;
    const ENGINE_TIMERS: bool = true;

    fn apply(&mut self, key: &u8, _: i64, _: Row<'_, u64>, out: &mut Context<'_, Both>) {
        let after = out.now().after(Duration::from_millis(10 + u64::from(*key)));
        out.set_engine_timer("turn", after);
    }

    fn on_timer(
        &mut self,
        key: &u8,
        timer: Timer<'_>,
        mut steps: Row<'_, u64>,
        out: &mut Context<'_, Both>,
    ) {
        *steps += 1;
        let engine = timer.clock == Clock::Engine;
        let ended = out.watermark() == Time::END;
        out.emit((*key, engine, ms(timer.time), ms(out.now()), ended));
        if *steps < 6 {
            match timer.clock {
                Clock::Engine => out.set_timer("turn", timer.time),
                Clock::Event => {
                    out.set_engine_timer("turn", timer.time.after(Duration::from_millis(10)));
                }
            }
        }
    }
}

#[test]
fn at_the_end_both_clocks_go_on_by_turns() {
    let lines = |count: usize, keys: u8| {
        let lines = Lines::default();
        let of = lines.clone();
        bounded(move || {
            let build = move |app: &App| {
                let once = (0..i64::from(keys)).map(|key| (Time::ZERO, key)).collect();
                app.source("numbers", source::memory(vec![once].into()))
                    .event_time(anabranch::Watermarks::monotonic(|_| Time::ZERO))
                    .key_by(|key| *key as u8)
                    .computation("by-turns", STEPS, ByTurns)
                    .sink("fired", of.sink());
                Ok(())
            };
            run(&workers(count), build).unwrap();
        });
        lines.take().lines().map(str::to_string).collect::<Vec<_>>()
    };
    let alone: Vec<_> =
        lines(1, 1).iter().map(|line| line.split_once(' ').unwrap().1.to_string()).collect();
    let turn = |n: i64| {
        let [engine, event] =
            [true, false].map(|engine| format!("{:?}", (0_u8, engine, n, n, true)));
        [engine, event]
    };
    assert_eq!(alone, [turn(10), turn(20), turn(30)].concat());
    let one = lines(1, 60);
    assert_eq!(one.len(), 360);
    let ids: BTreeSet<_> = one.iter().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(ids.len(), one.len(), "names are used once");
    for count in [2, 3] {
        assert_eq!(lines(count, 60), one, "{count} workers");
    }
}

/// Sets one timer again and again, for so many milliseconds later.
struct Endless(u64);

impl Computation<u8, i64, ()> for Endless {
    type Output = i64;
    const ENGINE_TIMERS: bool = true;

    fn apply(&mut self, _: &u8, _: i64, (): (), out: &mut Context<'_, i64>) {
        out.set_engine_timer("endless", out.now());
    }

    fn on_timer(&mut self, _: &u8, timer: Timer<'_>, (): (), out: &mut Context<'_, i64>) {
        out.set_engine_timer("endless", timer.time.after(Duration::from_millis(self.0)));
    }
}

#[test]
fn a_timer_without_end_is_told_of_and_so_is_one_that_is_not_declared() {
    let failed = |times: Vec<i64>, after: u64| {
        let endless = move |app: &App| {
            let records = times.iter().map(|ms| (Time::from_millis(*ms), *ms)).collect();
            app.source("numbers", source::memory(vec![records].into()))
                .key_by(|_| 0_u8)
                .computation("endless", (), Endless(after))
                .sink("fired", sink::null());
            Ok(())
        };
        run(&workers(1), endless).unwrap_err().to_string()
    };
    let error = failed(vec![1], 1);
    assert!(error.contains("as `endless`") && error.contains("`Time::END`"), "{error}");
    let error = failed(vec![1, 2], 0);
    assert!(error.contains("`endless`") && error.contains("for a later time"), "{error}");
    let undeclared = |app: &App| {
        app.source("orders", source::memory(vec![vec![(Time::ZERO, 1_u8)]].into()))
            .key_by(|key| *key)
            .compute("set", (), |_, (), out: &mut Context<'_, ()>| {
                out.set_engine_timer("a", Time::ZERO);
            })
            .sink("fired", sink::null());
        Ok(())
    };
    let error = run(&workers(1), undeclared).unwrap_err().to_string();
    assert!(error.contains("const ENGINE_TIMERS: bool = true"), "{error}");
}
