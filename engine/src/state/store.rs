//! [`Store`]: the rows of one [`Table`](crate::Table) on one worker, and what changed of them.
//!
//! Invariant: a removed row that some list names stays in the map, as gone, until its tombstone is
//! encoded; nobody but this file sees it. A row of the frozen list is encoded before it is handed
//! out to be changed.

use std::cell::{RefCell, RefMut};

use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use xxhash_rust::xxh3::xxh3_64;

use super::form::{Form, decode, encode_message_pack};
use super::row::{Mark, Row};
use super::slot::{Changes, Kept, Slot};
use super::snapshot::{Migration, Snapshot, Stored, cannot_decode, cannot_encode};
use super::table::short;
use super::watch::Watch;
use super::{Hasher, LARGE, Value};
use crate::checkpoint::{Codec, RowBytes, Rows, TableSchema};
use crate::{Key, Result, Table};

/// The rows of one table on one worker.
pub struct Store<K, V> {
    shelf: RefCell<Shelf<K, V>>,
}

/// How many rows are decoded before they are put into the map: on its own an insertion waits for
/// memory twice, of many in a row the processor waits for several at once.
const LOADED_AT_ONCE: usize = 256;

/// The rows, while nobody else has them.
pub struct Shelf<K, V> {
    rows: HashMap<K, Kept<V>, Hasher>,
    changes: Changes<K>,
    /// Rows that were decoded last, and those that are gone.
    loading: Vec<(K, Option<V>)>,
    /// If a view looks at the table.
    pub(super) watch: Option<Box<Watch<K, V>>>,
    before: Before<V>,
    about: About<K, V>,
}

/// What the row was that was handed out last. Here, and not with who has locked the table, as it outlives that
/// if a call panics.
struct Before<V> {
    /// If it was written or removed and what it was is asked for.
    value: Option<V>,
    /// Whether the row did not exist; nothing if none was handed out since a call that may be undone began.
    fresh: Option<bool>,
}

/// What a table is, and how its rows become bytes.
struct About<K, V> {
    name: &'static str,
    codec: Codec,
    key: Form<K>,
    value: Form<V>,
    migration: Option<Migration<V>>,
    buffers: [Vec<u8>; 2],
}

impl<K: Key, V: Value> Store<K, V> {
    pub(super) fn new(table: Table<K, V>) -> Self {
        let (key, value) =
            table.forms.unwrap_or_else(|| (Form::of(table.codec), Form::of(table.codec)));
        let about = About {
            name: table.name,
            codec: table.codec,
            key,
            value,
            migration: None,
            buffers: Default::default(),
        };
        let (rows, changes) = (HashMap::default(), Changes::default());
        let before = Before { value: None, fresh: None };
        let shelf = Shelf { rows, changes, loading: Vec::new(), watch: None, before, about };
        Self { shelf: RefCell::new(shelf) }
    }

    pub(super) fn migrate(&self, migration: Migration<V>) {
        self.shelf.borrow_mut().about.migration = Some(migration);
    }

    /// The row of `key`, if it exists.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.shelf.borrow().get(key).cloned()
    }

    /// How many rows there are, and those that are gone with them.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.shelf.borrow().rows.len()
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

    pub(super) fn shelf(&self) -> &RefCell<Shelf<K, V>> {
        &self.shelf
    }
}

impl<K: Key, V: Value> Shelf<K, V> {
    /// Puts into the map what was decoded.
    #[inline(never)]
    fn put_loaded(&mut self) {
        for (key, value) in self.loading.drain(..) {
            match value {
                Some(value) => drop(self.rows.insert(key, Kept { value, slot: Slot::default() })),
                None => drop(self.rows.remove(&key)),
            }
        }
    }

    /// How many rows there are, with those that are gone.
    pub(super) fn size(&self) -> usize {
        self.rows.len()
    }

    /// All rows, in no order.
    pub(super) fn live(&self) -> impl Iterator<Item = (&K, &V)> {
        let there = self.rows.iter().filter(|(_, kept)| !kept.slot.is_gone());
        there.map(|(key, kept)| (key, &kept.value))
    }

    /// What the row was before this epoch is known.
    pub(super) fn mark(&mut self, key: &K) {
        if let Some(kept) = self.rows.get_mut(key) {
            kept.slot = kept.slot.noted(true);
        }
    }

    /// A new epoch begins.
    pub(super) fn unmark(&mut self, key: &K) {
        if let Some(kept) = self.rows.get_mut(key) {
            kept.slot = kept.slot.noted(false);
        }
    }

