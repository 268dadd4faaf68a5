//! [`Row`]: one row of a [`Table`](crate::Table), as a computation sees it.
//!
//! Invariant: a row exists once it was written through `DerefMut`; reading alone creates nothing.

use std::ops::{Deref, DerefMut};

use hashbrown::hash_map::{EntryRef, OccupiedEntry, VacantEntryRef};

use super::{Hasher, Value};
use crate::Key;

/// One row of a table, to read and to change.
///
/// Reading a row that was never written gives the default value. Writing (any use by `&mut`)
/// creates it; [`remove`](Row::remove) deletes it.
pub struct Row<'a, K, V> {
    state: State<'a, K, V>,
}

enum State<'a, K, V> {
    Present(OccupiedEntry<'a, K, V, Hasher>),
    /// The place where the row would be, and the default value that stands in for it.
    Absent(VacantEntryRef<'a, 'a, K, K, V, Hasher>, V),
    /// Only while one state turns into another.
    Moving(V),
}

impl<'a, K: Key, V: Value> Row<'a, K, V> {
    #[inline]
    pub(crate) fn new(entry: EntryRef<'a, 'a, K, K, V, Hasher>) -> Self {
        let state = match entry {
            EntryRef::Occupied(entry) => State::Present(entry),
            EntryRef::Vacant(entry) => State::Absent(entry, V::default()),
        };
        Self { state }
    }

    /// Whether the row was written before, and not removed since.
    pub fn exists(&self) -> bool {
        matches!(self.state, State::Present(_))
    }

    /// Deletes the row in place; what is written to it afterwards is lost.
    pub(super) fn discard(&mut self) {
        let gone = State::Moving(V::default());
        if let State::Present(entry) = std::mem::replace(&mut self.state, gone) {
            entry.remove();
        }
    }

    /// Deletes the row; gives what it was, if it existed.
    pub fn remove(self) -> Option<V> {
        match self.state {
            State::Present(entry) => Some(entry.remove()),
            State::Absent(..) | State::Moving(_) => None,
        }
    }
}

impl<K: Key, V: Value> Deref for Row<'_, K, V> {
    type Target = V;

    #[inline]
    fn deref(&self) -> &V {
        match &self.state {
            State::Present(entry) => entry.get(),
            State::Absent(_, value) | State::Moving(value) => value,
        }
    }
}

impl<K: Key, V: Value> DerefMut for Row<'_, K, V> {
    #[inline]
    fn deref_mut(&mut self) -> &mut V {
        if matches!(self.state, State::Absent(..)) {
            self.create();
        }
        match &mut self.state {
            State::Present(entry) => entry.get_mut(),
            State::Absent(_, value) | State::Moving(value) => value,
        }
    }
}

impl<K: Key, V: Value> Row<'_, K, V> {
    #[cold]
    fn create(&mut self) {
        let moving = State::Moving(V::default());
        if let State::Absent(entry, value) = std::mem::replace(&mut self.state, moving) {
            self.state = State::Present(entry.insert_entry(value));
        }
    }
}

/// One row of a table that a computation only [reads](crate::Table::read).
///
/// A row that was never written reads as the default value.
pub struct ReadRow<'a, V> {
    value: Result<&'a V, V>,
}

impl<'a, V: Value> ReadRow<'a, V> {
    pub(super) fn new(value: Option<&'a V>) -> Self {
        Self { value: value.ok_or_else(V::default) }
    }

    /// Whether the row was written before, and not removed since.
    pub fn exists(&self) -> bool {
        self.value.is_ok()
    }
}

impl<V> Deref for ReadRow<'_, V> {
    type Target = V;

    #[inline]
    fn deref(&self) -> &V {
        match &self.value {
            Ok(value) => value,
            Err(default) => default,
        }
    }
}
