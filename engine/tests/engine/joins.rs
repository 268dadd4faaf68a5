//! Joins of streams: what is joined is what nested loops find, on any number of workers, and before and
//! after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::Nature;
use anabranch::window::join::{AsOf, CoGroup, IntervalJoin, Joined, Kind, Side, WindowJoin};
use anabranch::window::tumbling;
use anabranch::{SideOutput, TestDriver, Watermarks, sink, source};

use crate::durability::{Folder, Released, in_pieces_of};
use crate::support::{Memory, Sequence, uninterrupted};

/// A key, milliseconds, and a number that no other record of its side has.
type Event = (u8, i64, u32);
type Pair = (u8, Option<u32>, Option<u32>);

const DISORDER: i64 = 9;

const fn ms(count: i64) -> Duration {
    Duration::from_millis(count as u64)
}

fn time(event: &Event) -> Time {
    Time::from_millis(event.1)
}

fn pair(key: &u8, joined: Joined<'_, Event, Event>) -> Option<Pair> {
    Some((*key, joined.left().map(|it| it.2), joined.right().map(|it| it.2)))
}

/// One of each join, of the same two sources.
fn all_joins(
    app: &App,
    sources: [impl source::Source<Item = Event>; 2],
    told: impl Sink<Item = (String, Pair)>,
) -> Result<()> {
    let bounded = || Watermarks::bounded(ms(DISORDER), time);
    let [left, right] = sources;
    let left = app.source("left", left).event_time(bounded()).share();
    let right = app.source("right", right).event_time(bounded()).share();
    let sides = || (left.clone().key_by(|it| it.0), right.clone().key_by(|it| it.0));
    let interval = IntervalJoin::new(ms(4), ms(7)).kind(Kind::Full);
    let windowed = WindowJoin::new(tumbling(ms(20))).kind(Kind::Left);
    let (l, r) = sides();
    let one = l.join("interval", r, (time, time), interval, pair);
    let (l, r) = sides();
    let two = l.join("windowed", r, (time, time), windowed, pair);
    let (l, r) = sides();
    let three = l.join("as-of", r, (time, time), AsOf::exact().tolerance(ms(60)), pair);
    let both = left.clone().map(Side::Left).merge(right.clone().map(Side::Right));
    let input = |side: &Side<Event, Event>| match side {
        Side::Left(event) => (0, time(event)),
        Side::Right(event) => (1, time(event)),
    };
    let four = both
        .key_by(|side: &Side<Event, Event>| match side {
            Side::Left(event) | Side::Right(event) => event.0,
        })
        .co_group("group", input, CoGroup::new(tumbling(ms(20))), |key, group, out| {
            let [l, r] = [0, 1].map(|input| group.input(input).count() as u32);
            out.push((*key, Some(l), Some(r)));
        });
    let named = |name: &'static str| move |pair: Pair| (name.to_string(), pair);
    let [one, two] = [one.map(named("interval")).share(), two.map(named("windowed")).share()];
    let [three, four] = [three.map(named("as-of")).share(), four.map(named("group")).share()];
    one.merge(two).merge(three.merge(four)).sink("told", told);
    Ok(())
}

/// Rising times, none too late.
fn events(seed: u64) -> Vec<(Option<i64>, Event)> {
    let mut sequence = Sequence(seed);
    let (mut now, mut number) = (0, 0);
    let record = || {
        now += if sequence.below(60) == 0 { 150 } else { sequence.below(3) as i64 };
        number += 1;
        let late = sequence.below(DISORDER as u64 + 1) as i64;
        (Some(now * 1_000_000), (sequence.below(12) as u8, now - late, number))
    };
    std::iter::repeat_with(record).take(4_000).collect()
}

fn inputs(seed: u64) -> [Memory<Event>; 2] {
    [seed, seed + 100].map(|seed| Memory {
        nature: Nature::Recorded,
        ..Memory::new(vec![events(seed), events(seed + 1_000)])
    })
}

fn on_workers(inputs: &[Memory<Event>; 2], count: usize) -> Vec<String> {
    let inputs = inputs.clone();
    uninterrupted(count, move |app, out| all_joins(app, inputs.clone(), out))
}

#[test]
fn joins_are_the_same_on_any_number_of_workers() {
    let inputs = inputs(1);
    let one = on_workers(&inputs, 1);
    for join in ["interval", "windowed", "as-of", "group"] {
        let count = one.iter().filter(|line| line.contains(&format!("\"{join}\""))).count();
        assert!(count > 500, "{count} {join}");
    }
    for count in [2, 3, 4] {
        assert!(on_workers(&inputs, count) == one, "{count} workers");
    }
}

#[test]
fn joins_go_on_where_they_were() {
    let inputs = inputs(2);
    let wanted = on_workers(&inputs, 2);
    let folder = Folder::new("joins");
    let steps = [(1, 3_000), (3, 1), (2, 9_000), (4, 5_000), (1, 10), (2, usize::MAX)];
    let released = in_pieces_of(&folder, &steps, move |app, of: Released<(String, Pair)>| {
        all_joins(app, inputs.clone(), of).unwrap();
    });
    assert_eq!(released.len(), wanted.len());
    assert!(released == wanted);
}

