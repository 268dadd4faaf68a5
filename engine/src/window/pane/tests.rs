//! The logic of panes beside plain models, and the cases of the minibatch system.
//!
//! Invariant: what is told is compared in full: window, records in order, count, index and kind.

mod cases;
mod counts;
mod emitters;
mod keys;
mod model;
mod oracle;
mod sessions;
mod sliding;
mod triggers;

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::keys::{Counted, Keyed};
use super::*;
use crate::aggregate::Aggregate;
use crate::window::WindowAssigner;
use crate::window::entries::{Ordered, OrderedMut};

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

impl<K: Ord + Copy, R> Ordered<K, R> for Memory<K, R> {
    fn get(&self, key: &K) -> Option<&R> {
        self.rows.get(key)
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
}

impl<K: Ord + Copy, R> OrderedMut<K, R> for Memory<K, R> {
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
}

impl<K: Ord + Copy, R> Store<K, R> for Memory<K, R> {
    fn set_timer(&mut self, clock: Clock, name: &K, at: Time) {
        self.timers.insert((clock, *name), at);
    }
    fn cancel_timer(&mut self, clock: Clock, name: &K) {
        self.timers.remove(&(clock, *name));
    }
    fn move_timer(&mut self, name: &K, from: Option<Time>, to: Option<Time>) {
        assert_eq!(self.timers.remove(&(Clock::Event, *name)), from);
        self.timers.extend(to.map(|to| ((Clock::Event, *name), to)));
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
