//! [`MapStore`]: the rows of one [`MapTable`](crate::MapTable) on one worker, and which of their
//! entries changed.
//!
//! Invariant: a row without entries stays in the map only while tombstones of its entries are to be
//! encoded; nobody but this file and [`Entries`] sees it. What is noted, encoded and restored is
//! entries, never rows.

use std::cell::{RefCell, RefMut};

use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;

use super::form::Form;
use super::map_row::{Entries, MapRow, Notes};
use super::slot::{Changes, Interval, Kept, Slot};
use super::snapshot::{Migration, Snapshot, Stored, cannot_decode, cannot_encode};
use super::store::hash_row;
use super::table::short;
use super::watch::MapWatch;
use super::{Hasher, LARGE, SubKey, Value};
use crate::checkpoint::{Codec, RowBytes, Rows, TableSchema};
use crate::{Key, MapTable, Result};

/// The rows of one map table on one worker.
pub struct MapStore<K, S, V> {
    shelf: RefCell<MapShelf<K, S, V>>,
}

/// The rows, while nobody else has them.
pub struct MapShelf<K, S, V> {
    rows: HashMap<K, Entries<S, V>, Hasher>,
    pub(super) notes: Notes<S, V>,
    changes: Changes<(K, S)>,
    /// If a view looks at the table.
    pub(super) watch: Option<MapWatch<K, S, V>>,
    name: &'static str,
    codec: Codec,
    key: Form<K>,
    key_bytes: Vec<u8>,
    migration: Option<Migration<V>>,
}

impl<K: Key, S: SubKey, V: Value> MapStore<K, S, V> {
    pub(super) fn new(table: MapTable<K, S, V>) -> Self {
        let MapTable { name, codec, forms } = table;
        let (key, sub_key, value) =
            forms.unwrap_or_else(|| (Form::of(codec), Form::of(codec), Form::of(codec)));
        let notes = Notes {
            interval: Interval::default(),
            empty: false,
            written: false,
            trying: false,
            undo: Vec::new(),
            undo_from: 0,
            held: None,
            watched: false,
            was: Vec::new(),
            changed: Vec::new(),
            early: Rows::default(),
            failed: None,
            sub_key,
            value,
            buffers: Default::default(),
        };
        let shelf = MapShelf {
            rows: HashMap::default(),
            notes,
            changes: Changes::default(),
            watch: None,
            name,
            codec,
            key,
            key_bytes: Vec::new(),
            migration: None,
        };
        Self { shelf: RefCell::new(shelf) }
    }

    pub(super) fn migrate(&self, migration: Migration<V>) {
        self.shelf.borrow_mut().migration = Some(migration);
    }

    /// The row of `key`, if it exists.
    pub(crate) fn get(&self, key: &K) -> Option<Entries<S, V>> {
        self.shelf.borrow().get(key).cloned()
    }

    /// What `see` says of the value of an entry, if there is one.
    pub(crate) fn see<R>(&self, key: &K, sub_key: &S, see: impl FnOnce(&V) -> R) -> Option<R> {
        self.shelf.borrow().get(key)?.get(sub_key).map(see)
    }

    /// Calls `see` for each entry of each row, in no order.
    pub(crate) fn each_entry(&self, mut see: impl FnMut(&K, &S, &V)) {
        for (key, sub_key, value) in self.shelf.borrow().live() {
            see(key, sub_key, value);
        }
    }

    /// Whether the rows are too many for the processor's caches.
    pub(super) fn is_large(&self) -> bool {
        self.shelf.borrow().rows.len() >= LARGE
    }

    /// Finds the row of `key`, so that it is near when it is asked for.
    #[inline(always)]
    pub(super) fn look_up(&self, key: &K) {
        std::hint::black_box(self.shelf.borrow().rows.get(key).is_some());
    }

    pub(super) fn shelf(&self) -> &RefCell<MapShelf<K, S, V>> {
        &self.shelf
    }
}

