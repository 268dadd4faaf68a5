//! [`Ordered`] and [`Timer`]: what a join keeps of a key, and how it asks to be woken.
//!
//! Invariant: every change names one entry, so that a change costs what the entry costs, whatever else is
//! kept of the key.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{MapRow, Record, SubKey, Time};

/// Where a record of one input stands: its time, and how many of that time were applied before it.
pub type Place = (Time, u64);

/// Entries in the order of their keys: a row of a [`MapTable`](crate::MapTable) of [`Stored`] values, or a
/// sorted map.
pub trait Ordered<K: Ord, V> {
    /// The value of `key`.
    fn get(&self, key: &K) -> Option<&V>;

    /// The entries in `range`, which must not end before it begins.
    fn range<'a>(
        &'a self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a;

    /// Sets the value of `key`.
    fn insert(&mut self, key: K, value: V);

    /// Changes the value of `key`, if there is one.
    fn update(&mut self, key: &K, change: impl FnOnce(&mut V));

    /// Removes the entry of `key`; gives what it was.
    fn remove(&mut self, key: &K) -> Option<V>;
}

impl<K: Ord, V> Ordered<K, V> for BTreeMap<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        BTreeMap::get(self, key)
    }

    fn range<'a>(
        &'a self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a,
    {
        BTreeMap::range(self, range)
    }

    fn insert(&mut self, key: K, value: V) {
        BTreeMap::insert(self, key, value);
    }

    fn update(&mut self, key: &K, change: impl FnOnce(&mut V)) {
        if let Some(value) = self.get_mut(key) {
            change(value);
        }
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        BTreeMap::remove(self, key)
    }
}

/// A record as the value of an entry. Tables ask for values that have a default, which a record need not
/// have; an entry that is there has one.
///
/// Its form is a list of one, so that it can be told from none whatever the record is: an `Option`
/// of an `Option`, or of nothing, could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<V>(Option<V>);

impl<V> Stored<V> {
    /// An entry.
    pub fn new(value: V) -> Self {
        Self(Some(value))
    }

    /// What it is, which an entry that is there always has.
    pub fn get(&self) -> Option<&V> {
        self.0.as_ref()
    }

    /// The same, to change.
    pub fn get_mut(&mut self) -> Option<&mut V> {
        self.0.as_mut()
    }
}

impl<V> Default for Stored<V> {
    fn default() -> Self {
        Self(None)
    }
}

impl<V: Serialize> Serialize for Stored<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Stored<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Vec::deserialize(deserializer)?.pop()))
    }
}

impl<K: SubKey, V: Record> Ordered<K, V> for MapRow<'_, K, Stored<V>> {
    fn get(&self, key: &K) -> Option<&V> {
        (**self).get(key).and_then(|stored| stored.0.as_ref())
    }

    fn range<'a>(
        &'a self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a,
    {
        (**self).range(range).filter_map(|(key, stored)| Some((key, stored.0.as_ref()?)))
    }

    fn insert(&mut self, key: K, value: V) {
        MapRow::insert(self, key, Stored(Some(value)));
    }

    fn update(&mut self, key: &K, change: impl FnOnce(&mut V)) {
        MapRow::update(self, key, |stored| stored.0.as_mut().map(change));
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        MapRow::remove(self, key)?.0
    }
}

/// One timer of a key, with a name of its own among the key's timers.
///
/// It is due once the clock reaches the time that was asked for (for joins the watermark), and is no
/// longer pending when it is served.
pub trait Timer {
    /// Asks for `at` instead of what was asked for. A time that has come is due after the epoch.
    fn set(&mut self, at: Time);

    /// Asks for nothing any more.
    fn cancel(&mut self);

    /// Asks for `at`, unless it is asked for no later time.
    fn set_by(&mut self, at: Time);
}

impl Timer for Option<Time> {
    fn set(&mut self, at: Time) {
        *self = Some(at);
    }

    fn set_by(&mut self, at: Time) {
        if self.is_none_or(|pending| at < pending) {
            *self = Some(at);
        }
    }

    fn cancel(&mut self) {
        *self = None;
    }
}

/// What a join of two inputs keeps of one key: the entries of both, and its timer.
#[derive(Debug)]
pub struct State<'a, L, R, T> {
    /// Of the left input.
    pub left: &'a mut L,
    /// Of the right input.
    pub right: &'a mut R,
    /// Due by the watermark.
    pub timer: &'a mut T,
}

/// The place of the next record at `time`: after those that are there.
pub(super) fn next_place<V>(entries: &impl Ordered<Place, V>, time: Time) -> Place {
    let last = entries.range((time, 0)..=(time, u64::MAX)).next_back();
    (time, last.map_or(0, |((_, nth), _)| nth.saturating_add(1)))
}

/// The first entry.
pub(super) fn first<K: Ord + Copy, V>(entries: &impl Ordered<K, V>) -> Option<K> {
    entries.range(..).next().map(|(key, _)| *key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored<V: Record>(value: V) -> Option<V> {
        let bytes = rmp_serde::to_vec_named(&Stored(Some(value))).unwrap();
        rmp_serde::from_slice::<Stored<V>>(&bytes).unwrap().0
    }

    #[test]
    fn a_record_is_restored_whatever_it_is() {
        assert_eq!(restored(()), Some(()));
        assert_eq!(restored(None::<u8>), Some(None));
        assert_eq!(restored(Some(7)), Some(Some(7)));
        assert_eq!(restored(vec![1, 2]), Some(vec![1, 2]));
    }

    #[test]
    fn a_timer_moves_forward_only_when_it_is_served() {
        let (at, mut timer) = (Time::from_nanos, None);
        timer.set_by(at(5));
        timer.set_by(at(7));
        assert_eq!(timer, Some(at(5)));
        timer.set_by(at(3));
        assert_eq!(timer, Some(at(3)));
    }
}