    #[inline]
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let kept = self.rows.get(key)?;
        let gone = self.changes.interval.is_on() && kept.slot.is_gone();
        (!gone).then_some(&kept.value)
    }
}

/// The rows of a table while a computation is applied to one of them.
///
/// What is called for every record is inlined, so that what is in it stays in registers.
#[doc(hidden)]
pub struct Locked<'a, K, V> {
    shelf: RefMut<'a, Shelf<K, V>>,
    mark: Mark,
    /// Whether what is done may be undone.
    trying: bool,
    held: Held<V>,
}

/// What the row was before the first of several calls that may be undone at once.
enum Held<V> {
    /// They are not.
    No,
    /// As it is: none has written it.
    Same,
    /// This, if it existed.
    Was(Option<V>),
}

impl<'a, K: Key, V: Value> Locked<'a, K, V> {
    #[inline(always)]
    pub(super) fn new(store: &'a Store<K, V>) -> Self {
        let (shelf, mark) = (store.shelf.borrow_mut(), Mark::default());
        Self { shelf, mark, trying: false, held: Held::No }
    }

    #[inline(always)]
    pub(super) fn row(&mut self, key: &K) -> Row<'_, V> {
        let Self { shelf, mark, trying, .. } = self;
        let keeps = *trying || Self::keeps(shelf);
        let Shelf { rows, changes, before, about, .. } = &mut **shelf;
        let (kept, fresh) = match rows.entry_ref(key) {
            EntryRef::Occupied(entry) => (entry.into_mut(), false),
            EntryRef::Vacant(entry) => (entry.insert(Kept::default()), true),
        };
        *mark = Mark::new(fresh);
        if changes.interval.is_on() {
            *mark = about.tracked(changes, key, kept, fresh);
        }
        if *trying {
            before.fresh = Some(mark.is_fresh());
        }
        let keeps = keeps && (*trying || !fresh && !kept.slot.is_noted());
        Row::new(&mut kept.value, mark, keeps.then_some(&mut before.value))
    }

    /// What is done from here on may be undone.
    #[inline(always)]
    pub(super) fn attempt(&mut self) {
        self.trying = true;
        self.shelf.before.fresh = None;
    }

    /// What was done to the row that was handed out last stays.
    #[inline(always)]
    pub(super) fn keep(&mut self) {
        // A view may ask for it too.
        let watched = Self::keeps(&self.shelf);
        if !matches!(self.held, Held::No) {
            let before = &mut self.shelf.before.value;
            let before = if watched { before.clone() } else { before.take() };
            if let (Some(before), Held::Same) = (before, &self.held) {
                self.held = Held::Was((!self.mark.is_fresh()).then_some(before));
            }
        } else if !watched {
            self.shelf.before.value = None;
        }
    }

    /// What stays from here on may be undone at once.
    pub(super) fn hold(&mut self) {
        self.held = Held::Same;
    }

    /// Undoes what was done since.
    pub(super) fn undo_held(&mut self, key: &K) {
        let Held::Was(before) = std::mem::replace(&mut self.held, Held::No) else { return };
        self.trying = false;
        let mut row = self.row(key);
        match before {
            Some(before) => *row = before,
            None => drop(row.remove()),
        }
        self.settle(key);
    }

    /// Undoes what was done to the row that was handed out last, by this or by who had locked the table before.
    pub(super) fn undo(&mut self, key: &K) {
        let Before { value, fresh } = &mut self.shelf.before;
        let (value, Some(fresh)) = (value.take(), fresh.take()) else { return };
        if let Some(before) = value
            && let Some(kept) = self.shelf.rows.get_mut(key)
        {
            kept.value = before;
        }
        self.mark = Mark::new(fresh);
    }

    /// Whether the row that was handed out last exists now, and whether it was written.
    pub(super) fn left(&self) -> (bool, bool) {
        let written = self.mark.is_written() || matches!(self.held, Held::Was(_));
        (!self.mark.vanishes(), written)
    }

    /// The row of `key`, if it exists.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.shelf.get(key)
    }

    #[inline(always)]
    pub(super) fn settle(&mut self, key: &K) {
        if Self::keeps(&self.shelf) && self.mark.is_touched() {
            let fresh = self.mark.is_fresh();
            // In the place of a row that is gone stands the default.
            let before = self.shelf.before.value.take().filter(|_| !fresh);
            self.shelf.touched(key, fresh, before);
        }
        if self.mark.is_news() {
            self.shelf.settle(self.mark, key);
        }
    }
}