impl<K: Key, S: SubKey, V: Value> MapShelf<K, S, V> {
    #[inline]
    pub(super) fn get(&self, key: &K) -> Option<&Entries<S, V>> {
        self.rows.get(key).filter(|entries| !entries.is_empty())
    }

    /// How many rows there are, with those that are gone.
    pub(super) fn size(&self) -> usize {
        self.rows.len()
    }

    /// All rows that have entries, in no order.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&K, &Entries<S, V>)> {
        self.rows.iter().filter(|(_, entries)| !entries.is_empty())
    }
}

/// The rows of a map table while a computation is applied to one of them.
#[doc(hidden)]
pub struct LockedMap<'a, K, S, V> {
    shelf: RefMut<'a, MapShelf<K, S, V>>,
}

impl<'a, K: Key, S: SubKey, V: Value> LockedMap<'a, K, S, V> {
    #[inline(always)]
    pub(crate) fn new(store: &'a MapStore<K, S, V>) -> Self {
        Self { shelf: store.shelf.borrow_mut() }
    }

    #[inline(always)]
    pub(crate) fn row(&mut self, key: &K) -> MapRow<'_, S, V> {
        let MapShelf { rows, notes, .. } = &mut *self.shelf;
        let entries = match rows.entry_ref(key) {
            EntryRef::Occupied(entry) => entry.into_mut(),
            EntryRef::Vacant(entry) => entry.insert(Entries::default()),
        };
        MapRow::new(entries, notes)
    }

    /// What is done from here on may be undone.
    #[inline(always)]
    pub(super) fn attempt(&mut self) {
        let notes = &mut self.shelf.notes;
        notes.trying = true;
        notes.undo_from = notes.undo.len();
    }

    /// What was done stays.
    #[inline(always)]
    pub(super) fn keep(&mut self) {
        let notes = &mut self.shelf.notes;
        notes.trying = false;
        match &mut notes.held {
            None => notes.undo.clear(),
            Some(written) => *written |= notes.written,
        }
    }

    /// What stays from here on may be undone at once.
    pub(super) fn hold(&mut self) {
        let notes = &mut self.shelf.notes;
        notes.undo.clear();
        notes.held = Some(false);
    }

    /// Undoes what was done since.
    pub(super) fn undo_held(&mut self, key: &K) {
        self.shelf.notes.undo_from = 0;
        self.undo(key);
        self.settle(key);
    }

    /// It stays for good.
    pub(super) fn let_go(&mut self) {
        let notes = &mut self.shelf.notes;
        notes.held = None;
        notes.undo.clear();
    }

    /// Undoes what was done to the row that was handed out last, entry by entry.
    pub(super) fn undo(&mut self, key: &K) {
        let notes = &mut self.shelf.notes;
        notes.trying = false;
        let mut done = std::mem::take(&mut notes.undo);
        let from = notes.undo_from.min(done.len());
        let mut row = self.row(key);
        for (sub_key, before) in done.drain(from..).rev() {
            match before {
                Some(before) => drop(row.insert(sub_key, before)),
                None => drop(row.remove(&sub_key)),
            }
        }
        drop(row);
        self.shelf.notes.undo = done;
    }

    /// Whether the row that was handed out last exists now, and whether it was written.
    pub(super) fn left(&self) -> (bool, bool) {
        let notes = &self.shelf.notes;
        (!notes.empty, notes.held.unwrap_or(notes.written))
    }

    /// The row of `key`, if it exists.
    pub(super) fn get(&self, key: &K) -> Option<&Entries<S, V>> {
        self.shelf.get(key)
    }

    #[inline(always)]
    pub(crate) fn settle(&mut self, key: &K) {
        let notes = &self.shelf.notes;
        if notes.empty || notes.watched || !notes.changed.is_empty() {
            self.shelf.settle(key);
        }
    }
}

impl<K: Key, S: SubKey, V: Value> MapShelf<K, S, V> {
    /// Entries changed for the first time in this interval, or none is left.
    fn settle(&mut self, key: &K) {
        let Self { rows, notes, watch, .. } = self;
        if let Some(watch) = watch.as_mut().filter(|_| !notes.was.is_empty()) {
            watch.touched(key, &mut notes.was);
        }
        let noted = notes.interval.is_on();
        if notes.empty && (!noted || rows.get(key).is_some_and(Entries::is_void)) {
            rows.remove(key);
        }
        if !notes.changed.is_empty() {
            self.list(key);
        }
    }

