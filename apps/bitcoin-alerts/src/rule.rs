//! [`Alert`]: what is watched, when it fires, and how often.
//!
//! Invariant: an alert is what its fields say; where it waits and what it remembers is for
//! [`place`](crate::place) and [`alerts`](crate::alerts). An id is stable: it is that of the sender, or follows from
//! what the alert is.

use std::fmt;
use std::time::Duration;

use anabranch::{Error, Result, Time};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::averaging;

/// The most labels of an alert.
pub const LABELS_MAX: usize = 16;
/// The longest label, in bytes of UTF-8.
pub const LABEL_LENGTH_MAX: usize = 64;
/// The shortest time that a change or a z-score can be over.
pub const SPAN_MIN: Duration = Duration::from_secs(1);
/// The longest one: a week.
pub const SPAN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The largest percentage, either way, and how many places it may have.
pub(crate) const PERCENT_MAX: (i64, u32) = (1_000_000, 8);
/// The same of standard deviations.
pub(crate) const Z_MAX: (i64, u32) = (1_000, 4);

/// An alert: fires when what it measures reaches its level.
///
/// ```
/// use std::time::Duration;
/// use bitcoin_alerts::{Alert, Direction, Measure, Repeat};
///
/// let ten_minutes = Duration::from_secs(600);
/// let alert = Alert {
///     measure: Measure::Change(ten_minutes),
///     repeat: Repeat::Rearm { hysteresis: 1.into() },
///     ..Alert::once(Direction::Below, (-5).into(), 7)
/// };
/// assert_eq!(alert.default_id(), "7:change:10m:below:-5");
/// alert.check()?;
/// # Ok::<(), anabranch::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What is compared with the level.
    pub measure: Measure,
    /// From which side.
    pub direction: Direction,
    /// In the unit of what is measured.
    #[serde(with = "anabranch::decimal")]
    pub level: Decimal,
    /// Who asked for it.
    pub user_id: u64,
    /// How often it fires.
    pub repeat: Repeat,
    /// After it fired, how long it does not fire again; for what fires more than once.
    pub cooldown: Duration,
    /// When it ends, if it ends by itself.
    pub expires: Option<Time>,
    /// What its user calls it: told when it fires.
    pub labels: Vec<String>,
}

/// What an alert is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Measure {
    /// The average of the product that the program keeps.
    #[default]
    Average,
    /// The price.
    Price,
    /// By how many percent the price is above the last one that is older by so much.
    Change(Duration),
    /// How many standard deviations the price is above the mean of the prices before it, of so long.
    Score(Duration),
}

impl Measure {
    /// `average`, `price`, `change` or `zscore`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Average => "average",
            Self::Price => "price",
            Self::Change(_) => "change",
            Self::Score(_) => "zscore",
        }
    }

    /// Over how long.
    pub const fn span(self) -> Option<Duration> {
        match self {
            Self::Average | Self::Price => None,
            Self::Change(span) | Self::Score(span) => Some(span),
        }
    }

    /// What its level is counted in.
    pub const fn unit(self) -> Unit {
        match self {
            Self::Average | Self::Price => Unit::Price,
            Self::Change(_) => Unit::Percent,
            Self::Score(_) => Unit::Z,
        }
    }
}

/// What a level is counted in, and called where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// `price`.
    Price,
    /// `percent`.
    Percent,
    /// `z`: standard deviations.
    Z,
}

impl Unit {
    /// `price`, `percent` or `z`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Percent => "percent",
            Self::Z => "z",
        }
    }
}

/// `price`, or `change:10m`.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self.span() {
            Some(span) => write!(f, ":{}", averaging::text(span)),
            None => Ok(()),
        }
    }
}

/// On which side of the level an alert fires.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// At the level and above it.
    #[default]
    Above,
    /// At the level and below it.
    Below,
    /// When what was below is at the level or above it, and when what was not is below it.
    Crossing,
}

