//! [`Table`] and [`MapTable`]: typed names of state, and where their rows are on one worker.
//!
//! Invariant: one name, one key type, one value type; a worker's store of a table holds the rows
//! of the partitions that the worker owns, and nothing iterates it to decide an output.

use std::any::{Any, type_name};
use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;

use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;

use super::map_row::{Entries, MapRow};
use super::row::{Mark, ReadRow, Row};
use super::{Hasher, SubKey, Value};
use crate::Key;

/// A table: named state, a map from keys to values.
///
/// ```
/// use anabranch::Table;
/// const COUNTS: Table<String, u64> = Table::new("counts");
/// assert_eq!(COUNTS.name(), "counts");
/// ```
pub struct Table<K, V> {
    name: &'static str,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    /// The table of that name. State belongs to the name: renaming a table makes another one.
    pub const fn new(name: &'static str) -> Self {
        Self { name, of: PhantomData }
    }

    /// The same table, for a computation that only reads it.
    #[must_use]
    pub const fn read(self) -> Read<Self> {
        Read(self)
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

/// A map table: named state, a map from keys to ordered sub-keys to values.
///
/// For rows that grow large: they are read, changed, undone and kept entry by entry.
pub struct MapTable<K, S, V> {
    name: &'static str,
    of: PhantomData<fn() -> (K, S, V)>,
}

impl<K, S, V> MapTable<K, S, V> {
    /// The table of that name. State belongs to the name: renaming a table makes another one.
    pub const fn new(name: &'static str) -> Self {
        Self { name, of: PhantomData }
    }

    /// The same table, for a computation that only reads it.
    #[must_use]
    pub const fn read(self) -> Read<Self> {
        Read(self)
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The table as it is stored: a row is all entries of a key.
    pub(crate) const fn rows(self) -> Table<K, Entries<S, V>> {
        Table::new(self.name)
    }
}

impl<K, S, V> Clone for MapTable<K, S, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, S, V> Copy for MapTable<K, S, V> {}

/// A table that a computation only reads: a write through it does not compile.
#[derive(Clone, Copy)]
pub struct Read<T>(T);

/// The rows of one table on one worker.
pub(crate) type Store<K, V> = RefCell<HashMap<K, V, Hasher>>;

/// How a computation uses a table, for checks and for the graph.
#[derive(Clone, Debug)]
pub struct TableUse {
    pub(crate) name: &'static str,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) write: bool,
}

/// The stores of all tables on one worker, by name.
#[derive(Default)]
pub struct Stores {
    stores: BTreeMap<&'static str, (TableUse, Rc<dyn Any>)>,
    conflict: Option<String>,
}

impl Stores {
    /// The store of `table`, made at its first use. If the name stands for another type already,
    /// the conflict is noted and the store leads nowhere.
    pub(crate) fn store<K: Key, V: Value>(&mut self, table: Table<K, V>) -> Rc<Store<K, V>> {
        let asked = table_use(table, true);
        let (known, store) = self.stores.entry(table.name).or_insert_with(|| {
            let store: Store<K, V> = RefCell::default();
            (asked.clone(), Rc::new(store))
        });
        Rc::clone(store).downcast().unwrap_or_else(|_| {
            self.conflict.get_or_insert_with(|| {
                format!(
                    "table `{}` is {} -> {} here and {} -> {} elsewhere; give one of the two \
                     another name",
                    table.name, asked.key, asked.value, known.key, known.value
                )
            });
            Rc::default()
        })
    }

    /// The first conflict of names since the last call.
    pub(crate) fn take_conflict(&mut self) -> Option<String> {
        self.conflict.take()
    }

    /// The row of `key` in `table`, if it exists.
    pub(crate) fn get<K: Key, V: Value>(&self, table: Table<K, V>, key: &K) -> Option<V> {
        let (_, store) = self.stores.get(table.name)?;
        store.downcast_ref::<Store<K, V>>()?.borrow().get(key).cloned()
    }

    /// All tables, by name.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &TableUse> {
        self.stores.values().map(|(known, _)| known)
    }
}

fn table_use<K: Key, V: Value>(table: Table<K, V>, write: bool) -> TableUse {
    TableUse { name: table.name, key: short::<K>(), value: short::<V>(), write }
}

/// A type's name without the paths of its modules.
fn short<T>() -> String {
    let mut short = String::new();
    let mut word = String::new();
    for c in type_name::<T>().chars() {
        match c {
            ':' => word.clear(),
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            c => {
                short.push_str(&std::mem::take(&mut word));
                short.push(c);
            }
        }
    }
    short + &word
}

/// A table or a tuple of tables that share one key type: what a computation works on.
///
/// Implemented by [`Table`], [`MapTable`], either's `.read()`, `()`, and tuples of them.
pub trait Tables<K: Key>: Copy + 'static {
    /// The stores of the tables on this worker.
    #[doc(hidden)]
    type Bound: 'static;
    /// The stores, while a record is applied.
    #[doc(hidden)]
    type Guard<'a>;
    /// The rows of one key, as the computation receives them.
    type Rows<'a>;

    /// Which tables, and how they are used.
    #[doc(hidden)]
    fn uses(self, uses: &mut Vec<TableUse>);
    /// Finds the stores.
    #[doc(hidden)]
    fn bind(self, stores: &mut Stores) -> Self::Bound;
    #[doc(hidden)]
    fn lock(bound: &Self::Bound) -> Self::Guard<'_>;
    #[doc(hidden)]
    fn rows<'a>(guard: &'a mut Self::Guard<'_>, key: &'a K) -> Self::Rows<'a>;
    /// The computation has returned: what was only read goes again.
    #[doc(hidden)]
    fn settle(guard: &mut Self::Guard<'_>, key: &K);
}

/// The rows of a table while a computation is applied to one of them.
#[doc(hidden)]
pub struct Locked<'a, K, V> {
    rows: RefMut<'a, HashMap<K, V, Hasher>>,
    mark: Mark,
}

