//! Windowed joins and co-groups beside the oracle, for windows of all kinds.
//!
//! Invariant: what is told of a window is told with the window, so that no two can be mistaken.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{CoGroup, Group, Joined, Kind, Open, Side, Slot, Spot, WindowJoin, WindowState};
use super::oracle::{Chosen, Oracle, paired};
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