impl Direction {
    /// `above`, `below` or `crossing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::Below => "below",
            Self::Crossing => "crossing",
        }
    }
}

/// How often an alert fires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Repeat {
    /// Once: then it is open no more.
    #[default]
    Once,
    /// At every price at which its level is reached.
    Every,
    /// Whenever its level is reached anew: what it measures has to go back first, beyond the level by more than the
    /// hysteresis.
    Rearm {
        /// By how much.
        #[serde(with = "anabranch::decimal")]
        hysteresis: Decimal,
    },
}

impl Repeat {
    /// `once`, `every` or `rearm`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Every => "every",
            Self::Rearm { .. } => "rearm",
        }
    }
}

impl Alert {
    /// One of the average that fires once, without an end or labels.
    pub const fn once(direction: Direction, level: Decimal, user_id: u64) -> Self {
        Self {
            measure: Measure::Average,
            direction,
            level,
            user_id,
            repeat: Repeat::Once,
            cooldown: Duration::ZERO,
            expires: None,
            labels: Vec::new(),
        }
    }

    /// Its id if it was given none: `7:above:6500`, or `7:change:10m:above:5`.
    pub fn default_id(&self) -> String {
        default_id(self.user_id, self.measure, self.direction, self.level)
    }

    /// Whether such an alert can be watched.
    ///
    /// # Errors
    /// [`Error::Decode`] with what to say instead.
    pub fn check(&self) -> Result<()> {
        let refused = |why: String| Err(Error::Decode(why));
        if let Some(span) = self.measure.span()
            && !(SPAN_MIN..=SPAN_MAX).contains(&span)
        {
            return refused(format!(
                "`over` is {}, and must be from 1s to 168h",
                averaging::text(span)
            ));
        }
        let (most, places) = match self.measure {
            Measure::Average | Measure::Price => (i64::MAX, Decimal::MAX_SCALE),
            Measure::Change(_) => PERCENT_MAX,
            Measure::Score(_) => Z_MAX,
        };
        let unit = self.measure.unit().as_str();
        if self.measure.span().is_some()
            && (self.level.abs() > Decimal::from(most) || self.level.scale() > places)
        {
            return refused(format!(
                "`{unit}` is {}, and must be from -{most} to {most}, with up to {places} places",
                self.level
            ));
        }
        if let Repeat::Rearm { hysteresis } = self.repeat {
            let ends = [self.level.checked_sub(hysteresis), self.level.checked_add(hysteresis)];
            let fits = |end: &Option<Decimal>| {
                end.is_some_and(|end| end.scale() <= places && end.abs() <= Decimal::MAX)
            };
            if hysteresis.is_sign_negative() && !hysteresis.is_zero() || !ends.iter().all(fits) {
                return refused(format!(
                    "`hysteresis` is {hysteresis}, and must be 0 or more, as many as `{unit}` allows"
                ));
            }
        }
        if self.repeat == Repeat::Once && self.cooldown > Duration::ZERO {
            return refused(
                "`cooldown` is of alerts that fire more than once: add \"repeat\":\"every\" or \
                 \"rearm\""
                    .to_owned(),
            );
        }
        if self.labels.len() > LABELS_MAX {
            return refused(format!(
                "there are {} `labels`, and at most {LABELS_MAX}",
                self.labels.len()
            ));
        }
        match self.labels.iter().find(|label| label.is_empty() || label.len() > LABEL_LENGTH_MAX) {
            Some(label) => refused(format!(
                "one of `labels` has {} bytes, and must have 1 to {LABEL_LENGTH_MAX}",
                label.len()
            )),
            None => Ok(()),
        }
    }
}

/// The id of an alert that was given none.
pub(crate) fn default_id(
    user_id: u64,
    measure: Measure,
    direction: Direction,
    level: Decimal,
) -> String {
    let direction = direction.as_str();
    match measure {
        Measure::Average => format!("{user_id}:{direction}:{level}"),
        other => format!("{user_id}:{other}:{direction}:{level}"),
    }
}