impl<K: Key, V: Value> Shelf<K, V> {
    /// A row was written for the first time in this interval, or goes.
    #[inline(never)]
    fn settle(&mut self, mark: Mark, key: &K) {
        let Self { rows, changes, .. } = self;
        let interval = changes.interval;
        if !interval.is_on() {
            rows.remove(key);
            return;
        }
        let Some(kept) = rows.get_mut(key) else { return };
        let (vanishes, listed) = (mark.vanishes(), kept.slot.is_listed(interval));
        if vanishes && mark.is_fresh() && !listed {
            // No checkpoint and no list knows it.
            rows.remove(key);
            return;
        }
        if !listed {
            let fresh = mark.is_fresh();
            kept.slot = if fresh { Slot::born(interval) } else { Slot::listed(interval) };
            changes.dirty.push(key.clone());
        }
        kept.slot = if vanishes { kept.slot.gone() } else { kept.slot.back() };
        if vanishes {
            kept.value = V::default();
        }
    }
}

impl<K: Key, V: Value> About<K, V> {
    fn partition(changes: &Changes<K>, key: &K) -> u32 {
        (key.placement_hash() % changes.partitions) as u32
    }

    /// The row as bytes, without its value if it is gone.
    fn row<'a>(
        &'a mut self,
        partition: u32,
        key: &K,
        value: Option<&V>,
    ) -> Result<RowBytes<'a>, String> {
        let [key_bytes, value_bytes] = &mut self.buffers;
        key_bytes.clear();
        value_bytes.clear();
        self.key.encode(key, key_bytes)?;
        if let Some(value) = value {
            self.value.encode(value, value_bytes)?;
        }
        let value = value.map(|_| &**value_bytes);
        Ok(RowBytes { partition, key: key_bytes, sub_key: None, value })
    }

    /// The mark of a row that is handed out while changes are noted; what is frozen of it is encoded
    /// first. Apart from the path without, which stays short enough to be inlined.
    #[inline(never)]
    fn tracked(
        &mut self,
        changes: &mut Changes<K>,
        key: &K,
        kept: &mut Kept<V>,
        fresh: bool,
    ) -> Mark {
        if kept.slot.is_frozen(changes.interval) {
            self.encode_early(changes, key, kept);
        }
        let gone = kept.slot.is_gone();
        Mark::tracked(fresh || gone, kept.slot.is_listed(changes.interval) && !gone)
    }

    /// Encodes what `key` names of the frozen list, before it changes.
    fn encode_early(&mut self, changes: &mut Changes<K>, key: &K, kept: &mut Kept<V>) {
        let slot = kept.slot;
        kept.slot = slot.clean();
        if slot.is_gone() && slot.is_born() {
            return;
        }
        let value = (!slot.is_gone()).then_some(&kept.value);
        match self.row(Self::partition(changes, key), key, value) {
            Ok(row) => changes.keep(row),
            Err(problem) => changes.fail(problem),
        }
    }
}

impl<K: Key, V: Value> Snapshot for Store<K, V> {
    fn schema(&self) -> TableSchema {
        let about = &self.shelf.borrow().about;
        TableSchema {
            name: about.name.to_string(),
            key: short::<K>(),
            sub_key: None,
            value: short::<V>(),
            codec: about.codec,
        }
    }

    fn track(&self, partitions: u32) {
        self.shelf.borrow_mut().changes.track(partitions);
    }

    fn begin(&self) -> bool {
        self.shelf.borrow_mut().changes.begin()
    }

    fn encode(&self, max_rows: usize, out: &mut Rows) -> Result<bool> {
        let Shelf { rows, changes, about, .. } = &mut *self.shelf.borrow_mut();
        let mut count = changes.hand_over(max_rows, out);
        while count < max_rows
            && changes.failed().is_none()
            && let Some(key) = changes.next()
        {
            count += 1;
            let Some(kept) = rows.get_mut(&key) else { continue };
            let slot = kept.slot;
            if !slot.is_frozen(changes.interval) {
                continue;
            }
            kept.slot = slot.clean();
            if !(slot.is_gone() && slot.is_born()) {
                let value = (!slot.is_gone()).then_some(&kept.value);
                match about.row(About::<K, V>::partition(changes, &key), &key, value) {
                    Ok(row) => out.push(row),
                    Err(problem) => changes.fail(problem),
                }
            }
            if slot.is_gone() {
                rows.remove(&key);
            }
        }
        match changes.failed() {
            Some(problem) => Err(cannot_encode(about.name, problem)),
            None => Ok(changes.is_done()),
        }
    }

