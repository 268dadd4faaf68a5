//! [`Counts`] beside a list of all records.
//!
//! Invariant: a window is a run of that list.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn windows_are_runs_of_the_records(
        size in 1_u64..20,
        slide in 1_u64..20,
        steps in prop::collection::vec((0_u32..12, any::<bool>(), any::<bool>()), 1..30),
    ) {
        let counts = Counts::sliding(size, slide, List).flush_after(Clock::Engine, some_nanos(10));
        let mut key = Counted::new(counts);
        let [long, step] = [size, slide].map(|size| usize::try_from(size).unwrap());
        let (mut all, mut told): (Vec<u32>, Vec<Vec<u32>>) = (Vec::new(), Vec::new());
        // Where the next window starts, and the first record that is in no window told.
        let (mut start, mut untold) = (0, 0);
        let mut next = 0;
        for (records, flushes, restarts) in steps {
            for _ in 0..records {
                key.records([next]);
                all.push(next);
                next += 1;
                if all.len() == start + long {
                    told.push(all[start..].to_vec());
                    untold = all.len();
                    start += step;
                }
            }
            let pending = all.len().saturating_sub(untold.max(start.min(untold + step)));
            let pending = if start > all.len() { 0 } else { pending };
            prop_assert_eq!(key.pending(), pending as u64);
            if restarts {
                key.store = key.store.restored();
                key.cache = Cache::default();
            }
            if flushes {
                key.now(key.at.now.after(some_nanos(10)));
                if pending > 0 {
                    told.push(all[start..].to_vec());
                    (start, untold) = (all.len(), all.len());
                }
            }
            prop_assert!(key.store.rows.len() as u64 <= size + 2);
            let found: Vec<_> = key.out.iter().map(|fired| fired.value.clone()).collect();
            prop_assert_eq!(&found, &told);
        }
        prop_assert!(key.out.windows(2).all(|pair| pair[0].window < pair[1].window));
        for fired in &key.out {
            prop_assert_eq!(fired.kind == Kind::OnTime, fired.count == size);
        }
    }

    #[test]
    fn windows_are_numbered(size in 1_u64..20, slide in 1_u64..20, records in 0_u64..150) {
        let mut key = Counted::new(Counts::sliding(size, slide, List));
        key.records(0..records);
        for (number, fired) in (0..).zip(&key.out) {
            prop_assert_eq!(fired.window, number);
            let run = number * slide..number * slide + size;
            prop_assert_eq!(&fired.value, &run.collect::<Vec<_>>());
        }
        let expected = (records + slide).saturating_sub(size) / slide;
        prop_assert_eq!(key.out.len() as u64, if records < size { 0 } else { expected });
    }
}

#[test]
fn sizes_that_cannot_be_are_told_with_what_to_do() {
    for (size, slide, part) in [
        (0, 1, "at least 1 record"),
        (1, 0, "starts at least 1 after"),
        (1_000_001, 1_000, "greater common divisor"),
    ] {
        let counts = Counts::<u32, _>::sliding(size, slide, List);
        let error = counts.check().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        // Nothing is asked of it then; yet it does not panic.
        let mut key = Counted { counts, ..Counted::new(Counts::new(1, List)) };
        key.records(0..3);
    }
    let never = Counts::<u32, _>::new(2, List).flush_after(Clock::Event, Duration::ZERO).check();
    assert!(never.unwrap_err().to_string().contains("wait for a full window of nothing"));
}

#[test]
fn the_rest_is_told_when_event_time_has_passed_and_when_the_input_has_ended() {
    let counts = Counts::new(3, List).flush_after(Clock::Event, some_nanos(10)).flush_at_end();
    let mut key = Counted::new(counts);
    key.at.now = nanos(100);
    key.records([1, 2]);
    key.watermark(nanos(109));
    assert_eq!(key.told().len(), 0);
    key.watermark(nanos(110));
    assert_eq!(key.told(), [[1, 2]]);
    key.records([3]);
    key.watermark(END);
    assert_eq!(key.told(), [[3]]);
}
