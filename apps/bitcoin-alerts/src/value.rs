//! [`Value`]: what a price leads to, as alerts compare it, exactly; and [`Spread`], of which a z-score is made.
//!
//! Invariant: comparisons are made with whole numbers of at most 256 bits: no quotient, root or binary fraction decides
//! whether an alert fires. Only what is shown is rounded.

use std::cmp::Ordering;

use ethnum::I256;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::average::{Average, RunningAverage, words};

/// A value of a product at one price.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    /// The average.
    Average(&'a RunningAverage),
    /// The price.
    Price(Decimal),
    /// What the price is now, and was.
    Change(Decimal, Decimal),
    /// The price in units, and the spread of those before it.
    Score(i128, Spread),
}

impl Value<'_> {
    /// How it compares with a level; none where there is no such value.
    #[inline]
    pub(crate) fn compare(&self, level: Decimal) -> Option<Ordering> {
        match self {
            Self::Average(average) => average.compare(level),
            Self::Price(price) => Some(price.cmp(&level)),
            Self::Change(now, then) => compare_change(*now, *then, level),
            Self::Score(price, spread) => Some(spread.compare(*price, level)),
        }
    }

    /// As people see it: rounded to 8 places, half-even; a z-score is cut to 4.
    pub(crate) fn shown(&self) -> Average {
        match self {
            Self::Average(average) => average.average().unwrap_or_default(),
            Self::Price(price) => Average::of(*price),
            Self::Change(now, then) => {
                let (now, then) = aligned(*now, *then);
                Average::of_quotient((now - then) * I256::from(100), then)
            }
            Self::Score(price, spread) => spread.shown(*price),
        }
    }
}

/// Both in units of the finer one.
fn aligned(a: Decimal, b: Decimal) -> (I256, I256) {
    let scale = a.scale().max(b.scale());
    let units = |it: Decimal| I256::from(it.mantissa()) * ten_to(scale - it.scale());
    (units(a), units(b))
}

fn ten_to(places: u32) -> I256 {
    I256::from(10).pow(places)
}

/// Whether `now` is more than `level` percent above `then`; none if that is not above zero.
///
/// 100 (now - then) / then <=> level is 100 now <=> (100 + level) then. Prices are below 10^28 units with up to 28
/// places, levels have up to 8: below 2^7 * 2^94 * 10^36 < 2^222 on one side, 2^60 * 2^94 * 10^28 < 2^250 on the other.
fn compare_change(now: Decimal, then: Decimal, level: Decimal) -> Option<Ordering> {
    if then.is_sign_negative() || then.is_zero() {
        return None;
    }
    let (now, then, level) = (now.normalize(), then.normalize(), level.normalize());
    let whole = I256::from(level.mantissa()) + I256::from(100) * ten_to(level.scale());
    let left = I256::from(100) * I256::from(now.mantissa()) * ten_to(then.scale() + level.scale());
    let right = whole * I256::from(then.mantissa()) * ten_to(now.scale());
    Some(left.cmp(&right))
}

/// How many places of a price count for a z-score.
const UNIT_PLACES: u32 = 8;
/// Prices of so many units or more have no z-score: above ten million million.
const UNITS_MAX: i128 = 1 << 70;

/// A price in units of 10^-8, rounded half-even; none if it is too large for a z-score.
pub(crate) fn units(price: Decimal) -> Option<i128> {
    let rounded = price.round_dp(UNIT_PLACES);
    let power = 10_i128.pow(UNIT_PLACES.saturating_sub(rounded.scale()));
    rounded.mantissa().checked_mul(power).filter(|units| units.abs() < UNITS_MAX)
}

/// How many prices there were, their sum, and that of their squares, in units: exact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    sum: i128,
    #[serde(with = "words")]
    squares: I256,
}

impl Spread {
    /// That of one price.
    pub(crate) fn of(price: Decimal) -> Self {
        let mut one = Self::default();
        if let Some(units) = units(price) {
            one = Self { count: 1, sum: units, squares: I256::from(units) * I256::from(units) };
        }
        one
    }

    /// With all prices of `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    /// Without the prices of `other`, which it has.
    pub(crate) fn take(&mut self, other: &Self) {
        self.count -= other.count;
        self.sum -= other.sum;
        self.squares -= other.squares;
    }

    /// n^2 times the variance, and n times the distance of `price` from the mean.
    fn parts(&self, price: i128) -> (I256, I256) {
        let count = I256::from(self.count);
        let sum = I256::from(self.sum);
        (count * self.squares - sum * sum, count * I256::from(price) - sum)
    }

    /// Whether prices differ, so that there is a deviation to measure in.
    pub(crate) fn varies(&self) -> bool {
        self.parts(0).0 > I256::ZERO
    }

    /// How many deviations `price` is above the mean, beside `level`.
    ///
    /// With d and v of `parts`, z is d / sqrt(v): the squares are compared where both have one sign. There are fewer
    /// than 2^32 prices below 2^70, and levels of up to 1,000 have 4 places: below 2^204 * 2^27 on one side, 2^204 *
    /// 2^48 on the other.
    fn compare(&self, price: i128, level: Decimal) -> Ordering {
        let (variance, distance) = self.parts(price);
        let level_units =
            I256::from(level.mantissa()) * ten_to(4_u32.saturating_sub(level.scale()));
        let is_negative = (distance.is_negative(), level_units.is_negative());
        let squares = || {
            let left = distance * distance * ten_to(8);
            left.cmp(&(level_units * level_units * variance))
        };
        match is_negative {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => squares(),
            (true, true) => squares().reverse(),
        }
    }

