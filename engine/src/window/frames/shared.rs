//! What several tasks keep of one key side by side: each its own, in one row.
//!
//! Invariant: a task sees nothing of another's.

use std::ops::{Bound, Deref, DerefMut, RangeBounds};

use crate::Time;
use crate::window::entries::{Ordered, OrderedMut};

/// The name of an entry: whose it is, and its time.
type Name = (u32, Time);

/// The entries of one task, by time, among those of several, by task and time; see
/// [`of_task`](super::query::of_task).
pub struct OfTask<D> {
    pub(crate) entries: D,
    pub(crate) task: u32,
}

impl<D> OfTask<D> {
    fn within(&self, range: &impl RangeBounds<Time>) -> (Bound<Name>, Bound<Name>) {
        let of_task = |time: &Time| (self.task, *time);
        let [first, last] = [i64::MIN, i64::MAX].map(|nanos| of_task(&Time::from_nanos(nanos)));
        let bound = |bound: Bound<&Time>, without| match bound.map(of_task) {
            Bound::Unbounded => Bound::Included(without),
            bound => bound,
        };
        (bound(range.start_bound(), first), bound(range.end_bound(), last))
    }
}

impl<V, D: Deref<Target: Ordered<Name, V>>> Ordered<Time, V> for OfTask<D> {
    fn get(&self, time: &Time) -> Option<&V> {
        self.entries.get(&(self.task, *time))
    }

    fn range<'a>(
        &'a self,
        range: impl RangeBounds<Time>,
    ) -> impl DoubleEndedIterator<Item = (&'a Time, &'a V)>
    where
        V: 'a,
    {
        self.entries.range(self.within(&range)).map(|((_, time), value)| (time, value))
    }
}

impl<V, D: DerefMut<Target: OrderedMut<Name, V>>> OrderedMut<Time, V> for OfTask<D> {
    fn insert(&mut self, time: Time, value: V) {
        self.entries.insert((self.task, time), value);
    }

    fn update<O>(&mut self, time: &Time, change: impl FnOnce(&mut V) -> O) -> Option<O> {
        self.entries.update(&(self.task, *time), change)
    }

    fn remove(&mut self, time: &Time) -> Option<V> {
        self.entries.remove(&(self.task, *time))
    }
}
