//! Windowed joins and co-groups beside a list of windows, each with copies of its records.
//!
//! Invariant: the oracle looks through all windows for each record and each watermark, and moves records
//! when windows become one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::super::{CoGroup, Group, Joined, Kind, Open, Side, Slot, Spot, WindowJoin, WindowState};
use super::*;
use crate::window::{Window, WindowAssigner, global, session, sliding, tumbling};

/// Tens that are even, and 35s from -1 on: windows of several sizes, and some that end together.
#[derive(Clone, Copy)]
struct Mixed;

impl WindowAssigner for Mixed {
    fn assign(&self, time: Time, windows: &mut Vec<Window>) {
        let mut add = |size: i64, anchor: i64, every: i64| {
            let number = (time.as_nanos() - anchor).div_euclid(size);
            if number % every == 0 {
                let start = anchor + number * size;
                windows.push(Window::new(at(start), at(start + size)));
            }
        };
        add(10, 0, 2);
        add(35, -1, 1);
        add(20, 10, 1);
        // One that the record is not in, which counts for nothing.
        windows.push(Window::new(at(-100_000), at(-99_999)));
        windows.sort_unstable();
    }
}

fn assigner(which: u8) -> Box<dyn WindowAssigner> {
    let nanos = Duration::from_nanos;
    match which {
        0 => Box::new(tumbling(nanos(10))),
        1 => Box::new(sliding(nanos(12), nanos(4))),
        2 => Box::new(sliding(nanos(5), nanos(7))),
        3 => Box::new(Mixed),
        4 => Box::new(global()),
        _ => Box::new(session(nanos(4))),
    }
}

/// The assigner of that number, as a type.
struct Chosen(Box<dyn WindowAssigner>);

impl WindowAssigner for Chosen {
    fn assign(&self, time: Time, windows: &mut Vec<Window>) {
        self.0.assign(time, windows);
    }

    fn merges(&self) -> bool {
        self.0.merges()
    }
}

#[derive(Default)]
struct Kept<V> {
    records: BTreeMap<Spot, V>,
    windows: BTreeMap<Slot, Open>,
    timer: Option<Time>,
}

/// Pairs of two inputs.
struct Pairs {
    join: WindowJoin<Chosen>,
    kept: Kept<Side<u32, u32>>,
}

fn line(window: Window, joined: Joined<'_, u32, u32>) -> String {
    let (left, right) = (joined.left().copied(), joined.right().copied());
    paired(window, left, right)
}

fn paired(window: Window, left: Option<u32>, right: Option<u32>) -> String {
    format!("{:?} {left:?} {right:?}", (window.start.as_nanos(), window.end.as_nanos()))
}

impl Run for Pairs {
    fn apply(&mut self, input: u16, time: Time, name: u32, watermark: Time, log: &mut Vec<String>) {
        let Kept { records, windows, timer } = &mut self.kept;
        let state = &mut WindowState { records, windows, timer };
        let mut given = Vec::new();
        let emit = |window, joined: Joined<'_, u32, u32>| given.push(line(window, joined));
        let applied = if input == 0 {
            self.join.left(time, name, watermark, state, emit)
        } else {
            self.join.right(time, name, watermark, state, emit)
        };
        log.append(&mut given);
        if let Err(late) = applied {
            log.push(format!("late {}", late.value));
        }
    }

    fn wake(&mut self, watermark: Time, log: &mut Vec<String>) {
        let Kept { records, windows, timer } = &mut self.kept;
        let state = &mut WindowState { records, windows, timer };
        self.join.wake(watermark, state, |window, joined| log.push(line(window, joined)));
    }

    fn timer(&mut self) -> &mut Option<Time> {
        &mut self.kept.timer
    }

    fn kept(&self) -> usize {
        self.kept.records.len() + self.kept.windows.len()
    }

    fn restart(&mut self) {
        restored(&mut self.kept.records);
        restored(&mut self.kept.windows);
    }
}

/// Groups of three inputs.
struct Groups {
    join: CoGroup<Chosen>,
    kept: Kept<u32>,
}

fn grouped(group: &Group<'_, BTreeMap<Spot, u32>>) -> String {
    let names = |input| group.input(input).map(|(_, name)| *name).collect::<Vec<_>>();
    let window = (group.window.start.as_nanos(), group.window.end.as_nanos());
    format!("{window:?} {} {:?}", group.again, [names(0), names(1), names(2)])
}

