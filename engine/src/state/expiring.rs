//! [`Expiring`]: tables whose rows live for so long after they were written, or written or read.
//!
//! The time of a row's last touch is a row of a hidden table of the same group. A computation that is
//! applied to a row whose time is up finds none, to the nanosecond; a timer of that computation removes what
//! nobody asks for.
//!
//! Invariant: nothing but the engine's time, or the watermark, says when a row is gone.

use std::rc::Rc;

use super::map_row::Entries;
use super::map_store::LockedMap;
use super::row::ReadRow;
use super::store::{Locked, Store};
use super::stores::Stores;
use super::table::{MapTable, Read, Table, TableUse, hidden_name};
use super::tables::{Tables, Touch};
use super::{SubKey, Value};
use crate::timer::{Change, Request};
use crate::window::entries::Stored;
use crate::window::ttl::{Moment, Ttl};
use crate::{Clock, Key, Result, Time, Timer, timer, window};

/// A [`Table`] or [`MapTable`] whose rows live for a time; made by [`Table::expiring`].
///
/// ```
/// use std::time::Duration;
///
/// use anabranch::prelude::*;
/// use anabranch::window::ttl::Ttl;
/// use anabranch::{Expiring, TestDriver, sink, source};
///
/// /// How often a user came, forgotten after half an hour without a visit.
/// const VISITS: Expiring<Table<u32, u64>> =
///     Table::new("visits").expiring(Ttl::since_write(Duration::from_secs(1_800)));
///
/// let mut driver = TestDriver::new(|app: &App| {
///     app.source("users", source::empty::<u32>())
///         .key_by(|user| *user)
///         .compute("count", VISITS, |_, mut visits, out| {
///             *visits += 1;
///             out.emit(*visits);
///         })
///         .sink("visits", sink::null());
///     Ok(())
/// })
/// .start()?;
/// for minutes in [0, 29, 29, 30] {
///     driver.advance(Duration::from_secs(60 * minutes));
///     driver.send("users", 7_u32)?;
///     driver.run()?;
/// }
/// assert_eq!(driver.outputs::<u64>("visits"), [1, 2, 3, 1]);
/// # Ok::<(), anabranch::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Expiring<T> {
    table: T,
    ttl: Ttl,
}

impl<K, V> Table<K, V> {
    /// The same table, its rows gone when their time is up.
    #[must_use]
    pub const fn expiring(self, ttl: Ttl) -> Expiring<Self> {
        Expiring { table: self, ttl }
    }
}

impl<K, S, V> MapTable<K, S, V> {
    /// The same table, its rows gone, with all their entries, when their time is up.
    #[must_use]
    pub const fn expiring(self, ttl: Ttl) -> Expiring<Self> {
        Expiring { table: self, ttl }
    }
}

impl<T: Copy> Expiring<T> {
    /// The same table, for a computation that only reads it. That counts as a touch, if rows live on
    /// when they are read.
    #[must_use]
    pub const fn read(self) -> Read<Self> {
        Read(self)
    }

    /// The table itself, to look at from outside.
    pub const fn table(self) -> T {
        self.table
    }
}

/// When rows were touched last.
type Stamps<K> = Table<K, Stored<Time>>;

/// The stamps of a table, and what they mean.
#[doc(hidden)]
pub struct Life<K> {
    ttl: Ttl,
    stamps: Rc<Store<K, Stored<Time>>>,
    /// The name of the timers.
    timer: timer::Name,
}

fn stamps<K>(table: &'static str) -> Stamps<K> {
    Table::new(hidden_name(table, "stamps"))
}

impl<K: Key> Life<K> {
    fn new(ttl: Ttl, table: &'static str, stores: &mut Stores) -> Self {
        // No computation names a timer so.
        let timer = format!("\0{table}").into();
        Self { ttl, stamps: stores.store(stamps(table)), timer }
    }

    /// Changes the stamp of `key`.
    fn with_stamp<R>(
        &self,
        key: &K,
        touch: &mut Touch<'_>,
        change: impl FnOnce(&mut Option<Time>, Moment, &mut Asked<'_, '_>) -> R,
    ) -> R {
        let clock = self.ttl.clock();
        let moment = match clock {
            Clock::Engine => Moment::engine(touch.now),
            Clock::Event => Moment::event(touch.watermark, touch.watermark),
        };
        let mut stamps = Locked::new(&self.stamps);
        let mut row = stamps.row(key);
        let before = row.get().copied();
        let mut stamp = before;
        let mut asked = Asked { clock, name: &self.timer, touch };
        let changed = change(&mut stamp, moment, &mut asked);
        match stamp {
            None => drop(row.remove()),
            Some(stamp) if before != Some(stamp) => *row = Stored::new(stamp),
            Some(_) => {}
        }
        stamps.settle(key);
        changed
    }

