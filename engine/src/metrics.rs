//! Counters that connectors and the engine keep for people to read.
//!
//! Invariant: counting never decides an output; a counter is one atomic, shared by name.

mod busy;
mod latency;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use self::busy::Busy;
pub(crate) use self::latency::{Durations, Latency, Percentiles};

/// One number that only grows, or is set; cheap to clone and to count with.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the number, for what can also fall.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether a number only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Kind {
    Count,
    /// It is set, and can fall.
    Gauge,
}

/// Named counters, all with one prefix: `prices.records`, `prices.reconnects`.
#[derive(Clone, Default)]
pub struct Counters {
    prefix: String,
    all: Arc<Mutex<BTreeMap<String, (Kind, Counter)>>>,
    latencies: Arc<Mutex<BTreeMap<String, Latency>>>,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Counters {
    /// The counter of that name, made at its first use.
    ///
    /// ```
    /// let counters = anabranch::metrics::Counters::default();
    /// counters.counter("gaps").add(2);
    /// assert_eq!(counters.snapshot()["gaps"], 2);
    /// ```
    pub fn counter(&self, name: &str) -> Counter {
        self.of_kind(Kind::Count, name)
    }

    /// The same for a number that is set, and can fall: such as how many connections there are.
    pub fn gauge(&self, name: &str) -> Counter {
        self.of_kind(Kind::Gauge, name)
    }

    fn of_kind(&self, kind: Kind, name: &str) -> Counter {
        let name = self.prefix.clone() + name;
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(name).or_insert_with(|| (kind, Counter::default())).1.clone()
    }

    /// The same counters, their names behind one more `prefix` and a dot.
    #[must_use]
    pub fn scoped(&self, prefix: &str) -> Self {
        let (all, latencies) = (Arc::clone(&self.all), Arc::clone(&self.latencies));
        Self { prefix: format!("{}{prefix}.", self.prefix), all, latencies }
    }

    /// How long records took until the sink had them whose counters these are.
    pub(crate) fn latency(&self) -> Latency {
        let name = self.prefix.trim_end_matches('.').to_string();
        let mut all = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(name).or_default().clone()
    }

    /// How long records took, by sink.
    pub(crate) fn latencies(&self) -> BTreeMap<String, Durations> {
        let all = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, latency)| (name.clone(), latency.durations())).collect()
    }

    /// All numbers, by full name.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, (_, counter))| (name.clone(), counter.get())).collect()
    }

    /// All numbers, by full name, with their kinds.
    pub(crate) fn all(&self) -> Vec<(String, Kind, u64)> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, (kind, counter))| (name.clone(), *kind, counter.get())).collect()
    }
}
