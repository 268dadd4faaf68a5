//! Each trigger by itself, and combined.
//!
//! Invariant: what is expected is written out by hand.

use super::*;
use crate::window::{Aligned, global, tumbling};

/// Windows of 100 nanoseconds.
fn hundreds() -> Windows<u32, Aligned, List> {
    Windows::new(tumbling(some_nanos(100)), List)
}

#[test]
fn early_at_every_second_record_and_on_time_and_late() {
    let windows = hundreds().lateness(some_nanos(50)).trigger(at_watermark().or(every_records(2)));
    let mut key = Keyed::new(windows);
    for (time, record) in [(1, 1), (2, 2), (3, 3)] {
        assert_eq!(key.record(time, record), Outcome::InTime);
    }
    assert_eq!(key.fired(), [(Kind::Early, 0, vec![1, 2])]);
    key.watermark(nanos(100));
    assert_eq!(key.fired(), [(Kind::OnTime, 1, vec![1, 2, 3])]);
    assert_eq!(key.record(4, 4), Outcome::Late);
    assert_eq!(key.fired(), [(Kind::Late, 2, vec![1, 2, 3, 4])]);
    key.watermark(nanos(149));
    assert_eq!(key.store.rows.len(), 1);
    key.watermark(nanos(150));
    assert_eq!((key.fired(), key.store.rows.len(), key.store.timers.len()), (vec![], 0, 0));
    assert_eq!(key.record(5, 5), Outcome::SideOutput);
}

#[test]
fn discarding_each_record_is_told_once_and_the_end_anyway() {
    let early = at_watermark().or(every_records(2));
    let mut key = Keyed::new(hundreds().lateness(some_nanos(50)).trigger(early).discarding());
    for record in 1..=4 {
        let _ = key.record(1, record);
    }
    key.watermark(nanos(100));
    let _ = key.record(1, 5);
    let told = [
        (Kind::Early, 0, vec![1, 2]),
        (Kind::Early, 1, vec![3, 4]),
        (Kind::OnTime, 2, vec![]),
        (Kind::Late, 3, vec![5]),
    ];
    assert_eq!(key.fired(), told);
}

#[test]
fn by_the_engines_time_from_the_first_new_record_on() {
    let mut key = Keyed::new(hundreds().trigger(every(some_nanos(10), Clock::Engine)));
    key.now(nanos(1_000));
    let _ = key.record(1, 1);
    key.now(nanos(1_006));
    let _ = key.record(1, 2);
    key.now(nanos(1_009));
    assert_eq!(key.told().len(), 0);
    key.now(nanos(1_010));
    assert_eq!(key.fired(), [(Kind::Early, 0, vec![1, 2])]);
    // Nothing new: nothing to wait for.
    assert_eq!(
        key.store.timers.keys().map(|(clock, _)| *clock).collect::<Vec<_>>(),
        [Clock::Event]
    );
    let _ = key.record(1, 3);
    // What is left is told when the window closes.
    key.watermark(nanos(100));
    assert_eq!(key.fired(), [(Kind::Final, 1, vec![1, 2, 3])]);
    assert_eq!(key.store.timers.len(), 0, "that of the engine's time is cancelled");
}

#[test]
fn by_event_time_at_multiples_and_once_where_the_watermark_leaps() {
    let trigger = at_watermark().or(every(some_nanos(10), Clock::Event));
    let mut key = Keyed::new(hundreds().trigger(trigger));
    let _ = key.record(3, 1);
    key.watermark(nanos(9));
    assert_eq!(key.told().len(), 0);
    key.watermark(nanos(10));
    assert_eq!(key.fired(), [(Kind::Early, 0, vec![1])]);
    let _ = key.record(12, 2);
    key.watermark(nanos(57));
    assert_eq!(key.fired(), [(Kind::Early, 1, vec![1, 2])]);
    let _ = key.record(58, 3);
    key.watermark(nanos(130));
    assert_eq!(key.fired(), [(Kind::OnTime, 2, vec![1, 2, 3])], "the end has overtaken 60");
}

#[test]
fn on_count_or_time_whichever_is_first() {
    let trigger = count_or_time(3, some_nanos(10), Clock::Engine).purging();
    let mut key = Keyed::new(Windows::new(global(), List).trigger(trigger));
    for record in 1..=4 {
        let _ = key.record(1, record);
    }
    assert_eq!(key.told(), [[1, 2, 3]]);
    key.now(nanos(9));
    assert_eq!(key.told().len(), 0);
    key.now(nanos(10));
    assert_eq!(key.told(), [[4]]);
    let _ = key.record(1, 5);
    key.watermark(END);
    assert_eq!(key.fired(), [(Kind::Final, 2, vec![5])]);
    assert!(key.store.rows.is_empty() && key.store.timers.is_empty());
}

#[test]
fn at_each_record() {
    let mut key = Keyed::new(hundreds().trigger(each_record()));
    let _ = key.record(1, 1);
    let _ = key.record(150, 2);
    let _ = key.record(2, 3);
    key.watermark(END);
    assert_eq!(key.told(), [vec![1], vec![2], vec![1, 3]]);
}

