//! Computations that fail: what is undone leaves a run in which the failing records never were, and dead
//! letters.

use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::{Nature, Source};
use anabranch::{
    DeadLetter, SideOutput, TestDriver, Timer, TryComputation, Undo, Watermarks, sink, source,
};

use crate::durability::{Folder, Released, in_pieces_of};
use crate::support::{Memory, Sequence, uninterrupted};

/// A key, milliseconds, what follows from a seed, and how it ends.
type Order = (u8, i64, u64, u8);

const OK: u8 = 0;
const IGNORED: u8 = 1;
const FAILED: u8 = 2;
const PANICKED: u8 = 3;

const SUMS: Table<u8, u64> = Table::new("sums");
const PARTS: MapTable<u8, u64, String> = MapTable::new("parts");
const SEEN: Table<u8, u64> = Table::new("seen");
const ASIDE: SideOutput<u64> = SideOutput::new("aside");

fn time(order: &Order) -> Time {
    Time::from_millis(order.1)
}

/// Does this and that, as the record's seed says; and half-way, or at the end, what the record says.
///
/// Some timers fail; `fails` says whether they do something first.
struct AtRandom {
    fails: bool,
}

type Tables = (Table<u8, u64>, MapTable<u8, u64, String>, Table<u8, u64>);

impl TryComputation<u8, Order, Tables> for AtRandom {
    type Output = (u8, u64);
    const TIMERS: bool = true;
    const ENGINE_TIMERS: bool = true;

    fn try_apply(
        &mut self,
        _: &u8,
        (_, _, seed, ends): &Order,
        (mut sum, mut parts, seen): (Row<u64>, MapRow<u64, String>, Row<u64>),
        out: &mut Context<(u8, u64)>,
    ) -> std::result::Result<(), Undo> {
        let mut sequence = Sequence(*seed);
        let count = sequence.below(7);
        let fails_after = sequence.below(count + 1);
        for step in 0..=count {
            if step == fails_after {
                match *ends {
                    IGNORED => return Err(Undo::Ignore),
                    FAILED => Err(Undo::fail("it was asked to"))?,
                    PANICKED => panic!("it was asked to, at once"),
                    _ => {}
                }
            }
            let part = sequence.below(6);
            match sequence.below(12) {
                0 => *sum += part,
                1 => drop(parts.insert(part, format!("{}", *sum))),
                2 => drop(parts.update(&part, |text| text.push('+'))),
                3 => parts.entry(part).push('*'),
                4 => drop(parts.remove(&part)),
                5 => drop(parts.pop_first()),
                6 if part == 0 => parts.clear(),
                7 => out.emit_to(ASIDE, *sum),
                8 => out.set_timer(
                    format!("{part}"),
                    out.watermark().after(Duration::from_millis(part)),
                ),
                9 => out.cancel_timer(format!("{part}")),
                10 => out.set_engine_timer("engine", out.now().after(Duration::from_millis(9))),
                _ => out.emit((1, *sum + parts.len() as u64)),
            }
        }
        match *seen {
            4.. => drop(seen.remove()),
            _ => *{ seen } += 1,
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: &u8,
        timer: Timer,
        (mut sum, parts, _): (Row<u64>, MapRow<u64, String>, Row<u64>),
        out: &mut Context<(u8, u64)>,
    ) -> std::result::Result<(), Undo> {
        let ends = (timer.time.as_nanos() / 1_000_000).rem_euclid(5);
        if !self.fails && ends < 2 {
            return Ok(());
        }
        *sum += timer.name.len() as u64;
        out.emit((2, parts.values_text().len() as u64 + *sum));
        match ends {
            0 => Err(Undo::fail("this timer fails")),
            1 => panic!("this timer fails at once"),
            _ => Ok(()),
        }
    }
}

/// All that a row of parts says.
trait Text {
    fn values_text(&self) -> String;
}

impl Text for MapRow<'_, u64, String> {
    fn values_text(&self) -> String {
        self.iter().map(|(part, text)| format!("{part}{text}")).collect()
    }
}

/// With all records, or without those that fail.
fn draw(
    app: &App,
    all: bool,
    orders: impl Source<Item = Order>,
    told: impl Sink<Item = String>,
) -> Result<()> {
    let (aside, told_of) = app
        .source("orders", orders)
        .event_time(Watermarks::monotonic(time))
        .filter(move |order| all || order.3 == OK)
        .key_by(|order| order.0)
        .try_computation("random", (SUMS, PARTS, SEEN), AtRandom { fails: all })
        .compute("tell", PARTS.read(), |told, parts, out| {
            let text: String = parts.iter().map(|(part, text)| format!("{part}{text}")).collect();
            out.emit(format!("{told:?} {text}"));
        })
        .side(ASIDE);
    let aside = aside.map(|sum| format!("aside {sum}"));
    told_of.merge(aside).sink("told", told);
    Ok(())
}

fn orders(seed: u64, count: usize) -> Vec<Order> {
    let mut sequence = Sequence(seed);
    let mut now = 0;
    let mut order = |_| {
        now += sequence.below(4) as i64;
        let ends = match sequence.below(9) {
            0 => IGNORED,
            1 => FAILED,
            2 => PANICKED,
            _ => OK,
        };
        (sequence.below(4) as u8, now, sequence.below(1 << 30), ends)
    };
    (0..count).map(&mut order).collect()
}

/// What a run comes to.
#[derive(Debug, PartialEq)]
struct Ran {
    told: Vec<String>,
    /// In the tables.
    left: Vec<String>,
}