    #[inline(never)]
    fn list(&mut self, key: &K) {
        let Self { notes, changes, key: form, key_bytes, .. } = self;
        for sub_key in notes.changed.drain(..) {
            changes.dirty.push((key.clone(), sub_key));
        }
        if let Some(problem) = notes.failed.take() {
            changes.fail(problem);
        }
        if notes.early.is_empty() {
            return;
        }
        let (early, _) = notes.early.take();
        key_bytes.clear();
        if let Err(problem) = form.encode(key, key_bytes) {
            changes.fail(problem);
        }
        let partition = partition(changes, key);
        for row in Rows::read(&early).flatten() {
            changes.keep(RowBytes { partition, key: key_bytes, ..row });
        }
    }

    /// Encodes the entry that the frozen list names, unless it was encoded before it changed.
    fn encode(&mut self, key: &K, sub_key: &S, out: &mut Rows) -> Result<(), String> {
        let Self { rows, notes, changes, key: form, key_bytes, .. } = self;
        let Some(entries) = rows.get_mut(key) else { return Ok(()) };
        let is_frozen = |slot: Slot| slot.is_frozen(changes.interval);
        let live = entries.live.get_mut(sub_key).filter(|kept| is_frozen(kept.slot));
        let value = if let Some(kept) = live {
            kept.slot = kept.slot.clean();
            Some(&kept.value)
        } else {
            let gone = entries.gone.as_ref().and_then(|gone| gone.get(sub_key).copied());
            let Some(slot) = gone.filter(|slot| is_frozen(*slot)) else { return Ok(()) };
            entries.take_gone(sub_key);
            if entries.is_void() {
                rows.remove(key);
            }
            if slot.is_born() {
                return Ok(());
            }
            None
        };
        let (sub_key, value) = notes.encode(sub_key, value)?;
        key_bytes.clear();
        form.encode(key, key_bytes)?;
        let partition = partition(changes, key);
        out.push(RowBytes { partition, key: key_bytes, sub_key: Some(sub_key), value });
        Ok(())
    }

    fn live(&self) -> impl Iterator<Item = (&K, &S, &V)> {
        self.rows.iter().flat_map(|(key, entries)| {
            entries.iter().map(move |(sub_key, value)| (key, sub_key, value))
        })
    }
}

fn partition<K: Key, S>(changes: &Changes<(K, S)>, key: &K) -> u32 {
    (key.placement_hash() % changes.partitions) as u32
}

impl<K: Key, S: SubKey, V: Value> Snapshot for MapStore<K, S, V> {
    fn schema(&self) -> TableSchema {
        let shelf = self.shelf.borrow();
        TableSchema {
            name: shelf.name.to_string(),
            key: short::<K>(),
            sub_key: Some(short::<S>()),
            value: short::<V>(),
            codec: shelf.codec,
        }
    }

    fn track(&self, partitions: u32) {
        let MapShelf { changes, notes, .. } = &mut *self.shelf.borrow_mut();
        changes.track(partitions);
        notes.interval = changes.interval;
    }

    fn begin(&self) -> bool {
        let MapShelf { changes, notes, .. } = &mut *self.shelf.borrow_mut();
        let begun = changes.begin();
        notes.interval = changes.interval;
        begun
    }

    fn encode(&self, max_rows: usize, out: &mut Rows) -> Result<bool> {
        let shelf = &mut *self.shelf.borrow_mut();
        let mut count = shelf.changes.hand_over(max_rows, out);
        while count < max_rows
            && shelf.changes.failed().is_none()
            && let Some((key, sub_key)) = shelf.changes.next()
        {
            count += 1;
            if let Err(problem) = shelf.encode(&key, &sub_key, out) {
                shelf.changes.fail(problem);
            }
        }
        match shelf.changes.failed() {
            Some(problem) => Err(cannot_encode(shelf.name, problem)),
            None => Ok(shelf.changes.is_done()),
        }
    }

