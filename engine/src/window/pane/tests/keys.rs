//! One key of [`Windows`] or of [`Counts`], with time to be moved by hand.
//!
//! Invariant: timers fire as the engine has them fire, in the order of time and name.

use super::*;

/// Windows of one key, with time to be moved by hand.
pub(super) struct Keyed<T: crate::Record, W, R: Trigger = AtWatermark, E = Accumulate> {
    pub(super) windows: Windows<T, W, List, R, E>,
    pub(super) store: Memory<Window, Row<T, List, R>>,
    pub(super) at: Moment,
    pub(super) out: Vec<Fired<Vec<T>>>,
    pub(super) outcomes: Vec<Outcome>,
}

impl<T, W, R, E> Keyed<T, W, R, E>
where
    T: crate::Record,
    W: WindowAssigner,
    R: Trigger,
    E: Evictor<Vec<T>>,
{
    pub(super) fn new(windows: Windows<T, W, List, R, E>) -> Self {
        windows.check().unwrap();
        let (store, out, outcomes) = (Memory::default(), Vec::new(), Vec::new());
        Self { windows, store, at: NOWHERE, out, outcomes }
    }

    #[allow(clippy::needless_pass_by_value)] // So that tests are easy to read.
    pub(super) fn record(&mut self, time: i64, record: T) -> Outcome {
        let Self { windows, store, at, out, outcomes } = self;
        let outcome = windows.on_record(nanos(time), &record, *at, store, out);
        outcomes.push(outcome);
        outcome
    }

    pub(super) fn fire_due(&mut self, clock: Clock, reached: Time) {
        for fired in 0.. {
            assert!(fired < 1_000_000, "timers do not come to an end");
            let Some(due) = self.store.due(clock, reached) else { return };
            self.windows.on_timer(due, self.at, &mut self.store, &mut self.out);
        }
    }

    pub(super) fn watermark(&mut self, to: Time) {
        self.at.watermark = to;
        self.fire_due(Clock::Event, to);
    }

    pub(super) fn now(&mut self, to: Time) {
        self.at.now = to;
        self.fire_due(Clock::Engine, to);
    }

    /// What was told since the last call: the records alone.
    pub(super) fn told(&mut self) -> Vec<Vec<T>> {
        self.out.drain(..).map(|fired| fired.value).collect()
    }

    /// The same with the kinds and the indices.
    pub(super) fn fired(&mut self) -> Vec<(Kind, u64, Vec<T>)> {
        self.out.drain(..).map(|fired| (fired.kind, fired.index, fired.value)).collect()
    }

    pub(super) fn restart(&mut self) {
        self.store = self.store.restored();
    }
}

/// Count windows of one key.
pub(super) struct Counted<T: crate::Record> {
    pub(super) counts: Counts<T, List>,
    pub(super) cache: Cache<Vec<T>>,
    pub(super) store: Memory<u64, CountSlice<Vec<T>>>,
    pub(super) at: Moment,
    pub(super) out: Vec<Fired<Vec<T>, u64>>,
}

impl<T: crate::Record> Counted<T> {
    pub(super) fn new(counts: Counts<T, List>) -> Self {
        counts.check().unwrap();
        let (cache, store, out) = (Cache::default(), Memory::default(), Vec::new());
        Self { counts, cache, store, at: NOWHERE, out }
    }

    pub(super) fn records(&mut self, records: impl IntoIterator<Item = T>) {
        for record in records {
            let Self { counts, cache, store, at, out } = self;
            counts.on_record((at.now, &record), *at, cache, store, out);
        }
    }

    pub(super) fn fire_due(&mut self, clock: Clock, reached: Time) {
        while self.store.due(clock, reached).is_some() {
            let Self { counts, store, out, .. } = self;
            counts.on_timer(store, out);
        }
    }

    pub(super) fn watermark(&mut self, to: Time) {
        self.at.watermark = to;
        self.fire_due(Clock::Event, to);
    }

    pub(super) fn now(&mut self, to: Time) {
        self.at.now = to;
        self.fire_due(Clock::Engine, to);
    }

    pub(super) fn told(&mut self) -> Vec<Vec<T>> {
        self.out.drain(..).map(|fired| fired.value).collect()
    }

    pub(super) fn pending(&self) -> u64 {
        self.counts.pending(&self.store)
    }
}