impl<'a, K: Key, V: Value> Locked<'a, K, V> {
    #[inline]
    fn new(store: &'a Store<K, V>) -> Self {
        Self { rows: store.borrow_mut(), mark: Mark::default() }
    }

    #[inline]
    fn row(&mut self, key: &K) -> Row<'_, V> {
        let Self { rows, mark } = self;
        let (value, fresh) = match rows.entry_ref(key) {
            EntryRef::Occupied(entry) => (entry.into_mut(), false),
            EntryRef::Vacant(entry) => (entry.insert(V::default()), true),
        };
        *mark = Mark::new(fresh);
        Row::new(value, mark)
    }

    #[inline]
    fn settle(&mut self, key: &K) {
        if self.mark.vanishes() {
            self.rows.remove(key);
        }
    }
}

impl<K: Key, V: Value> Tables<K> for Table<K, V> {
    type Bound = Rc<Store<K, V>>;
    type Guard<'a> = Locked<'a, K, V>;
    type Rows<'a> = Row<'a, V>;

    fn uses(self, uses: &mut Vec<TableUse>) {
        uses.push(table_use(self, true));
    }
    fn bind(self, stores: &mut Stores) -> Self::Bound {
        stores.store(self)
    }
    #[inline]
    fn lock(bound: &Self::Bound) -> Self::Guard<'_> {
        Locked::new(bound)
    }
    #[inline]
    fn rows<'a>(guard: &'a mut Self::Guard<'_>, key: &'a K) -> Row<'a, V> {
        guard.row(key)
    }
    #[inline]
    fn settle(guard: &mut Self::Guard<'_>, key: &K) {
        guard.settle(key);
    }
}

impl<K: Key, V: Value> Tables<K> for Read<Table<K, V>> {
    type Bound = Rc<Store<K, V>>;
    type Guard<'a> = Ref<'a, HashMap<K, V, Hasher>>;
    type Rows<'a> = ReadRow<'a, V>;

