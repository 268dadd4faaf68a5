//! [`Tables`]: what a computation works on, and how it finds the rows of a key.
//!
//! Invariant: the types are known where a record is applied: no virtual call, no allocation, and
//! one look-up a table.

use std::cell::Ref;
use std::rc::Rc;

use super::map_row::{Entries, MapRow};
use super::map_store::{LockedMap, MapShelf, MapStore};
use super::row::{ReadRow, Row};
use super::store::{Locked, Shelf, Store};
use super::stores::Stores;
use super::table::{MapTable, Read, Table, TableUse};
use super::{SubKey, Value};
use crate::timer::Request;
use crate::{Clock, Key, Result, Time, Timer};

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

    /// What is done to rows from here on may be undone: nothing, if they are only read.
    #[doc(hidden)]
    fn attempt(_: &mut Self::Guard<'_>) {}
    /// What was done to the rows of `key` since stays.
    #[doc(hidden)]
    #[inline]
    fn keep(_: &mut Self::Guard<'_>) {}
    /// What was done to the rows of `key` since is undone.
    #[doc(hidden)]
    fn undo(_: &mut Self::Guard<'_>, _: &K) {}
    /// All that stays from here on may be undone yet, at once.
    #[doc(hidden)]
    fn hold(_: &mut Self::Guard<'_>) {}
    /// All that was done to the rows of `key` since `hold` is undone.
    #[doc(hidden)]
    fn undo_held(_: &mut Self::Guard<'_>, _: &K) {}
    /// It stays for good.
    #[doc(hidden)]
    fn let_go(_: &mut Self::Guard<'_>) {}

    /// Whether the rows of some table are too many for the processor's caches.
    #[doc(hidden)]
    fn is_large(bound: &Self::Bound) -> bool;
    /// Finds the rows of `key`, so that they are near when they are asked for.
    #[doc(hidden)]
    fn look_up(bound: &Self::Bound, key: &K);

    /// Whether rows of some table expire; the rest is about those.
    #[doc(hidden)]
    const EXPIRES: bool = false;
    /// What is wrong with how long rows live.
    #[doc(hidden)]
    fn check(self) -> Result<()> {
        Ok(())
    }
    /// By which clocks rows expire.
    #[doc(hidden)]
    fn clocks(self, _: &mut Vec<Clock>) {}
    /// Before the rows of `key` are handed out.
    #[doc(hidden)]
    #[inline(always)]
    fn enter(_: &mut Self::Guard<'_>, _: &K, _: &mut Touch<'_>) {}
    /// The computation has returned, before `settle`.
    #[doc(hidden)]
    #[inline(always)]
    fn leave(_: &mut Self::Guard<'_>, _: &K, _: &mut Touch<'_>) {}
    /// A timer is due. Gives whether it is that of a row.
    #[doc(hidden)]
    fn wake(_: &mut Self::Guard<'_>, _: &K, _: Timer<'_>, _: &mut Touch<'_>) -> bool {
        false
    }
}

/// The moment at which rows are touched, and what timers they ask for.
#[doc(hidden)]
pub struct Touch<'a> {
    pub(crate) now: Time,
    pub(crate) watermark: Time,
    pub(crate) requests: &'a mut Vec<Request>,
}

/// What may be undone of the rows of a table: its guard knows how.
macro_rules! undone_by_guard {
    () => {
        #[inline(always)]
        fn attempt(guard: &mut Self::Guard<'_>) {
            guard.attempt();
        }
        #[inline(always)]
        fn keep(guard: &mut Self::Guard<'_>) {
            guard.keep();
        }
        fn undo(guard: &mut Self::Guard<'_>, key: &K) {
            guard.undo(key);
        }
        fn hold(guard: &mut Self::Guard<'_>) {
            guard.hold();
        }
        fn undo_held(guard: &mut Self::Guard<'_>, key: &K) {
            guard.undo_held(key);
        }
    };
}

impl<K: Key, V: Value> Tables<K> for Table<K, V> {
    type Bound = Rc<Store<K, V>>;
    type Guard<'a> = Locked<'a, K, V>;
    type Rows<'a> = Row<'a, V>;

    fn uses(self, uses: &mut Vec<TableUse>) {
        uses.push(self.usage(true));
    }
    fn bind(self, stores: &mut Stores) -> Self::Bound {
        stores.store(self)
    }
    #[inline(always)]
    fn lock(bound: &Self::Bound) -> Self::Guard<'_> {
        Locked::new(bound)
    }
    #[inline(always)]
    fn rows<'a>(guard: &'a mut Self::Guard<'_>, key: &'a K) -> Row<'a, V> {
        guard.row(key)
    }
    #[inline(always)]
    fn settle(guard: &mut Self::Guard<'_>, key: &K) {
        guard.settle(key);
    }
    undone_by_guard!();
    fn is_large(bound: &Self::Bound) -> bool {
        bound.is_large()
    }
    #[inline(always)]
    fn look_up(bound: &Self::Bound, key: &K) {
        bound.look_up(key);
    }
}

impl<K: Key, V: Value> Tables<K> for Read<Table<K, V>> {
    type Bound = Rc<Store<K, V>>;
    type Guard<'a> = Ref<'a, Shelf<K, V>>;
    type Rows<'a> = ReadRow<'a, V>;

    fn uses(self, uses: &mut Vec<TableUse>) {
        uses.push(self.0.usage(false));
    }
    fn bind(self, stores: &mut Stores) -> Self::Bound {
        stores.store(self.0)
    }
    #[inline(always)]
    fn lock(bound: &Self::Bound) -> Self::Guard<'_> {
        bound.shelf().borrow()
    }
    #[inline(always)]
    fn rows<'a>(guard: &'a mut Self::Guard<'_>, key: &'a K) -> ReadRow<'a, V> {
        ReadRow::new(guard.get(key))
    }
    fn settle(_: &mut Self::Guard<'_>, _: &K) {}
    fn is_large(bound: &Self::Bound) -> bool {
        bound.is_large()
    }
    #[inline(always)]
    fn look_up(bound: &Self::Bound, key: &K) {
        bound.look_up(key);
    }
}

