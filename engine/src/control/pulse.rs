//! [`Pulse`]: what a worker leaves for those who ask how it does.
//!
//! Invariant: leaving it is a few relaxed stores a step; the worker never waits for who reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::metrics::Counters;
use crate::reading::Reading;

/// One worker, seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    steps: AtomicU64,
    finished_before: AtomicU64,
    state: AtomicU8,
    /// What it counts for itself: how long its operators have worked, and on how many records.
    counters: Counters,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It builds the dataflow and loads the rows of its tables.
    Starting,
    /// It computes again what came after the checkpoint.
    Replaying,
    /// It takes input.
    Running,
    /// It takes none any more, and completes what it has.
    Draining,
}

impl State {
    const ALL: [Self; 4] = [Self::Starting, Self::Replaying, Self::Running, Self::Draining];

    /// That of a worker which reads so.
    pub(crate) fn of(reading: &Reading) -> Self {
        match (reading.replays(), reading.is_ending()) {
            (true, _) => Self::Replaying,
            (false, true) => Self::Draining,
            (false, false) => Self::Running,
        }
    }
}

impl Pulse {
    /// The worker has taken one more step.
    pub(crate) fn beat(&self, state: State, finished_before: u64) {
        self.finished_before.store(finished_before, Ordering::Relaxed);
        self.state.store(state as u8, Ordering::Relaxed);
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// How many steps it has taken.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// What it counts for itself.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The first epoch that is not finished as far as it knows.
    pub(crate) fn finished_before(&self) -> u64 {
        self.finished_before.load(Ordering::Relaxed)
    }

    /// What it is doing.
    pub(crate) fn state(&self) -> State {
        let index = usize::from(self.state.load(Ordering::Relaxed));
        State::ALL.get(index).copied().unwrap_or(State::Starting)
    }
}

/// How far a worker is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Worker {
    pub(crate) worker: usize,
    pub(crate) state: State,
    /// How often it was scheduled.
    pub(crate) steps: u64,
    /// The first epoch that is not finished as far as it knows; none if all are.
    finished_before: Option<u64>,
    /// By operator, in nanoseconds: how long it has worked (`.busy_ns`); by computation, how many records it was given
    /// (`.records`).
    pub(crate) counters: BTreeMap<String, u64>,
}

impl Worker {
    /// The worker of that index, as it left it.
    pub(crate) fn of(worker: usize, pulse: &Pulse) -> Self {
        Self {
            worker,
            state: pulse.state(),
            steps: pulse.steps(),
            finished_before: Some(pulse.finished_before()).filter(|epoch| *epoch != u64::MAX),
            counters: pulse.counters.snapshot(),
        }
    }
}