/// What nested loops find.
fn oracle(left: &[Event], right: &[Event]) -> BTreeMap<&'static str, Vec<Pair>> {
    let mut found: BTreeMap<&'static str, Vec<Pair>> = BTreeMap::new();
    let mut add = |join, pair| found.entry(join).or_default().push(pair);
    let within = |l: &Event, r: &Event| l.0 == r.0 && l.1 - 4 <= r.1 && r.1 <= l.1 + 7;
    let window = |it: &Event| it.1.div_euclid(20);
    let same = |l: &Event, r: &Event| l.0 == r.0 && window(l) == window(r);
    for l in left {
        let partners: Vec<_> = right.iter().filter(|r| within(l, r)).collect();
        partners.iter().for_each(|r| add("interval", (l.0, Some(l.2), Some(r.2))));
        if partners.is_empty() {
            add("interval", (l.0, Some(l.2), None));
        }
        let partners: Vec<_> = right.iter().filter(|r| same(l, r)).collect();
        partners.iter().for_each(|r| add("windowed", (l.0, Some(l.2), Some(r.2))));
        if partners.is_empty() {
            add("windowed", (l.0, Some(l.2), None));
        }
        // Of right records of one time the one that was applied last.
        let before = right.iter().filter(|r| r.0 == l.0 && r.1 <= l.1 && l.1 - r.1 <= 60);
        let newest = before.max_by_key(|r| (r.1, r.2));
        add("as-of", (l.0, Some(l.2), newest.map(|r| r.2)));
    }
    for r in right.iter().filter(|r| !left.iter().any(|l| within(l, r))) {
        add("interval", (r.0, None, Some(r.2)));
    }
    let windows: BTreeSet<_> = left.iter().chain(right).map(|it| (it.0, window(it))).collect();
    for (key, start) in windows {
        let count = |side: &[Event]| {
            side.iter().filter(|it| (it.0, window(it)) == (key, start)).count() as u32
        };
        add("group", (key, Some(count(left)), Some(count(right))));
    }
    found.values_mut().for_each(|pairs| pairs.sort());
    found
}

#[test]
fn what_is_joined_is_what_nested_loops_find() {
    for seed in 0..25 {
        let draw = |app: &App| {
            let sources = [source::empty::<Event>(), source::empty::<Event>()];
            all_joins(app, sources, sink::null())
        };
        let workers = 1 + seed as usize % 4;
        let mut driver = TestDriver::new(draw).workers(workers).seed(seed).start().unwrap();
        let mut sequence = Sequence(seed);
        let mut sides = [500, 600].map(|of| events(seed + of).into_iter().map(|it| it.1));
        let mut sent = [Vec::new(), Vec::new()];
        for _ in 0..30 {
            for (side, name) in ["left", "right"].into_iter().enumerate() {
                // In the rhythm of time, so that no side runs ahead for long.
                for event in sides[side].by_ref().take(sequence.below(9) as usize) {
                    driver.send(name, event).unwrap();
                    sent[side].push(event);
                }
            }
            driver.run().unwrap();
        }
        driver.finish().unwrap();
        let mut told: BTreeMap<String, Vec<Pair>> = BTreeMap::new();
        for (join, pair) in driver.outputs::<(String, Pair)>("told") {
            told.entry(join).or_default().push(pair);
        }
        told.values_mut().for_each(|pairs| pairs.sort());
        let wanted = oracle(&sent[0], &sent[1]);
        assert_eq!(told.len(), wanted.len(), "seed {seed}");
        for (join, pairs) in &wanted {
            assert_eq!(&told[*join], pairs, "{join} of seed {seed}");
        }
    }
}

#[test]
fn what_comes_too_late_for_a_join_is_told_of() {
    const TOO_LATE: SideOutput<Side<Event, Event>> = SideOutput::new("joined.too-late");
    let draw = |app: &App| {
        let source = |name| {
            app.source(name, source::empty::<Event>()).event_time(Watermarks::monotonic(time))
        };
        let (left, right) = (source("left"), source("right"));
        let join = IntervalJoin::new(ms(5), ms(5)).lateness(ms(10));
        let (too_late, joined) = left
            .key_by(|it| it.0)
            .join("joined", right.key_by(|it| it.0), (time, time), join, pair)
            .side(TOO_LATE);
        too_late.sink("too-late", sink::null());
        joined.sink("told", sink::null());
        Ok(())
    };
    let mut driver = TestDriver::new(draw).start().unwrap();
    for (name, event) in [
        ("left", (1_u8, 100_i64, 1_u32)),
        ("right", (1, 102, 1)),
        ("left", (1, 90, 2)),
        ("right", (1, 89, 2)),
        ("right", (1, 90, 3)),
    ] {
        driver.send(name, event).unwrap();
        driver.run().unwrap();
    }
    assert_eq!(driver.outputs::<Pair>("told"), [(1, Some(1), Some(1)), (1, Some(2), Some(3))]);
    assert_eq!(driver.outputs::<Side<Event, Event>>("too-late"), [Side::Right((1, 89, 2))]);
    assert_eq!(driver.counters().snapshot()["joined.too_late"], 1);
}
