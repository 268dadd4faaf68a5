//! [`Sliding`] beside [`Windows`], which keeps each window by itself; what it costs; what a restart does.
//!
//! Invariant: rows and a new cache give what the old cache gave, bit for bit.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;

use super::oracle::{Step, steps, too_late};
use super::*;
use crate::aggregate::sum;
use crate::window::{Aligned, sliding};

struct Slid<T: 'static, A: Aggregate<T>> {
    sliding: Sliding<T, A>,
    cache: Cache<A::State>,
    store: Memory<SlidingKey, SlidingRow<A::State>>,
    at: Moment,
    out: Vec<Fired<A::Output>>,
}

impl<T: 'static, A: Aggregate<T>> Slid<T, A> {
    fn new(sliding: Sliding<T, A>) -> Self {
        sliding.check().unwrap();
        let (cache, store) = (Cache::default(), Memory::default());
        Self { sliding, cache, store, at: NOWHERE, out: Vec::new() }
    }

    fn record(&mut self, time: i64, record: &T) -> Outcome {
        let Self { sliding, cache, store, at, out } = self;
        sliding.on_record((nanos(time), record), *at, cache, store, out)
    }

    fn watermark(&mut self, to: Time) {
        self.at.watermark = to;
        while let Some((_, _, time)) = self.store.due(Clock::Event, to) {
            let Self { sliding, cache, store, at, out } = self;
            sliding.on_timer(time, *at, cache, store, out);
        }
    }

    fn restart(&mut self) {
        self.store = self.store.restored();
        self.cache = Cache::default();
    }
}

/// With a slide less than the size, and how many slices a window has.
fn overlapping() -> impl Strategy<Value = (Aligned, i64)> {
    (2_i64..60).prop_flat_map(|size| (Just(size), 1..size, 0_i64..60)).prop_map(
        |(size, slide, anchor)| {
            let windows = sliding(some_nanos(size), some_nanos(slide)).anchored(nanos(anchor));
            let pane = windows.pane(Time::ZERO);
            (windows, size / (pane.end.as_nanos() - pane.start.as_nanos()))
        },
    )
}