    /// Whether the row of `key` is there. What is left of one that is not has to be removed.
    fn lives(&self, key: &K, touch: &mut Touch<'_>) -> bool {
        self.with_stamp(key, touch, |stamp, moment, timer| {
            let live = self.ttl.is_live(*stamp, moment.clock);
            if !live {
                self.ttl.remove(stamp, timer);
            }
            live
        })
    }

    /// The row of `key` was written, or read, or removed.
    fn touched(&self, key: &K, exists: bool, written: bool, touch: &mut Touch<'_>) {
        self.with_stamp(key, touch, |stamp, moment, timer| {
            if !exists {
                self.ttl.remove(stamp, timer);
            } else if written {
                self.ttl.write(stamp, moment, timer);
            } else {
                self.ttl.read(stamp, moment, timer);
            }
        });
    }

    /// Whether the timer is one of this table's; and if so, whether its row has to be removed.
    fn wakes(&self, key: &K, timer: Timer<'_>, touch: &mut Touch<'_>) -> Option<bool> {
        (timer.name == self.timer).then(|| {
            self.with_stamp(key, touch, |stamp, moment, asked| {
                !self.ttl.wake(stamp, moment.clock, asked)
            })
        })
    }
}

/// The timer of a row.
struct Asked<'a, 't> {
    clock: Clock,
    name: &'a timer::Name,
    touch: &'a mut Touch<'t>,
}

impl Asked<'_, '_> {
    fn ask(&mut self, change: Change) {
        let (clock, name) = (self.clock, self.name.clone());
        self.touch.requests.push(Request { clock, name, change });
    }
}

impl window::join::Timer for Asked<'_, '_> {
    fn set(&mut self, at: Time) {
        self.ask(Change::Set(at));
    }

    fn set_by(&mut self, at: Time) {
        self.ask(Change::SetBy(at));
    }

    fn cancel(&mut self) {
        self.ask(Change::Cancel);
    }
}

/// A table whose rows can expire.
#[doc(hidden)]
pub trait Expires<K: Key>: Tables<K> {
    /// A row, to read.
    type ReadRow<'a>;

    fn name(self) -> &'static str;
    fn usage(self, write: bool) -> TableUse;
    /// Removes the row of `key`.
    fn clear(guard: &mut Self::Guard<'_>, key: &K);
    /// Whether the row that was handed out last exists, and whether it was written.
    fn left(guard: &Self::Guard<'_>) -> (bool, bool);
    fn peek<'a>(guard: &'a Self::Guard<'_>, key: &K) -> Self::ReadRow<'a>;
    fn holds(guard: &Self::Guard<'_>, key: &K) -> bool;
}

impl<K: Key, V: Value> Expires<K> for Table<K, V> {
    type ReadRow<'a> = ReadRow<'a, V>;

    fn name(self) -> &'static str {
        self.name
    }
    fn usage(self, write: bool) -> TableUse {
        Self::usage(self, write)
    }
    fn clear(guard: &mut Locked<'_, K, V>, key: &K) {
        guard.row(key).remove();
        guard.settle(key);
    }
    fn left(guard: &Locked<'_, K, V>) -> (bool, bool) {
        guard.left()
    }
    fn peek<'a>(guard: &'a Locked<'_, K, V>, key: &K) -> ReadRow<'a, V> {
        ReadRow::new(guard.get(key))
    }
    fn holds(guard: &Locked<'_, K, V>, key: &K) -> bool {
        guard.get(key).is_some()
    }
}

impl<K: Key, S: SubKey, V: Value> Expires<K> for MapTable<K, S, V> {
    type ReadRow<'a> = ReadRow<'a, Entries<S, V>>;

    fn name(self) -> &'static str {
        self.name
    }
    fn usage(self, write: bool) -> TableUse {
        Self::usage(self, write)
    }
    fn clear(guard: &mut LockedMap<'_, K, S, V>, key: &K) {
        guard.row(key).clear();
        guard.settle(key);
    }
    fn left(guard: &LockedMap<'_, K, S, V>) -> (bool, bool) {
        guard.left()
    }
    fn peek<'a>(guard: &'a LockedMap<'_, K, S, V>, key: &K) -> Self::ReadRow<'a> {
        ReadRow::new(guard.get(key))
    }
    fn holds(guard: &LockedMap<'_, K, S, V>, key: &K) -> bool {
        guard.get(key).is_some()
    }
}

impl<K: Key, T: Expires<K>> Tables<K> for Expiring<T> {
    type Bound = (T::Bound, Life<K>);
    type Guard<'a> = (T::Guard<'a>, &'a Life<K>);
    type Rows<'a> = T::Rows<'a>;
    const EXPIRES: bool = true;

