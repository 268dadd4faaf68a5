//! Windows of streams: what is told is what a plain loop finds that keeps every record, on any number
//! of workers, and before and after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anabranch::aggregate::{Aggregate, mean, sum};
use anabranch::prelude::*;
use anabranch::sink::Sink;
use anabranch::source::Nature;
use anabranch::window::pane::Trigger as _;
use anabranch::window::pane::{
    Counts, Fired, Kind, Sliding, TooLate, Windows, at_watermark, every_records, presets,
};
use anabranch::window::{Rolling, session, sliding, tumbling};
use anabranch::{SideOutput, TestDriver, Watermarks, run, sink, source};

use crate::durability::{Folder, Released, in_pieces_of};
use crate::support::{Lines, Memory, Sequence, bounded, uninterrupted, workers};

/// A key, milliseconds, and a number that no other record has.
type Event = (u8, i64, u32);

const DISORDER: i64 = 6;
const LATENESS: i64 = 15;
const TOO_LATE: SideOutput<Event> = SideOutput::new("tumbling.too-late");

const fn ms(count: i64) -> Duration {
    Duration::from_millis(count as u64)
}

fn time(event: &Event) -> Time {
    Time::from_millis(event.1)
}

/// The numbers of records, in their order: not commutative.
struct Numbers;

impl Aggregate<Event> for Numbers {
    type State = Vec<u32>;
    type Output = Vec<u32>;
    const EXACT: bool = false;

    fn initial(&self) -> Vec<u32> {
        Vec::new()
    }

    fn update(&self, state: &mut Vec<u32>, record: &Event) {
        state.push(record.2);
    }

    fn combine(&self, state: &mut Vec<u32>, later: &Vec<u32>) {
        state.extend(later);
    }

    fn output(&self, state: &Vec<u32>) -> Vec<u32> {
        state.clone()
    }
}

/// One of each form, from one source; what they tell, as text.
fn all_forms(
    app: &App,
    events: impl source::Source<Item = Event>,
    told: impl Sink<Item = String>,
) -> Result<()> {
    let events =
        app.source("events", events).event_time(Watermarks::bounded(ms(DISORDER), time)).share();
    let keyed = || events.clone().key_by(|event| event.0);
    let late = Windows::new(tumbling(ms(20)), Numbers).lateness(ms(LATENESS));
    let (too_late, tumbled) = keyed().window("tumbling", time, late).side(TOO_LATE);
    let early = Windows::new(session(ms(9)), Numbers)
        .trigger(at_watermark().or(every_records(3)))
        .lateness(ms(LATENESS));
    let slid = Sliding::new(sliding(ms(30), ms(4)), mean(|event: &Event| f64::from(event.2)))
        .lateness(ms(LATENESS))
        .empty_windows(3);
    let counted = Counts::sliding(5, 2, sum(|event: &Event| u64::from(event.2))).flush_at_end();
    let rolling = Rolling::over(ms(25), time, mean(|event: &Event| f64::from(event.2) / 3.0));
    let relaxed = presets::relaxed(ms(20), sum(|event: &Event| u64::from(event.2)));
    let last = Rolling::last(3, mean(|event: &Event| f64::from(event.2) / 3.0));
    let rolled = keyed().rolling("rolling", rolling.lateness(ms(LATENESS)));
    let all = [
        tumbled.map(|told| format!("tumbled {told:?}")).share(),
        too_late.map(|event| format!("too late {event:?}")).share(),
        keyed().window("sessions", time, early).map(|it| format!("session {it:?}")).share(),
        keyed().window("sliding", time, slid).map(|it| format!("slid {it:?}")).share(),
        keyed().window("counts", time, counted).map(|it| format!("count {it:?}")).share(),
        keyed().window("relaxed", time, relaxed).map(|it| format!("relaxed {it:?}")).share(),
        rolled.map(|it| format!("rolled {it:?}")).share(),
        keyed().rolling("last", last).map(|it| format!("last {it:?}")).share(),
    ];
    let [a, b, c, d, e, f, g, h] = all;
    let all = a.merge(b).merge(c.merge(d)).merge(e.merge(f).merge(g.merge(h)));
    all.sink("told", told);
    Ok(())
}