/// The same, in the order of slices.
fn by_slice(aligned: &Aligned, out: &[Fired<Vec<(i64, u32)>>]) -> Vec<Fired<Vec<(i64, u32)>>> {
    let mut out = out.to_vec();
    for fired in &mut out {
        fired.value.sort_by_key(|(time, _)| aligned.pane(nanos(*time)).start);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_same_as_a_pane_for_each_window(
        (aligned, slices) in overlapping(),
        allowed in prop_oneof![Just(0), 0_i64..70],
        policy in too_late(),
        empties in prop_oneof![Just(0), 0_u64..40],
        steps in steps(),
    ) {
        let windows = Windows::new(aligned.clone(), List)
            .lateness(some_nanos(allowed)).too_late(policy).empty_windows(empties);
        let mut panes = Keyed::new(windows);
        let sliding = Sliding::new(aligned.clone(), List)
            .lateness(some_nanos(allowed)).too_late(policy).empty_windows(empties);
        let mut slid = Slid::new(sliding);
        let mut latest = 1_000;
        for (number, step) in (0_u32..).zip(steps) {
            match step {
                Step::Record(behind) => {
                    let time = latest - behind;
                    // What is moved to another time is in the slice of that.
                    let cut_off = slid.at.watermark.as_nanos().saturating_sub(allowed);
                    let (_, last) = aligned.first_and_last(nanos(time)).unwrap();
                    let moved = policy == TooLate::OldestOpen && last.end.as_nanos() <= cut_off;
                    let there = if moved { cut_off } else { time };
                    let outcome = slid.record(time, &(there, number));
                    prop_assert_eq!(outcome, panes.record(time, (there, number)));
                }
                Step::Forward(by) => latest += by,
                Step::Watermark(behind) => {
                    let to = nanos(latest - behind).max(slid.at.watermark);
                    slid.watermark(to);
                    panes.watermark(to);
                }
                Step::Now(_) => {}
                Step::Restart => slid.restart(),
            }
            prop_assert_eq!(&slid.out, &by_slice(&aligned, &panes.out), "step {}", number);
        }
        slid.watermark(END);
        panes.watermark(END);
        prop_assert_eq!(&slid.out, &by_slice(&aligned, &panes.out));
        prop_assert!(slid.store.rows.is_empty() && slid.store.timers.is_empty());
        prop_assert!(slices >= 2);
    }

    #[test]
    fn a_restart_changes_no_bit_of_a_sum_that_rounds(
        (aligned, _) in overlapping(),
        prices in prop::collection::vec((-1e9_f64..1e9, 0_i64..8, 0_i64..30), 1..150),
        restarts in prop::collection::vec(0_usize..150, 0..20),
    ) {
        let slid = || {
            let sum = sum(|price: &f64| *price);
            Slid::new(Sliding::new(aligned.clone(), sum).lateness(some_nanos(40)))
        };
        let (mut one, mut other) = (slid(), slid());
        let mut latest = 0;
        for (number, (price, on, behind)) in prices.into_iter().enumerate() {
            latest += on;
            for key in [&mut one, &mut other] {
                let _ = key.record(latest - behind, &(price / 3.0));
                key.watermark(nanos(latest - 10));
            }
            if restarts.contains(&number) {
                other.restart();
            }
        }
        let bits = |out: &[Fired<f64>]| {
            out.iter().map(|fired| (fired.window, fired.value.to_bits())).collect::<Vec<_>>()
        };
        prop_assert_eq!(bits(&one.out), bits(&other.out));
    }
}

/// Counts what it is asked.
#[derive(Clone, Default)]
struct Counting(Rc<Cell<u64>>);

impl Aggregate<u64> for Counting {
    type State = u64;
    type Output = u64;
    const EXACT: bool = true;

    fn initial(&self) -> u64 {
        0
    }
    fn update(&self, state: &mut u64, record: &u64) {
        *state += record;
    }
    fn combine(&self, state: &mut u64, later: &u64) {
        self.0.set(self.0.get() + 1);
        *state += later;
    }
    fn output(&self, state: &u64) -> u64 {
        *state
    }
}

#[test]
fn a_slice_costs_three_combines_however_many_windows_it_is_in() {
    for slices in [2, 10, 1_000] {
        let counting = Counting::default();
        let aligned = sliding(some_nanos(slices * 10), some_nanos(10));
        let mut key = Slid::new(Sliding::new(aligned, counting.clone()));
        let records = 20 * slices;
        for time in 0..records * 10 {
            let _ = key.record(time, &1);
            key.watermark(nanos(time));
        }
        let combines = counting.0.get();
        assert!(combines <= 3 * records.unsigned_abs(), "{combines} for {slices}");
        let most = usize::try_from(slices).unwrap() + 3;
        assert!(key.store.most <= most, "{} rows for {slices}", key.store.most);
        // A record changes one row; a slice is made, told, and removed.
        let changes = key.store.changes;
        assert!(changes <= (records * 10 + records * 5).unsigned_abs(), "{changes}");
    }
}

#[test]
fn a_late_record_costs_as_much_as_it_corrects() {
    let counting = Counting::default();
    let aligned = sliding(some_nanos(10_000), some_nanos(10));
    let mut key = Slid::new(Sliding::new(aligned, counting.clone()).lateness(some_nanos(500)));
    let mut late = 0;
    for time in 0..60_000 {
        let _ = key.record(time, &1);
        key.watermark(nanos(time));
        if time % 7 == 0 && time > 20_000 {
            let before = (counting.0.get(), key.out.len());
            assert_eq!(key.record(time - 300, &1), Outcome::Late);
            late += 1;
            let corrected = key.out.len() - before.1;
            assert!((30..=31).contains(&corrected));
        }
    }
    let each = counting.0.get() / late;
    // Of 1,000 slices a window; some of it is what all slices cost.
    assert!(each < 200, "{each} combines");
}

#[test]
fn windows_that_do_not_overlap_are_refused_with_what_to_do() {
    let sliding =
        Sliding::<u64, _>::new(sliding(some_nanos(10), some_nanos(10)), Counting::default());
    let error = sliding.check().unwrap_err().to_string();
    assert!(error.contains("give them to `Windows`"), "{error}");
}

#[test]
fn the_ends_of_time_are_windows_too() {
    let aligned = sliding(some_nanos(100), some_nanos(10));
    for time in [i64::MIN, i64::MIN + 57, i64::MAX - 57, i64::MAX] {
        let mut key = Slid::new(Sliding::new(aligned.clone(), Counting::default()));
        assert_eq!(key.record(time, &1), Outcome::InTime);
        key.watermark(END);
        assert!(!key.out.is_empty() && key.out.iter().all(|fired| fired.value == 1));
        assert!(key.store.rows.is_empty() && key.store.timers.is_empty());
    }
}