    fn all(&self) -> bool {
        let MapShelf { rows, changes, .. } = &mut *self.shelf.borrow_mut();
        let interval = changes.interval;
        if !interval.is_on() || !changes.is_done() {
            return false;
        }
        for (key, entries) in rows {
            entries.live.each_mut(|sub_key, kept| {
                if !kept.slot.is_listed(interval) {
                    kept.slot = Slot::listed(interval);
                    changes.dirty.push((key.clone(), sub_key.clone()));
                }
            });
        }
        true
    }

    fn load(&self, stored: Stored, row: RowBytes<'_>) -> Result<()> {
        let shelf = &mut *self.shelf.borrow_mut();
        let name = shelf.name;
        let broken = |part, problem: String| cannot_decode(name, part, row, &problem);
        let no_sub_key = || broken("sub-key", "it has none, as rows of a plain table".into());
        let key = shelf.key.decode_as(stored.codec, row.key).map_err(|e| broken("key", e))?;
        let sub_key = row.sub_key.ok_or_else(no_sub_key)?;
        let sub_key = shelf
            .notes
            .sub_key
            .decode_as(stored.codec, sub_key)
            .map_err(|e| broken("sub-key", e))?;
        let Some(bytes) = row.value else {
            if let Some(entries) = shelf.rows.get_mut(&key) {
                entries.live.remove_entry(&sub_key);
                if entries.is_void() {
                    shelf.rows.remove(&key);
                }
            }
            return Ok(());
        };
        let value = match shelf.migration.as_ref().filter(|_| stored.migrate) {
            Some(migration) => (migration.migrate)(stored.codec, bytes),
            None => shelf.notes.value.decode_as(stored.codec, bytes),
        };
        let value = value.map_err(|e| broken("value", e))?;
        let entries = shelf.rows.entry(key).or_default();
        entries.live.insert(sub_key, Kept { value, slot: Slot::default() });
        Ok(())
    }

    fn digest(&self) -> Result<u64> {
        let shelf = &*self.shelf.borrow();
        let mut bytes = Vec::new();
        let mut sum = 0_u64;
        for (key, sub_key, value) in shelf.live() {
            sum = sum.wrapping_add(
                hash_row(&mut bytes, key, Some(sub_key), value)
                    .map_err(|problem| cannot_encode(shelf.name, &problem))?,
            );
        }
        Ok(sum)
    }

    fn each(&self, show: &mut dyn FnMut(RowBytes<'_>) -> Result<()>) -> Result<()> {
        let shelf = &*self.shelf.borrow();
        let [mut key_bytes, mut sub_bytes, mut value_bytes] = <[Vec<u8>; 3]>::default();
        for (key, sub_key, value) in shelf.live() {
            for bytes in [&mut key_bytes, &mut sub_bytes, &mut value_bytes] {
                bytes.clear();
            }
            let encoded = shelf
                .key
                .encode(key, &mut key_bytes)
                .and_then(|()| shelf.notes.sub_key.encode(sub_key, &mut sub_bytes))
                .and_then(|()| shelf.notes.value.encode(value, &mut value_bytes));
            encoded.map_err(|problem| cannot_encode(shelf.name, &problem))?;
            let partition = partition(&shelf.changes, key);
            let (sub_key, value) = (Some(&*sub_bytes), Some(&*value_bytes));
            show(RowBytes { partition, key: &key_bytes, sub_key, value })?;
        }
        Ok(())
    }

    fn speak_message_pack(&self) {
        let MapShelf { key, notes, .. } = &mut *self.shelf.borrow_mut();
        *key = Form::of(Codec::MessagePack);
        notes.sub_key = Form::of(Codec::MessagePack);
        notes.value = Form::of(Codec::MessagePack);
    }

    fn migrates_from(&self) -> Option<String> {
        self.shelf.borrow().migration.as_ref().map(|migration| migration.from.clone())
    }
}
