//! The cases of the minibatch system about windows by time and by count, by their ids; times in milliseconds.
//!
//! Invariant: what a case says is told, is told: no more, and in that order.

use super::*;
use crate::window::Aligned;
use crate::window::pane::presets::{self, Emitter};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn millis(millis: i64) -> Time {
    Time::from_millis(millis)
}

/// A stream with an emitter by time, which begins at 0.
fn stream(windows: Windows<char, Aligned, List>) -> Keyed<char, Aligned> {
    let mut keyed = Keyed::new(windows);
    keyed.watermark(Time::ZERO);
    keyed.windows.begin(Time::ZERO, keyed.at, &mut keyed.store);
    keyed
}

impl Keyed<char, Aligned> {
    fn append(&mut self, records: &[(char, i64)]) {
        for (record, time) in records {
            let _ = self.record(millis(*time).as_nanos(), *record);
        }
    }

    /// What is told up to a time, in words.
    fn until(&mut self, time: i64) -> String {
        self.watermark(millis(time));
        self.shown()
    }

    fn shown(&mut self) -> String {
        let told = self.told().into_iter();
        told.map(|records| format!("[{}]", records.into_iter().collect::<String>())).collect()
    }

    fn late(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.is_late()).count()
    }
}

fn fixed() -> Keyed<char, Aligned> {
    stream(presets::fixed(SECOND, List))
}

fn relaxed() -> Keyed<char, Aligned> {
    stream(presets::relaxed(SECOND, List))
}

pub(super) fn count(size: u64) -> Counted<u32> {
    Counted::new(presets::count(size, List))
}

const DISORDERLY: [(char, i64); 5] =
    [('a', 0), ('b', 500), ('c', 1_000), ('d', 1_500), ('e', 3_200)];

#[test]
fn mb_02_windows_of_two() {
    let mut stream = count(2);
    stream.records(0..10);
    assert_eq!(stream.told(), [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]);
    assert_eq!(stream.pending(), 0);
}

#[test]
fn mb_03_the_rest_is_pending_and_told_at_the_end_if_asked_for() {
    let mut stream = count(2);
    stream.records(0..5);
    assert_eq!(stream.told(), [[0, 1], [2, 3]]);
    assert_eq!(stream.pending(), 1);
    stream.watermark(END);
    assert_eq!((stream.told().len(), stream.pending()), (0, 1));

    let mut stream = Counted::new(presets::count(2, List).flush_at_end());
    stream.records(0..5);
    stream.watermark(END);
    let last = stream.out.last().map(|fired| (fired.window, fired.kind, fired.count));
    assert_eq!(last, Some((2, Kind::Final, 1)));
    assert_eq!(stream.told(), [vec![0, 1], vec![2, 3], vec![4]]);
    assert_eq!(stream.pending(), 0);

    let mut stream = Counted::new(presets::count(2, List).flush_after(Clock::Engine, SECOND));
    stream.records(0..5);
    stream.now(millis(999));
    assert_eq!(stream.told(), [[0, 1], [2, 3]]);
    stream.now(millis(1_000));
    assert_eq!(stream.told(), [[4]]);
    stream.now(millis(5_000));
    assert_eq!(stream.told().len(), 0);
}

#[test]
fn mb_04_the_same_if_asked_for_by_name() {
    let Emitter::Count(counts) = presets::emitter(Some(2), None, List).unwrap() else {
        panic!("a size alone is a count window")
    };
    let mut stream = Counted::new(counts);
    stream.records(0..10);
    assert_eq!(stream.told(), [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]);
}

#[test]
fn mb_05_the_same_again_when_it_is_replayed() {
    let mut first = count(2);
    first.records(0..4);
    let mut again = count(2);
    again.records(0..4);
    assert_eq!(first.out, again.out);
    assert_eq!(first.told(), [[0, 1], [2, 3]]);
}

#[test]
fn mb_06_in_the_order_of_arrival() {
    let mut stream = Counted::new(presets::count(2, List));
    for (record, time) in [('a', 5), ('b', 1), ('c', 3), ('d', 0)] {
        let Counted { counts, cache, store, at, out } = &mut stream;
        counts.on_record((millis(time), &record), *at, cache, store, out);
    }
    assert_eq!(stream.told(), [['a', 'b'], ['c', 'd']]);
}

#[test]
fn mb_07_windows_of_a_second_are_half_open_and_told_when_empty() {
    let mut stream = fixed();
    stream.append(&DISORDERLY);
    assert_eq!(stream.until(5_000), "[ab][cd][][e][]");
    assert_eq!(stream.late(), 0);
}

