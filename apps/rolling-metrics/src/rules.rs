//! Metrics, and the rules that look at them.
//!
//! Invariant: a rule looks at every reading by itself: three readings above a threshold are three calls.
//! Where there is nothing to compare with, there is no call.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Of the last readings of a sensor, the newest among them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metrics {
    /// How many readings; fewer than asked for at the beginning.
    pub(crate) count: u64,
    pub(crate) mean: f64,
    /// Of the population: divided by the count.
    pub(crate) deviation: f64,
    pub(crate) max: f64,
}

impl Metrics {
    /// What the aggregates say; nothing if they are of nothing.
    pub(crate) fn of(
        (count, mean, deviation, max): (u64, Option<f64>, Option<f64>, Option<f64>),
    ) -> Option<Self> {
        Some(Self { count, mean: mean?, deviation: deviation?, max: max? })
    }
}

/// What is kept of a sensor: the metrics of the reading before, and the exponentially weighted average of
/// all so far, with its variance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    before: Option<Metrics>,
    count: u64,
    average: f64,
    variance: f64,
}

/// When to call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// If the mean is above.
    pub(crate) above: Option<f64>,
    /// If a reading is as many deviations from the mean of those before it, both of the last
    /// [`last`](Self::last), once there are as many.
    pub(crate) z_score: f64,
    /// If it is as many deviations from the exponentially weighted average before it, once there were
    /// `last` readings. The average begins as the first reading with a variance of 0; a reading that is off
    /// by `d` moves it by `alpha * d`, and makes its variance `(1 - alpha) * (variance + alpha * d * d)`.
    pub(crate) ewma: f64,
    pub(crate) alpha: f64,
    pub(crate) last: u64,
}

impl Rules {
    /// The calls at a reading: of its metrics, and of what was `seen` before, to which it is added.
    pub(crate) fn judge(
        &self,
        value: f64,
        metrics: Option<&Metrics>,
        seen: &mut Seen,
    ) -> Vec<Call> {
        let Some(metrics) = metrics else { return Vec::new() };
        let threshold = self.above.filter(|threshold| metrics.mean > *threshold);
        let above = threshold.map(|threshold| Call::Above { mean: metrics.mean, threshold });
        let window = seen.before.as_ref().filter(|before| before.count == self.last);
        let z_score = window
            .and_then(|before| deviations(value - before.mean, before.deviation))
            .filter(|deviations| deviations.abs() >= self.z_score)
            .map(|deviations| Call::ZScore { deviations });
        let off = value - seen.average;
        let ewma = Some(off)
            .filter(|_| seen.count >= self.last)
            .and_then(|off| deviations(off, seen.variance.sqrt()))
            .filter(|deviations| deviations.abs() >= self.ewma)
            .map(|deviations| Call::Ewma { deviations, average: seen.average });
        if seen.count == 0 {
            seen.average = value;
        } else {
            seen.average += self.alpha * off;
            seen.variance = (1.0 - self.alpha) * (seen.variance + self.alpha * off * off);
        }
        seen.count = seen.count.saturating_add(1);
        seen.before = Some(metrics.clone());
        [above, z_score, ewma].into_iter().flatten().collect()
    }
}

/// Nothing where all were equal: then there is no measure.
fn deviations(off: f64, deviation: f64) -> Option<f64> {
    (deviation > 0.0).then(|| off / deviation)
}

/// That a rule called, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    Above { mean: f64, threshold: f64 },
    ZScore { deviations: f64 },
    Ewma { deviations: f64, average: f64 },
}

/// What a reading came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) time: String,
    pub(crate) key: String,
    pub(crate) value: f64,
    pub(crate) metrics: Metrics,
    pub(crate) calls: Vec<Call>,
}

impl Measured {
    pub(crate) fn alerts(self) -> Vec<Alert> {
        let Self { time, key, value, calls, .. } = self;
        let alert = |call| Alert { time: time.clone(), key: key.clone(), value, call };
        calls.into_iter().map(alert).collect()
    }
}

/// A call, with its reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alert {
    pub(crate) time: String,
    pub(crate) key: String,
    pub(crate) value: f64,
    pub(crate) call: Call,
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, key, value, call } = self;
        write!(f, "{time}  {key}  {value:.2}  ")?;
        match call {
            Call::Above { mean, threshold } => {
                write!(f, "the mean is {mean:.2}, above {threshold}")
            }
            Call::ZScore { deviations } => {
                write!(f, "{deviations:+.1} deviations from the last readings")
            }
            Call::Ewma { deviations, average } => {
                write!(f, "{deviations:+.1} deviations from the weighted average, {average:.2}")
            }
        }
    }
}
