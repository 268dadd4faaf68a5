//! [`Busy`]: how long an operator has worked on a worker.
//!
//! Invariant: it is measured a schedule at a time, never a record at a time; without a counter nothing is.

use std::time::Instant;

use super::{Counter, Counters};
use crate::clock;

/// The counter of an operator's time, in nanoseconds, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Busy(Option<Counter>);

/// The operator works until this is dropped.
pub(crate) struct Working<'a>(Option<(&'a Counter, Instant)>);

impl Busy {
    /// That of an operator of that name, among the counters of a worker.
    pub(crate) fn of(counters: Option<&Counters>, operator: &str) -> Self {
        Self(counters.map(|counters| counters.scoped(operator).counter("busy_ns")))
    }

    pub(crate) fn begin(&self) -> Working<'_> {
        Working(self.0.as_ref().map(|counter| (counter, clock::instant())))
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if let Some((counter, began)) = &self.0 {
            counter.add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(0));
        }
    }
}
