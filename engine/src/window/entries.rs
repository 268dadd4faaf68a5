//! [`Ordered`] and [`OrderedMut`]: what is kept of a key, entry by entry.
//!
//! Invariant: every change names one entry, so that a change costs what the entry costs, whatever else is
//! kept of the key. Nothing is iterated but in the order of keys.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Record;
use crate::state::{Entries, MapRow, SubKey, Value};

/// Entries in the order of their keys: a row of a [`MapTable`](crate::MapTable) of [`Stored`] values, one of
/// [`Plain`] ones, or a sorted map.
pub trait Ordered<K: Ord, V> {
    /// The value of `key`.
    fn get(&self, key: &K) -> Option<&V>;

    /// The entries in `range`, in order, which must not end before it begins.
    fn range<'a>(
        &'a self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a;

    /// The first entry.
    fn first<'a>(&'a self) -> Option<(&'a K, &'a V)>
    where
        K: 'a,
        V: 'a,
    {
        self.range(..).next()
    }

    /// The last entry.
    fn last<'a>(&'a self) -> Option<(&'a K, &'a V)>
    where
        K: 'a,
        V: 'a,
    {
        self.range(..).next_back()
    }
}

/// The same, to change entry by entry.
pub trait OrderedMut<K: Ord, V>: Ordered<K, V> {
    /// Sets the value of `key`.
    fn insert(&mut self, key: K, value: V);

    /// Changes the value of `key`, if there is one, and gives what `change` gives.
    fn update<O>(&mut self, key: &K, change: impl FnOnce(&mut V) -> O) -> Option<O>;

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
}

impl<K: Ord, V> OrderedMut<K, V> for BTreeMap<K, V> {
    fn insert(&mut self, key: K, value: V) {
        BTreeMap::insert(self, key, value);
    }

    fn update<O>(&mut self, key: &K, change: impl FnOnce(&mut V) -> O) -> Option<O> {
        self.get_mut(key).map(change)
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        BTreeMap::remove(self, key)
    }
}

impl<K: SubKey, V: Value> Ordered<K, V> for Entries<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        Entries::get(self, key)
    }

    fn range<'a>(
        &'a self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a,
    {
        Entries::range(self, range)
    }
}

/// A row whose values have a default of their own.
pub struct Plain<'a, K: SubKey, V: Value>(pub MapRow<'a, K, V>);

impl<K: SubKey, V: Value> Ordered<K, V> for Plain<'_, K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    fn range<'a>(
        &'a self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a,
    {
        self.0.range(range)
    }
}

impl<K: SubKey, V: Value> OrderedMut<K, V> for Plain<'_, K, V> {
    fn insert(&mut self, key: K, value: V) {
        self.0.insert(key, value);
    }

    fn update<O>(&mut self, key: &K, change: impl FnOnce(&mut V) -> O) -> Option<O> {
        self.0.update(key, change)
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
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
        Entries::get(self, key).and_then(Stored::get)
    }

    fn range<'a>(
        &'a self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a,
    {
        Entries::range(self, range).filter_map(|(key, stored)| Some((key, stored.get()?)))
    }
}

impl<K: SubKey, V: Record> OrderedMut<K, V> for MapRow<'_, K, Stored<V>> {
    fn insert(&mut self, key: K, value: V) {
        MapRow::insert(self, key, Stored::new(value));
    }

    fn update<O>(&mut self, key: &K, change: impl FnOnce(&mut V) -> O) -> Option<O> {
        MapRow::update(self, key, |stored| stored.get_mut().map(change)).flatten()
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        MapRow::remove(self, key)?.0
    }
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
}