    fn uses(self, uses: &mut Vec<TableUse>) {
        uses.push(table_use(self.0, false));
    }
    fn bind(self, stores: &mut Stores) -> Self::Bound {
        stores.store(self.0)
    }
    #[inline]
    fn lock(bound: &Self::Bound) -> Self::Guard<'_> {
        bound.borrow()
    }
    #[inline]
    fn rows<'a>(guard: &'a mut Self::Guard<'_>, key: &'a K) -> ReadRow<'a, V> {
        ReadRow::new(guard.get(key))
    }
    fn settle(_: &mut Self::Guard<'_>, _: &K) {}
}

impl<K: Key, S: SubKey, V: Value> Tables<K> for MapTable<K, S, V> {
    type Bound = Rc<Store<K, Entries<S, V>>>;
    type Guard<'a> = Locked<'a, K, Entries<S, V>>;
    type Rows<'a> = MapRow<'a, S, V>;

    fn uses(self, uses: &mut Vec<TableUse>) {
        uses.push(table_use(self.rows(), true));
    }
    fn bind(self, stores: &mut Stores) -> Self::Bound {
        stores.store(self.rows())
    }
    #[inline]
    fn lock(bound: &Self::Bound) -> Self::Guard<'_> {
        Locked::new(bound)
    }
    #[inline]
    fn rows<'a>(guard: &'a mut Self::Guard<'_>, key: &'a K) -> MapRow<'a, S, V> {
        MapRow::new(guard.row(key))
    }
    #[inline]
    fn settle(guard: &mut Self::Guard<'_>, key: &K) {
        guard.settle(key);
    }
}

impl<K: Key, S: SubKey, V: Value> Tables<K> for Read<MapTable<K, S, V>> {
    type Bound = Rc<Store<K, Entries<S, V>>>;
    type Guard<'a> = Ref<'a, HashMap<K, Entries<S, V>, Hasher>>;
    type Rows<'a> = ReadRow<'a, Entries<S, V>>;

    fn uses(self, uses: &mut Vec<TableUse>) {
        uses.push(table_use(self.0.rows(), false));
    }
    fn bind(self, stores: &mut Stores) -> Self::Bound {
        stores.store(self.0.rows())
    }
    #[inline]
    fn lock(bound: &Self::Bound) -> Self::Guard<'_> {
        bound.borrow()
    }
    #[inline]
    fn rows<'a>(guard: &'a mut Self::Guard<'_>, key: &'a K) -> Self::Rows<'a> {
        ReadRow::new(guard.get(key))
    }
    fn settle(_: &mut Self::Guard<'_>, _: &K) {}
}

macro_rules! tuples {
    ($($name:ident $index:tt),*) => {
        impl<Key_: Key, $($name: Tables<Key_>),*> Tables<Key_> for ($($name,)*) {
            type Bound = ($($name::Bound,)*);
            type Guard<'a> = ($($name::Guard<'a>,)*);
            type Rows<'a> = ($($name::Rows<'a>,)*);

            fn uses(self, _uses: &mut Vec<TableUse>) {
                $(self.$index.uses(_uses);)*
            }
            fn bind(self, _stores: &mut Stores) -> Self::Bound {
                ($(self.$index.bind(_stores),)*)
            }
            #[inline]
            fn lock(_bound: &Self::Bound) -> Self::Guard<'_> {
                ($($name::lock(&_bound.$index),)*)
            }
            #[inline]
            fn rows<'a>(_guard: &'a mut Self::Guard<'_>, _key: &'a Key_) -> Self::Rows<'a> {
                ($($name::rows(&mut _guard.$index, _key),)*)
            }
            #[inline]
            fn settle(_guard: &mut Self::Guard<'_>, _key: &Key_) {
                $($name::settle(&mut _guard.$index, _key);)*
            }
        }
    };
}

tuples!();
tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
