//! Sessions: panes that become one, beside a model that sorts all records anew.
//!
//! Invariant: sessions of a key do not touch, and each record that was not too late is in one.

use proptest::prelude::*;

use super::oracle::{Step, steps};
use super::*;
use crate::window::session;

/// A session of the model.
#[derive(Clone, Debug)]
struct Part {
    window: Window,
    records: Vec<(i64, u32)>,
    firings: u64,
}

/// All records of open sessions, cut where nothing came for a gap.
fn cut(mut times: Vec<i64>, gap: i64) -> Vec<Window> {
    times.sort_unstable();
    let mut windows: Vec<Window> = Vec::new();
    for time in times {
        match windows.last_mut() {
            Some(last) if time <= last.end.as_nanos() => last.end = nanos(time + gap),
            _ => windows.push(window(time, time + gap)),
        }
    }
    windows
}

struct Model {
    gap: i64,
    allowed: i64,
    parts: Vec<Part>,
    watermark: i64,
    out: Vec<Fired<Vec<(i64, u32)>>>,
}

impl Model {
    fn tell(out: &mut Vec<Fired<Vec<(i64, u32)>>>, part: &Part, kind: Kind) {
        let (value, count) = (part.records.clone(), part.records.len() as u64);
        out.push(Fired { window: part.window, value, count, index: part.firings, kind });
    }

    fn record(&mut self, time: i64, record: u32) -> Outcome {
        let old = self.parts.iter().flat_map(|part| &part.records).map(|(time, _)| *time);
        let windows = cut(old.chain([time]).collect(), self.gap);
        let window = *windows.iter().find(|window| window.contains(nanos(time))).unwrap();
        if window.end.as_nanos() + self.allowed <= self.watermark {
            return Outcome::SideOutput;
        }
        let mut whole = Part { window, records: Vec::new(), firings: 0 };
        let inside =
            |part: &Part| window.start <= part.window.start && part.window.end <= window.end;
        for part in self.parts.iter().filter(|part| inside(part)) {
            whole.records.extend(&part.records);
            if part.window == window {
                whole.firings = part.firings;
            } else if part.firings > 0 {
                Self::tell(&mut self.out, part, Kind::Replaced);
            }
        }
        self.parts.retain(|part| !inside(part));
        whole.records.push((time, record));
        let late = window.end.as_nanos() <= self.watermark;
        if late {
            Self::tell(&mut self.out, &whole, Kind::Late);
            whole.firings += 1;
        }
        self.parts.push(whole);
        self.parts.sort_by_key(|part| part.window);
        if late { Outcome::Late } else { Outcome::InTime }
    }

    fn watermark(&mut self, to: i64) {
        for part in &mut self.parts {
            let end = part.window.end.as_nanos();
            if self.watermark < end && end <= to {
                Self::tell(&mut self.out, part, Kind::OnTime);
                part.firings += 1;
            }
        }
        self.watermark = to;
        let allowed = self.allowed;
        self.parts.retain(|part| part.window.end.as_nanos().saturating_add(allowed) > to);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn sessions_are_those_of_the_model(
        gap in 1_i64..15,
        allowed in prop_oneof![Just(0), 0_i64..60],
        steps in steps(),
    ) {
        let assigner = session(some_nanos(gap));
        let mut key = Keyed::new(Windows::new(assigner, List).lateness(some_nanos(allowed)));
        let (parts, out) = (Vec::new(), Vec::new());
        let mut model = Model { gap, allowed, parts, watermark: i64::MIN, out };
        let mut latest = 1_000;
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Record(behind) => {
                    let time = latest - behind;
                    let outcome = key.record(time, (time, number));
                    prop_assert_eq!(outcome, model.record(time, number));
                }
                Step::Forward(by) => latest += by,
                Step::Watermark(behind) => {
                    let to = (latest - behind).max(model.watermark);
                    key.watermark(nanos(to));
                    model.watermark(to);
                }
                Step::Now(_) => {}
                Step::Restart => key.restart(),
            }
            prop_assert_eq!(&key.out, &model.out, "after {:?}", step);
            let open: Vec<Window> = model.parts.iter().map(|part| part.window).collect();
            prop_assert_eq!(key.store.rows.keys().copied().collect::<Vec<_>>(), open);
            // One timer for each that is left, none for those that are not.
            prop_assert_eq!(key.store.timers.len(), key.store.rows.len());
        }
    }
}

#[test]
fn a_late_record_that_bridges_two_sessions_makes_them_one() {
    let windows = Windows::new(session(some_nanos(10)), List).lateness(some_nanos(100));
    let mut key = Keyed::new(windows);
    let _ = key.record(0, 'a');
    let _ = key.record(18, 'c');
    key.watermark(nanos(12));
    assert_eq!(key.fired(), [(Kind::OnTime, 0, vec!['a'])]);
    // Late for its own ten nanoseconds, and in time for what they become part of.
    assert_eq!(key.record(9, 'b'), Outcome::InTime);
    assert_eq!(key.out[0].window, window(0, 10));
    assert_eq!(key.fired(), [(Kind::Replaced, 1, vec!['a'])]);
    key.restart();
    key.watermark(nanos(27));
    assert_eq!(key.told().len(), 0, "the timers of the parts are cancelled");
    key.watermark(nanos(28));
    assert_eq!(key.out[0].window, window(0, 28));
    assert_eq!(key.fired(), [(Kind::OnTime, 0, vec!['a', 'c', 'b'])]);
    // One that corrects the whole, and moves its end.
    assert_eq!(key.record(20, 'd'), Outcome::InTime);
    assert_eq!(key.fired(), [(Kind::Replaced, 1, vec!['a', 'c', 'b'])]);
    assert_eq!(key.record(5, 'e'), Outcome::InTime);
    key.watermark(END);
    assert_eq!(key.fired(), [(Kind::OnTime, 0, vec!['a', 'c', 'b', 'd', 'e'])]);
    assert!(key.store.rows.is_empty() && key.store.timers.is_empty());
}

#[test]
fn discarding_nothing_is_replaced_and_no_record_told_twice() {
    let windows = Windows::new(session(some_nanos(10)), List).lateness(some_nanos(100));
    let mut key = Keyed::new(windows.discarding());
    let _ = key.record(0, 'a');
    key.watermark(nanos(10));
    let _ = key.record(9, 'b');
    key.watermark(nanos(19));
    assert_eq!(key.fired(), [(Kind::OnTime, 0, vec!['a']), (Kind::OnTime, 0, vec!['b'])]);
}

#[test]
fn triggers_of_sessions_that_become_one_keep_their_earlier_time() {
    let trigger = at_watermark().or(every(some_nanos(50), Clock::Engine));
    let mut key = Keyed::new(Windows::new(session(some_nanos(10)), List).trigger(trigger));
    let _ = key.record(20, 'c');
    key.now(nanos(20));
    let _ = key.record(0, 'a');
    let _ = key.record(10, 'b');
    assert_eq!(key.store.timers.len(), 2, "one by each clock");
    key.now(nanos(49));
    assert_eq!(key.told().len(), 0);
    key.now(nanos(50));
    assert_eq!(key.fired(), [(Kind::Early, 0, vec!['a', 'c', 'b'])]);
}
