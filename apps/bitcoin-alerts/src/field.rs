//! JSON objects of which a few fields are read, exactly and strictly.
//!
//! Invariant: what is not UTF-8, not JSON, not an object, nested deeper than [`DEPTH_MAX`] or
//! names a field twice that is read is refused, without a recursion that input decides; a number
//! is read from its digits, never through a binary fraction. Fields that nobody reads are checked
//! to be JSON and skipped.

use std::borrow::Cow;

use anabranch::{Error, Result, Time, decimal};
use jiff::civil::DateTime;
use jiff::tz::Offset;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

/// How deep objects and arrays may be nested.
pub const DEPTH_MAX: usize = 64;

/// A field that may be there, as it was written; `null` is the same as left out.
pub(crate) type Field<'a> = Option<&'a RawValue>;

/// A whole frame as text, if it can be JSON of a reasonable depth.
pub(crate) fn text_of(frame: &[u8]) -> Result<&str> {
    let text = utf_8(frame)?;
    if opening_brackets(frame) > DEPTH_MAX && depth(frame) > DEPTH_MAX {
        return Err(Error::Decode(format!("it is nested deeper than {DEPTH_MAX} levels")));
    }
    Ok(text)
}

/// A whole frame as text.
pub(crate) fn utf_8(frame: &[u8]) -> Result<&str> {
    std::str::from_utf8(frame)
        .map_err(|e| Error::Decode(format!("it is not UTF-8 from byte {}", e.valid_up_to())))
}

/// How many brackets open: one pass of vector instructions, which settles the depth of all frames
/// but books.
fn opening_brackets(frame: &[u8]) -> usize {
    // `[` and `{` differ in one bit. A sum of so few fits a byte, and so sixteen at a time.
    let count =
        |bytes: &[u8]| bytes.iter().fold(0_u8, |count, byte| count + u8::from(byte | 0x20 == b'{'));
    frame.chunks(u8::MAX as usize).map(|bytes| usize::from(count(bytes))).sum()
}

/// How deep the brackets outside of strings are nested.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

/// Reads the fields of an object: a struct of [`Field`]s.
pub(crate) fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T> {
    // Without this look an array would pass as the fields in their order.
    if !json.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
        return Err(Error::Decode("it is not a JSON object".into()));
    }
    serde_json::from_str(json).map_err(|e| Error::Decode(format!("it is not usable JSON: {e}")))
}

/// The elements of an array.
pub(crate) fn array<'a>(name: &str, value: &'a RawValue) -> Result<Vec<&'a RawValue>> {
    serde_json::from_str(value.get()).map_err(|_| refused(name, value, "an array"))
}

/// A field that must be text.
pub(crate) fn text<'a>(name: &str, value: &'a RawValue) -> Result<Cow<'a, str>> {
    quoted(value)
        .map_err(|e| Error::Decode(format!("`{name}` is not usable text: {e}")))?
        .ok_or_else(|| refused(name, value, "text"))
}

/// A field that must be a decimal, as a number or as text.
pub(crate) fn decimal(name: &str, value: &RawValue) -> Result<Decimal> {
    decimal::parse(&scalar(name, value)?).map_err(|e| Error::Decode(format!("`{name}`: {e}")))
}

/// A field that must be a whole number of at most 64 bits, as a number or as text of digits.
pub(crate) fn integer(name: &str, value: &RawValue) -> Result<u64> {
    digits(&scalar(name, value)?).ok_or_else(|| refused(name, value, "a whole number below 2^64"))
}

/// A field that must be an RFC 3339 time.
pub(crate) fn time(name: &str, value: &RawValue) -> Result<Time> {
    let text = text(name, value)?;
    rfc_3339(&text).ok_or_else(|| {
        refused(name, value, "an RFC 3339 time, such as 2024-01-31T23:59:59.25Z, of 1678 to 2261")
    })
}

/// A field that must be a time in milliseconds since 1970.
pub(crate) fn millis(name: &str, value: &RawValue) -> Result<Time> {
    let millis = integer(name, value)?;
    let nanos = i64::try_from(millis).ok().and_then(|millis| millis.checked_mul(1_000_000));
    nanos
        .map(Time::from_nanos)
        .ok_or_else(|| refused(name, value, "milliseconds since 1970, before 2262"))
}

/// The text of a string, or what else is written, such as the digits of a number.
fn scalar<'a>(name: &str, value: &'a RawValue) -> Result<Cow<'a, str>> {
    let text =
        quoted(value).map_err(|e| Error::Decode(format!("`{name}` is not usable text: {e}")))?;
    Ok(text.unwrap_or(Cow::Borrowed(value.get())))
}

/// The text of a string, without a copy where it has no escapes; `None` if it is no string.
fn quoted(value: &RawValue) -> serde_json::Result<Option<Cow<'_, str>>> {
    let json = value.get();
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        None => Ok(None),
        Some(text) if text.contains('\\') => {
            serde_json::from_str(json).map(|text| Some(Cow::Owned(text)))
        }
        Some(text) => Ok(Some(Cow::Borrowed(text))),
    }
}

/// A whole number of at most 64 bits, from digits alone.
pub(crate) fn digits(text: &str) -> Option<u64> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { text.parse().ok() } else { None }
}

fn refused(name: &str, value: &RawValue, wanted: &str) -> Error {
    let shown: String = value.get().chars().take(40).collect();
    Error::Decode(format!("`{name}` is {shown}, and must be {wanted}"))
}

/// Reads RFC 3339 and nothing else (`jiff` takes much more); a leap second counts as the one
/// before it.
pub(crate) fn rfc_3339(text: &str) -> Option<Time> {
    let (date_time, rest) = text.as_bytes().split_at_checked(19)?;
    let number = |at: usize, length: usize| {
        let digits = date_time.get(at..at + length)?;
        digits.iter().try_fold(0_i16, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + i16::from(byte - b'0'))
        })
    };
    let small = |at| number(at, 2).and_then(|number| i8::try_from(number).ok());
    let marks = [(4, b"--"), (7, b"--"), (10, b"Tt"), (13, b"::"), (16, b"::")];
    if !marks.iter().all(|(at, mark)| date_time.get(*at).is_some_and(|byte| mark.contains(byte))) {
        return None;
    }
    let second = small(17).filter(|second| *second <= 60)?.min(59);
    let local =
        DateTime::new(number(0, 4)?, small(5)?, small(8)?, small(11)?, small(14)?, second, 0)
            .ok()?;
    let (nanos, zone) = fraction(rest)?;
    let seconds = Offset::UTC.to_timestamp(local).ok()?.as_second() - zone_seconds(zone)?;
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    i64::try_from(nanos).ok().map(Time::from_nanos)
}

/// The nanoseconds of `.5Z` and what follows them.
fn fraction(rest: &[u8]) -> Option<(u32, &[u8])> {
    let Some(digits) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&length) {
        return None;
    }
    let (digits, zone) = digits.split_at_checked(length)?;
    let padded = digits.iter().chain(std::iter::repeat(&b'0')).take(9);
    Some((padded.fold(0, |nanos, byte| nanos * 10 + u32::from(byte - b'0')), zone))
}

/// How many seconds a zone (`Z`, `+01:00`) is ahead of UTC.
fn zone_seconds(zone: &[u8]) -> Option<i64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let hours = digit(h1)? * 10 + digit(h2)?;
            let minutes = digit(m1)? * 10 + digit(m2)?;
            let ahead = (hours * 60 + minutes) * 60;
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}