#[test]
fn once_and_never_corrected() {
    let mut key = Keyed::new(hundreds().lateness(some_nanos(30)).trigger(at_close()));
    let _ = key.record(1, 1);
    key.watermark(nanos(129));
    assert_eq!(key.record(2, 2), Outcome::Late);
    assert_eq!(key.told().len(), 0);
    key.watermark(nanos(130));
    assert_eq!(key.fired(), [(Kind::Final, 0, vec![1, 2])]);
}

#[test]
fn corrections_by_threes_and_the_rest_at_the_close() {
    let trigger = at_watermark().late_every(3);
    let mut key = Keyed::new(hundreds().lateness(some_nanos(50)).trigger(trigger));
    key.watermark(nanos(100));
    for record in 1..=4 {
        let _ = key.record(1, record);
    }
    key.watermark(nanos(150));
    let told = [(Kind::Late, 0, vec![1, 2, 3]), (Kind::Final, 1, vec![1, 2, 3, 4])];
    assert_eq!(key.fired(), told);
}

#[test]
fn a_trigger_that_asks_again_for_the_same_time_is_not_woken_for_ever() {
    struct Stubborn;
    impl Trigger for Stubborn {
        type State = ();
        fn open(&self, _: &View) {}
        fn on_record(&self, (): &mut (), _: Time, _: &View) -> Verdict {
            Verdict::Wait
        }
        fn on_time(&self, (): &mut (), _: &View) -> Verdict {
            Verdict::Fire
        }
        fn wake(&self, (): &(), _: Clock) -> Option<Time> {
            Some(nanos(10))
        }
    }
    let mut key = Keyed::new(hundreds().trigger(Stubborn));
    let _ = key.record(1, 1);
    key.watermark(nanos(50));
    key.now(nanos(50));
    assert_eq!(key.fired(), [(Kind::Early, 0, vec![1]), (Kind::Early, 1, vec![1])]);
    key.watermark(nanos(100));
    assert_eq!(key.fired(), [(Kind::OnTime, 2, vec![1])]);
}

#[test]
fn what_cannot_be_is_told_with_what_to_do() {
    let never = hundreds().trigger(every_records(0)).check().unwrap_err().to_string();
    assert!(never.contains("give at least 1"), "{never}");
    let never = hundreds().trigger(at_watermark().late_every(0)).check();
    assert!(never.is_err());
    let always = hundreds().trigger(at_close().or(every(Duration::ZERO, Clock::Event)));
    let always = always.check().unwrap_err().to_string();
    assert!(always.contains("period of a trigger of nothing"), "{always}");
}

#[test]
fn each_policy_for_what_is_too_late() {
    for (policy, outcome, told) in [
        (TooLate::Drop, Outcome::Dropped, vec![]),
        (TooLate::SideOutput, Outcome::SideOutput, vec![]),
        (TooLate::FirePerRecord, Outcome::FiredAlone, vec![(window(0, 100), Kind::TooLate)]),
        (TooLate::OldestOpen, Outcome::Moved, vec![(window(200, 300), Kind::OnTime)]),
    ] {
        let mut key = Keyed::new(hundreds().lateness(some_nanos(50)).too_late(policy));
        key.watermark(nanos(260));
        assert_eq!(key.record(7, 1), outcome);
        key.watermark(nanos(300));
        let fired: Vec<_> = key.out.iter().map(|fired| (fired.window, fired.kind)).collect();
        assert_eq!(fired, told);
        assert!(outcome.is_too_late());
    }
    // When time has ended there is no open window.
    let mut key = Keyed::new(hundreds().too_late(TooLate::OldestOpen));
    key.watermark(END);
    assert_eq!(key.record(7, 1), Outcome::Dropped);
}

#[test]
fn a_key_without_records_rests_after_so_many_empty_windows() {
    let mut key = Keyed::new(hundreds().empty_windows(2));
    let _ = key.record(1, 1);
    let _ = key.record(901, 2);
    let _ = key.record(1_101, 3);
    // A century.
    key.watermark(nanos(3_200_000_000_000_000_000));
    let told: Vec<_> =
        key.out.iter().map(|fired| (fired.window.start.as_nanos(), fired.count)).collect();
    let empties =
        [(0, 1), (100, 0), (200, 0), (900, 1), (1_000, 0), (1_100, 1), (1_200, 0), (1_300, 0)];
    assert_eq!(told, empties);
    assert!(key.store.rows.is_empty() && key.store.timers.is_empty());
}

#[test]
fn an_empty_window_that_was_told_is_corrected() {
    let mut key = Keyed::new(hundreds().empty_windows(9).lateness(some_nanos(100)));
    let _ = key.record(1, 1);
    key.watermark(nanos(250));
    assert_eq!(key.record(150, 2), Outcome::Late);
    let told = [(Kind::OnTime, 0, vec![1]), (Kind::OnTime, 0, vec![]), (Kind::Late, 1, vec![2])];
    assert_eq!(key.fired(), told);
}
