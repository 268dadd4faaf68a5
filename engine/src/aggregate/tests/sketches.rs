//! Sketches beside what they estimate.
//!
//! Invariant: the errors that are documented hold; the bytes of a state are those of every version.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::key::Key;

#[track_caller]
fn estimates<V: Key>(values: &[V], within: f64) {
    let estimate = of_all(&distinct_sketch(V::clone), values) as f64;
    let error = (estimate - values.len() as f64).abs();
    assert!(error <= within, "{estimate} of {}", values.len());
}

#[test]
fn few_different_values_are_nearly_counted() {
    for size in [0, 1, 2, 3, 10, 30] {
        for start in 0..50_u64 {
            let values: Vec<u64> = (start * 1000..).take(size).collect();
            estimates(&values, if size < 4 { 0.0 } else { 1.0 });
        }
    }
    estimates(&(0..300_u32).collect::<Vec<_>>(), 6.0);
}

#[test]
fn many_different_values_are_estimated() {
    // Four standard errors.
    for size in [500, 511, 512, 513, 1_000, 4_096, 10_000, 20_000, 100_000, 1_000_000_u32] {
        let values: Vec<u32> = (0..size).map(|n| n.wrapping_mul(2_654_435_761)).collect();
        estimates(&values, f64::from(size) * 0.065);
    }
    let names: Vec<String> = (0..5_000).map(|n| format!("user-{n}")).collect();
    estimates(&names, 325.0);
}

#[test]
fn keys_of_one_partition_are_estimated_as_well() {
    let of_one = |key: &u64| key.placement_hash() % 1024 == 7;
    let values: Vec<u64> = (0..).filter(of_one).take(3_000).collect();
    estimates(&values, 195.0);
}

#[test]
fn the_error_is_about_what_it_is_said_to_be() {
    let errors: Vec<f64> = (0..200_u64)
        .map(|run| {
            let values: Vec<u64> = (run << 32..).take(20_000).collect();
            of_all(&distinct_sketch(u64::clone), &values) as f64 / 20_000.0 - 1.0
        })
        .collect();
    let (mean, deviation) = of_all(&(mean(f64::clone), deviation(f64::clone)), &errors);
    assert!(mean.unwrap().abs() < 0.004, "biased: {mean:?}");
    assert!((0.013..0.02).contains(&deviation.unwrap()), "{deviation:?}");
}

proptest! {
    #[test]
    fn a_sketch_is_of_the_set(values in prop::collection::vec(0..2_000_u32, 0..3_000)) {
        let set: BTreeSet<u32> = values.iter().copied().collect();
        let sketch = distinct_sketch(u32::clone);
        prop_assert_eq!(encode(&state_of(&sketch, &values)), encode(&{
            let mut state = Aggregate::<u32>::initial(&sketch);
            for value in set.iter().rev() {
                sketch.update(&mut state, value);
            }
            state
        }));
        prop_assert_eq!(of_all(&distinct(u32::clone), &values), set.len() as u64);
        let error = of_all(&sketch, &values).abs_diff(set.len() as u64) as f64;
        prop_assert!(error <= 2.0 + 0.08 * set.len() as f64, "{} of {}", error, set.len());
    }

    #[test]
    fn sketches_combine_whether_few_or_many(
        sizes in prop::collection::vec(prop_oneof![Just(0), 1..20_u32, 400..700_u32], 1..5),
    ) {
        let sketch = distinct_sketch(u32::clone);
        let (mut all, mut combined) = (Vec::new(), Aggregate::<u32>::initial(&sketch));
        for (start, size) in (0..).step_by(500).zip(sizes) {
            let part: Vec<u32> = (start..start + size).collect();
            sketch.combine(&mut combined, &state_of(&sketch, &part));
            all.extend(part);
        }
        prop_assert_eq!(encode(&combined), encode(&state_of(&sketch, &all)));
    }

    #[test]
    fn quantiles_are_within_their_error(
        values in prop::collection::vec(
            prop_oneof![2 => -1e3..1e3_f64, 1 => 1e-9..1e9_f64, 1 => level()], 1..200),
        shares in prop::collection::vec(0.0..=1.0_f64, 1..5),
    ) {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|n| !n.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let sketched = of_all(&quantiles(&shares, f64::clone), &values);
        if sorted.is_empty() {
            prop_assert!(sketched.is_empty());
            return Ok(());
        }
        for (share, sketched) in shares.iter().zip(sketched) {
            let exact = sorted[(share * (sorted.len() - 1) as f64) as usize];
            let within = exact.abs() / 128.0 + 2.3e-308;
            prop_assert!(sketched == exact || (sketched - exact).abs() <= within,
                "{} is {}, not {}", share, exact, sketched);
        }
    }

    #[test]
    fn more_buckets_than_there_may_be(
        exponents in Just((-5_000..5_000).collect::<Vec<i32>>()).prop_shuffle(),
        cut in 0..10_000_usize,
    ) {
        // 10,000 numbers, each in a bucket of its own.
        let values: Vec<f64> = exponents
            .iter()
            .map(|n| f64::from_bits(u64::from((n + 60_000).unsigned_abs()) << 46 | 1 << 45))
            .collect();
        let high = quantile(0.6, f64::clone);
        let whole = state_of(&high, &values);
        let mut combined = state_of(&high, &values[..cut]);
        high.combine(&mut combined, &state_of(&high, &values[cut..]));
        prop_assert_eq!(encode(&combined), encode(&whole));
        let mut sorted = values;
        sorted.sort_by(f64::total_cmp);
        prop_assert_eq!(encode(&state_of(&high, &sorted)), encode(&whole));
        prop_assert_eq!(high.output(&whole), Some(sorted[5_999]));
        // What is below the 4,096 greatest is counted with the least of them.
        let low = quantile(0.3, f64::clone);
        prop_assert_eq!(low.output(&whole), Some(sorted[10_000 - 4_096]));
        prop_assert_eq!(quantile(0.0, f64::clone).output(&whole), Some(sorted[0]));
    }
}

#[test]
fn the_bytes_of_sketches_are_specified() {
    // Of a checkpoint of an earlier version, more must be counted in: these never change.
    let few: Vec<u32> = (0..100).collect();
    let many: Vec<u32> = (0..10_000).collect();
    let sketch = distinct_sketch(u32::clone);
    let numbers = quantile(0.5, |n: &u32| f64::from(*n) - 40.0);
    let bytes = [
        encode(&state_of(&sketch, &few)),
        encode(&state_of(&sketch, &many)),
        encode(&state_of(&numbers, &few)),
    ];
    assert_eq!(
        bytes.map(|bytes| xxh3_64(&bytes)),
        [7_507_395_565_691_322_067, 7_784_999_668_403_597_233, 11_615_603_651_639_345_357]
    );
}
