//! [`Feed`] and [`Tap`]: the changes of a table on one worker, on their way into views.
//!
//! Invariant: what an epoch changed is taken from the table once, when the group has applied the epoch, and
//! handed to every view that looks at it. Changes wait in the order of epochs.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::collection::ViewData;
use crate::state::{MapStore, Store, Stores, SubKey, Value};
use crate::{Key, MapTable, Table};

/// A record, the epoch in which it comes or goes, and how often.
pub(crate) type Update<D> = (D, u64, i64);

/// Changes of one table as one view takes them, until the view's first operator does.
pub(crate) struct Feed<D> {
    waiting: VecDeque<Update<D>>,
}

impl<D> Feed<D> {
    fn push(&mut self, record: D, epoch: u64, diff: i64) {
        self.waiting.push_back((record, epoch, diff));
    }

    /// Takes what changed in `epoch` or before.
    pub(crate) fn take(&mut self, epoch: u64) -> impl Iterator<Item = Update<D>> {
        let until = self.waiting.partition_point(|(_, of, _)| *of <= epoch);
        self.waiting.drain(..until)
    }
}

/// Hands on each of several records: of the table as an earlier program had it, if that is given.
type Restored<D> = Box<dyn FnOnce(Option<&Stores>, &mut dyn FnMut(D))>;

/// What a view takes of one table.
pub struct Source<D> {
    pub(crate) table: &'static str,
    pub(crate) feed: Rc<RefCell<Feed<D>>>,
    /// All rows, as they were restored.
    pub(crate) restored: Restored<D>,
}

/// A table that some view looks at.
pub(crate) trait Tap {
    /// Its group has applied `epoch`. Gives whether that changed anything.
    fn seal(&self, epoch: u64) -> bool;
    /// What changed is not told: it is computed anew.
    fn pass_over(&self);
    /// All was computed anew: tells in `epoch` how rows differ from those that an earlier program had. Gives
    /// whether any do.
    fn settle(&self, epoch: u64, former: &Stores) -> bool;
}

/// The tables that views look at, by name.
#[derive(Default)]
pub struct Taps(BTreeMap<&'static str, Known>);

/// A tap, as the table's type knows it, and as others do.
type Known = (Rc<dyn Any>, Rc<dyn Tap>);

impl Taps {
    pub(crate) fn get(&self, table: &str) -> Option<Rc<dyn Tap>> {
        self.0.get(table).map(|(_, tap)| Rc::clone(tap))
    }

    /// The tap of that table, made by `make` at its first use.
    fn tap<T: Tap + 'static>(&mut self, table: &'static str, make: impl Fn() -> Rc<T>) -> Rc<T> {
        let (known, _) = self.0.entry(table).or_insert_with(|| {
            let tap = make();
            (Rc::clone(&tap) as _, tap)
        });
        // A name that stands for two types is refused elsewhere.
        Rc::clone(known).downcast().unwrap_or_else(|_| make())
    }

    /// A view takes of each row of `table` what `select` makes of it.
    pub(super) fn table<K, V, I, F>(
        &mut self,
        table: Table<K, V>,
        store: Rc<Store<K, V>>,
        select: F,
    ) -> Source<I::Item>
    where
        K: Key,
        V: Value,
        I: IntoIterator<Item: ViewData>,
        F: Fn(&K, &V) -> I + 'static,
    {
        let tap = self.tap(table.name(), || {
            store.watch();
            let (name, store) = (table.name(), Rc::clone(&store));
            Rc::new(TableTap { name, store, readers: RefCell::default() })
        });
        let select = Rc::new(select);
        let feed = Rc::new(RefCell::new(Feed { waiting: VecDeque::new() }));
        let (to, of) = (Rc::clone(&feed), Rc::clone(&select));
        tap.readers.borrow_mut().push(Box::new(move |epoch, key, before, after| {
            let of = |value: Option<&V>| value.map(|value| of(key, value));
            differ(&mut to.borrow_mut(), epoch, of(before), of(after));
        }));
        let name = table.name();
        let restored = move |former: Option<&Stores>, give: &mut dyn FnMut(I::Item)| {
            let mut see = |key: &K, value: &V| select(key, value).into_iter().for_each(&mut *give);
            match former {
                None => store.each_row(see),
                Some(former) => {
                    former.store_of(name).iter().for_each(|former| former.each_row(&mut see));
                }
            }
        };
        Source { table: table.name(), feed, restored: Box::new(restored) }
    }

    /// The same of each entry of a map table.
    pub(super) fn map_table<K, S, V, I, F>(
        &mut self,
        table: MapTable<K, S, V>,
        store: Rc<MapStore<K, S, V>>,
        select: F,
    ) -> Source<I::Item>
    where
        K: Key,
        S: SubKey,
        V: Value,
        I: IntoIterator<Item: ViewData>,
        F: Fn(&K, &S, &V) -> I + 'static,
    {
        let tap = self.tap(table.name(), || {
            store.watch();
            let (name, store) = (table.name(), Rc::clone(&store));
            Rc::new(MapTap { name, store, readers: RefCell::default() })
        });
        let select = Rc::new(select);
        let feed = Rc::new(RefCell::new(Feed { waiting: VecDeque::new() }));
        let (to, of) = (Rc::clone(&feed), Rc::clone(&select));
        tap.readers.borrow_mut().push(Box::new(move |epoch, key, sub_key, before, after| {
            let of = |value: Option<&V>| value.map(|value| of(key, sub_key, value));
            differ(&mut to.borrow_mut(), epoch, of(before), of(after));
        }));
        let name = table.name();
        let restored = move |former: Option<&Stores>, give: &mut dyn FnMut(I::Item)| {
            let mut see = |key: &K, sub_key: &S, value: &V| {
                select(key, sub_key, value).into_iter().for_each(&mut *give);
            };
            match former {
                None => store.each_entry(see),
                Some(former) => {
                    former.map_store_of(name).iter().for_each(|former| former.each_entry(&mut see));
                }
            }
        };
        Source { table: table.name(), feed, restored: Box::new(restored) }
    }
}

