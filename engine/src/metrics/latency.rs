//! [`Latency`]: how long records took, from when they were read to when their sink had them.
//!
//! Invariant: counting never decides an output, and keeps a bounded number of buckets. Percentiles are within 1 %, and
//! what takes longer than an hour counts as an hour.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock;

/// The longest that is told apart, in microseconds.
const LONGEST: u64 = 3_600_000_000;
/// How many digits are told apart.
const DIGITS: u8 = 2;
/// What is recent: between once and twice this long ago.
const RECENT: Duration = Duration::from_secs(5);

/// A histogram of durations, since the start and of the last seconds; cheap to clone.
#[derive(Clone)]
pub(crate) struct Latency(Arc<Mutex<Kept>>);

struct Kept {
    all: Histogram<u64>,
    /// Of this span and the one before.
    recent: [Histogram<u64>; 2],
    since: Instant,
    /// In microseconds.
    sum: u64,
}

impl Default for Latency {
    fn default() -> Self {
        let (all, recent) = (empty(), [empty(), empty()]);
        Self(Arc::new(Mutex::new(Kept { all, recent, since: clock::instant(), sum: 0 })))
    }
}

#[allow(clippy::expect_used)]
fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("these are bounds that it can have")
}

/// Durations as they travel: each with how often it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Durations {
    all: Vec<(u64, u64)>,
    recent: Vec<(u64, u64)>,
    sum: u64,
}

/// Percentiles of durations, in seconds; none of nothing.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Percentiles {
    /// Of how many.
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Kept {
    fn turn(&mut self) {
        let passed = self.since.elapsed();
        if passed < RECENT {
            return;
        }
        self.recent.swap(0, 1);
        let [newest, last] = &mut self.recent;
        newest.reset();
        if passed >= RECENT * 2 {
            last.reset();
        }
        self.since = clock::instant();
    }
}

impl Latency {
    /// So many took that long.
    pub(crate) fn record(&self, took: Duration, count: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST).clamp(1, LONGEST);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.turn();
        kept.sum = kept.sum.saturating_add(micros.saturating_mul(count));
        let Kept { all, recent: [recent, _], .. } = &mut *kept;
        for histogram in [all, recent] {
            histogram.saturating_record_n(micros, count);
        }
    }

    /// What was recorded.
    pub(crate) fn durations(&self) -> Durations {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.turn();
        let buckets = |histogram: &Histogram<u64>| -> Vec<(u64, u64)> {
            let recorded = histogram.iter_recorded();
            recorded.map(|it| (it.value_iterated_to(), it.count_at_value())).collect()
        };
        let mut recent = empty();
        for one in &kept.recent {
            // Both have the same bounds.
            let _ = recent.add(one);
        }
        Durations { all: buckets(&kept.all), recent: buckets(&recent), sum: kept.sum }
    }
}

impl Durations {
    /// Those of another process with these.
    pub(crate) fn add(&mut self, other: &Self) {
        self.all.extend(&other.all);
        self.recent.extend(&other.recent);
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Since the start.
    pub(crate) fn all(&self) -> Option<Percentiles> {
        percentiles(&self.all)
    }

    /// Of the last five to ten seconds.
    pub(crate) fn recent(&self) -> Option<Percentiles> {
        percentiles(&self.recent)
    }

    /// All together, in seconds.
    pub(crate) fn sum(&self) -> f64 {
        seconds(self.sum)
    }
}

fn percentiles(buckets: &[(u64, u64)]) -> Option<Percentiles> {
    let mut histogram = empty();
    for (value, count) in buckets {
        histogram.saturating_record_n(*value, *count);
    }
    let at = |quantile| seconds(histogram.value_at_quantile(quantile));
    (!histogram.is_empty()).then(|| Percentiles {
        count: histogram.len(),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: seconds(histogram.max()),
    })
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_durations(
            micros in proptest::collection::vec(1..10_000_000_u64, 1..500),
            cut in any::<proptest::sample::Index>(),
        ) {
            let (one, other) = (Latency::default(), Latency::default());
            let cut = cut.index(micros.len());
            for (index, took) in micros.iter().enumerate() {
                let latency = if index < cut { &one } else { &other };
                latency.record(Duration::from_micros(*took), 1);
            }
            let mut durations = one.durations();
            durations.add(&other.durations());
            let mut sorted = micros.clone();
            sorted.sort_unstable();
            for (quantile, told) in [(0.5, durations.all().unwrap().p50), (0.99, durations.recent().unwrap().p99)] {
                let place = ((quantile * sorted.len() as f64).ceil() as usize).max(1) - 1;
                let expected = seconds(sorted[place]);
                prop_assert!((told - expected).abs() <= expected * 0.02 + 2e-6, "{told} {expected}");
            }
            prop_assert_eq!(durations.all().unwrap().count, micros.len() as u64);
            let sum = micros.iter().sum::<u64>() as f64 / 1e6;
            prop_assert!((durations.sum() - sum).abs() < 1e-3);
        }
    }

    #[test]
    fn of_nothing_there_are_no_percentiles_and_what_is_too_long_is_an_hour() {
        let latency = Latency::default();
        assert_eq!(latency.durations().all(), None);
        latency.record(Duration::from_secs(100_000), 3);
        let all = latency.durations().all().unwrap();
        assert!(all.count == 3 && (3_550.0..3_650.0).contains(&all.p50), "{all:?}");
    }
}
