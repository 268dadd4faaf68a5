//! [`Time`]: a point in time as the engine sees it.
//!
//! Invariant: ordered and compared as integer nanoseconds, so no rounding and no time zone can
//! change an order.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01T00:00:00Z (negative before it).
///
/// ```
/// use anabranch::Time;
/// let t: Time = "2023-09-05T16:00:01.281719Z".parse()?;
/// assert_eq!(t.as_nanos(), 1_693_929_601_281_719_000);
/// assert_eq!(t.to_string(), "2023-09-05T16:00:01.281719Z");
/// # Ok::<(), anabranch::Error>(())
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    /// The Unix epoch: the time of a recorded line that has none and follows none.
    pub const ZERO: Self = Self(0);

    /// The beginning of time, in 1677: the watermark before anything is known of it.
    pub const BEGIN: Self = Self(i64::MIN);
    /// The end of time, in 2262: the watermark when all input has ended.
    pub const END: Self = Self(i64::MAX);

    /// From nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the Unix epoch; saturates at the ends of the range.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// This time and `duration` more; saturates.
    pub fn after(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// This time and `duration` less; saturates.
    pub fn before(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(nanos))
    }

    /// The time as `jiff` sees it, for calendars and time zones.
    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::MAX)
    }
}

impl From<jiff::Timestamp> for Time {
    fn from(t: jiff::Timestamp) -> Self {
        let clamped = t.as_nanosecond().clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Self(i64::try_from(clamped).unwrap_or(i64::MAX))
    }
}

impl std::str::FromStr for Time {
    type Err = crate::Error;

    /// Reads RFC 3339, with any number of fractional digits up to nine.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>()
            .map(Self::from)
            .map_err(|e| crate::Error::Decode(format!("`{text}` is not an RFC 3339 time: {e}")))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().fmt(f)
    }
}