impl Run for Groups {
    fn apply(&mut self, input: u16, time: Time, name: u32, watermark: Time, log: &mut Vec<String>) {
        let Kept { records, windows, timer } = &mut self.kept;
        let state = &mut WindowState { records, windows, timer };
        let mut given = Vec::new();
        let emit = |group: Group<'_, _>| given.push(grouped(&group));
        let applied = self.join.apply(input, time, name, watermark, state, emit);
        log.append(&mut given);
        if let Err(late) = applied {
            log.push(format!("late {}", late.value));
        }
    }

    fn wake(&mut self, watermark: Time, log: &mut Vec<String>) {
        let Kept { records, windows, timer } = &mut self.kept;
        let state = &mut WindowState { records, windows, timer };
        self.join.wake(watermark, state, |group| log.push(grouped(&group)));
    }

    fn timer(&mut self) -> &mut Option<Time> {
        &mut self.kept.timer
    }

    fn kept(&self) -> usize {
        self.kept.records.len() + self.kept.windows.len()
    }

    fn restart(&mut self) {
        restored(&mut self.kept.records);
        restored(&mut self.kept.windows);
    }
}

/// A window of the oracle, with all its records as time, name and input.
#[derive(Clone, Debug, PartialEq)]
struct Pane {
    window: Window,
    records: Vec<(i64, u32, u16)>,
    /// It was given before; and it is to be given.
    given: bool,
    waiting: bool,
}

impl Pane {
    fn names(&self, input: u16) -> Vec<u32> {
        let mut records = self.records.clone();
        records.sort_unstable();
        records.retain(|record| record.2 == input);
        records.into_iter().map(|(_, name, _)| name).collect()
    }
}

struct Oracle {
    assigner: Chosen,
    lateness: i64,
    once: bool,
    /// Groups; or pairs, with which records alone.
    pairs: Option<Kind>,
    panes: Vec<Pane>,
}

impl Oracle {
    fn closes(&self, window: Window) -> Time {
        at(window.end.as_nanos().saturating_add(self.lateness))
    }

    fn group(&self, pane: &Pane, log: &mut Vec<String>) {
        let window = (pane.window.start.as_nanos(), pane.window.end.as_nanos());
        let names = [pane.names(0), pane.names(1), pane.names(2)];
        log.push(format!("{window:?} {} {names:?}", pane.given));
    }

    fn apply(&mut self, (input, time, name): (u16, i64, u32), now: Time, log: &mut Vec<String>) {
        let mut assigned = Vec::new();
        self.assigner.assign(at(time), &mut assigned);
        assigned.retain(|window| window.contains(at(time)));
        let mut late = !assigned.is_empty();
        for new in assigned {
            let joins = |pane: &Pane| {
                pane.window == new || self.assigner.merges() && pane.window.touches(new)
            };
            let parts = self.panes.iter().filter(|pane| joins(pane)).cloned().collect::<Vec<_>>();
            let window = parts.iter().fold(new, |all, pane| all.cover(pane.window));
            if self.closes(window) <= now {
                continue;
            }
            late = false;
            self.panes.retain(|pane| !parts.contains(pane));
            let given = parts.iter().any(|pane| pane.given);
            let waiting = self.once || window.end > now;
            let mut records = parts.into_iter().flat_map(|pane| pane.records).collect::<Vec<_>>();
            if !waiting && self.pairs.is_some() {
                let others = Pane { window, records: records.clone(), given, waiting };
                for other in others.names(1 - input) {
                    let (left, right) = if input == 0 { (name, other) } else { (other, name) };
                    log.push(paired(window, Some(left), Some(right)));
                }
            }
            records.push((time, name, input));
            let pane = Pane { window, records, given, waiting };
            if !waiting && self.pairs.is_none() {
                self.group(&pane, log);
            }
            self.panes.push(Pane { given: given || !waiting, ..pane });
        }
        if late {
            log.push(format!("late {name}"));
        }
    }

    fn give(&self, pane: &Pane, log: &mut Vec<String>) {
        if self.pairs.is_none() {
            return self.group(pane, log);
        }
        for left in pane.names(0) {
            for right in pane.names(1) {
                log.push(paired(pane.window, Some(left), Some(right)));
            }
        }
    }