/// Takes down what is in one and not in the other.
fn differ<I: IntoIterator<Item: ViewData>>(
    feed: &mut Feed<I::Item>,
    epoch: u64,
    before: Option<I>,
    after: Option<I>,
) {
    let mut before = before.into_iter().flatten();
    let mut after = after.into_iter().flatten();
    loop {
        match (before.next(), after.next()) {
            (None, None) => return,
            (Some(before), Some(after)) if before == after => {}
            (before, after) => {
                before.into_iter().for_each(|record| feed.push(record, epoch, -1));
                after.into_iter().for_each(|record| feed.push(record, epoch, 1));
            }
        }
    }
}

/// Is told of a row: what it was before the epoch, and what it is.
type RowReader<K, V> = Box<dyn FnMut(u64, &K, Option<&V>, Option<&V>)>;

struct TableTap<K, V> {
    name: &'static str,
    store: Rc<Store<K, V>>,
    readers: RefCell<Vec<RowReader<K, V>>>,
}

impl<K: Key, V: Value> Tap for TableTap<K, V> {
    fn seal(&self, epoch: u64) -> bool {
        let mut readers = self.readers.borrow_mut();
        self.store.changes(|key, before, after| {
            readers.iter_mut().for_each(|read| read(epoch, key, before, after));
        })
    }

    fn pass_over(&self) {
        self.store.changes(|_, _, _| {});
    }

    fn settle(&self, epoch: u64, former: &Stores) -> bool {
        self.pass_over();
        let (mut readers, mut any) = (self.readers.borrow_mut(), false);
        let mut tell = |key: &K, before: Option<&V>, after: Option<&V>| {
            any = true;
            readers.iter_mut().for_each(|read| read(epoch, key, before, after));
        };
        let former: Option<&Store<K, V>> = former.store_of(self.name);
        if let Some(former) = former {
            former.each_row(|key, was| tell(key, Some(was), self.store.get(key).as_ref()));
        }
        self.store.each_row(|key, is| {
            if former.is_none_or(|former| former.get(key).is_none()) {
                tell(key, None, Some(is));
            }
        });
        any
    }
}

/// The same of an entry.
type EntryReader<K, S, V> = Box<dyn FnMut(u64, &K, &S, Option<&V>, Option<&V>)>;

struct MapTap<K, S, V> {
    name: &'static str,
    store: Rc<MapStore<K, S, V>>,
    readers: RefCell<Vec<EntryReader<K, S, V>>>,
}

impl<K: Key, S: SubKey, V: Value> Tap for MapTap<K, S, V> {
    fn seal(&self, epoch: u64) -> bool {
        let mut readers = self.readers.borrow_mut();
        self.store.changes(|key, sub_key, before, after| {
            readers.iter_mut().for_each(|read| read(epoch, key, sub_key, before, after));
        })
    }

    fn pass_over(&self) {
        self.store.changes(|_, _, _, _| {});
    }

    fn settle(&self, epoch: u64, former: &Stores) -> bool {
        self.pass_over();
        let (mut readers, mut any) = (self.readers.borrow_mut(), false);
        self.store.each_pair(former.map_store_of(self.name), |key, sub_key, before, after| {
            any = true;
            readers.iter_mut().for_each(|read| read(epoch, key, sub_key, before, after));
        });
        any
    }
}
