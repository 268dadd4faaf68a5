//! [`Stores`]: the tables of one worker, by name.
//!
//! Invariant: one name, one key type, one value type, one codec; a worker's store of a table holds
//! the rows of the partitions that the worker owns, and nothing iterates it to decide an output.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::map_row::Entries;
use super::map_store::MapStore;
use super::snapshot::Snapshot;
use super::store::Store;
use super::{MapTable, SubKey, Table, TableUse, Value};
use crate::Key;
use crate::checkpoint::Codec;

/// The stores of all tables on one worker, by name.
#[derive(Default)]
pub struct Stores {
    stores: BTreeMap<&'static str, Known>,
    conflict: Option<String>,
    /// New names by old ones.
    pub(super) renamed: BTreeMap<String, &'static str>,
    pub(super) dropped: BTreeSet<String>,
    /// Tables that are spoken of in declarations.
    pub(super) declared: BTreeSet<&'static str>,
}

struct Known {
    usage: TableUse,
    codec: Codec,
    store: Rc<dyn Any>,
    snapshot: Rc<dyn Snapshot>,
}

impl Stores {
    /// The store of `table`, made at its first use. If the name stands for another type already,
    /// the conflict is noted and the store leads nowhere.
    pub(crate) fn store<K: Key, V: Value>(&mut self, table: Table<K, V>) -> Rc<Store<K, V>> {
        let form = table.codec != Codec::Abomonation || table.forms.is_some();
        let usage = table.usage(true);
        self.find(&usage, table.codec, form, || Rc::new(Store::new(table)))
    }

    /// The same for a map table.
    pub(crate) fn map_store<K: Key, S: SubKey, V: Value>(
        &mut self,
        table: MapTable<K, S, V>,
    ) -> Rc<MapStore<K, S, V>> {
        let form = table.codec != Codec::Abomonation || table.forms.is_some();
        let usage = table.usage(true);
        self.find(&usage, table.codec, form, || Rc::new(MapStore::new(table)))
    }

    fn find<T: Snapshot + 'static>(
        &mut self,
        usage: &TableUse,
        codec: Codec,
        has_form: bool,
        make: impl Fn() -> Rc<T>,
    ) -> Rc<T> {
        let name = usage.name;
        let known = self.stores.entry(name).or_insert_with(|| {
            let store = make();
            let usage = usage.clone();
            Known { usage, codec, store: Rc::clone(&store) as _, snapshot: store }
        });
        let store = Rc::clone(&known.store).downcast();
        let conflict = match &store {
            Err(_) => Some(format!(
                "table `{name}` is {} -> {} here and {} -> {} elsewhere; give one of the two \
                 another name",
                usage.key, usage.value, known.usage.key, known.usage.value
            )),
            Ok(_) if known.codec != codec => Some(format!(
                "table `{name}` has the codec {codec:?} here and {:?} elsewhere; name it once, as \
                 a constant",
                known.codec
            )),
            Ok(_) if !has_form => Some(format!(
                "table `{name}` needs forms for abomonation: write `.abomonation()` instead of \
                 `.codec(Codec::Abomonation)`, with the feature `abomonation`"
            )),
            Ok(_) => None,
        };
        if let Some(conflict) = conflict {
            self.complain(conflict);
        }
        store.unwrap_or_else(|_| make())
    }

    pub(super) fn complain(&mut self, conflict: String) {
        self.conflict.get_or_insert(conflict);
    }

    /// The first conflict of names since the last call.
    pub(crate) fn take_conflict(&mut self) -> Option<String> {
        self.conflict.take()
    }

    /// The row of `key` in `table`, if it exists.
    pub(crate) fn get<K: Key, V: Value>(&self, table: Table<K, V>, key: &K) -> Option<V> {
        self.stores.get(table.name)?.store.downcast_ref::<Store<K, V>>()?.get(key)
    }

    /// The row of `key` in the map table, if it exists.
    pub(crate) fn entries<K: Key, S: SubKey, V: Value>(
        &self,
        table: MapTable<K, S, V>,
        key: &K,
    ) -> Option<Entries<S, V>> {
        self.stores.get(table.name)?.store.downcast_ref::<MapStore<K, S, V>>()?.get(key)
    }

    /// The table of that name, if it has these types.
    pub(crate) fn store_of<K: Key, V: Value>(&self, name: &str) -> Option<&Store<K, V>> {
        self.stores.get(name)?.store.downcast_ref()
    }

    /// The map table of that name, if it has these types.
    pub(crate) fn map_store_of<K: Key, S: SubKey, V: Value>(
        &self,
        name: &str,
    ) -> Option<&MapStore<K, S, V>> {
        self.stores.get(name)?.store.downcast_ref()
    }

    /// All tables, by name.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &TableUse> {
        self.stores.values().map(|known| &known.usage)
    }

    /// All tables, in order of their names, to be kept and restored.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = (&'static str, &Rc<dyn Snapshot>)> {
        self.stores.iter().map(|(name, known)| (*name, &known.snapshot))
    }

    /// The table of that name.
    pub(crate) fn snapshot(&self, name: &str) -> Option<&Rc<dyn Snapshot>> {
        self.stores.get(name).map(|known| &known.snapshot)
    }
}
