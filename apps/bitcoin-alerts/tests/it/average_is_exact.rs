//! The average and its comparisons, against unbounded integers.

use bitcoin_alerts::{Average, RunningAverage};
use num_bigint::BigInt;
use proptest::prelude::*;
use rust_decimal::Decimal;

/// In units of 10^-28, which holds any decimal.
fn big(decimal: Decimal) -> BigInt {
    BigInt::from(decimal.mantissa()) * BigInt::from(10).pow(28 - decimal.scale())
}

/// `total / count` at 8 places, half-even, as text: by long division of magnitudes.
fn rounded(total: &BigInt, count: usize) -> String {
    let zero = BigInt::from(0);
    let divisor = BigInt::from(count) * BigInt::from(10).pow(20);
    let magnitude = if *total < zero { -total } else { total.clone() };
    let (mut quotient, rest) = (&magnitude / &divisor, &magnitude % &divisor);
    let twice: BigInt = rest * 2;
    let odd = &quotient % 2 == BigInt::from(1);
    if twice > divisor || (twice == divisor && odd) {
        quotient += 1;
    }
    let digits = format!("{quotient:0>9}");
    let (whole, fraction) = digits.split_at(digits.len() - 8);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if *total < zero && quotient != zero { "-" } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

/// Decimals of up to 18 digits, from ordinary prices to both ends of what is accepted.
fn decimals() -> impl Strategy<Value = Decimal> {
    let digits = prop_oneof![
        4 => 1..10_000_000_i64,
        2 => -999_999_999_999_999_999..=999_999_999_999_999_999_i64,
    ];
    let scale = prop_oneof![4 => 0..=12_u32, 1 => 13..=28_u32];
    prop_oneof![
        9 => (digits, scale).prop_map(|(digits, scale)| Decimal::new(digits, scale)),
        1 => (1..=79_i128, 0..=27_u32)
            .prop_map(|(digits, zeros)| Decimal::from_i128_with_scale(digits * 10_i128.pow(zeros), 0)),
    ]
}

proptest! {
    #[test]
    fn averages_and_comparisons_are_exact(
        prices in proptest::collection::vec(decimals(), 1..40),
        threshold in decimals(),
    ) {
        let mut average = RunningAverage::default();
        let mut total = BigInt::from(0);
        for (index, price) in prices.iter().enumerate() {
            average.observe(*price);
            total += big(*price);
            let count = index + 1;
            prop_assert_eq!(average.average().unwrap().to_string(), rounded(&total, count));
            let order = total.cmp(&(big(threshold) * count));
            prop_assert_eq!(average.compare(threshold), Some(order));
            // Thresholds close by, where rounding would show.
            if count == 1 {
                prop_assert_eq!(average.compare(*price), Some(std::cmp::Ordering::Equal));
            }
        }
        // The form that crosses processes and enters checkpoints keeps all of it.
        let bytes = postcard::to_stdvec(&average).unwrap();
        let back: RunningAverage = postcard::from_bytes(&bytes).unwrap();
        prop_assert_eq!(back.average(), average.average());
        prop_assert_eq!(back.compare(threshold), average.compare(threshold));
        let json = serde_json::to_string(&average.average().unwrap()).unwrap();
        prop_assert_eq!(serde_json::from_str::<Average>(&json).unwrap(), average.average().unwrap());
    }
}

/// The bytes of an average that was made of `prices` in parts of those lengths.
fn in_parts(prices: &[Decimal], lengths: &[usize]) -> Vec<u8> {
    let (mut whole, mut rest) = (RunningAverage::default(), prices);
    for length in lengths.iter().chain([&usize::MAX]) {
        let (now, later) = rest.split_at((*length).min(rest.len()));
        let mut part = RunningAverage::default();
        now.iter().for_each(|price| part.observe(*price));
        whole.combine(&part);
        rest = later;
    }
    postcard::to_stdvec(&whole).unwrap()
}

proptest! {
    /// What an exact aggregate must: the same state, to the last bit, whatever the order and the grouping.
    #[test]
    fn parts_make_the_same_average_in_any_order_and_grouping(
        (prices, shuffled) in proptest::collection::vec(decimals(), 0..30)
            .prop_flat_map(|prices| (Just(prices.clone()), Just(prices).prop_shuffle())),
        lengths in proptest::collection::vec(0..5_usize, 0..8),
        others in proptest::collection::vec(0..9_usize, 0..8),
    ) {
        let mut plain = RunningAverage::default();
        prices.iter().for_each(|price| plain.observe(*price));
        let plain = postcard::to_stdvec(&plain).unwrap();
        prop_assert_eq!(&in_parts(&prices, &lengths), &plain);
        prop_assert_eq!(&in_parts(&shuffled, &others), &plain);
    }
}

#[test]
fn the_largest_prices_do_not_overflow() {
    let mut average = RunningAverage::default();
    for _ in 0..1000 {
        average.observe(Decimal::MAX);
    }
    assert_eq!(average.compare(Decimal::MAX), Some(std::cmp::Ordering::Equal));
    assert_eq!(average.average().unwrap().to_string(), Decimal::MAX.to_string());
    average.observe(Decimal::new(1, 28));
    assert_eq!(average.compare(Decimal::MAX), Some(std::cmp::Ordering::Less));
}

#[test]
fn before_the_first_price_there_is_no_average() {
    let average = RunningAverage::default();
    assert_eq!((average.count(), average.average()), (0, None));
    assert_eq!(average.compare(Decimal::ZERO), None);
}

#[test]
fn text_that_is_no_average_is_refused() {
    for bad in ["", "-", "1.123456789", "1e5", "+1", ".5", "1,5", "９"] {
        assert!(bad.parse::<Average>().is_err(), "{bad}");
    }
}
