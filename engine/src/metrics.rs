//! Counters that connectors and the engine keep for people to read.
//!
//! Invariant: counting never decides an output; a counter is one atomic, shared by name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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

/// Named counters, all with one prefix: `prices.records`, `prices.reconnects`.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    prefix: String,
    all: Arc<Mutex<BTreeMap<String, Counter>>>,
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
        let name = self.prefix.clone() + name;
        self.all.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone()
    }

    /// The same counters, their names behind one more `prefix` and a dot.
    #[must_use]
    pub fn scoped(&self, prefix: &str) -> Self {
        Self { prefix: format!("{}{prefix}.", self.prefix), all: Arc::clone(&self.all) }
    }

    /// All numbers, by full name.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, counter)| (name.clone(), counter.get())).collect()
    }
}
