//! Durations, sizes and log filters as people type them.
//!
//! Invariant: a number without a unit is refused, so nobody has to guess between milliseconds and
//! microseconds; every message shows a right way to write it. Not a formatter: values are only read.

use std::ops::RangeInclusive;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Units of size and their bytes: powers of 1000 and of 1024.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];

/// Reads `250us`, `1ms`, `2s` or `1m 30s`, within `range`.
pub(super) fn duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    if text.trim().parse::<f64>().is_ok() {
        return Err("it needs a unit, as in 250us, 1ms or 2s".into());
    }
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| "a duration is written 250us, 1ms or 2s".to_owned())?;
    match Duration::try_from(parsed) {
        Ok(duration) if range.contains(&duration) => Ok(duration),
        _ => Err(format!("it must be from {:?} to {:?}", range.start(), range.end())),
    }
}

/// Reads `64MiB`, `500 kB` or `4096B`, within `range`, into bytes.
pub(super) fn bytes(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let known = SIZE_UNITS.iter().find(|(name, _)| *name == unit);
    let (Ok(number), Some((_, factor))) = (number.parse::<u64>(), known) else {
        return Err("a size is a whole number with a unit, as in 4096B, 512KiB or 64MiB".into());
    };
    match number.checked_mul(*factor) {
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        _ => Err(format!("it must be from {}B to {}B", range.start(), range.end())),
    }
}

/// Reads a level, `off`, or comma-separated `target=level` pairs.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    // `EnvFilter` takes a lone word for a target, so that a misspelt level would silence the log.
    let understood = !text.trim().is_empty()
        && text.split(',').all(|part| match part.rsplit_once('=') {
            Some((target, level)) => !target.trim().is_empty() && is_level(level),
            None => is_level(part),
        });
    let filter = text.split(',').map(str::trim).collect::<Vec<_>>().join(",");
    match EnvFilter::builder().parse(&filter) {
        Ok(_) if understood => Ok(filter),
        _ => Err("it is off, error, warn, info, debug or trace, or pairs as in \
                  warn,anabranch=debug"
            .into()),
    }
}

fn is_level(text: &str) -> bool {
    let word = text.trim();
    !word.is_empty() && word.parse::<u8>().is_err() && word.parse::<LevelFilter>().is_ok()
}
