//! [`ViewTables`]: what a view looks at, and the collections that it is drawn with.
//!
//! Invariant: which tables a view looks at is known when it is drawn, before anything runs: by them it has its
//! place behind their groups.

use std::ops::Deref;

use super::collection::{Collection, ViewData};
use super::feed::{Source, Taps};
use crate::Key;
use crate::dataflow::Building;
use crate::state::{Expiring, MapTable, Stores, SubKey, Table, TableUse, Value};

/// A table or a tuple of tables, of which a view is made.
///
/// Of a [`Table`] a view has records `(key, value)`, of a [`MapTable`] `(key, sub-key, value)`, one an entry;
/// of what [`select`](Table::select) makes of either, that.
pub trait ViewTables: 'static {
    /// The collections, as the view receives them.
    type Collections<'s>;
    /// The tables on this worker.
    #[doc(hidden)]
    type Bound: 'static;
    /// Which tables.
    #[doc(hidden)]
    fn uses(&self, uses: &mut Vec<TableUse>);
    /// Finds the stores.
    #[doc(hidden)]
    fn bind(self, stores: &mut Stores, taps: &mut Taps) -> Self::Bound;
    #[doc(hidden)]
    fn enter<'s>(bound: Self::Bound, building: &Building<'_, 's>) -> Self::Collections<'s>;
}

/// The collections that a view is drawn with: of one table the [`Collection`] itself, of a tuple a tuple.
pub struct Viewed<'s, S: ViewTables>(pub(super) S::Collections<'s>);

impl<'s, S: ViewTables> Deref for Viewed<'s, S> {
    type Target = S::Collections<'s>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<K: Key + ViewData, V: Value + ViewData> ViewTables for Table<K, V> {
    type Collections<'s> = Collection<'s, (K, V)>;
    type Bound = Source<(K, V)>;

    fn uses(&self, uses: &mut Vec<TableUse>) {
        uses.push(self.usage(false));
    }
    fn bind(self, stores: &mut Stores, taps: &mut Taps) -> Self::Bound {
        let store = stores.store(self);
        taps.table(self, store, |key, value| Some((key.clone(), value.clone())))
    }
    fn enter<'s>(bound: Self::Bound, building: &Building<'_, 's>) -> Self::Collections<'s> {
        building.enter(bound)
    }
}

impl<K, S, V> ViewTables for MapTable<K, S, V>
where
    K: Key + ViewData,
    S: SubKey + ViewData,
    V: Value + ViewData,
{
    type Collections<'s> = Collection<'s, (K, S, V)>;
    type Bound = Source<(K, S, V)>;

    fn uses(&self, uses: &mut Vec<TableUse>) {
        uses.push(self.usage(false));
    }
    fn bind(self, stores: &mut Stores, taps: &mut Taps) -> Self::Bound {
        let store = stores.map_store(self);
        let select =
            |key: &K, sub_key: &S, value: &V| Some((key.clone(), sub_key.clone(), value.clone()));
        taps.map_table(self, store, select)
    }
    fn enter<'s>(bound: Self::Bound, building: &Building<'_, 's>) -> Self::Collections<'s> {
        building.enter(bound)
    }
}

/// What a view takes of a table, if not all of it; made by [`Table::select`] and [`MapTable::select`].
#[derive(Clone, Copy)]
pub struct Selected<T, F> {
    table: T,
    select: F,
}

impl<K: Key, V: Value> Table<K, V> {
    /// What a view takes of each row: so values need no order, and what a view does not look at costs it
    /// nothing when it changes.
    ///
    /// ```
    /// use anabranch::{App, Table};
    ///
    /// const PRICES: Table<String, (f64, u64)> = Table::new("prices");
    ///
    /// fn draw(app: &App) {
    ///     let counts = PRICES.select(|product, (_, count)| Some((product.clone(), *count)));
    ///     app.view("busy", counts, |t| t.filter(|(_, count)| *count > 1_000));
    /// }
    /// ```
    pub fn select<I, F>(self, select: F) -> Selected<Self, F>
    where
        I: IntoIterator<Item: ViewData>,
        F: Fn(&K, &V) -> I + 'static,
    {
        Selected { table: self, select }
    }
}