    fn close(&self, pane: &Pane, log: &mut Vec<String>) {
        let Some(kind) = self.pairs else { return };
        let (left, right) = (pane.names(0), pane.names(1));
        if right.is_empty() && matches!(kind, Kind::Left | Kind::Full) {
            log.extend(left.iter().map(|left| paired(pane.window, Some(*left), None)));
        }
        if left.is_empty() && matches!(kind, Kind::Right | Kind::Full) {
            log.extend(right.iter().map(|right| paired(pane.window, None, Some(*right))));
        }
    }

    fn advance(&mut self, now: Time, log: &mut Vec<String>) {
        // What is due, in the order of when it was; each window is closed after it was given.
        let mut due = Vec::new();
        for pane in &self.panes {
            let (ends, closes) = (pane.window.end, self.closes(pane.window));
            if pane.waiting {
                due.push((if self.once { closes } else { ends }, ends < closes, pane.window, 1));
            }
            due.push((closes, false, pane.window, 2));
        }
        if self.once || self.lateness == 0 {
            due.iter_mut().for_each(|due| due.1 = false);
        }
        due.retain(|due| due.0 <= now);
        due.sort_unstable();
        for (_, _, window, what) in due {
            let number = self.panes.iter().position(|pane| pane.window == window).unwrap();
            if what == 1 {
                self.give(&self.panes[number], log);
                (self.panes[number].given, self.panes[number].waiting) = (true, false);
            } else {
                let pane = self.panes.remove(number);
                self.close(&pane, log);
            }
        }
    }

    fn log(mut self, epochs: &[Epoch]) -> Vec<String> {
        let (mut log, mut now) = (Vec::new(), at(NONE));
        for epoch in epochs {
            for record in &epoch.records {
                self.apply(*record, now, &mut log);
            }
            now = at(epoch.watermark);
            self.advance(now, &mut log);
            let records = self.panes.iter().flat_map(|pane| &pane.records);
            let names = records.map(|(_, name, _)| *name).collect::<BTreeSet<_>>();
            log.push(format!("| {}", names.len() + self.panes.len()));
        }
        assert!(self.panes.is_empty());
        log
    }
}

fn pairs(which: u8, lateness: u64, kind: Kind) -> Pairs {
    let join = WindowJoin::new(Chosen(assigner(which)));
    let join = join.kind(kind).lateness(Duration::from_nanos(lateness));
    let kept = Kept { records: BTreeMap::new(), windows: BTreeMap::new(), timer: None };
    Pairs { join, kept }
}

proptest! {
    #[test]
    fn each_pair_of_a_window_is_given_once(
        epochs in epochs(2),
        which in 0_u8..6,
        lateness in prop_oneof![Just(0_u64), 1_u64..12],
        kind in prop::sample::select(vec![Kind::Inner, Kind::Left, Kind::Right, Kind::Full]),
    ) {
        let oracle = Oracle {
            assigner: Chosen(assigner(which)),
            lateness: i64::try_from(lateness).unwrap(),
            once: which == 5,
            pairs: Some(kind),
            panes: Vec::new(),
        };
        prop_assert_eq!(log(&mut pairs(which, lateness, kind), &epochs), oracle.log(&epochs));
    }

    #[test]
    fn a_group_has_all_records_of_its_window_by_input(
        epochs in epochs(3),
        which in 0_u8..6,
        lateness in prop_oneof![Just(0_u64), 1_u64..12],
        once: bool,
    ) {
        let mut join = CoGroup::new(Chosen(assigner(which))).lateness(Duration::from_nanos(lateness));
        if once {
            join = join.once();
        }
        let mut groups = Groups { join, kept: Kept::default() };
        let oracle = Oracle {
            assigner: Chosen(assigner(which)),
            lateness: i64::try_from(lateness).unwrap(),
            once,
            pairs: None,
            panes: Vec::new(),
        };
        prop_assert_eq!(log(&mut groups, &epochs), oracle.log(&epochs));
    }

    #[test]
    fn how_far_the_watermark_moves_at_once_changes_nothing(
        epochs in epochs(2),
        which in 0_u8..6,
        lateness in 0_u64..12,
    ) {
        let [leap, creep] = leap_and_creep(&epochs)
            .map(|epochs| outputs(log(&mut pairs(which, lateness, Kind::Full), &epochs)));
        prop_assert_eq!(leap, creep);
    }
}