    fn uses(self, uses: &mut Vec<TableUse>) {
        uses.extend([self.table.usage(true), stamps::<K>(self.table.name()).usage(true)]);
    }
    fn bind(self, stores: &mut Stores) -> Self::Bound {
        (self.table.bind(stores), Life::new(self.ttl, self.table.name(), stores))
    }
    fn check(self) -> Result<()> {
        self.ttl.check()
    }
    fn clocks(self, clocks: &mut Vec<Clock>) {
        clocks.push(self.ttl.clock());
    }
    fn lock(bound: &Self::Bound) -> Self::Guard<'_> {
        (T::lock(&bound.0), &bound.1)
    }
    fn enter(guard: &mut Self::Guard<'_>, key: &K, touch: &mut Touch<'_>) {
        if !guard.1.lives(key, touch) {
            T::clear(&mut guard.0, key);
        }
    }
    fn rows<'a>(guard: &'a mut Self::Guard<'_>, key: &'a K) -> T::Rows<'a> {
        T::rows(&mut guard.0, key)
    }
    fn leave(guard: &mut Self::Guard<'_>, key: &K, touch: &mut Touch<'_>) {
        let (exists, written) = T::left(&guard.0);
        guard.1.touched(key, exists, written, touch);
    }
    fn settle(guard: &mut Self::Guard<'_>, key: &K) {
        T::settle(&mut guard.0, key);
    }
    fn attempt(guard: &mut Self::Guard<'_>) {
        T::attempt(&mut guard.0);
    }
    fn keep(guard: &mut Self::Guard<'_>) {
        T::keep(&mut guard.0);
    }
    fn undo(guard: &mut Self::Guard<'_>, key: &K) {
        T::undo(&mut guard.0, key);
    }
    fn hold(guard: &mut Self::Guard<'_>) {
        T::hold(&mut guard.0);
    }
    fn undo_held(guard: &mut Self::Guard<'_>, key: &K) {
        T::undo_held(&mut guard.0, key);
    }
    fn let_go(guard: &mut Self::Guard<'_>) {
        T::let_go(&mut guard.0);
    }
    fn is_large(bound: &Self::Bound) -> bool {
        T::is_large(&bound.0)
    }
    fn look_up(bound: &Self::Bound, key: &K) {
        T::look_up(&bound.0, key);
    }
    fn wake(guard: &mut Self::Guard<'_>, key: &K, timer: Timer<'_>, touch: &mut Touch<'_>) -> bool {
        let woken = guard.1.wakes(key, timer, touch);
        if woken == Some(true) {
            T::clear(&mut guard.0, key);
        }
        woken.is_some()
    }
}

impl<K: Key, T: Expires<K>> Tables<K> for Read<Expiring<T>> {
    type Bound = <Expiring<T> as Tables<K>>::Bound;
    type Guard<'a> = <Expiring<T> as Tables<K>>::Guard<'a>;
    type Rows<'a> = T::ReadRow<'a>;
    const EXPIRES: bool = true;

    fn uses(self, uses: &mut Vec<TableUse>) {
        uses.extend([self.0.table.usage(false), stamps::<K>(self.0.table.name()).usage(true)]);
    }
    fn bind(self, stores: &mut Stores) -> Self::Bound {
        self.0.bind(stores)
    }
    fn check(self) -> Result<()> {
        self.0.check()
    }
    fn clocks(self, clocks: &mut Vec<Clock>) {
        self.0.clocks(clocks);
    }
    fn lock(bound: &Self::Bound) -> Self::Guard<'_> {
        Expiring::<T>::lock(bound)
    }
    fn enter(guard: &mut Self::Guard<'_>, key: &K, touch: &mut Touch<'_>) {
        Expiring::<T>::enter(guard, key, touch);
    }
    fn rows<'a>(guard: &'a mut Self::Guard<'_>, key: &'a K) -> T::ReadRow<'a> {
        T::peek(&guard.0, key)
    }
    fn leave(guard: &mut Self::Guard<'_>, key: &K, touch: &mut Touch<'_>) {
        let exists = T::holds(&guard.0, key);
        guard.1.touched(key, exists, false, touch);
    }
    fn settle(_: &mut Self::Guard<'_>, _: &K) {}
    fn is_large(bound: &Self::Bound) -> bool {
        Expiring::<T>::is_large(bound)
    }
    fn look_up(bound: &Self::Bound, key: &K) {
        Expiring::<T>::look_up(bound, key);
    }
    fn wake(guard: &mut Self::Guard<'_>, key: &K, timer: Timer<'_>, touch: &mut Touch<'_>) -> bool {
        Expiring::<T>::wake(guard, key, timer, touch)
    }
}
