//! [`MapRow`]: one row of a [`MapTable`](crate::MapTable), read and changed entry by entry.
//!
//! Invariant: a row exists while it has entries. Every change goes through a method that names one
//! entry, so that a change can be undone and kept entry by entry whatever the size of the row.

use std::collections::BTreeMap;
use std::ops::{Deref, RangeBounds};

use serde::{Deserialize, Serialize};

use super::row::Row;
use super::{SubKey, Value};

/// The entries of one row of a map table: sub-keys, in order, with their values.
///
/// Looking up costs O(log n) in the row's entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "S: SubKey, V: Value")]
pub struct Entries<S, V>(BTreeMap<S, V>);

impl<S, V> Default for Entries<S, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S: Ord, V> Entries<S, V> {
    /// The value of `key`.
    pub fn get(&self, key: &S) -> Option<&V> {
        self.0.get(key)
    }

    /// Whether there is an entry for `key`.
    pub fn contains_key(&self, key: &S) -> bool {
        self.0.contains_key(key)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first entry, by order of sub-keys.
    pub fn first(&self) -> Option<(&S, &V)> {
        self.0.first_key_value()
    }

    /// The last entry, by order of sub-keys.
    pub fn last(&self) -> Option<(&S, &V)> {
        self.0.last_key_value()
    }

    /// All entries, in order of sub-keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&S, &V)> {
        self.0.iter()
    }

    /// The entries whose sub-keys are in `range`, in order.
    pub fn range(&self, range: impl RangeBounds<S>) -> impl DoubleEndedIterator<Item = (&S, &V)> {
        self.0.range(range)
    }
}

/// One row of a map table, to read (as [`Entries`]) and to change entry by entry.
///
/// Inserting and removing cost O(log n) in the row's entries.
pub struct MapRow<'a, S: SubKey, V: Value> {
    row: Row<'a, Entries<S, V>>,
}

impl<'a, S: SubKey, V: Value> MapRow<'a, S, V> {
    #[inline]
    pub(super) fn new(row: Row<'a, Entries<S, V>>) -> Self {
        Self { row }
    }

    /// Sets the value of `key`; gives what it was.
    pub fn insert(&mut self, key: S, value: V) -> Option<V> {
        self.row.0.insert(key, value)
    }

    /// Changes the value of `key`, if there is one, and gives what `change` gives.
    pub fn update<R>(&mut self, key: &S, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        if self.row.exists() { self.row.0.get_mut(key).map(change) } else { None }
    }

    /// The value of `key` to change, which is the default if there was none.
    pub fn entry(&mut self, key: S) -> &mut V {
        self.row.0.entry(key).or_default()
    }

    /// Removes the entry of `key`; gives what it was.
    pub fn remove(&mut self, key: &S) -> Option<V> {
        if self.row.exists() { self.row.0.remove(key) } else { None }
    }

    /// Removes the first entry and gives it.
    pub fn pop_first(&mut self) -> Option<(S, V)> {
        if self.row.exists() { self.row.0.pop_first() } else { None }
    }

    /// Removes the last entry and gives it.
    pub fn pop_last(&mut self) -> Option<(S, V)> {
        if self.row.exists() { self.row.0.pop_last() } else { None }
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        if self.row.exists() {
            self.row.0.clear();
        }
    }
}

impl<S: SubKey, V: Value> Deref for MapRow<'_, S, V> {
    type Target = Entries<S, V>;

    #[inline]
    fn deref(&self) -> &Entries<S, V> {
        &self.row
    }
}

impl<S: SubKey, V: Value> Drop for MapRow<'_, S, V> {
    fn drop(&mut self) {
        if self.row.is_empty() {
            self.row.discard();
        }
    }
}