impl<K: Key, S: SubKey, V: Value> Tables<K> for MapTable<K, S, V> {
    type Bound = Rc<MapStore<K, S, V>>;
    type Guard<'a> = LockedMap<'a, K, S, V>;
    type Rows<'a> = MapRow<'a, S, V>;

    fn uses(self, uses: &mut Vec<TableUse>) {
        uses.push(self.usage(true));
    }
    fn bind(self, stores: &mut Stores) -> Self::Bound {
        stores.map_store(self)
    }
    #[inline(always)]
    fn lock(bound: &Self::Bound) -> Self::Guard<'_> {
        LockedMap::new(bound)
    }
    #[inline(always)]
    fn rows<'a>(guard: &'a mut Self::Guard<'_>, key: &'a K) -> MapRow<'a, S, V> {
        guard.row(key)
    }
    #[inline(always)]
    fn settle(guard: &mut Self::Guard<'_>, key: &K) {
        guard.settle(key);
    }
    undone_by_guard!();
    fn let_go(guard: &mut Self::Guard<'_>) {
        guard.let_go();
    }
    fn is_large(bound: &Self::Bound) -> bool {
        bound.is_large()
    }
    #[inline(always)]
    fn look_up(bound: &Self::Bound, key: &K) {
        bound.look_up(key);
    }
}

impl<K: Key, S: SubKey, V: Value> Tables<K> for Read<MapTable<K, S, V>> {
    type Bound = Rc<MapStore<K, S, V>>;
    type Guard<'a> = Ref<'a, MapShelf<K, S, V>>;
    type Rows<'a> = ReadRow<'a, Entries<S, V>>;