/// Rising times, some of them late.
fn inputs(seed: u64, nature: Nature) -> Memory<Event> {
    let mut sequence = Sequence(seed);
    let mut number = 0;
    let partitions = (0..3).map(|_| {
        let mut now = 0;
        let mut record = || {
            now += match sequence.below(50) {
                0 => 90,
                _ => sequence.below(3) as i64,
            };
            number += 1;
            let most = if sequence.below(9) == 0 { 3_000 } else { 7 };
            let late = sequence.below(most) as i64;
            (Some(now * 1_000_000), (sequence.below(12) as u8, now - late, number))
        };
        (0..3_000).map(|_| record()).collect()
    });
    Memory { nature, ..Memory::new(partitions.collect()) }
}

fn on_workers(inputs: &Memory<Event>, count: usize) -> Vec<String> {
    let inputs = inputs.clone();
    uninterrupted(count, move |app, out| all_forms(app, inputs.clone(), out))
}

/// So many keys that their rows are found ahead, and that what is told at one moment is handed on in parts.
#[test]
fn many_keys_are_counted_as_few_are() {
    let mut sequence = Sequence(5);
    let mut visit = |number: i64| (sequence.below(40_000) as u32, number / 600);
    let visits: Vec<_> = (0..120_000).map(&mut visit).collect();
    let mut counts = BTreeMap::<_, u64>::new();
    for (key, at) in &visits {
        *counts.entry((at - at % 50, *key)).or_default() += 1;
    }
    assert!(counts.len() > 4 * 20_000, "{}", counts.len());
    let timed = visits.iter().map(|visit| (Some(visit.1 * 1_000_000), *visit));
    let input = Memory::new(vec![timed.collect()]);
    let told = |count: usize| {
        let input = Memory { nature: Nature::Recorded, ..input.clone() };
        uninterrupted(count, move |app: &App, out| {
            let at = |visit: &(u32, i64)| Time::from_millis(visit.1);
            app.source("visits", input.clone())
                .event_time(Watermarks::monotonic(at))
                .key_by(|visit| visit.0)
                .window("counts", at, Windows::new(tumbling(ms(50)), anabranch::aggregate::count()))
                .map(|(key, told)| (told.window.start.as_nanos() / 1_000_000, key, told.value))
                .sink("told", out);
            Ok(())
        })
    };
    let one = told(1);
    let expected: BTreeSet<_> =
        counts.iter().map(|((at, key), count)| format!("{:?}", (at, key, count))).collect();
    let found: BTreeSet<_> =
        one.iter().map(|line| line.split_once(' ').unwrap().1.to_string()).collect();
    assert!(found == expected);
    assert_eq!(one.len(), counts.len());
    assert!(told(3) == one);
}

#[test]
fn windows_are_the_same_on_any_number_of_workers() {
    let inputs = inputs(1, Nature::Recorded);
    let one = on_workers(&inputs, 1);
    for form in ["tumbled", "too late", "session", "slid", "count", "relaxed", "rolled", "last"] {
        let count = one.iter().filter(|line| line.contains(&format!("\"{form} "))).count();
        assert!(count > 100, "{count} {form}");
    }
    for count in [2, 3, 4] {
        assert!(on_workers(&inputs, count) == one, "{count} workers");
    }
}

#[test]
fn windows_go_on_where_they_were() {
    let inputs = inputs(2, Nature::Recorded);
    let wanted = on_workers(&inputs, 2);
    let folder = Folder::new("windows");
    let steps = [(1, 3_000), (3, 1), (2, 9_000), (4, 5_000), (1, 10), (3, 9_000), (2, usize::MAX)];
    let released = in_pieces_of(&folder, &steps, move |app, of: Released<String>| {
        all_forms(app, inputs.clone(), of).unwrap();
    });
    assert_eq!(released.len(), wanted.len());
    assert!(released == wanted);
}