impl<K: Key, S: SubKey, V: Value> MapTable<K, S, V> {
    /// What a view takes of each entry; see [`Table::select`].
    pub fn select<I, F>(self, select: F) -> Selected<Self, F>
    where
        I: IntoIterator<Item: ViewData>,
        F: Fn(&K, &S, &V) -> I + 'static,
    {
        Selected { table: self, select }
    }
}

/// A table, and what is selected of it by functions of type `F`.
#[doc(hidden)]
pub trait Selects<F>: Copy + 'static {
    type Item: ViewData;
    fn table_use(&self) -> TableUse;
    fn bind_selected(self, select: F, stores: &mut Stores, taps: &mut Taps) -> Source<Self::Item>;
}

impl<K, V, I, F> Selects<F> for Table<K, V>
where
    K: Key,
    V: Value,
    I: IntoIterator<Item: ViewData>,
    F: Fn(&K, &V) -> I + 'static,
{
    type Item = I::Item;

    fn table_use(&self) -> TableUse {
        self.usage(false)
    }
    fn bind_selected(self, select: F, stores: &mut Stores, taps: &mut Taps) -> Source<I::Item> {
        let store = stores.store(self);
        taps.table(self, store, select)
    }
}

impl<K, S, V, I, F> Selects<F> for MapTable<K, S, V>
where
    K: Key,
    S: SubKey,
    V: Value,
    I: IntoIterator<Item: ViewData>,
    F: Fn(&K, &S, &V) -> I + 'static,
{
    type Item = I::Item;

    fn table_use(&self) -> TableUse {
        self.usage(false)
    }
    fn bind_selected(self, select: F, stores: &mut Stores, taps: &mut Taps) -> Source<I::Item> {
        let store = stores.map_store(self);
        taps.map_table(self, store, select)
    }
}

impl<T: Selects<F>, F: 'static> ViewTables for Selected<T, F> {
    type Collections<'s> = Collection<'s, T::Item>;
    type Bound = Source<T::Item>;

    fn uses(&self, uses: &mut Vec<TableUse>) {
        uses.push(self.table.table_use());
    }
    fn bind(self, stores: &mut Stores, taps: &mut Taps) -> Self::Bound {
        self.table.bind_selected(self.select, stores, taps)
    }
    fn enter<'s>(bound: Self::Bound, building: &Building<'_, 's>) -> Self::Collections<'s> {
        building.enter(bound)
    }
}

impl<T: ViewTables + Copy> ViewTables for Expiring<T> {
    type Collections<'s> = T::Collections<'s>;
    type Bound = T::Bound;

    fn uses(&self, uses: &mut Vec<TableUse>) {
        self.table().uses(uses);
    }
    fn bind(self, stores: &mut Stores, taps: &mut Taps) -> Self::Bound {
        self.table().bind(stores, taps)
    }
    fn enter<'s>(bound: Self::Bound, building: &Building<'_, 's>) -> Self::Collections<'s> {
        T::enter(bound, building)
    }
}

macro_rules! tuples {
    ($($table:ident $index:tt),*) => {
        impl<$($table: ViewTables),*> ViewTables for ($($table,)*) {
            type Collections<'s> = ($($table::Collections<'s>,)*);
            type Bound = ($($table::Bound,)*);

            fn uses(&self, uses: &mut Vec<TableUse>) {
                $(self.$index.uses(uses);)*
            }
            fn bind(self, stores: &mut Stores, taps: &mut Taps) -> Self::Bound {
                ($(self.$index.bind(stores, taps),)*)
            }
            fn enter<'s>(bound: Self::Bound, building: &Building<'_, 's>) -> Self::Collections<'s> {
                ($($table::enter(bound.$index, building),)*)
            }
        }
    };
}

tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