    fn uses(self, uses: &mut Vec<TableUse>) {
        uses.push(self.0.usage(false));
    }
    fn bind(self, stores: &mut Stores) -> Self::Bound {
        stores.map_store(self.0)
    }
    #[inline(always)]
    fn lock(bound: &Self::Bound) -> Self::Guard<'_> {
        bound.shelf().borrow()
    }
    #[inline(always)]
    fn rows<'a>(guard: &'a mut Self::Guard<'_>, key: &'a K) -> Self::Rows<'a> {
        ReadRow::new(guard.get(key))
    }
    fn settle(_: &mut Self::Guard<'_>, _: &K) {}
    fn is_large(bound: &Self::Bound) -> bool {
        bound.is_large()
    }
    #[inline(always)]
    fn look_up(bound: &Self::Bound, key: &K) {
        bound.look_up(key);
    }
}

macro_rules! tuples {
    ($($name:ident $index:tt),*) => {
        // For the tuple of no tables, which is the unit.
        #[allow(clippy::unused_unit)]
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
            #[inline(always)]
            fn lock(_bound: &Self::Bound) -> Self::Guard<'_> {
                ($($name::lock(&_bound.$index),)*)
            }
            #[inline(always)]
            fn rows<'a>(_guard: &'a mut Self::Guard<'_>, _key: &'a Key_) -> Self::Rows<'a> {
                ($($name::rows(&mut _guard.$index, _key),)*)
            }
            #[inline(always)]
            fn settle(_guard: &mut Self::Guard<'_>, _key: &Key_) {
                $($name::settle(&mut _guard.$index, _key);)*
            }

            #[inline(always)]
            fn attempt(_guard: &mut Self::Guard<'_>) {
                $($name::attempt(&mut _guard.$index);)*
            }
            #[inline(always)]
            fn keep(_guard: &mut Self::Guard<'_>) {
                $($name::keep(&mut _guard.$index);)*
            }
            fn undo(_guard: &mut Self::Guard<'_>, _key: &Key_) {
                $($name::undo(&mut _guard.$index, _key);)*
            }
            fn hold(_guard: &mut Self::Guard<'_>) {
                $($name::hold(&mut _guard.$index);)*
            }
            fn undo_held(_guard: &mut Self::Guard<'_>, _key: &Key_) {
                $($name::undo_held(&mut _guard.$index, _key);)*
            }
            fn let_go(_guard: &mut Self::Guard<'_>) {
                $($name::let_go(&mut _guard.$index);)*
            }
            fn is_large(_bound: &Self::Bound) -> bool {
                false $(|| $name::is_large(&_bound.$index))*
            }
            #[inline(always)]
            fn look_up(_bound: &Self::Bound, _key: &Key_) {
                $($name::look_up(&_bound.$index, _key);)*
            }

            const EXPIRES: bool = false $(|| $name::EXPIRES)*;

            fn check(self) -> Result<()> {
                $(self.$index.check()?;)*
                Ok(())
            }
            fn clocks(self, _clocks: &mut Vec<Clock>) {
                $(self.$index.clocks(_clocks);)*
            }
            #[inline(always)]
            fn enter(_guard: &mut Self::Guard<'_>, _key: &Key_, _touch: &mut Touch<'_>) {
                $($name::enter(&mut _guard.$index, _key, _touch);)*
            }
            #[inline(always)]
            fn leave(_guard: &mut Self::Guard<'_>, _key: &Key_, _touch: &mut Touch<'_>) {
                $($name::leave(&mut _guard.$index, _key, _touch);)*
            }
            fn wake(
                _guard: &mut Self::Guard<'_>,
                _key: &Key_,
                _timer: Timer<'_>,
                _touch: &mut Touch<'_>,
            ) -> bool {
                false $(|| $name::wake(&mut _guard.$index, _key, _timer, _touch))*
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
