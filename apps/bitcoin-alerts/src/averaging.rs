//! [`Averaging`]: which prices the average is over, as typed and as drawn.
//!
//! Invariant: what is typed in two ways and means the same has one name, and two that differ have two: the
//! name is that of the tables in which what is over some prices is kept.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

/// Which average is compared with thresholds.
///
/// ```
/// use std::time::Duration;
/// use bitcoin_alerts::Averaging;
///
/// assert_eq!("10m".parse(), Ok(Averaging::over(Duration::from_secs(600))));
/// assert_eq!("last:100".parse(), Ok(Averaging::Last(100)));
/// assert_eq!("running".parse(), Ok(Averaging::Running));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Averaging {
    /// Of all prices of a product since the start.
    Running,
    /// At a price of event time `t`, of those applied so far with times after `t - size`, up to `t`.
    #[non_exhaustive]
    Over {
        /// How far back the average goes.
        size: Duration,
        /// How far behind the newest a price may be: a later one counts for nothing.
        lateness: Duration,
    },
    /// Of the last so many prices of a product, in the order in which they come.
    Last(usize),
}

/// A feed that comes back brings what it has missed: at once for a short break, and product by product. To
/// allow for more costs the memory of as much more of each average, and no time.
const LATENESS: Duration = Duration::from_secs(60);
/// The longest average and lateness: a leap year.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// The most prices of a product that are kept for an average over the last so many.
const LAST_MAX: usize = 10_000_000;

impl Default for Averaging {
    /// Ten minutes.
    fn default() -> Self {
        Self::over(Duration::from_secs(600))
    }
}

impl Averaging {
    /// Over the last `size`, of prices that are at most a minute late.
    pub const fn over(size: Duration) -> Self {
        Self::Over { size, lateness: LATENESS }
    }

    /// The same with another lateness, where prices can be late.
    #[must_use]
    pub fn lateness(self, lateness: Duration) -> Self {
        match self {
            Self::Over { size, .. } => Self::Over { size, lateness },
            Self::Running | Self::Last(_) => self,
        }
    }

    /// The name of the computation that keeps it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Running => "average".to_owned(),
            Self::Over { size, .. } => format!("average-{}", text(size)),
            Self::Last(most) => format!("average-last-{most}"),
        }
    }
}

impl FromStr for Averaging {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        if typed == "running" {
            return Ok(Self::Running);
        }
        let Some(most) = typed.strip_prefix("last:") else {
            let size = duration(typed)
                .map_err(|e| format!("{e}; or it is `running`, or `last:100` for the last 100"))?;
            if size.is_zero() {
                return Err("an average over no time has no prices; 1s is a short one".to_owned());
            }
            return Ok(Self::over(size));
        };
        match most.parse() {
            Ok(most) if (1..=LAST_MAX).contains(&most) => Ok(Self::Last(most)),
            _ => Err(format!("`last:` is followed by a number from 1 to {LAST_MAX}")),
        }
    }
}

/// Reads `10m`, `90s` or `1h 30m`.
pub(crate) fn duration(typed: &str) -> Result<Duration, String> {
    if typed.trim().parse::<f64>().is_ok() {
        return Err("a duration needs a unit, as in 90s, 10m or 24h".to_owned());
    }
    let parsed: jiff::SignedDuration =
        typed.parse().map_err(|_| "a duration is written 90s, 10m or 24h".to_owned())?;
    match Duration::try_from(parsed) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => Err("a duration is from 0s to 8784h".to_owned()),
    }
}

/// `1h30m`: with the largest units, and no two ways to write it.
pub(crate) fn text(duration: Duration) -> String {
    let units = [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000)];
    let small = [("ms", 1_000_000), ("us", 1000), ("ns", 1)];
    let (mut left, mut text) = (duration.as_nanos(), String::new());
    for (unit, nanos) in units.into_iter().chain(small) {
        if left >= nanos {
            let _ = write!(text, "{}{unit}", left / nanos);
            left %= nanos;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(typed: &str) -> String {
        typed.parse::<Averaging>().unwrap().name()
    }

    #[test]
    fn what_means_the_same_has_one_name() {
        for typed in ["10m", "600s", "600000ms", "0h 10m", "PT10M", "10 minutes"] {
            assert_eq!(name(typed), "average-10m", "{typed}");
        }
        assert_eq!(name("90m"), "average-1h30m");
        assert_eq!(name("1.5s"), "average-1s500ms");
        assert_eq!(name("1us 1ns"), "average-1us1ns");
        assert_eq!(name("last:0100"), "average-last-100");
        assert_eq!("10m".parse(), Ok(Averaging::default()));
    }

    #[test]
    fn mistakes_are_told_with_a_right_way() {
        for (typed, advice) in [
            ("10", "needs a unit"),
            ("ten-minutes", "90s, 10m or 24h; or it is `running`"),
            ("", "10m"),
            ("0s", "no prices"),
            ("-5m", "from 0s"),
            ("8785h", "8784h"),
            ("last:0", "from 1 to"),
            ("last:", "from 1 to"),
            ("last:-3", "from 1 to"),
            ("last:10000001", "from 1 to"),
            ("Running", "`running`"),
        ] {
            let error = typed.parse::<Averaging>().unwrap_err();
            assert!(error.contains(advice), "{typed:?}: {error}");
        }
    }

    #[test]
    fn lateness_is_of_averages_over_time_alone() {
        let second = Duration::from_secs(1);
        let over = Averaging::default().lateness(second);
        assert_eq!(over, Averaging::Over { size: Duration::from_secs(600), lateness: second });
        for averaging in [Averaging::Running, Averaging::Last(3)] {
            assert_eq!(averaging.lateness(second), averaging);
        }
    }
}