#[test]
fn windows_of_live_input_are_replayed() {
    let inputs = inputs(3, Nature::Live);
    let mut folder = Folder::new("windows-live");
    folder.1 = "forever";
    let of_inputs = inputs.clone();
    let steps = [(2, 900), (1, 900), (3, usize::MAX)];
    let released = in_pieces_of(&folder, &steps, move |app, of: Released<String>| {
        all_forms(app, of_inputs.clone(), of).unwrap();
    });
    assert!(!released.is_empty());
    let (lines, config) = (Lines::default(), folder.config(2));
    let of = lines.clone();
    bounded(move || {
        let build = move |app: &App| all_forms(app, inputs.clone(), of.sink());
        anabranch::replay(&config, anabranch::Span::default(), build).unwrap();
    });
    assert!(lines.take().lines().eq(released.iter().map(String::as_str)));
}

type Told = (u8, Fired<Vec<u32>>);

fn tumbled(app: &App) -> Result<()> {
    let windows = Windows::new(tumbling(ms(20)), Numbers).lateness(ms(LATENESS));
    let keyed = app
        .source("events", source::empty::<Event>())
        .event_time(Watermarks::bounded(ms(DISORDER), time))
        .key_by(|event| event.0);
    let (too_late, told) = keyed.window("tumbling", time, windows).side(TOO_LATE);
    too_late.sink("too-late", sink::null());
    told.sink("told", sink::null());
    Ok(())
}

/// Every record that was ever taken, and which windows were told.
#[derive(Default)]
struct Oracle {
    taken: Vec<Event>,
    ended: BTreeSet<(u8, i64)>,
    watermark: Option<i64>,
    late: u64,
    too_late: Vec<Event>,
}

impl Oracle {
    /// The key, where the window starts, its numbers, and why it is told.
    fn epoch(&mut self, events: &[Event]) -> Vec<(u8, i64, Vec<u32>, Kind)> {
        let mut told = Vec::new();
        for event in events {
            let start = event.1.div_euclid(20) * 20;
            let passed = self.watermark.filter(|watermark| *watermark >= start + 20);
            self.late += u64::from(passed.is_some());
            if passed.is_some_and(|watermark| watermark >= start + 20 + LATENESS) {
                self.too_late.push(*event);
                continue;
            }
            self.taken.push(*event);
            if passed.is_some() {
                told.push((event.0, start, self.numbers(event.0, start), Kind::Late));
                self.ended.insert((event.0, start));
            }
        }
        let newest = events.iter().map(|event| event.1 - DISORDER).max();
        self.watermark = self.watermark.max(newest);
        let Some(watermark) = self.watermark else { return told };
        let windows: BTreeSet<(i64, u8)> =
            self.taken.iter().map(|event| (event.1.div_euclid(20) * 20, event.0)).collect();
        for (start, key) in windows {
            if start + 20 <= watermark && self.ended.insert((key, start)) {
                told.push((key, start, self.numbers(key, start), Kind::OnTime));
            }
        }
        told
    }

    fn numbers(&self, key: u8, start: i64) -> Vec<u32> {
        let within =
            self.taken.iter().filter(|it| it.0 == key && it.1.div_euclid(20) * 20 == start);
        within.map(|it| it.2).collect()
    }
}

