//! Timers of engine time: each is fired after all records of its time and before the next, the same on any
//! number of workers, wherever epochs are cut, before and after a restart, and while live input is silent.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::{Nature, Source};
use anabranch::{Clock, TestDriver, Timer, run, sink, source};

use crate::durability::{Folder, Released, in_pieces_of};
use crate::support::{Lines, Memory, Sequence, bounded, workers};

const SEEN: Table<u8, u64> = Table::new("seen");
const TOTALS: Table<u8, u64> = Table::new("totals");

/// A key, after how many milliseconds, and what to do.
type Order = (u8, i64, u8);
/// A key, the group, the name of a timer, its time and when it was fired in milliseconds, and how many
/// records and timers of the key came before it.
type Fired = (u8, u8, String, i64, i64, u64);

const NAMES: [&str; 3] = ["a", "b", "c"];

fn ms(time: Time) -> i64 {
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
fn two_groups(
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
    // Of one time: records, then what timers emit, by how many of the same pipeline came before.
    let mut emitted: Vec<((i64, u8, usize, usize), Fired)> = Vec::new();
    let mut counts: BTreeMap<(i64, usize), usize> = BTreeMap::new();
    let mut orders = mine.into_iter().collect::<VecDeque<_>>();
    loop {
        let before = orders.front().map_or(i64::MAX, |(time, ..)| *time);
        if let Some((due, time, name, port)) = timers.next(before) {
            seen += 1;
            let count = counts.entry((due, port)).or_default();
            let fired = (key, 1, name.to_string(), time, due, seen);
            emitted.push(((due, 1, *count, port), fired));
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
                emitted.push(((*now, 0, 0, *source), fired));
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
) -> (Vec<Fired>, Vec<String>) {
    let draw =
        |app: &App| two_groups(app, [source::empty(), source::empty()], sink::null::<Fired>());
    let mut driver = TestDriver::new(draw).workers(count).seed(seed).start().unwrap();
    let (mut fired, mut ids) = (Vec::new(), Vec::new());
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
    fired.extend(driver.outputs::<Fired>("fired"));
    ids.extend(driver.ids("fired"));
    (fired, ids)
}

#[test]
fn what_is_due_is_fired_between_records_wherever_epochs_are_cut() {
    for seed in 0..40 {
        let mut sequence = Sequence(seed);
        let orders = orders(&mut sequence, 120, 6);
        let end = orders.last().unwrap().0 + 30;
        let (one, _) = driven(&orders, end, (1, seed), || None);
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
            let (other, _) = driven(&orders, end, (workers, seed), cuts);
            assert_eq!(other, one, "seed {seed} on {workers}");
        }
    }
}
