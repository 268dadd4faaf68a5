//! [`Entries`] and [`MapRow`]: one row of a [`MapTable`](crate::MapTable), read and changed entry
//! by entry.
//!
//! Invariant: a row exists while it has entries. Every change goes through a method that names one
//! entry, so that a change can be undone and kept entry by entry whatever the size of the row. An
//! entry of the frozen list is encoded before it changes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, RangeBounds};

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::form::Form;
use super::slot::{Interval, Kept, Slot};
use super::small_map::SmallMap;
use super::{SubKey, Value};
use crate::checkpoint::{RowBytes, Rows};

/// The entries of one row of a map table: sub-keys, in order, with their values.
///
/// Looking up costs O(log n) in the row's entries.
#[derive(Clone)]
pub struct Entries<S, V> {
    pub(super) live: SmallMap<S, Kept<V>>,
    /// Removed entries that some list names. Mostly there are none, and the row is to be small.
    #[allow(clippy::box_collection)]
    pub(super) gone: Option<Box<BTreeMap<S, Slot>>>,
}

impl<S, V> Default for Entries<S, V> {
    fn default() -> Self {
        Self { live: SmallMap::default(), gone: None }
    }
}

impl<S: Ord, V> Entries<S, V> {
    /// The value of `key`.
    pub fn get(&self, key: &S) -> Option<&V> {
        self.live.get(key).map(|kept| &kept.value)
    }

    /// Whether there is an entry for `key`.
    pub fn contains_key(&self, key: &S) -> bool {
        self.live.contains_key(key)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// The first entry, by order of sub-keys.
    pub fn first(&self) -> Option<(&S, &V)> {
        self.live.first().map(|(key, kept)| (key, &kept.value))
    }

    /// The last entry, by order of sub-keys.
    pub fn last(&self) -> Option<(&S, &V)> {
        self.live.last().map(|(key, kept)| (key, &kept.value))
    }

    /// All entries, in order of sub-keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&S, &V)> {
        self.live.iter().map(|(key, kept)| (key, &kept.value))
    }

    /// The entries whose sub-keys are in `range`, in order.
    pub fn range(&self, range: impl RangeBounds<S>) -> impl DoubleEndedIterator<Item = (&S, &V)> {
        self.live.range(range).map(|(key, kept)| (key, &kept.value))
    }

    /// Whether nothing is left, not even what must be told of.
    pub(super) fn is_void(&self) -> bool {
        self.live.is_empty() && self.gone.is_none()
    }

    /// Takes the slot of a removed entry out.
    pub(super) fn take_gone(&mut self, key: &S) -> Option<Slot> {
        let gone = self.gone.as_mut()?;
        let slot = gone.remove(key);
        if gone.is_empty() {
            self.gone = None;
        }
        slot
    }
}

impl<S: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Entries<S, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.live.iter().map(|(key, kept)| (key, &kept.value))).finish()
    }
}

impl<S: Ord, V: PartialEq> PartialEq for Entries<S, V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<S: Ord, V: Eq> Eq for Entries<S, V> {}

impl<S: SubKey, V: Value> Serialize for Entries<S, V> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, S: SubKey, V: Value> Deserialize<'de> for Entries<S, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = BTreeMap::deserialize(deserializer)?;
        let kept = |value| Kept { value, slot: Slot::default() };
        let live = entries.into_iter().map(|(key, value)| (key, kept(value))).collect();
        Ok(Self { live, gone: None })
    }
}

/// What a row that is being changed tells its table.
pub(super) struct Notes<S, V> {
    /// The running interval; off if changes are not noted.
    pub(super) interval: Interval,
    /// Whether the row had no entry left when it was put back.
    pub(super) empty: bool,
    /// Whether it was changed.
    pub(super) written: bool,
    /// Whether what is done may be undone.
    pub(super) trying: bool,
    /// What entries were before they changed, if it may be.
    pub(super) undo: Vec<(S, Option<V>)>,
    /// How many of these are of calls before this one, which stay but may be undone with it.
    pub(super) undo_from: usize,
    /// If so, whether one of these calls has changed the row.
    pub(super) held: Option<bool>,
    /// Whether a view looks at the table.
    pub(super) watched: bool,
    /// What entries were before they changed, if one does.
    pub(super) was: Vec<(S, Option<V>)>,
    /// Entries that changed for the first time in this interval.
    pub(super) changed: Vec<S>,
    /// Entries of the frozen list that were encoded, without the row's key.
    pub(super) early: Rows,
    /// Why one could not be encoded.
    pub(super) failed: Option<String>,
    pub(super) sub_key: Form<S>,
    pub(super) value: Form<V>,
    /// A sub-key's and a value's bytes.
    pub(super) buffers: [Vec<u8>; 2],
}

impl<S: SubKey, V: Value> Notes<S, V> {
    /// Whether anybody wants to know what entries are before they change.
    #[inline]
    fn remembers(&self) -> bool {
        self.trying | self.watched
    }

    /// Notes what an entry is before it changes, if that may be undone, or a view looks.
    #[inline]
    fn remember(&mut self, key: &S, before: Option<&V>) {
        if self.trying {
            self.undo.push((key.clone(), before.cloned()));
        }
        if self.watched {
            self.was.push((key.clone(), before.cloned()));
        }
    }

