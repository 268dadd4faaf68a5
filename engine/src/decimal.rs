//! Decimals between processes, and decimals from text.
//!
//! Invariant: a decimal never passes through a binary fraction, and text that cannot be kept
//! exactly is refused, never rounded. Not for output: a decimal's `Display` is exact.

use std::fmt;
use std::ops::Deref;

use rust_decimal::Decimal;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// The most significant digits that [`parse`] takes: no exchange sends more, and sums and products
/// of such numbers stay within the 28 digits that a [`Decimal`] keeps.
pub const DIGITS_MAX: usize = 18;

/// For `#[serde(with = "anabranch::decimal")]`: text where the format is for people, else the 16
/// bytes of [`Decimal::serialize`] (a string costs twenty times as much).
///
/// ```
/// use rust_decimal::Decimal;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Price(#[serde(with = "anabranch::decimal")] Decimal);
///
/// assert_eq!(serde_json::to_string(&Price(Decimal::new(650_050, 2)))?, r#""6500.50""#);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Errors
/// Only those of the format.
pub fn serialize<S: Serializer>(decimal: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.collect_str(decimal)
    } else {
        decimal.serialize().serialize(serializer)
    }
}

/// The other half of [`serialize`](fn@serialize).
///
/// # Errors
/// When the text is no decimal, or the bytes are none that [`serialize`](fn@serialize) wrote.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    if deserializer.is_human_readable() {
        deserializer.deserialize_str(Text)
    } else {
        deserializer.deserialize_tuple(16, Bytes)
    }
}

/// A decimal that is a record of its own: encoded as [`serialize`](fn@serialize) does it.
///
/// ```
/// use anabranch::decimal::Portable;
/// use rust_decimal::Decimal;
/// let price = Portable::from(Decimal::new(650_050, 2));
/// assert_eq!(price.to_string(), "6500.50");
/// assert_eq!(serde_json::to_string(&price)?, r#""6500.50""#);
/// assert!(price.is_sign_positive(), "it is used as the decimal in it");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Portable(#[serde(with = "crate::decimal")] pub Decimal);

impl fmt::Display for Portable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Deref for Portable {
    type Target = Decimal;

    fn deref(&self) -> &Decimal {
        &self.0
    }
}

impl From<Decimal> for Portable {
    fn from(decimal: Decimal) -> Self {
        Self(decimal)
    }
}

impl From<Portable> for Decimal {
    fn from(portable: Portable) -> Self {
        portable.0
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Decimal;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a decimal as text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decimal, E> {
        Decimal::from_str_exact(text).map_err(|e| E::custom(format!("`{text}`: {e}")))
    }
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = Decimal;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the 16 bytes of a decimal")
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Decimal, A::Error> {
        let mut bytes = [0; 16];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
        }
        let decimal = Decimal::deserialize(bytes);
        // `Decimal::deserialize` repairs what it does not know; corruption must not pass as a
        // price.
        if decimal.serialize() == bytes {
            Ok(decimal)
        } else {
            Err(A::Error::custom("these 16 bytes are no decimal"))
        }
    }
}

/// Reads a decimal from text as exchanges write it: a sign, digits, a point, an exponent. The
/// result has no trailing zeros, so equal numbers have equal bytes.
///
/// ```
/// use anabranch::decimal::parse;
/// assert_eq!(parse("3.844E-5")?.to_string(), "0.00003844");
/// assert_eq!(parse("6500.50")?.to_string(), "6500.5");
/// assert!(parse("1234567890.123456789").is_err());
/// # Ok::<(), anabranch::Error>(())
/// ```
///
/// # Errors
/// [`Error::Decode`] when the text is no number, has more than [`DIGITS_MAX`] significant digits
/// (zeros at either end are not counted), or lies outside of what a [`Decimal`] holds.
pub fn parse(text: &str) -> Result<Decimal> {
    parse_parts(text).map_err(|reason| {
        let shown: String = text.chars().take(40).collect();
        Error::Decode(format!("`{shown}` is no usable decimal: {reason}"))
    })
}

