//! Each aggregate beside a plain computation over the records.
//!
//! Invariant: a model is written without the code it judges.

use std::cmp::Reverse;

use num_bigint::BigInt;

use super::*;
use crate::decimal::Portable;

/// Whether `quotient` is `numerator` / `divisor` rounded half to even, with as many places as fit.
fn is_rounded(quotient: Decimal, numerator: &BigInt, divisor: &BigInt) -> bool {
    let ten = BigInt::from(10);
    let limit = BigInt::from(1) << 96;
    let magnitude: BigInt = numerator.magnitude().clone().into();
    // The most places of which no rounding leaves the 96 bits, as they are documented.
    let Some(places) =
        (0..=28).rev().find(|places| (&magnitude / divisor + 1) * ten.pow(*places) < limit)
    else {
        // Whole numbers only, or too large.
        return quotient.abs() == Decimal::MAX || quotient.scale() == 0;
    };
    let scaled = &magnitude * ten.pow(places);
    let (down, rest) = (&scaled / divisor, &scaled % divisor);
    let twice = &rest * 2;
    let odd = &down % 2 == BigInt::from(1);
    let up = twice > *divisor || (twice == *divisor && odd);
    let rounded = down + i32::from(up);
    let found = BigInt::from(quotient.abs().mantissa()) * ten.pow(places - quotient.scale());
    found == rounded
        && (rounded == BigInt::ZERO || (quotient.is_sign_negative() == (numerator < &BigInt::ZERO)))
}

/// In units of 10^-28.
fn units(decimal: Decimal) -> BigInt {
    BigInt::from(decimal.mantissa()) * BigInt::from(10).pow(28 - decimal.scale())
}

fn any_decimal() -> impl Strategy<Value = Decimal> {
    let mantissa = prop_oneof![
        -100..100_i128,
        any::<i64>().prop_map(i128::from),
        -(1 << 96) + 1..1_i128 << 96
    ];
    (mantissa, 0..=28_u32).prop_map(|(m, scale)| Decimal::from_i128_with_scale(m, scale))
}

