//! As-of joins: at once by what was applied, exactly by all that was not too late.
//!
//! Invariant: the oracle looks through all right records of the run.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{AsOf, Joined, Late, Place, State};
use super::*;

#[derive(Default)]
struct Kept {
    left: BTreeMap<Place, u32>,
    right: BTreeMap<Time, u32>,
    timer: Option<Time>,
}

struct Runs {
    join: AsOf,
    kept: Kept,
}

fn line(joined: Joined<'_, u32, u32>) -> String {
    let left = joined.left().copied().unwrap();
    joined.right().map_or_else(|| format!("{left}@"), |right| format!("{left}@{right}"))
}

impl Run for Runs {
    fn apply(&mut self, input: u16, time: Time, name: u32, watermark: Time, log: &mut Vec<String>) {
        let Kept { left, right, timer } = &mut self.kept;
        let state = &mut State { left, right, timer };
        let applied = if input == 0 {
            self.join.left(time, name, watermark, state, |joined| log.push(line(joined)))
        } else {
            self.join.right(time, name, watermark, state)
        };
        if let Err(Late { value, .. }) = applied {
            log.push(format!("late {value}"));
        }
    }

    fn wake(&mut self, watermark: Time, log: &mut Vec<String>) {
        let Kept { left, right, timer } = &mut self.kept;
        let state = &mut State { left, right, timer };
        self.join.wake(watermark, state, |joined| log.push(line(joined)));
    }

    fn timer(&mut self) -> &mut Option<Time> {
        &mut self.kept.timer
    }

    fn kept(&self) -> usize {
        self.kept.left.len() + self.kept.right.len()
    }

    fn restart(&mut self) {
        restored(&mut self.kept.left);
        restored(&mut self.kept.right);
    }
}

struct Oracle {
    exact: bool,
    tolerance: Option<i64>,
    lateness: i64,
}

impl Oracle {
    /// The first time that is not too late.
    fn bound(&self, watermark: i64) -> i128 {
        if watermark == END { i128::MAX } else { i128::from(watermark) - i128::from(self.lateness) }
    }

    fn found(&self, left: (i64, u32), rights: &[(i64, u32)]) -> String {
        let fits = |right: &&(i64, u32)| {
            right.0 <= left.0 && self.tolerance.is_none_or(|most| left.0 - right.0 <= most)
        };
        let newest = rights.iter().filter(fits).max();
        newest.map_or_else(|| format!("{}@", left.1), |(_, name)| format!("{}@{name}", left.1))
    }

    /// How many right records some left one at `bound` or later can ask for.
    fn needed(&self, rights: &[(i64, u32)], bound: i128) -> usize {
        let mut times = rights.iter().map(|(time, _)| i128::from(*time)).collect::<Vec<_>>();
        times.sort_unstable();
        times.dedup();
        let last = |number: usize| match (times.get(number + 1), self.tolerance) {
            (None, None) => i128::MAX,
            (None, Some(tolerance)) => times[number] + i128::from(tolerance),
            (Some(next), None) => next - 1,
            (Some(next), Some(tolerance)) => (next - 1).min(times[number] + i128::from(tolerance)),
        };
        (0..times.len()).filter(|number| last(*number) >= bound).count()
    }

    fn log(&self, epochs: &[Epoch]) -> Vec<String> {
        let (mut rights, mut watermark) = (Vec::new(), NONE);
        for epoch in epochs {
            let bound = self.bound(watermark);
            let taken = epoch
                .records
                .iter()
                .filter(|(input, time, _)| *input == 1 && i128::from(*time) >= bound);
            rights.extend(taken.map(|(_, time, name)| (*time, *name)));
            watermark = epoch.watermark;
        }
        let (mut log, mut seen, mut waiting) = (Vec::new(), Vec::new(), Vec::<(i64, u32)>::new());
        watermark = NONE;
        for epoch in epochs {
            for &(input, time, name) in &epoch.records {
                if i128::from(time) < self.bound(watermark) {
                    log.push(format!("late {name}"));
                } else if input == 1 {
                    seen.push((time, name));
                } else if self.exact {
                    waiting.push((time, name));
                } else {
                    log.push(self.found((time, name), &seen));
                }
            }
            watermark = epoch.watermark;
            let bound = self.bound(watermark);
            waiting.sort_unstable();
            let due = waiting.partition_point(|(time, _)| i128::from(*time) < bound);
            log.extend(waiting.drain(..due).map(|left| self.found(left, &rights)));
            log.push(format!("| {}", waiting.len() + self.needed(&seen, bound)));
        }
        log
    }
}

proptest! {
    #[test]
    fn a_left_record_finds_the_newest_right_one(
        epochs in epochs(2),
        exact: bool,
        tolerance in prop::option::of(0_i64..20),
        lateness in prop_oneof![Just(0_i64), 1_i64..12],
    ) {
        let mut join = if exact { AsOf::exact() } else { AsOf::known() };
        if let Some(tolerance) = tolerance {
            join = join.tolerance(Duration::from_nanos(tolerance.unsigned_abs()));
        }
        join = join.lateness(Duration::from_nanos(lateness.unsigned_abs()));
        let mut runs = Runs { join, kept: Kept::default() };
        let expected = Oracle { exact, tolerance, lateness }.log(&epochs);
        prop_assert_eq!(log(&mut runs, &epochs), expected);
        // What stays without a tolerance is what the next left record would ask for.
        prop_assert!(runs.kept.left.is_empty());
        prop_assert!(runs.kept.right.len() <= usize::from(tolerance.is_none()));
    }

    #[test]
    fn how_far_the_watermark_moves_at_once_changes_nothing(epochs in epochs(2)) {
        let [leap, creep] = leap_and_creep(&epochs)
            .map(|epochs| outputs(log(&mut Runs { join: AsOf::exact(), kept: Kept::default() }, &epochs)));
        prop_assert_eq!(leap, creep);
    }
}

#[test]
fn the_price_at_the_time_of_the_order_counts_and_not_the_one_after_it() {
    // Prices at 10, 20 and, applied last, 15; the order is at 17.
    let records = vec![(1, 10, 1), (1, 20, 2), (0, 17, 3), (1, 15, 4), (1, 15, 5)];
    let day = [
        Epoch { records, watermark: 17, restart: false },
        Epoch { records: Vec::new(), watermark: 18, restart: false },
    ];
    let mut known = Runs { join: AsOf::known(), kept: Kept::default() };
    assert_eq!(log_open(&mut known, &day), ["3@1", "| 2", "| 2"]);
    let mut exact = Runs { join: AsOf::exact(), kept: Kept::default() };
    assert_eq!(log_open(&mut exact, &day), ["| 3", "3@5", "| 2"]);
}

/// The log of a run that goes on.
fn log_open(runs: &mut Runs, epochs: &[Epoch]) -> Vec<String> {
    let mut all = epochs.to_vec();
    all.push(Epoch { records: Vec::new(), watermark: END, restart: false });
    let mut log = log(runs, &all);
    log.pop();
    log
}