    fn shown(&self, price: i128) -> Average {
        let (variance, distance) = self.parts(price);
        if variance <= I256::ZERO {
            return Average::default();
        }
        // Units of 10^-4.
        let root = square_root(distance * distance * ten_to(8) / variance);
        let units = root.saturating_mul(10_000);
        Average::of_units(if distance.is_negative() { -units } else { units })
    }
}

/// The root of a number that is not negative, cut to a whole one.
fn square_root(number: I256) -> i128 {
    let (mut root, mut bit) = (I256::ZERO, I256::ONE << 126);
    while bit > I256::ZERO {
        let more: I256 = root | bit;
        if more.checked_mul(more).is_some_and(|square| square <= number) {
            root = more;
        }
        bit >>= 1;
    }
    root.as_i128()
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use proptest::prelude::*;

    use super::*;

    /// As the finest unit there is has it.
    fn big(decimal: Decimal) -> BigInt {
        BigInt::from(decimal.mantissa()) * BigInt::from(10).pow(28 - decimal.scale())
    }

    fn price() -> impl Strategy<Value = Decimal> {
        (1..=999_999_999_999_999_999_i64, 0..=28_u32)
            .prop_map(|(mantissa, scale)| Decimal::new(mantissa, 0) * Decimal::new(1, scale.min(9)))
    }

    fn level(most: i64, places: u32) -> impl Strategy<Value = Decimal> {
        let units = most * 10_i64.pow(places);
        prop_oneof![
            (-units..=units).prop_map(move |units| Decimal::new(units, places)),
            (-10..=10_i64).prop_map(Decimal::from),
        ]
    }

    proptest! {
        #[test]
        fn changes_compare_as_whole_numbers_of_any_size(
            (now, then, level) in (price(), price(), level(1_000_000, 8))
        ) {
            let unit = BigInt::from(10).pow(28);
            let left = BigInt::from(100) * (big(now) - big(then)) * &unit;
            let right = big(level) * big(then);
            prop_assert_eq!(Value::Change(now, then).compare(level), Some(left.cmp(&right)));
        }

        #[test]
        fn scores_compare_as_whole_numbers_of_any_size(
            prices in prop::collection::vec(prop_oneof![price(), (1..20_i64).prop_map(Decimal::from)], 2..20),
            now in prop_oneof![price(), (1..20_i64).prop_map(Decimal::from)],
            level in level(1_000, 4),
        ) {
            let known: Vec<i128> = prices.iter().filter_map(|price| units(*price)).collect();
            let mut spread = Spread::default();
            prices.iter().for_each(|price| spread.add(&Spread::of(*price)));
            prop_assert_eq!(spread.count as usize, known.len());
            let (Some(now), true) = (units(now), spread.varies()) else { return Ok(()) };
            let count = BigInt::from(known.len());
            let sum: BigInt = known.iter().map(|units| BigInt::from(*units)).sum();
            let squares: BigInt = known.iter().map(|units| BigInt::from(*units).pow(2)).sum();
            let variance = &count * squares - &sum * &sum;
            let distance = count * now - sum;
            let is_above = distance >= BigInt::ZERO;
            // z <=> level, by the sign of each and the squares.
            let unit = BigInt::from(10).pow(28);
            let squares = (distance.pow(2) * unit.pow(2)).cmp(&(big(level).pow(2) * variance));
            let expected = match (is_above, !level.is_sign_negative() || level.is_zero()) {
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (true, true) => squares,
                (false, false) => squares.reverse(),
            };
            prop_assert_eq!(Value::Score(now, spread).compare(level), Some(expected));
        }
    }

    #[test]
    fn what_is_shown_is_rounded() {
        let of = |text: &str| text.parse::<Decimal>().unwrap();
        let change = |now, then| Value::Change(of(now), of(then)).shown().to_string();
        assert_eq!(change("105", "100"), "5");
        assert_eq!(change("1", "3"), "-66.66666667");
        let mut spread = Spread::default();
        for price in ["2", "4", "4", "4", "5", "5", "7", "9"] {
            spread.add(&Spread::of(of(price)));
        }
        // Mean 5, deviation 2.
        let score = |now| Value::Score(units(of(now)).unwrap(), spread.clone());
        assert_eq!(score("9").shown().to_string(), "2");
        assert_eq!(score("0").shown().to_string(), "-2.5");
        assert_eq!(score("5.3333").shown().to_string(), "0.1666");
        assert_eq!(score("9").compare(2.into()), Some(Ordering::Equal));
        assert_eq!(score("1").compare((-2).into()), Some(Ordering::Equal));
    }

    #[test]
    fn what_is_taken_out_was_never_there() {
        let mut spread = Spread::of(7.into());
        spread.add(&Spread::of(Decimal::new(15, 1)));
        spread.take(&Spread::of(7.into()));
        assert_eq!(spread, Spread::of(Decimal::new(15, 1)));
        assert_eq!(units(Decimal::MAX), None);
        assert_eq!(Spread::of(Decimal::MAX), Spread::default());
    }
}