proptest! {
    #[test]
    fn decimals(all in prop::collection::vec(any_decimal(), 0..12)) {
        let unit = BigInt::from(10).pow(28);
        let exact: BigInt = all.iter().copied().map(units).sum();
        let Portable(total) = of_all(&sum(Decimal::clone), &all);
        prop_assert!(is_rounded(total, &exact, &unit), "{}", total);
        match of_all(&mean(Decimal::clone), &all) {
            None => prop_assert!(all.is_empty()),
            Some(Portable(mean)) => {
                prop_assert!(is_rounded(mean, &exact, &(unit * all.len())), "{}", mean);
            }
        }
        prop_assert_eq!(of_all(&min(Decimal::clone), &all), all.iter().min().copied().map(Portable));
        prop_assert_eq!(of_all(&max(Decimal::clone), &all), all.iter().max().copied().map(Portable));
    }

    #[test]
    fn volume_weighted(all in prop::collection::vec((-1_000_000..1_000_000_i64, 0..=8_u32, -20..1_000_i64), 0..12)) {
        let price = |t: &(i64, u32, i64)| Decimal::new(t.0, t.1);
        let products: BigInt = all.iter().map(|t| units(price(t)) * t.2).sum();
        let volume: i64 = all.iter().map(|t| t.2).sum();
        let average = of_all(&vwap(price, |t| Decimal::from(t.2)), &all);
        let whole = of_all(&vwap(|t: &(i64, u32, i64)| t.0, |t| t.2), &all);
        let float = of_all(&vwap(|t: &(i64, u32, i64)| t.0 as f64, |t| t.2 as f64), &all);
        prop_assert_eq!(average.is_some(), volume != 0);
        prop_assert!(near(whole, float, 1e9));
        if let Some(Portable(average)) = average {
            let sign = volume.signum();
            let divisor = BigInt::from(10).pow(28) * volume.abs();
            prop_assert!(is_rounded(average, &(products * sign), &divisor), "{}", average);
            let plain: i128 = all.iter().map(|t| i128::from(t.0) * i128::from(t.2)).sum();
            prop_assert_eq!(whole, Some(plain as f64 / volume as f64));
        }
    }

    #[test]
    fn integers(all in prop::collection::vec(any::<i64>(), 0..20)) {
        let exact: i128 = all.iter().copied().map(i128::from).sum();
        let saturated = exact.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        prop_assert_eq!(of_all(&sum(i64::clone), &all), saturated);
        let expected = (!all.is_empty()).then(|| exact as f64 / all.len() as f64);
        prop_assert_eq!(of_all(&mean(i64::clone), &all), expected);
        prop_assert_eq!(of_all(&(min(i64::clone), max(i64::clone)), &all),
            (all.iter().min().copied(), all.iter().max().copied()));
        prop_assert_eq!(of_all(&count(), &all), all.len() as u64);
        let unsigned: Vec<u64> = all.iter().map(|n| n.unsigned_abs()).collect();
        let exact: u128 = unsigned.iter().copied().map(u128::from).sum();
        prop_assert_eq!(of_all(&sum(u64::clone), &unsigned), u64::try_from(exact).unwrap_or(u64::MAX));
    }

    #[test]
    fn floating_point(all in prop::collection::vec(-1e6..1e6_f64, 1..50), alpha in 0.0..=1.0_f64) {
        let n = all.len() as f64;
        let total: f64 = all.iter().sum();
        let average = total / n;
        let squares: f64 = all.iter().map(|x| (x - average).powi(2)).sum();
        let moved = all[1..].iter().fold(all[0], |before, x| alpha * x + (1.0 - alpha) * before);
        let take = f64::clone;
        let found = of_all(
            &(sum(take), mean(take), variance(take), deviation(take), sample_variance(take),
                sample_deviation(take), ewma(alpha, take)),
            &all,
        );
        prop_assert!(near(Some(found.0), Some(total), 1e6 * n));
        prop_assert!(near(found.1, Some(average), 1e6));
        prop_assert!(near(found.2, Some(squares / n), squares / n + 1e-3));
        prop_assert!(near(found.3, Some((squares / n).sqrt()), 1e6));
        let sample = (all.len() > 1).then(|| squares / (n - 1.0));
        prop_assert!(near(found.4, sample, squares + 1e-3));
        prop_assert!(near(found.5, sample.map(f64::sqrt), 1e6));
        prop_assert!(near(found.6, Some(moved), 1e6));
    }

    #[test]
    fn ranks_and_distinct_values(records in trades(40), size in 0..6_usize) {
        let mut sorted = records.clone();
        sorted.sort_by_key(|t| Reverse(t.price));
        let ids = |all: &[Trade]| all.iter().map(|t| t.id).collect::<Vec<_>>();
        let top = of_all(&top_k(size, |t: &Trade| t.price), &records);
        prop_assert_eq!(ids(&top), ids(&sorted[..size.min(sorted.len())]));
        let first = of_all(&max_by(|t: &Trade| t.price), &records);
        prop_assert_eq!(first.map(|t| t.id), sorted.first().map(|t| t.id));
        sorted = records.clone();
        sorted.sort_by_key(|t| t.price);
        let bottom = of_all(&top_k(size, |t: &Trade| Reverse(t.price)), &records);
        prop_assert_eq!(ids(&bottom), ids(&sorted[..size.min(sorted.len())]));
        let least = of_all(&min_by(|t: &Trade| t.price), &records);
        prop_assert_eq!(least.map(|t| t.id), sorted.first().map(|t| t.id));

        let collected = of_all(&collect(size), &records);
        prop_assert_eq!(ids(&collected.records), ids(&records[..size.min(records.len())]));
        prop_assert_eq!(collected.left_out, records.len().saturating_sub(size) as u64);
        let mut users: Vec<&str> = records.iter().map(|t| t.user.as_str()).collect();
        users.sort_unstable();
        users.dedup();
        prop_assert_eq!(of_all(&distinct(|t: &Trade| t.user.clone()), &records), users.len() as u64);
        prop_assert_eq!(of_all(&first_and_last(), &records),
            (records.first().map(|t| t.id), records.last().map(|t| t.id)));

        // NaN is no value, and -0 is less than 0.
        let levels = records.iter().map(|t| t.level).filter(|level| !level.is_nan());
        let bits = |level: Option<f64>| level.map(f64::to_bits);
        let least = of_all(&min(|t: &Trade| t.level), &records);
        prop_assert_eq!(bits(least), bits(levels.clone().min_by(f64::total_cmp)));
        let greatest = of_all(&max(|t: &Trade| Some(t.level)), &records);
        prop_assert_eq!(bits(greatest), bits(levels.clone().max_by(f64::total_cmp)));
        prop_assert_eq!(of_all(&mean(|t: &Trade| t.level), &records).is_some(), levels.count() > 0);
    }
}