#[test]
fn what_is_told_is_what_is_found_by_keeping_every_record() {
    for seed in 0..60 {
        let mut sequence = Sequence(seed);
        let workers = 1 + seed as usize % 4;
        let mut driver = TestDriver::new(tumbled).workers(workers).seed(seed).start().unwrap();
        let (mut oracle, mut now, mut count) = (Oracle::default(), 0, 0);
        for _ in 0..40 {
            let leap = if sequence.below(8) == 0 { 70 } else { 12 };
            now += sequence.below(leap) as i64;
            let events: Vec<Event> = (0..sequence.below(6))
                .map(|_| {
                    count += 1;
                    (sequence.below(4) as u8, now - sequence.below(45) as i64, count)
                })
                .collect();
            events.iter().for_each(|event| driver.send("events", *event).unwrap());
            driver.run().unwrap();
            let mut told: Vec<_> = driver
                .outputs::<Told>("told")
                .into_iter()
                .map(|(key, it)| (key, it.window.start.as_nanos() / 1_000_000, it.value, it.kind))
                .collect();
            let mut wanted = oracle.epoch(&events);
            // Windows of one end are in the order of their keys' partitions.
            let late = told.iter().filter(|it| it.3 == Kind::Late).count();
            assert!(told[late..].is_sorted_by_key(|it| it.1), "seed {seed}: {told:?}");
            told[late..].sort_by_key(|it| (it.1, it.0));
            let late = wanted.iter().filter(|it| it.3 == Kind::Late).count();
            wanted[late..].sort_by_key(|it| (it.1, it.0));
            assert_eq!(told, wanted, "seed {seed}");
        }
        assert_eq!(driver.outputs::<Event>("too-late"), oracle.too_late, "seed {seed}");
        let counters = driver.counters().snapshot();
        let counted = |name| counters.get(name).copied().unwrap_or_default();
        assert_eq!(counted("tumbling.late"), oracle.late, "seed {seed}");
        assert_eq!(counted("tumbling.too_late"), oracle.too_late.len() as u64, "seed {seed}");
    }
}

#[test]
fn rolling_values_are_those_of_the_records_so_far() {
    let rolling = |app: &App| {
        let values = Rolling::over(ms(25), time, Numbers).lateness(ms(LATENESS));
        let keyed = app
            .source("events", source::empty::<Event>())
            .event_time(Watermarks::bounded(ms(DISORDER), time))
            .key_by(|event| event.0);
        let (too_late, values) =
            keyed.rolling("rolling", values).side(SideOutput::<Event>::new("rolling.too-late"));
        too_late.sink("too-late", sink::null());
        values.map(|(event, numbers)| (event.2, numbers)).sink("values", sink::null());
        Ok(())
    };
    for seed in 0..40 {
        let mut sequence = Sequence(seed);
        let workers = 1 + seed as usize % 4;
        let mut driver = TestDriver::new(rolling).workers(workers).seed(seed).start().unwrap();
        let (mut taken, mut watermark): (Vec<Event>, Option<i64>) = (Vec::new(), None);
        let (mut now, mut count) = (0, 0);
        let mut late = Vec::new();
        for _ in 0..40 {
            let leap = if sequence.below(8) == 0 { 90 } else { 12 };
            now += sequence.below(leap) as i64;
            let mut newest = watermark;
            let mut wanted = BTreeMap::new();
            for _ in 0..sequence.below(6) {
                count += 1;
                let event = (sequence.below(3) as u8, now - sequence.below(40) as i64, count);
                driver.send("events", event).unwrap();
                newest = newest.max(Some(event.1 - DISORDER));
                if watermark.is_some_and(|watermark| event.1 < watermark - LATENESS) {
                    late.push(event);
                    continue;
                }
                taken.push(event);
                let within =
                    |it: &&Event| it.0 == event.0 && event.1 - 25 < it.1 && it.1 <= event.1;
                let mut numbers: Vec<_> =
                    taken.iter().filter(within).map(|it| (it.1, it.2)).collect();
                numbers.sort();
                wanted.insert(count, numbers.into_iter().map(|it| it.1).collect::<Vec<_>>());
            }
            driver.run().unwrap();
            let values = driver.outputs::<(u32, Vec<u32>)>("values");
            assert_eq!(values, wanted.into_iter().collect::<Vec<_>>(), "seed {seed}");
            watermark = newest;
        }
        assert_eq!(driver.outputs::<Event>("too-late"), late, "seed {seed}");
        assert!(!late.is_empty());
    }
}

