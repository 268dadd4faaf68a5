//! [`RunningAverage`]: the exact average of prices, of all of a product or of those of a window.
//!
//! Invariant: the total is exact for every price that a decoder accepts, however many there are;
//! only [`RunningAverage::average`] rounds, once, for people. Comparisons are made with the exact
//! quotient. No binary fraction is involved. The same prices give the same bytes, in whatever order
//! and grouping they were added up.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use anabranch::aggregate::Aggregate;
use ethnum::I256;
use rust_decimal::Decimal;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::price::Price;

/// Ordinary prices (up to 12 places) are summed in units of 10^-12 in 128 bits.
const NARROW_PLACES: u32 = 12;

/// Any decimal (below 2^96, up to 28 places) fits units of 10^-28, and 2^64 of them 256 bits:
/// 2^96 * 10^28 * 2^64 < 2^254.
const WIDE_PLACES: u32 = Decimal::MAX_SCALE;

/// An average is shown with up to this many places.
const AVERAGE_PLACES: u32 = 8;

/// The exact total and the number of prices, and so their exact average.
///
/// ```
/// use bitcoin_alerts::RunningAverage;
/// use rust_decimal::Decimal;
/// let mut prices = RunningAverage::default();
/// for price in [6500, 7000, 7100] {
///     prices.observe(Decimal::from(price));
/// }
/// assert_eq!(prices.average().map(|a| a.to_string()).as_deref(), Some("6866.66666667"));
/// assert!(prices.compare("6866.66666667".parse()?).is_some_and(|order| order.is_lt()));
/// # Ok::<(), rust_decimal::Error>(())
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunningAverage {
    total: Total,
    count: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Total {
    Narrow(i128),
    /// A total that the narrow form cannot hold.
    Wide(Wide),
}

impl Default for Total {
    fn default() -> Self {
        Self::Narrow(0)
    }
}

impl RunningAverage {
    /// Counts `price` in.
    #[inline]
    pub fn observe(&mut self, price: Decimal) {
        self.count += 1;
        if let (Total::Narrow(total), Some(price)) = (&mut self.total, narrow(price))
            && let Some(sum) = total.checked_add(price)
        {
            *total = sum;
            return;
        }
        self.observe_wide(price);
    }

    #[cold]
    fn observe_wide(&mut self, price: Decimal) {
        // Cannot overflow: see `WIDE_PLACES`.
        self.total = Total::of(self.total.widen().wrapping_add(wide(price)));
    }

    /// Counts in all prices that `other` has.
    #[inline]
    pub fn combine(&mut self, other: &Self) {
        self.count += other.count;
        if let (Total::Narrow(total), Total::Narrow(more)) = (&mut self.total, &other.total)
            && let Some(sum) = total.checked_add(*more)
        {
            *total = sum;
            return;
        }
        self.combine_wide(other);
    }

    #[cold]
    fn combine_wide(&mut self, other: &Self) {
        self.total = Total::of(self.total.widen().wrapping_add(other.total.widen()));
    }

    /// How many prices there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How the exact average compares with `threshold`; `None` before the first price.
    #[inline]
    pub fn compare(&self, threshold: Decimal) -> Option<Ordering> {
        if self.count == 0 {
            return None;
        }
        if let (Total::Narrow(total), Some(threshold)) = (&self.total, narrow(threshold))
            && let Some(product) = threshold.checked_mul(i128::from(self.count))
        {
            return Some(total.cmp(&product));
        }
        Some(self.total.widen().cmp(&wide(threshold).wrapping_mul(I256::from(self.count))))
    }

    /// The average rounded half-even to 8 places; `None` before the first price.
    pub fn average(&self) -> Option<Average> {
        if self.count == 0 {
            return None;
        }
        let count = u128::from(self.count);
        let average = match &self.total {
            Total::Narrow(total) => {
                let divisor = count * 10_u128.pow(NARROW_PLACES - AVERAGE_PLACES);
                let magnitude = total.unsigned_abs();
                let (quotient, rest) = (magnitude / divisor, magnitude % divisor);
                round(*total < 0, quotient, rest.cmp(&(divisor - rest)))
            }
            Total::Wide(Wide(total)) => {
                let divisor = I256::from(count) * I256::from(10).pow(WIDE_PLACES - AVERAGE_PLACES);
                let magnitude = total.wrapping_abs();
                let (quotient, rest) = (magnitude / divisor, magnitude % divisor);
                // At most 2^96 * 10^8.
                round(total.is_negative(), quotient.as_u128(), rest.cmp(&(divisor - rest)))
            }
        };
        Some(average)
    }
}

/// The exact average of prices as an aggregate, for windows of them.
///
/// ```
/// use anabranch::aggregate::of_all;
/// use bitcoin_alerts::{ExactAverage, Price};
///
/// let price = |price| Price {
///     product: anabranch_connectors::coinbase::Product::BTC_USD,
///     price: rust_decimal::Decimal::new(price, 1),
///     time: None,
///     trade_id: None,
///     fresh: true,
/// };
/// let average = of_all(&ExactAverage, &[price(1), price(2)]);
/// assert_eq!(average.average().map(|average| average.to_string()).as_deref(), Some("0.15"));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ExactAverage;

impl Aggregate<Price> for ExactAverage {
    type State = RunningAverage;
    type Output = RunningAverage;
    const EXACT: bool = true;

    fn initial(&self) -> RunningAverage {
        RunningAverage::default()
    }

    #[inline]
    fn update(&self, state: &mut RunningAverage, price: &Price) {
        state.observe(price.price);
    }

    #[inline]
    fn combine(&self, state: &mut RunningAverage, later: &RunningAverage) {
        state.combine(later);
    }

    #[inline]
    fn output(&self, state: &RunningAverage) -> RunningAverage {
        state.clone()
    }
}

/// The rounded quotient, where `half` compares the remainder with half of the divisor.
fn round(negative: bool, quotient: u128, half: Ordering) -> Average {
    let up = half.is_gt() || (half.is_eq() && quotient % 2 == 1);
    let magnitude = i128::try_from(quotient + u128::from(up)).unwrap_or(i128::MAX);
    Average(if negative { -magnitude } else { magnitude })
}

impl Total {
    /// Narrow wherever that is possible, so that a total has one form, however it came about.
    fn of(wide: I256) -> Self {
        let unit = I256::from(10).pow(WIDE_PLACES - NARROW_PLACES);
        match i128::try_from(wide / unit) {
            Ok(narrow) if wide % unit == 0 => Self::Narrow(narrow),
            _ => Self::Wide(Wide(Box::new(wide))),
        }
    }

    fn widen(&self) -> I256 {
        match self {
            Self::Narrow(total) => {
                I256::from(*total) * I256::from(10).pow(WIDE_PLACES - NARROW_PLACES)
            }
            Self::Wide(Wide(total)) => **total,
        }
    }
}

/// Powers of ten up to the places of the narrow form.
const POWERS: [i64; NARROW_PLACES as usize + 1] = {
    let mut powers = [1; NARROW_PLACES as usize + 1];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// In units of the narrow form, if it fits.
#[inline]
fn narrow(decimal: Decimal) -> Option<i128> {
    let power = *POWERS.get(NARROW_PLACES.checked_sub(decimal.scale())? as usize)?;
    let mantissa = decimal.mantissa();
    match i64::try_from(mantissa) {
        // One multiplication that cannot overflow.
        Ok(mantissa) => Some(i128::from(mantissa) * i128::from(power)),
        Err(_) => mantissa.checked_mul(i128::from(power)),
    }
}

fn wide(decimal: Decimal) -> I256 {
    I256::from(decimal.mantissa()) * I256::from(10).pow(WIDE_PLACES.saturating_sub(decimal.scale()))
}

/// A number of 256 bits, in a box as there are few.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Wide(#[serde(with = "boxed")] Box<I256>);

/// For `#[serde(with = "words")]`: as two halves, as `I256`'s own form is a string.
pub(crate) mod words {
    use ethnum::I256;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(wide: &I256, serializer: S) -> Result<S::Ok, S::Error> {
        wide.into_words().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<I256, D::Error> {
        let (high, low) = <(i128, i128)>::deserialize(deserializer)?;
        Ok(I256::from_words(high, low))
    }
}

/// The same of one in a box.
mod boxed {
    use ethnum::I256;
    use serde::{Deserializer, Serializer};

    use super::words;

    #[allow(clippy::borrowed_box)] // The signature that serde asks for.
    pub(super) fn serialize<S: Serializer>(
        wide: &Box<I256>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        words::serialize(wide, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Box<I256>, D::Error> {
        words::deserialize(deserializer).map(Box::new)
    }
}

/// An average as people and receivers see it: a whole number of 10^-8.
///
/// Its text has no trailing zeros; so has its JSON, which is a string. Between processes it is an
/// integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Average(i128);

impl Average {
    /// That of one price: the price, rounded half-even to 8 places.
    pub(crate) fn of(price: Decimal) -> Self {
        let mut one = RunningAverage::default();
        one.observe(price);
        one.average().unwrap_or_default()
    }

    /// From a quotient whose divisor is above zero, rounded half-even to 8 places; the dividend is below 2^220.
    pub(crate) fn of_quotient(dividend: I256, divisor: I256) -> Self {
        let magnitude = dividend.wrapping_abs() * I256::from(AVERAGE_UNIT);
        let (quotient, rest) = (magnitude / divisor, magnitude % divisor);
        let quotient = u128::try_from(quotient).unwrap_or(u128::MAX >> 1);
        round(dividend.is_negative(), quotient, rest.cmp(&(divisor - rest)))
    }

    /// From so many units of 10^-8.
    pub(crate) fn of_units(units: i128) -> Self {
        Self(units)
    }

    /// How far it is above `other`; nothing, if it is not.
    pub(crate) fn above(self, other: Self) -> Self {
        // Both are below 2^96 * 10^8.
        Self(self.0.saturating_sub(other.0).max(0))
    }
}

const AVERAGE_UNIT: u128 = 10_u128.pow(AVERAGE_PLACES);

impl fmt::Display for Average {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", magnitude / AVERAGE_UNIT)?;
        let (mut fraction, mut places) = (magnitude % AVERAGE_UNIT, AVERAGE_PLACES as usize);
        if fraction == 0 {
            return Ok(());
        }
        while fraction % 10 == 0 {
            fraction /= 10;
            places -= 1;
        }
        write!(f, ".{fraction:0places$}")
    }
}

impl FromStr for Average {
    type Err = anabranch::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let unsigned = text.strip_prefix('-').unwrap_or(text);
            let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
            let all_digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
            if whole.is_empty() || !all_digits || fraction.len() > AVERAGE_PLACES as usize {
                return None;
            }
            let magnitude: i128 = format!("{whole}{fraction:0<8}").parse().ok()?;
            Some(Self(if text.starts_with('-') { -magnitude } else { magnitude }))
        };
        parse().ok_or_else(|| {
            anabranch::Error::Decode(format!("`{text}` is no average with up to 8 places"))
        })
    }
}

impl Serialize for Average {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Average {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            i128::deserialize(deserializer).map(Self)
        }
    }
}