fn first_and_last() -> impl Aggregate<Trade, Output = (Option<u32>, Option<u32>)> {
    (first(|t: &Trade| t.id), last(|t: &Trade| t.id))
}

#[test]
fn sums_are_compensated() {
    let sum = sum(f64::clone);
    assert_eq!(of_all(&sum, &[1.0, 1e100, 1.0, -1e100]), 2.0);
    assert_eq!(of_all(&sum, &[0.1; 10]), 1.0);
    let mut parts = state_of(&sum, &[1.0, 1e100]);
    sum.combine(&mut parts, &state_of(&sum, &[1.0, -1e100]));
    assert_eq!(sum.output(&parts), 2.0);
    assert_eq!(of_all(&sum, &[f64::MAX, f64::MAX]), f64::INFINITY);
    assert_eq!(of_all(&sum, &[f64::NEG_INFINITY, 5.0]), f64::NEG_INFINITY);
    assert_eq!(of_all(&sum, &[f64::NAN]), 0.0);
    assert!(of_all(&sum, &[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
}

#[test]
fn variance_far_from_zero_keeps_its_digits() {
    let values = [4.0, 7.0, 13.0, 16.0].map(|n| n + 1e9);
    let variance = sample_variance(f64::clone);
    assert_eq!(of_all(&variance, &values), Some(30.0));
    let mut parts = state_of(&variance, &values[..1]);
    variance.combine(&mut parts, &state_of(&variance, &values[1..]));
    assert!((variance.output(&parts).unwrap() - 30.0).abs() < 1e-5);
    assert_eq!(of_all(&deviation(f64::clone), &[1e9 / 3.0; 100]), Some(0.0));
}

#[test]
fn ends_of_types_saturate() {
    assert_eq!(of_all(&sum(i8::clone), &[i8::MAX, i8::MAX]), 254);
    assert_eq!(of_all(&sum(i64::clone), &[i64::MAX, i64::MAX, i64::MIN]), i64::MAX - 1);
    let most = [Decimal::MAX; 3];
    assert_eq!(of_all(&sum(Decimal::clone), &most).0, Decimal::MAX);
    assert_eq!(of_all(&mean(Decimal::clone), &most).unwrap().0, Decimal::MAX);
    assert_eq!(of_all(&sum(|d: &Decimal| -d), &most).0, Decimal::MIN);
    assert_eq!(
        of_all(&sum(Decimal::clone), &[Decimal::MAX, Decimal::MAX, Decimal::MIN]).0,
        Decimal::MAX
    );
    let products = of_all(&vwap(Decimal::clone, Decimal::clone), &most);
    assert_eq!(products.unwrap().0, Decimal::ONE, "a product saturates");
    let wide = vwap(|n: &i64| *n, |n| *n);
    assert_eq!(of_all(&wide, &[i64::MIN; 1000]), Some(i64::MIN as f64));
    assert_eq!(of_all(&wide, &[5, -5]), None);
    assert_eq!(of_all(&ewma(f64::NAN, f64::clone), &[1.0, 2.0]), Some(2.0));
    assert_eq!(of_all(&ewma(-3.0, f64::clone), &[1.0, 2.0]), Some(1.0));
    assert_eq!(
        of_all(&quantiles(&[f64::NAN, -1.0, 7.0], f64::clone), &[1.0, 2.0]),
        [1.0, 1.0, 2.0]
    );
}

#[test]
fn what_is_missing_is_passed_over() {
    type Pair = (Option<i64>, Option<i64>);
    let records: [Pair; 4] = [(Some(4), None), (None, Some(9)), (Some(2), Some(3)), (None, None)];
    let price = |pair: &Pair| pair.0;
    let quantity = |pair: &Pair| pair.1;
    assert_eq!(of_all(&(count(), sum(price), mean(price)), &records), (4, 6, Some(3.0)));
    assert_eq!(
        of_all(&(min(price), max(price), variance(price)), &records),
        (Some(2), Some(4), Some(1.0))
    );
    assert_eq!(of_all(&vwap(price, quantity), &records), Some(2.0));
    assert_eq!(of_all(&top_k(9, price), &records), [records[0], records[2]]);
    assert_eq!(of_all(&(ewma(1.0, price), median(price)), &records), (Some(2.0), Some(2.0)));
    assert_eq!(of_all(&last(price), &records), Some(None), "by place, not by value");
}