    /// An entry as bytes, without its value if it is gone.
    pub(super) fn encode(
        &mut self,
        key: &S,
        value: Option<&V>,
    ) -> Result<(&[u8], Option<&[u8]>), String> {
        let [key_bytes, value_bytes] = &mut self.buffers;
        key_bytes.clear();
        value_bytes.clear();
        self.sub_key.encode(key, key_bytes)?;
        if let Some(value) = value {
            self.value.encode(value, value_bytes)?;
        }
        Ok((key_bytes, value.map(|_| &**value_bytes)))
    }

    /// The entry with that slot, there before, is about to change: encodes it if it is frozen, and
    /// puts it in the list. Gives its slot as of now.
    fn changing(&mut self, key: &S, value: Option<&V>, slot: Slot) -> Slot {
        if slot.is_listed(self.interval) {
            return slot;
        }
        if slot.is_frozen(self.interval) && (value.is_some() || !slot.is_born()) {
            let mut early = std::mem::take(&mut self.early);
            match self.encode(key, value) {
                Ok((sub_key, value)) => {
                    early.push(RowBytes { partition: 0, key: &[], sub_key: Some(sub_key), value });
                }
                Err(problem) => self.failed = Some(problem),
            }
            self.early = early;
        }
        self.changed.push(key.clone());
        if slot.is_gone() { Slot::born(self.interval) } else { Slot::listed(self.interval) }
    }
}

/// One row of a map table, to read (as [`Entries`]) and to change entry by entry.
///
/// Inserting and removing cost O(log n) in the row's entries.
pub struct MapRow<'a, S: SubKey, V: Value> {
    entries: &'a mut Entries<S, V>,
    notes: &'a mut Notes<S, V>,
}

impl<'a, S: SubKey, V: Value> MapRow<'a, S, V> {
    #[inline]
    pub(super) fn new(entries: &'a mut Entries<S, V>, notes: &'a mut Notes<S, V>) -> Self {
        notes.written = false;
        Self { entries, notes }
    }

    /// Sets the value of `key`; gives what it was.
    pub fn insert(&mut self, key: S, value: V) -> Option<V> {
        let (there, fresh) = self.written(key);
        let before = std::mem::replace(there, value);
        (!fresh).then_some(before)
    }

    /// Changes the value of `key`, if there is one, and gives what `change` gives.
    pub fn update<R>(&mut self, key: &S, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let kept = self.entries.live.get_mut(key)?;
        self.notes.written = true;
        self.notes.remember(key, Some(&kept.value));
        if self.notes.interval.is_on() {
            kept.slot = self.notes.changing(key, Some(&kept.value), kept.slot);
        }
        Some(change(&mut kept.value))
    }

    /// The value of `key` to change, which is the default if there was none.
    pub fn entry(&mut self, key: S) -> &mut V {
        self.written(key).0
    }

    /// Removes the entry of `key`; gives what it was.
    pub fn remove(&mut self, key: &S) -> Option<V> {
        let (key, kept) = self.entries.live.remove_entry(key)?;
        Some(self.removed(key, kept).1)
    }

    /// Removes the first entry and gives it.
    pub fn pop_first(&mut self) -> Option<(S, V)> {
        let (key, kept) = self.entries.live.pop_first()?;
        Some(self.removed(key, kept))
    }

    /// Removes the last entry and gives it.
    pub fn pop_last(&mut self) -> Option<(S, V)> {
        let (key, kept) = self.entries.live.pop_last()?;
        Some(self.removed(key, kept))
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        if self.notes.interval.is_on() || self.notes.remembers() {
            while self.pop_first().is_some() {}
        } else {
            self.entries.live.clear();
        }
    }

    /// The value of `key`, which is about to be written, and whether there was none: then it is the default.
    #[inline]
    fn written(&mut self, key: S) -> (&mut V, bool) {
        self.notes.written = true;
        if self.notes.remembers() || self.notes.interval.is_on() {
            return self.noted(&key);
        }
        let (kept, fresh) = self.entries.live.get_or_default(key);
        (&mut kept.value, fresh)
    }

    /// The same, with what the entry is noted before it changes.
    #[inline(never)]
    fn noted(&mut self, key: &S) -> (&mut V, bool) {
        let Self { entries, notes } = self;
        let gone = if notes.interval.is_on() { entries.take_gone(key) } else { None };
        let (kept, fresh) = entries.live.get_or_default(key.clone());
        if notes.interval.is_on() {
            kept.slot = match gone {
                Some(slot) => notes.changing(key, None, slot).back(),
                None if fresh => {
                    notes.changed.push(key.clone());
                    Slot::born(notes.interval)
                }
                None => notes.changing(key, Some(&kept.value), kept.slot),
            };
        }
        if notes.remembers() {
            notes.remember(key, (!fresh).then_some(&kept.value));
        }
        (&mut kept.value, fresh)
    }

    /// The entry was taken out.
    #[inline]
    fn removed(&mut self, key: S, kept: Kept<V>) -> (S, V) {
        self.notes.written = true;
        self.notes.remember(&key, Some(&kept.value));
        if self.notes.interval.is_on() {
            let slot = self.notes.changing(&key, Some(&kept.value), kept.slot).gone();
            self.entries.gone.get_or_insert_default().insert(key.clone(), slot);
        }
        (key, kept.value)
    }
}

impl<S: SubKey, V: Value> Deref for MapRow<'_, S, V> {
    type Target = Entries<S, V>;

    #[inline]
    fn deref(&self) -> &Entries<S, V> {
        self.entries
    }
}

impl<S: SubKey, V: Value> Drop for MapRow<'_, S, V> {
    #[inline]
    fn drop(&mut self) {
        self.notes.empty = self.entries.live.is_empty();
    }
}
