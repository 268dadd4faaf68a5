//! The logic of panes beside plain models, and the cases of the minibatch system.
//!
//! Invariant: what is told is compared in full: window, records in order, count, index and kind.

mod cases;
mod counts;
mod oracle;
mod sessions;
mod sliding;
mod triggers;

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::fire::Row;
use super::*;
use crate::aggregate::Aggregate;
use crate::window::WindowAssigner;

/// The rows and timers of one key, in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: Ord + DeserializeOwned, R: DeserializeOwned"))]
struct Memory<K, R> {
    rows: BTreeMap<K, R>,
    timers: BTreeMap<(Clock, K), Time>,
    /// The most rows there were.
    most: usize,
    changes: u64,
}

impl<K, R> Default for Memory<K, R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), timers: BTreeMap::new(), most: 0, changes: 0 }
    }
}

impl<K: Ord + Copy, R> Store<K, R> for Memory<K, R> {
    fn get(&self, key: &K) -> Option<&R> {
        self.rows.get(key)
    }
    fn update<O>(&mut self, key: &K, change: impl FnOnce(&mut R) -> O) -> Option<O> {
        self.changes += 1;
        self.rows.get_mut(key).map(change)
    }
    fn insert(&mut self, key: K, row: R) {
        self.changes += 1;
        self.rows.insert(key, row);
        self.most = self.most.max(self.rows.len());
    }
    fn remove(&mut self, key: &K) -> Option<R> {
        self.changes += 1;
        self.rows.remove(key)
    }
    fn range<'a>(
        &'a self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = (&'a K, &'a R)>
    where
        K: 'a,
        R: 'a,
    {
        self.rows.range(range)
    }
    fn set_timer(&mut self, clock: Clock, name: &K, at: Time) {
        self.timers.insert((clock, *name), at);
    }
    fn cancel_timer(&mut self, clock: Clock, name: &K) {
        self.timers.remove(&(clock, *name));
    }
}

impl<K: Ord + Copy + Serialize + DeserializeOwned, R: Serialize + DeserializeOwned> Memory<K, R> {
    /// Takes the first timer out that is due.
    fn due(&mut self, clock: Clock, reached: Time) -> Option<(Clock, K, Time)> {
        let of_clock = self.timers.iter().filter(|((of, _), at)| *of == clock && **at <= reached);
        let (at, (_, name)) = of_clock.map(|(name, at)| (*at, *name)).min()?;
        self.timers.remove(&(clock, name));
        Some((clock, name, at))
    }

    /// As it is after a restart from a checkpoint.
    fn restored(&self) -> Self {
        rmp_serde::from_slice(&rmp_serde::to_vec_named(self).unwrap()).unwrap()
    }
}

const NOWHERE: Moment = Moment { watermark: Time::from_nanos(i64::MIN), now: Time::from_nanos(0) };
const END: Time = Time::from_nanos(i64::MAX);

fn nanos(nanos: i64) -> Time {
    Time::from_nanos(nanos)
}

fn window(start: i64, end: i64) -> Window {
    Window::new(nanos(start), nanos(end))
}

fn some_nanos(nanos: i64) -> Duration {
    Duration::from_nanos(nanos.unsigned_abs())
}

/// The records themselves, in the order in which they were combined.
#[derive(Clone, Copy, Debug)]
struct List;

impl<T: crate::Record> Aggregate<T> for List {
    type State = Vec<T>;
    type Output = Vec<T>;
    const EXACT: bool = false;

    fn initial(&self) -> Vec<T> {
        Vec::new()
    }
    fn update(&self, state: &mut Vec<T>, record: &T) {
        state.push(record.clone());
    }
    fn combine(&self, state: &mut Vec<T>, later: &Vec<T>) {
        state.extend(later.iter().cloned());
    }
    fn output(&self, state: &Vec<T>) -> Vec<T> {
        state.clone()
    }
}

/// Windows of one key, with time to be moved by hand.
struct Keyed<T: crate::Record, W, R: Trigger = AtWatermark, E = Accumulate> {
    windows: Windows<T, W, List, R, E>,
    store: Memory<Window, Row<T, List, R>>,
    at: Moment,
    out: Vec<Fired<Vec<T>>>,
    outcomes: Vec<Outcome>,
}

impl<T, W, R, E> Keyed<T, W, R, E>
where
    T: crate::Record,
    W: WindowAssigner,
    R: Trigger,
    E: Evictor<Vec<T>>,
{
    fn new(windows: Windows<T, W, List, R, E>) -> Self {
        windows.check().unwrap();
        let (store, out, outcomes) = (Memory::default(), Vec::new(), Vec::new());
        Self { windows, store, at: NOWHERE, out, outcomes }
    }

    fn record(&mut self, time: i64, record: T) -> Outcome {
        let Self { windows, store, at, out, outcomes } = self;
        let outcome = windows.on_record(nanos(time), &record, *at, store, out);
        outcomes.push(outcome);
        outcome
    }

    fn fire_due(&mut self, clock: Clock, reached: Time) {
        for fired in 0.. {
            assert!(fired < 1_000_000, "timers do not come to an end");
            let Some(due) = self.store.due(clock, reached) else { return };
            self.windows.on_timer(due, self.at, &mut self.store, &mut self.out);
        }
    }

    fn watermark(&mut self, to: Time) {
        self.at.watermark = to;
        self.fire_due(Clock::Event, to);
    }

    fn now(&mut self, to: Time) {
        self.at.now = to;
        self.fire_due(Clock::Engine, to);
    }

    /// What was told since the last call: the records alone.
    fn told(&mut self) -> Vec<Vec<T>> {
        self.out.drain(..).map(|fired| fired.value).collect()
    }

    /// The same with the kinds and the indices.
    fn fired(&mut self) -> Vec<(Kind, u64, Vec<T>)> {
        self.out.drain(..).map(|fired| (fired.kind, fired.index, fired.value)).collect()
    }

    fn restart(&mut self) {
        self.store = self.store.restored();
    }
}

/// Count windows of one key.
struct Counted<T: crate::Record> {
    counts: Counts<T, List>,
    cache: Cache<Vec<T>>,
    store: Memory<u64, CountSlice<Vec<T>>>,
    at: Moment,
    out: Vec<Fired<Vec<T>, u64>>,
}

impl<T: crate::Record> Counted<T> {
    fn new(counts: Counts<T, List>) -> Self {
        counts.check().unwrap();
        let (cache, store, out) = (Cache::default(), Memory::default(), Vec::new());
        Self { counts, cache, store, at: NOWHERE, out }
    }

    fn records(&mut self, records: impl IntoIterator<Item = T>) {
        for record in records {
            let Self { counts, cache, store, at, out } = self;
            counts.on_record((at.now, &record), *at, cache, store, out);
        }
    }

    fn fire_due(&mut self, clock: Clock, reached: Time) {
        while self.store.due(clock, reached).is_some() {
            let Self { counts, cache, store, out, .. } = self;
            counts.on_timer(cache, store, out);
        }
    }

    fn watermark(&mut self, to: Time) {
        self.at.watermark = to;
        self.fire_due(Clock::Event, to);
    }

    fn now(&mut self, to: Time) {
        self.at.now = to;
        self.fire_due(Clock::Engine, to);
    }

    fn told(&mut self) -> Vec<Vec<T>> {
        self.out.drain(..).map(|fired| fired.value).collect()
    }

    fn pending(&self) -> u64 {
        self.counts.pending(&self.store)
    }
}