fn run_of(orders: &[Order], all: bool, workers: usize) -> (Ran, Vec<DeadLetter>, u64) {
    let draw = move |app: &App| draw(app, all, source::empty::<Order>(), sink::null());
    let mut driver = TestDriver::new(draw).workers(workers).start().unwrap();
    for order in orders {
        driver.send("orders", *order).unwrap();
        driver.advance(Duration::from_millis(1));
        if order.2.is_multiple_of(3) {
            driver.run().unwrap();
        }
    }
    driver.run().unwrap();
    let mut left = Vec::new();
    for key in 0..4_u8 {
        let parts = driver.entries(PARTS, &key).unwrap();
        let [sum, seen] = [SUMS, SEEN].map(|table| driver.get(table, &key).unwrap());
        left.push(format!("{sum:?} {seen:?} {parts:?}"));
    }
    driver.finish().unwrap();
    let letters = driver.dead_letters();
    let ignored = driver.counters().snapshot().get("random.ignored").copied().unwrap_or_default();
    (Ran { told: driver.outputs("told"), left }, letters, ignored)
}

#[test]
fn what_fails_was_never_there() {
    for seed in 0..40 {
        let orders = orders(seed, 400);
        let (ran, letters, ignored) = run_of(&orders, true, 1 + seed as usize % 3);
        let (without, none, _) = run_of(&orders, false, 1);
        assert!(ran.told.len() > 200, "{}", ran.told.len());
        assert_eq!(ran, without, "seed {seed}");
        assert!(none.is_empty());
        let (timers, letters): (Vec<_>, Vec<_>) =
            letters.into_iter().partition(|letter| letter.source == "timers");
        assert!(timers.len() > 10, "{}", timers.len());
        for letter in &timers {
            assert!(letter.reason().starts_with("this timer fails"), "{}", letter.reason());
            assert!(letter.text().unwrap().starts_with(r#"{"key":"#), "{letter:?}");
        }
        let of = |ends: u8| orders.iter().filter(move |order| order.3 == ends);
        assert_eq!(ignored, of(IGNORED).count() as u64);
        assert_eq!(letters.len(), of(FAILED).count() + of(PANICKED).count());
        let mut failing = (0_u64..).zip(&orders).filter(|(_, order)| order.3 >= FAILED);
        for letter in &letters {
            let (offset, order) = failing.next().unwrap();
            assert_eq!(letter.offset, offset);
            assert_eq!(letter.computation.as_deref(), Some("random"));
            assert_eq!(letter.text(), Some(&*serde_json::to_string(order).unwrap()));
            let (kind, reason) = match order.3 {
                FAILED => ("failed", "it was asked to"),
                _ => ("panic", "it was asked to, at once"),
            };
            assert_eq!((&*letter.failure.kind, &*letter.pipeline), (kind, "orders"));
            assert!(letter.reason().starts_with(reason), "{}", letter.reason());
            let place = letter.failure.place.as_deref().unwrap_or(file!());
            assert!(place.starts_with(file!()), "{place}");
        }
    }
}

#[test]
fn what_fails_was_never_there_wherever_it_is_and_after_restarts() {
    let orders = orders(7, 9_000);
    let timed = |orders: &[Order]| {
        orders.iter().map(|order| (Some(order.1 * 1_000_000), *order)).collect::<Vec<_>>()
    };
    let partitions = orders.chunks(3_000).map(timed).collect();
    let input = Memory { nature: Nature::Recorded, ..Memory::new(partitions) };
    let on_workers = |count: usize, all: bool| {
        let input = input.clone();
        uninterrupted(count, move |app, out| draw(app, all, input.clone(), out))
    };
    let one = on_workers(1, true);
    assert!(one.len() > 5_000, "{}", one.len());
    assert!(on_workers(1, false) == one);
    for count in [2, 3] {
        assert!(on_workers(count, true) == one, "{count} workers");
    }
    let folder = Folder::new("undo");
    let steps = [(1, 500), (3, 1), (2, 1_900), (4, 10), (1, 2_700), (2, usize::MAX)];
    let of = input.clone();
    let released = in_pieces_of(&folder, &steps, move |app, out: Released<String>| {
        draw(app, true, of.clone(), out).unwrap();
    });
    assert_eq!(released.len(), one.len());
    assert!(released == one);
}

/// A row whose default fails: as if it were a computation's own failure.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct NoDefault(u64);

impl Default for NoDefault {
    fn default() -> Self {
        panic!("there is no default")
    }
}

/// Of a call that panics no row is left that was only looked at, nor one that was handed out before another could
/// not be.
#[test]
fn a_row_that_was_only_looked_at_is_not_there_after_a_panic() {
    const NEVER: Table<u8, NoDefault> = Table::new("never");
    let build = |app: &App| {
        let records = app.source("records", source::empty::<(u8, u8)>()).share();
        let keyed = |of: u8| records.clone().filter(move |record: &(u8, u8)| record.1 == of);
        keyed(0)
            .key_by(|record| record.0)
            .try_compute("look", SEEN, |_, seen, _: &mut Context<()>| {
                assert!(seen.exists() && *seen > 0, "looked at");
                Ok(())
            })
            .sink("looked", sink::null());
        keyed(1)
            .key_by(|record| record.0)
            .try_compute("both", (SEEN, NEVER), |_, (mut seen, _), _: &mut Context<()>| {
                *seen += 1;
                Ok(())
            })
            .sink("never", sink::null());
        app.dead_letters(sink::null());
        Ok(())
    };
    let mut driver = TestDriver::new(build).start().unwrap();
    for what in [0_u8, 1, 0] {
        driver.send("records", (7_u8, what)).unwrap();
    }
    driver.run().unwrap();
    assert_eq!(driver.get(SEEN, &7).unwrap(), None);
    let reasons: Vec<String> = driver.dead_letters().iter().map(DeadLetter::reason).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons[0].contains("looked at") && reasons[1].contains("no default"), "{reasons:?}");
}
