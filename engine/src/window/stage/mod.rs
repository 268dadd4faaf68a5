//! Windows and joins as computations: what a form of window keeps of a key is rows of a hidden table, and its timers
//! are those of the computation.
//!
//! Invariant: the forms see one key's rows and nothing else. What they cache of a key is made again from
//! its rows, whenever that is.

mod forms;
mod framing;
mod joining;
mod local;
mod rolling;
mod rows;
mod sharing;

use std::marker::PhantomData;
use std::rc::Rc;

use hashbrown::HashMap;

pub use self::forms::Windowing;
pub use self::framing::FrameInput;
pub(crate) use self::framing::Framed;
pub use self::joining::{GroupRow, Joining};
pub(crate) use self::joining::{Grouped, JoinedStreams};
pub(crate) use self::local::{Combining, check_local};
pub use self::local::{Local, Partial};
pub use self::rolling::Rolling;
pub(crate) use self::rolling::Rolls;
use self::rows::Name as _;
pub(crate) use self::rows::Rows;
pub(crate) use self::sharing::SharedFrames;
use super::entries::Stored;
use super::pane::{Moment, Outcome};
use crate::state::{Hasher, MapRow, MapStore};
use crate::timer::OwnRows;
use crate::{Computation, Context, Key, MapTable, Record, SideOutput, Time, Timer, timer};

/// What is cached of keys; nothing iterates it.
type Caches<K, C> = HashMap<K, C, Hasher>;

/// The table of the windows of form `W`.
pub(crate) type Panes<K, T, W> =
    MapTable<K, <W as Windowing<T>>::Name, Stored<<W as Windowing<T>>::Row>>;

/// The rows of the windows of form `W`, which say for when their timers are set.
pub(crate) struct PaneRows<K, T, W: Windowing<T>>(
    pub(crate) Rc<MapStore<K, W::Name, Stored<W::Row>>>,
);

impl<K: Key, T, W: Windowing<T>> OwnRows<K> for PaneRows<K, T, W> {
    fn each(&self, see: &mut dyn FnMut(&K, timer::Name, Time)) {
        self.0.each_entry(|key, name, row| {
            if let Some(due) = row.get().and_then(|row| W::due(name, row)) {
                see(key, name.timer(), due);
            }
        });
    }

    fn is_set(&self, key: &K, name: &str, time: Time) -> bool {
        let due = W::Name::of_timer(name).and_then(|name| {
            self.0.see(key, &name, |row| row.get().and_then(|row| W::due(&name, row)))
        });
        due.flatten() == Some(time)
    }
}

/// The computation of the windows of form `W`.
pub(crate) struct Windowed<K, T, W: Windowing<T>, F> {
    windows: W,
    time: F,
    caches: Caches<K, W::Cache>,
    /// Kept for its memory.
    told: Vec<W::Told>,
    too_late: SideOutput<T>,
    of: PhantomData<fn(T)>,
}

impl<K: Key, T: Record, W: Windowing<T>, F> Windowed<K, T, W, F> {
    /// What is too late goes to `too_late`, if the windows say so.
    pub(crate) fn new(windows: W, time: F, too_late: SideOutput<T>) -> Self {
        let (caches, told) = (Caches::default(), Vec::new());
        Self { windows, time, caches, told, too_late, of: PhantomData }
    }

    /// Emits what was told of `key`.
    fn emit(&mut self, key: &K, out: &mut Context<'_, (K, W::Told)>) {
        out.emit_all(self.told.drain(..).map(|told| (key.clone(), told)));
    }
}

impl<K, T, W, F> Computation<K, T, Panes<K, T, W>> for Windowed<K, T, W, F>
where
    K: Key,
    T: Record,
    W: Windowing<T>,
    F: Fn(&T) -> Time + 'static,
{
    type Output = (K, W::Told);
    const TIMERS: bool = true;
    const ENGINE_TIMERS: bool = W::ENGINE_TIMERS;

    fn apply(
        &mut self,
        key: &K,
        record: T,
        mut row: MapRow<'_, W::Name, Stored<W::Row>>,
        out: &mut Context<'_, Self::Output>,
    ) {
        let at = moment(out);
        let time = (self.time)(&record);
        let mut unused = W::Cache::default();
        let cache = cache_of::<K, T, W>(&mut self.caches, key, &mut unused);
        let mut rows = Rows::new(&mut row, out);
        let outcome = self.windows.on_record((time, &record), at, cache, &mut rows, &mut self.told);
        if outcome.is_late() {
            out.count("late", self.windows.weight(&record));
        }
        if outcome.is_too_late() {
            out.count("too_late", self.windows.weight(&record));
        }
        if outcome == Outcome::SideOutput {
            out.emit_to(self.too_late, record);
        }
        self.emit(key, out);
    }

    fn on_timer(
        &mut self,
        key: &K,
        timer: Timer<'_>,
        mut row: MapRow<'_, W::Name, Stored<W::Row>>,
        out: &mut Context<'_, Self::Output>,
    ) {
        let at = moment(out);
        let mut unused = W::Cache::default();
        let cache = cache_of::<K, T, W>(&mut self.caches, key, &mut unused);
        let mut rows = Rows::new(&mut row, out);
        self.windows.on_timer(timer, at, cache, &mut rows, &mut self.told);
        if W::CACHES && row.is_empty() {
            self.caches.remove(key);
        }
        self.emit(key, out);
    }
}

/// What is cached of `key`; `unused` if nothing ever is.
fn cache_of<'a, K: Key, T, W: Windowing<T>>(
    caches: &'a mut Caches<K, W::Cache>,
    key: &K,
    unused: &'a mut W::Cache,
) -> &'a mut W::Cache {
    if W::CACHES { caches.entry_ref(key).or_default() } else { unused }
}

/// Where time stands.
fn moment<O>(out: &Context<'_, O>) -> Moment {
    Moment { watermark: out.watermark(), now: out.now() }
}