#[test]
fn what_is_wrong_with_windows_is_told_when_they_are_drawn() {
    let error = |draw: fn(&App)| {
        let draw = move |app: &App| {
            draw(app);
            Ok(())
        };
        run(&workers(1), draw).unwrap_err().to_string()
    };
    let untimed = error(|app| {
        let windows = Windows::new(tumbling(ms(1)), sum(|event: &Event| event.1));
        app.source("events", source::empty::<Event>())
            .key_by(|event| event.0)
            .window("windows", time, windows.too_late(TooLate::Drop))
            .sink("told", sink::null());
    });
    assert!(
        untimed.contains("`windows` of pipeline") && untimed.contains("`event_time`"),
        "{untimed}"
    );
    let empty = error(|app| {
        app.source("events", source::empty::<Event>())
            .key_by(|event| event.0)
            .window("windows", time, Counts::new(0, sum(|event: &Event| event.1)))
            .sink("told", sink::null());
    });
    assert!(empty.contains("`windows`: ") && empty.contains("at least 1 record"), "{empty}");
}

/// What is told of local windows, or of others, with what was counted as too late.
fn of_windows(inputs: &Memory<Event>, count: usize, local: bool) -> (Vec<String>, u64) {
    let (inputs, lines) = (inputs.clone(), Lines::default());
    let of = lines.clone();
    let counters = bounded(move || {
        let draw = move |app: &App| {
            let events = app
                .source("events", inputs.clone())
                .event_time(Watermarks::bounded(ms(DISORDER), time))
                .share();
            let keyed = || events.clone().key_by(|event| event.0);
            let sum = || sum(|event: &Event| u64::from(event.2));
            let tumbling =
                Windows::new(tumbling(ms(20)), (sum(), count_of())).too_late(TooLate::Drop);
            let sliding = Sliding::new(sliding(ms(30), ms(4)), sum()).too_late(TooLate::Drop);
            let told = |it: &dyn std::fmt::Debug| format!("{it:?}");
            let (one, two) = if local {
                let one = keyed().local_window("tumbling", time, tumbling);
                let two = keyed().local_window("sliding", time, sliding);
                (one.map(move |it| told(&it)).share(), two.map(move |it| told(&it)).share())
            } else {
                let one = keyed().window("tumbling", time, tumbling);
                let two = keyed().window("sliding", time, sliding);
                (one.map(move |it| told(&it)).share(), two.map(move |it| told(&it)).share())
            };
            one.merge(two).sink("told", of.sink::<String>());
            Ok(())
        };
        run(&workers(count), draw).unwrap().snapshot()
    });
    // The names of timers' outputs are the same: they are fired for the same keys and times.
    let lines = lines.take().lines().map(str::to_string).collect();
    (lines, counters.get("tumbling.too_late").copied().unwrap_or_default())
}

fn count_of() -> impl Aggregate<Event, Output = u64> {
    anabranch::aggregate::count()
}

#[test]
fn local_windows_tell_what_others_do() {
    let inputs = inputs(4, Nature::Recorded);
    let wanted = of_windows(&inputs, 1, false);
    assert!(wanted.0.len() > 500 && wanted.1 > 100, "{} {}", wanted.0.len(), wanted.1);
    for count in [1, 2, 4] {
        assert!(of_windows(&inputs, count, true) == wanted, "{count} workers");
    }
}

#[test]
fn what_depends_on_the_order_is_not_combined_before() {
    let draw = |app: &App| {
        app.source("events", source::empty::<Event>())
            .event_time(Watermarks::monotonic(time))
            .key_by(|event| event.0)
            .local_window("local", time, Windows::new(tumbling(ms(1)), Numbers))
            .sink("told", sink::null());
        Ok(())
    };
    let inexact = run(&workers(1), draw).unwrap_err().to_string();
    assert!(inexact.contains("`local`") && inexact.contains("is not exact"), "{inexact}");
}

#[test]
fn windows_that_are_corrected_are_not_combined_before() {
    let draw = |app: &App| {
        let windows = Windows::new(tumbling(ms(1)), sum(|event: &Event| event.1)).lateness(ms(1));
        app.source("events", source::empty::<Event>())
            .event_time(Watermarks::monotonic(time))
            .key_by(|event| event.0)
            .local_window("local", time, windows)
            .sink("told", sink::null());
        Ok(())
    };
    let error = run(&workers(1), draw).unwrap_err().to_string();
    assert!(error.contains("`local`") && error.contains("allow no lateness"), "{error}");
}