fn parse_parts(text: &str) -> Result<Decimal, &'static str> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (number, exponent) = match unsigned.split_once(['e', 'E']) {
        None => (unsigned, 0),
        Some((number, exponent)) => (number, parse_exponent(exponent)?),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err("it has no digits");
    }
    let (mut mantissa, mut digits, mut zeros) = (0_i64, 0_usize, 0_usize);
    for byte in whole.bytes().chain(fraction.bytes()) {
        match byte {
            b'0' if digits > 0 => zeros += 1,
            b'0' => {}
            b'1'..=b'9' => {
                digits += zeros + 1;
                if digits > DIGITS_MAX {
                    return Err("it has more than 18 significant digits");
                }
                // Within 18 digits nothing overflows.
                for _ in 0..std::mem::take(&mut zeros) {
                    mantissa *= 10;
                }
                mantissa = mantissa * 10 + i64::from(byte - b'0');
            }
            _ => return Err("it is not a number"),
        }
    }
    if mantissa == 0 {
        return Ok(Decimal::ZERO);
    }
    let size = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    let scale = size(fraction.len()).saturating_sub(size(zeros)).saturating_sub(exponent);
    let signed = i128::from(if negative { -mantissa } else { mantissa });
    let (signed, scale) = match u32::try_from(scale) {
        Ok(scale) => (signed, scale),
        Err(_) => (raise(signed, scale.unsigned_abs()).ok_or("it is too large")?, 0),
    };
    Decimal::try_from_i128_with_scale(signed, scale).map_err(|_| "it is too large or too small")
}

fn parse_exponent(text: &str) -> Result<i64, &'static str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its exponent is not a number");
    }
    // An exponent beyond `i32` is beyond any decimal, of either sign.
    let size = i64::from(digits.parse::<i32>().unwrap_or(i32::MAX));
    Ok(if text.starts_with('-') { -size } else { size })
}

fn raise(number: i128, power: u64) -> Option<i128> {
    let power = u32::try_from(power).ok()?;
    number.checked_mul(10_i128.checked_pow(power)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Price(#[serde(with = "crate::decimal")] Decimal);

    proptest! {
        #[test]
        fn sixteen_bytes_there_and_back(bits in any::<i64>(), scale in 0..=28_u32) {
            let price = Price(Decimal::try_from_i128_with_scale(i128::from(bits), scale).unwrap());
            let bytes = postcard::to_stdvec(&price).unwrap();
            prop_assert_eq!(bytes.len(), 16);
            prop_assert_eq!(&postcard::from_bytes::<Price>(&bytes).unwrap(), &price);
            let json = serde_json::to_string(&price).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Price>(&json).unwrap(), &price);
        }

        #[test]
        fn text_is_read_as_the_library_reads_it(
            mantissa in -999_999_999_999_999_999_i64..=999_999_999_999_999_999,
            scale in 0..=20_u32,
            exponent in -8..=8_i32,
        ) {
            let plain = Decimal::try_from_i128_with_scale(i128::from(mantissa), scale).unwrap();
            let parsed = parse(&plain.to_string()).unwrap();
            prop_assert_eq!(parsed, plain);
            prop_assert_eq!(parsed.serialize(), plain.normalize().serialize());
            let text = format!("{plain}e{exponent}");
            prop_assert_eq!(parse(&text).unwrap(), Decimal::from_scientific(&text).unwrap());
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,40}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn what_cannot_be_kept_exactly_is_refused() {
        for good in
            ["0", "-0.000", "1e20", "123456789012345678", "000000000000000000000001.50", "5e-28"]
        {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-",
            ".",
            "1.2.3",
            "1e",
            "e5",
            "1e+",
            "0x10",
            "NaN",
            "1_000",
            " 1",
            "1e29",
            "1e-29",
            "1234567890123456789",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "１",
        ] {
            assert!(matches!(parse(bad), Err(Error::Decode(_))), "{bad}");
        }
        assert_eq!(parse("-0.000").unwrap().serialize(), Decimal::ZERO.serialize());
    }

    #[test]
    fn corrupt_bytes_are_refused() {
        let mut bytes = postcard::to_stdvec(&Price(Decimal::ONE)).unwrap();
        bytes[0] = 7;
        assert!(postcard::from_bytes::<Price>(&bytes).is_err());
        assert!(postcard::from_bytes::<Price>(&bytes[..15]).is_err());
    }
}