#[test]
fn mb_08_a_record_at_a_boundary_is_in_one_window() {
    let mut stream = fixed();
    stream.append(&DISORDERLY);
    assert_eq!(stream.until(5_000).matches('c').count(), 1);
}

#[test]
fn mb_09_a_record_before_the_first_window_is_late_and_counted() {
    let mut stream = fixed();
    stream.append(&[('l', -2_000), ('b', 500)]);
    assert_eq!(stream.until(3_000), "[b][][]");
    assert_eq!(stream.outcomes, [Outcome::SideOutput, Outcome::InTime]);
    assert_eq!(stream.late(), 1);
}

#[test]
fn mb_10_a_record_after_its_window_is_late_or_corrects_it() {
    let mut stream = fixed();
    stream.append(&[('a', 200)]);
    assert_eq!(stream.until(1_000), "[a]");
    stream.append(&[('x', 900)]);
    assert_eq!(stream.until(3_000), "[][]");
    assert_eq!(stream.outcomes.last(), Some(&Outcome::SideOutput));

    let lateness = presets::fixed(SECOND, List).lateness(SECOND);
    let mut stream = self::stream(lateness);
    stream.append(&[('a', 200)]);
    assert_eq!(stream.until(1_000), "[a]");
    stream.append(&[('x', 900)]);
    assert_eq!(stream.outcomes.last(), Some(&Outcome::Late));
    assert_eq!(stream.fired(), [(Kind::Late, 1, vec!['a', 'x'])]);
    assert_eq!(stream.until(3_000), "[][]");
}

#[test]
fn mb_11_relaxed_a_late_record_is_in_the_next_window() {
    let mut stream = relaxed();
    stream.append(&[('a', 200)]);
    assert_eq!(stream.until(1_000), "[a]");
    stream.append(&[('x', 900)]);
    assert_eq!(stream.until(3_000), "[x][]");
    assert_eq!(stream.outcomes, [Outcome::InTime, Outcome::Moved]);
}

#[test]
fn mb_12_relaxed_nothing_is_left_out() {
    // The record at 1.0 is in the window that begins there.
    let mut stream = relaxed();
    stream.append(&[('l', -2_000)]);
    stream.append(&DISORDERLY);
    assert_eq!(stream.until(5_000), "[lab][cd][][e][]");
}

#[test]
fn mb_13_one_window_after_the_other_or_all_since_the_last() {
    let records = [('a', 200), ('b', 1_300), ('c', 2_600)];
    // Read before time moves on: each in its window.
    let mut stream = relaxed();
    stream.append(&records);
    assert!(stream.until(100_000).starts_with("[a][b][c][][]"));
    // Read after time has moved on: all that there is since the last window.
    let mut stream = relaxed();
    let before = stream.until(100_000);
    assert_eq!(before, "[]".repeat(100));
    stream.append(&records);
    assert_eq!(stream.until(102_000), "[abc][]");
}

#[test]
fn mb_14_empty_windows_back_to_back_without_waiting() {
    let mut stream = stream(presets::fixed(10 * SECOND, List));
    assert_eq!(stream.until(100_000), "[]".repeat(10));
    assert_eq!(stream.store.most, 1, "one row after the other, whatever the leap");
}

#[test]
fn mb_15_a_window_a_second() {
    for mut stream in [fixed(), relaxed()] {
        for second in 0..10 {
            stream.append(&[('x', second * 1_000 + 500)]);
            assert_eq!(stream.until((second + 1) * 1_000), "[x]");
        }
    }
}

#[test]
fn mbf_2_a_window_whose_output_failed_is_told_again_once() {
    let mut stream = fixed();
    stream.append(&[('i', 500)]);
    // What the failing invocation did is undone.
    let (before, at) = (stream.store.clone(), stream.at);
    assert_eq!(stream.until(1_000), "[i]");
    (stream.store, stream.at) = (before, at);
    assert_eq!(stream.until(3_000), "[i][][]");
}

#[test]
fn mbf_3_relaxed_too() {
    let mut stream = relaxed();
    stream.append(&[('i', 500)]);
    let (before, at) = (stream.store.clone(), stream.at);
    assert_eq!(stream.until(1_000), "[i]");
    (stream.store, stream.at) = (before, at);
    stream.append(&[('j', 700)]);
    assert_eq!(stream.until(3_000), "[ij][][]");
}
