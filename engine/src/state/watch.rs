//! [`Watch`] and [`MapWatch`]: what rows and entries were before an epoch changed them, for views.
//!
//! Invariant: of a row that was touched since the last [`Store::changes`], what it was before the first
//! touch is here, once; so what was undone, or came and went, is no change. A table that no view looks at
//! has none of this.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::map_store::MapStore;
use super::store::{Locked, Shelf, Store};
use super::{Hasher, SubKey, Value};
use crate::Key;

/// What rows of a table were before they were touched.
pub(super) struct Watch<K, V>(HashMap<K, Option<V>, Hasher>);

/// The same of entries of a map table.
pub(super) struct MapWatch<K, S, V>(HashMap<K, BTreeMap<S, Option<V>>, Hasher>);

impl<K: Key, V: Value> Store<K, V> {
    /// Notes from now on what changes.
    pub(crate) fn watch(&self) {
        self.shelf().borrow_mut().watch.get_or_insert_with(|| Box::new(Watch(HashMap::default())));
    }

    /// Tells of the rows that were touched since the last call, in no order: what they were, and what they
    /// are. Gives whether there were any.
    pub(crate) fn changes(&self, mut tell: impl FnMut(&K, Option<&V>, Option<&V>)) -> bool {
        let mut shelf = self.shelf().borrow_mut();
        let Some(mut watch) = shelf.watch.take() else { return false };
        let any = !watch.0.is_empty();
        for (key, before) in watch.0.drain() {
            shelf.unmark(&key);
            tell(&key, before.as_ref(), shelf.get(&key));
        }
        shelf.watch = Some(watch);
        any
    }

    /// Shows all rows, in no order.
    pub(crate) fn each_row(&self, mut see: impl FnMut(&K, &V)) {
        self.shelf().borrow().live().for_each(|(key, value)| see(key, value));
    }
}

impl<K: Key, V: Value> Shelf<K, V> {
    /// A row was touched; `before` is what it was, unless that is known.
    #[inline(never)]
    pub(super) fn touched(&mut self, key: &K, fresh: bool, before: Option<V>) {
        if let Some(watch) = &mut self.watch
            && (fresh || before.is_some())
            && !watch.0.contains_key(key)
        {
            watch.0.insert(key.clone(), before);
        }
        self.mark(key);
    }
}

impl<K: Key, V: Value> Locked<'_, K, V> {
    /// Whether what the row is has to be kept before it is written, though nothing is tried.
    #[inline(always)]
    pub(super) fn keeps(shelf: &Shelf<K, V>) -> bool {
        shelf.watch.is_some()
    }
}

impl<K: Key, S: SubKey, V: Value> MapStore<K, S, V> {
    /// Notes from now on what changes.
    pub(crate) fn watch(&self) {
        let mut shelf = self.shelf().borrow_mut();
        shelf.notes.watched = true;
        shelf.watch.get_or_insert_with(|| MapWatch(HashMap::default()));
    }

    /// Tells of the entries that were touched since the last call, in no order: what they were, and what
    /// they are. Gives whether there were any.
    pub(crate) fn changes(&self, mut tell: impl FnMut(&K, &S, Option<&V>, Option<&V>)) -> bool {
        let mut shelf = self.shelf().borrow_mut();
        let Some(mut watch) = shelf.watch.take() else { return false };
        let any = !watch.0.is_empty();
        for (key, entries) in watch.0.drain() {
            let row = shelf.get(&key);
            for (sub_key, before) in &entries {
                tell(&key, sub_key, before.as_ref(), row.and_then(|row| row.get(sub_key)));
            }
        }
        shelf.watch = Some(watch);
        any
    }
}

impl<K: Key, S: SubKey, V: Value> MapWatch<K, S, V> {
    /// Entries of a row were touched, which had been so; of one that was touched twice the first counts.
    #[inline(never)]
    pub(super) fn touched(&mut self, key: &K, was: &mut Vec<(S, Option<V>)>) {
        let entries = self.0.entry_ref(key).or_default();
        for (sub_key, before) in was.drain(..) {
            entries.entry(sub_key).or_insert(before);
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
