//! [`Wide`]: exact sums of decimals and of products, in 256 bits.
//!
//! Invariant: adding never rounds; a quotient is rounded once, half to even.

use ethnum::{I256, U256};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// A decimal (below 2^96, up to 28 places) fits units of 10^-28, and 2^64 of them 256 bits:
/// 2^96 * 10^28 * 2^64 < 2^254.
const PLACES: u32 = Decimal::MAX_SCALE;

/// The largest number that the 96 bits of a decimal hold.
const MANTISSA_MAX: u128 = (1 << 96) - 1;

const TWO_TO_128: f64 = 340_282_366_920_938_463_463_374_607_431_768_211_456.0;

/// The powers of ten that fit in a decimal's places.
const POWERS: [u128; PLACES as usize + 1] = {
    let mut powers = [1; PLACES as usize + 1];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

fn power(places: u32) -> u128 {
    POWERS.get(places as usize).copied().unwrap_or(1)
}

/// A sum of whole numbers, as two words, which formats know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wide {
    high: i128,
    low: u128,
}

impl Wide {
    pub(super) fn add(&mut self, other: &Self) {
        *self = Self::from(I256::from(*self).saturating_add(I256::from(*other)));
    }

    /// `decimal` in units of 10^-28.
    pub(super) fn of_decimal(decimal: &Decimal) -> Self {
        let unit = power(PLACES.saturating_sub(decimal.scale()));
        Self::from(I256::from(decimal.mantissa()).saturating_mul(I256::from(unit)))
    }

    pub(super) fn of_product(a: i128, b: i128) -> Self {
        Self::from(I256::from(a).saturating_mul(I256::from(b)))
    }

    /// A sum of decimals: all its places if they fit, else as many as do.
    pub(super) fn to_decimal(self) -> Decimal {
        divide(I256::from(self), U256::from(power(PLACES)))
    }

    /// The mean of `count` decimals.
    pub(super) fn mean(self, count: u64) -> Option<Decimal> {
        let divisor = U256::from(power(PLACES)).checked_mul(U256::from(count))?;
        (count > 0).then(|| divide(I256::from(self), divisor))
    }

    /// The quotient of two sums in the same units; `None` when `divisor` is 0.
    pub(super) fn ratio(self, divisor: Self) -> Option<Decimal> {
        let divisor = I256::from(divisor);
        let numerator = I256::from(self);
        let signed = if divisor.is_negative() { numerator.saturating_neg() } else { numerator };
        (divisor != I256::ZERO).then(|| divide(signed, divisor.unsigned_abs()))
    }

    /// As a floating-point number, for quotients of integers.
    pub(super) fn to_f64(self) -> f64 {
        let magnitude = I256::from(self).unsigned_abs();
        let (high, low) = magnitude.into_words();
        let float = high as f64 * TWO_TO_128 + low as f64;
        if self.high < 0 { -float } else { float }
    }
}

impl From<Wide> for I256 {
    fn from(wide: Wide) -> Self {
        Self::from_words(wide.high, wide.low as i128)
    }
}

impl From<I256> for Wide {
    fn from(number: I256) -> Self {
        let (high, low) = number.into_words();
        Self { high, low: low as u128 }
    }
}

/// The quotient, with as many places as a decimal holds, without zeros at its end, half to even;
/// `divisor` is not 0.
fn divide(numerator: I256, divisor: U256) -> Decimal {
    let negative = numerator.is_negative();
    let numerator = numerator.unsigned_abs();
    let (mut divisor, whole) = (divisor, numerator / divisor);
    if whole > U256::from(MANTISSA_MAX) {
        return if negative { Decimal::MIN } else { Decimal::MAX };
    }
    let (whole, mut rest) = (whole.as_u128(), numerator % divisor);
    // So many places that rounding up still fits.
    let fits = |unit: &u128| (whole + 1).checked_mul(*unit).is_some_and(|m| m <= MANTISSA_MAX);
    let places = POWERS.partition_point(fits).saturating_sub(1) as u32;
    let unit = power(places);
    // A divisor so large that the rest does not fit is cut to its first 160 bits.
    let excess = (256 - divisor.leading_zeros()).saturating_sub(160);
    divisor >>= excess;
    rest >>= excess;
    let scaled = rest.saturating_mul(U256::from(unit));
    let (quotient, rest) = (scaled / divisor, scaled % divisor);
    let half = rest.cmp(&(divisor - rest));
    let down = whole * unit + quotient.as_u128();
    let up = half.is_gt() || (half.is_eq() && down % 2 == 1);
    let mantissa = (down + u128::from(up)).min(MANTISSA_MAX) as i128;
    let signed = if negative { -mantissa } else { mantissa };
    Decimal::try_from_i128_with_scale(signed, places).unwrap_or_default().normalize()
}

/// The nearest floating-point number, or its neighbour; the same on every machine.
pub(super) fn decimal_to_f64(decimal: &Decimal) -> f64 {
    // Two numbers that are rounded at most once each, and one division: no function of the machine.
    decimal.mantissa() as f64 / power(decimal.scale()) as f64
}
