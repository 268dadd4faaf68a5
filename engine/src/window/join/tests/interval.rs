//! Interval joins: each pair within the interval once, each record without one once.
//!
//! Invariant: the oracle knows all records of the run when it says that one has no partner.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::super::{Held, IntervalJoin, Joined, Kind, Place, State};
use super::*;

/// What both inputs keep, and the timer.
#[derive(Default, Debug)]
struct Kept {
    left: BTreeMap<Place, Held<u32>>,
    right: BTreeMap<Place, Held<u32>>,
    timer: Option<Time>,
}

struct Runs {
    join: IntervalJoin,
    kept: Kept,
}

/// A pair, or one alone.
fn line(joined: Joined<'_, u32, u32>) -> String {
    match joined {
        Joined::Both(left, right) => format!("{left}+{right}"),
        Joined::Left(left) => format!("{left}+"),
        Joined::Right(right) => format!("+{right}"),
    }
}

impl Run for Runs {
    fn apply(&mut self, input: u16, time: Time, name: u32, watermark: Time, log: &mut Vec<String>) {
        let Kept { left, right, timer } = &mut self.kept;
        let state = &mut State { left, right, timer };
        let mut emitted = Vec::new();
        let emit = |joined: Joined<'_, u32, u32>| emitted.push(line(joined));
        let applied = if input == 0 {
            self.join.left(time, name, watermark, state, emit)
        } else {
            self.join.right(time, name, watermark, state, emit)
        };
        log.append(&mut emitted);
        if let Err(late) = applied {
            log.push(format!("late {}", late.value));
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

/// A record of the run, for the oracle.
#[derive(Clone, Copy, Debug, PartialEq)]
struct One {
    input: u16,
    time: i64,
    name: u32,
    late: bool,
}

/// What must be logged.
struct Oracle {
    lower: i64,
    upper: i64,
    lateness: i64,
    kind: Kind,
}

impl Oracle {
    fn is_over(&self, time: i64, watermark: i64) -> bool {
        watermark == END || i128::from(time) < i128::from(watermark) - i128::from(self.lateness)
    }

    /// The last time of a partner.
    fn end(&self, one: &One) -> i64 {
        if one.input == 0 { one.time + self.upper } else { one.time - self.lower }
    }

    fn pair(&self, a: &One, b: &One) -> bool {
        let (left, right) = if a.input == 0 { (a, b) } else { (b, a) };
        left.input < right.input
            && (self.lower..=self.upper).contains(&(right.time - left.time))
            && !left.late
            && !right.late
    }

    fn alone(&self, one: &One, all: &[One]) -> Option<String> {
        let kept = match self.kind {
            Kind::Inner => false,
            Kind::Left => one.input == 0,
            Kind::Right => one.input == 1,
            Kind::Full => true,
        };
        let alone = kept && !one.late && !all.iter().any(|other| self.pair(one, other));
        let line = if one.input == 0 { format!("{}+", one.name) } else { format!("+{}", one.name) };
        alone.then_some(line)
    }

    fn log(&self, epochs: &[Epoch]) -> Vec<String> {
        let mut all = Vec::new();
        let mut watermark = NONE;
        for epoch in epochs {
            for &(input, time, name) in &epoch.records {
                all.push(One { input, time, name, late: self.is_over(time, watermark) });
            }
            watermark = epoch.watermark;
        }
        let (mut log, mut seen, mut kept) = (Vec::new(), Vec::<One>::new(), Vec::<One>::new());
        watermark = NONE;
        for epoch in epochs {
            for record in &epoch.records {
                let one = *all.iter().find(|one| one.name == record.2).unwrap();
                if one.late {
                    log.push(format!("late {}", one.name));
                    continue;
                }
                let mut others = seen.clone();
                others.retain(|other| self.pair(&one, other));
                others.sort_by_key(|other| (other.time, other.name));
                for other in others {
                    let (left, right) = if one.input == 0 { (one, other) } else { (other, one) };
                    log.push(format!("{}+{}", left.name, right.name));
                }
                seen.push(one);
                if self.is_over(self.end(&one), watermark) {
                    log.extend(self.alone(&one, &all));
                } else {
                    kept.push(one);
                }
            }
            watermark = epoch.watermark;
            let mut gone = kept.clone();
            gone.retain(|one| self.is_over(self.end(one), watermark));
            kept.retain(|one| !gone.contains(one));
            gone.sort_by_key(|one| (self.end(one), one.input, one.time, one.name));
            log.extend(gone.iter().filter_map(|one| self.alone(one, &all)));
            log.push(format!("| {}", kept.len()));
        }
        assert!(kept.is_empty());
        log
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Inner, Kind::Left, Kind::Right, Kind::Full])
}

proptest! {
    #[test]
    fn each_pair_and_each_record_alone_is_given_once(
        epochs in epochs(2),
        bounds in (-15_i64..15, -15_i64..15),
        lateness in prop_oneof![Just(0_i64), 1_i64..12],
        kind in kinds(),
    ) {
        let (lower, upper) = (bounds.0.min(bounds.1), bounds.0.max(bounds.1));
        let nanos = SignedDuration::from_nanos;
        let join = IntervalJoin::between(nanos(lower), nanos(upper))
            .kind(kind)
            .lateness(Duration::from_nanos(lateness.unsigned_abs()));
        join.check().unwrap();
        let mut runs = Runs { join, kept: Kept::default() };
        let expected = Oracle { lower, upper, lateness, kind }.log(&epochs);
        prop_assert_eq!(log(&mut runs, &epochs), expected);
    }

    #[test]
    fn how_far_the_watermark_moves_at_once_changes_nothing(epochs in epochs(2)) {
        let [leap, creep] = leap_and_creep(&epochs).map(|epochs| {
            let (before, after) = (Duration::from_nanos(2), Duration::from_nanos(5));
            let join = IntervalJoin::new(before, after).kind(Kind::Full);
            outputs(log(&mut Runs { join, kept: Kept::default() }, &epochs))
        });
        prop_assert_eq!(leap, creep);
    }
}

#[test]
fn both_ends_are_included_also_where_time_ends() {
    let times = |pairs: &[(u16, i64)], before, after| {
        let join = IntervalJoin::new(before, after).kind(Kind::Full);
        let mut runs = Runs { join, kept: Kept::default() };
        let names = pairs.iter().zip(0..).map(|((input, time), name)| (*input, *time, name));
        let records = names.collect();
        let all = [Epoch { records, watermark: END, restart: false }];
        outputs(log(&mut runs, &all))
    };
    let (before, after) = (Duration::from_nanos(3), Duration::from_nanos(2));
    let around = [(0, 10), (1, 6), (1, 7), (1, 12), (1, 13)];
    assert_eq!(times(&around, before, after), ["0+2", "0+3", "+1", "+4"]);
    let ends = [(0, i64::MAX), (1, i64::MAX), (1, i64::MIN), (0, i64::MIN), (1, i64::MAX - 3)];
    assert_eq!(times(&ends, before, after), ["0+1", "3+2", "0+4"]);
    let forever = times(&ends, Duration::MAX, Duration::MAX);
    assert_eq!(forever, ["0+1", "3+2", "0+4"], "as far as times can be apart in 64 bits");
}

#[test]
fn an_interval_that_ends_before_it_begins_is_refused() {
    let seconds = SignedDuration::from_secs;
    let error = IntervalJoin::between(seconds(5), seconds(-1)).check().unwrap_err().to_string();
    assert!(error.contains("joins nothing") && error.contains("lesser bound first"), "{error}");
    IntervalJoin::between(seconds(-5), seconds(-5)).check().unwrap();
}