    fn all(&self) -> bool {
        let Shelf { rows, changes, .. } = &mut *self.shelf.borrow_mut();
        let interval = changes.interval;
        if !interval.is_on() || !changes.is_done() {
            return false;
        }
        for (key, kept) in rows.iter_mut().filter(|(_, kept)| !kept.slot.is_listed(interval)) {
            let gone = kept.slot.is_gone();
            kept.slot = if gone { Slot::listed(interval).gone() } else { Slot::listed(interval) };
            changes.dirty.push(key.clone());
        }
        true
    }

    fn expect(&self, rows: usize) {
        self.shelf.borrow_mut().rows.reserve(rows);
    }

    fn load(&self, stored: Stored, row: RowBytes<'_>) -> Result<()> {
        let shelf = &mut *self.shelf.borrow_mut();
        let about = &shelf.about;
        let broken = |part, problem: String| cannot_decode(about.name, part, row, &problem);
        if row.sub_key.is_some() {
            return Err(broken("key", "it has a sub-key, which a plain table has not".into()));
        }
        let key = about.key.decode_as(stored.codec, row.key).map_err(|e| broken("key", e))?;
        let decode = |bytes| match about.migration.as_ref().filter(|_| stored.migrate) {
            Some(migration) => (migration.migrate)(stored.codec, bytes),
            None => about.value.decode_as(stored.codec, bytes),
        };
        let value = row.value.map(decode).transpose().map_err(|e| broken("value", e))?;
        shelf.loading.push((key, value));
        if shelf.loading.len() >= LOADED_AT_ONCE {
            shelf.put_loaded();
        }
        Ok(())
    }

    fn loaded(&self) {
        let shelf = &mut *self.shelf.borrow_mut();
        shelf.put_loaded();
        shelf.loading = Vec::new();
    }

    fn digest(&self) -> Result<u64> {
        let Shelf { rows, about, .. } = &*self.shelf.borrow();
        let mut bytes = Vec::new();
        let mut sum = 0_u64;
        for (key, kept) in rows.iter().filter(|(_, kept)| !kept.slot.is_gone()) {
            sum = sum.wrapping_add(
                hash_row(&mut bytes, key, None::<&()>, &kept.value)
                    .map_err(|problem| cannot_encode(about.name, &problem))?,
            );
        }
        Ok(sum)
    }

    fn each(&self, show: &mut dyn FnMut(RowBytes<'_>) -> Result<()>) -> Result<()> {
        let Shelf { rows, changes, about, .. } = &mut *self.shelf.borrow_mut();
        for (key, kept) in rows.iter().filter(|(_, kept)| !kept.slot.is_gone()) {
            let partition = About::<K, V>::partition(changes, key);
            let name = about.name;
            let row = about.row(partition, key, Some(&kept.value));
            show(row.map_err(|problem| cannot_encode(name, &problem))?)?;
        }
        Ok(())
    }

    fn speak_message_pack(&self) {
        let about = &mut self.shelf.borrow_mut().about;
        (about.key, about.value) = (Form::of(Codec::MessagePack), Form::of(Codec::MessagePack));
    }

    fn migrates_from(&self) -> Option<String> {
        self.shelf.borrow().about.migration.as_ref().map(|migration| migration.from.clone())
    }
}

/// The hash of a row's content: of its key's own bytes, and of the MessagePack of the rest.
pub(super) fn hash_row<K: Key, S: serde::Serialize, V: Value>(
    bytes: &mut Vec<u8>,
    key: &K,
    sub_key: Option<&S>,
    value: &V,
) -> Result<u64, String> {
    bytes.clear();
    key.append_bytes(bytes);
    // Lengths, so that no two rows have the same bytes.
    bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    if let Some(sub_key) = sub_key {
        encode_message_pack(sub_key, bytes)?;
        bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    }
    encode_message_pack(value, bytes)?;
    Ok(xxh3_64(bytes))
}

/// The migration that reads values of type `Old`.
pub(super) fn migration<Old, V>(migrate: impl Fn(Old) -> V + 'static) -> Migration<V>
where
    Old: serde::de::DeserializeOwned + 'static,
{
    Migration {
        from: short::<Old>(),
        migrate: Box::new(move |codec, bytes| decode::<Old>(codec, bytes).map(&migrate)),
    }
}
