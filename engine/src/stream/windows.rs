//! Windows and rolling values on keyed streams.
//!
//! Invariant: each is a computation on a hidden table of its group, named after it: so it is ordered,
//! kept, restored and moved to other workers as all computations are.

// What a chain is made of is in its type, and users never name it.
#![allow(clippy::type_complexity)]

use std::rc::Rc;

use super::Stream;
use super::keyed::{Keyed, ToBeKeyed};
use super::uses::FindOwnRows;
use crate::aggregate::Aggregate;
use crate::pipeline::{Chain, Hub, Identity};
use crate::state::{Stores, hidden_name};
use crate::timer::OwnRows;
use crate::window::pane::Fired;
use crate::window::{
    Combining, Local, PaneRows, Panes, Partial, Rolling, Rolls, Windowed, Windowing, check_local,
};
use crate::{Key, MapTable, Record, SideOutput, Time};

/// What the records of a local window are combined to.
type PartialOf<K, T, L> = Partial<K, <<L as Local<T>>::Aggregate as Aggregate<T>>::State>;

impl<C, F, K> ToBeKeyed<C, F>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    F: Fn(&C::Out) -> K + 'static,
    K: Key,
{
    /// Makes values of the records of each key, by windows: see [`Keyed::window`].
    pub fn window<W: Windowing<C::Out>>(
        self,
        name: &str,
        time: impl Fn(&C::Out) -> Time + 'static,
        windows: W,
    ) -> Keyed<C, F, impl Chain<Key = K, In = C::Out, Out = (K, W::Told)>> {
        self.keyed().window(name, time, windows)
    }

    /// The same as [`window`](Self::window), told the same, for aggregates that are exactly associative and
    /// commutative ([`Aggregate::EXACT`]): each worker combines the records that it has, by key and slice of
    /// time, and only what they come to travels to the worker that owns the key. So few large keys cost no
    /// worker more than its part. Records that come too late are dropped, and counted.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use anabranch::aggregate::count;
    /// use anabranch::prelude::*;
    /// use anabranch::window::{pane::{Fired, Windows}, tumbling};
    /// use anabranch::{TestDriver, Watermarks, sink, source};
    ///
    /// let driver = TestDriver::new(|app: &App| {
    ///     let time = |ms: &i64| Time::from_millis(*ms);
    ///     app.source("hits", source::empty::<i64>())
    ///         .event_time(Watermarks::monotonic(time))
    ///         .key_by(|_| ())
    ///         .local_window("by-second", time, Windows::new(tumbling(Duration::from_secs(1)), count()))
    ///         .sink("counts", sink::null());
    ///     Ok(())
    /// });
    /// let mut driver = driver.workers(2).start()?;
    /// for ms in [10_i64, 400, 999, 1_000] {
    ///     driver.send("hits", ms)?;
    /// }
    /// driver.run()?;
    /// let told = driver.outputs::<((), Fired<u64>)>("counts");
    /// assert_eq!(told.iter().map(|(_, told)| told.value).collect::<Vec<_>>(), [3]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn local_window<L: Local<C::Out>>(
        self,
        name: &str,
        time: impl Fn(&C::Out) -> Time + 'static,
        windows: L,
    ) -> Keyed<
        Identity<(), PartialOf<K, C::Out, L>>,
        impl Fn(&PartialOf<K, C::Out, L>) -> K + 'static,
        impl Chain<
            Key = K,
            In = PartialOf<K, C::Out, L>,
            Out = (K, Fired<<L::Aggregate as Aggregate<C::Out>>::Output>),
        >,
    > {
        let Self { mut place, hub, chain, key } = self;
        let checked = check_local(&windows);
        let (assigner, aggregate, whole) = windows.split();
        place.deeper::<C>();
        let partials = Hub::new();
        let parts = (assigner, aggregate);
        hub.add(Combining::new(chain, (key, time), parts, Rc::clone(&partials)));
        let keyed = Stream::here(place, partials)
            .key_by(|partial: &PartialOf<K, C::Out, L>| partial.key.clone());
        keyed.keyed().checked(name, checked).window(name, |partial| partial.time, whole)
    }

    /// Makes a value at each record, of those of its key so far: see [`Keyed::rolling`].
    pub fn rolling<A: Aggregate<C::Out>>(
        self,
        name: &str,
        rolling: Rolling<C::Out, A>,
    ) -> Keyed<C, F, impl Chain<Key = K, In = C::Out, Out = (C::Out, A::Output)>> {
        self.keyed().rolling(name, rolling)
    }
}

impl<C, F, D> Keyed<C, F, D>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out: Record>,
    F: Fn(&C::Out) -> D::Key + 'static,
{
    /// Makes values of the records of each key, by windows of the event time that `time` takes from a
    /// record: [`Windows`](crate::window::pane::Windows), [`Sliding`](crate::window::pane::Sliding) or
    /// [`Counts`](crate::window::pane::Counts). What it emits is the key with what the windows tell.
    ///
    /// For windows over all records choose a key that all have: `key_by(|_| ())`.
    ///
    /// Records that come after a window of theirs has ended are counted as `<name>.late`; those that come
    /// after all of theirs have closed as `<name>.too_late` too, and go where the windows say: by default
    /// to the side output `<name>.too-late`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use anabranch::aggregate::{count, mean};
    /// use anabranch::prelude::*;
    /// use anabranch::window::{Window, pane::{Fired, Windows}, tumbling};
    /// use anabranch::{TestDriver, Watermarks, sink, source};
    ///
    /// /// A reading of a sensor: its number, milliseconds, and degrees.
    /// type Reading = (u8, i64, f64);
    ///
    /// const TOO_LATE: SideOutput<Reading> = SideOutput::new("by-second.too-late");
    ///
    /// fn by_second(app: &App) -> Result<()> {
    ///     let time = |reading: &Reading| Time::from_millis(reading.1);
    ///     let seconds = tumbling(Duration::from_secs(1));
    ///     let (too_late, by_second) = app
    ///         .source("readings", source::empty::<Reading>())
    ///         .event_time(Watermarks::monotonic(time))
    ///         .key_by(|reading| reading.0)
    ///         .window("by-second", time, Windows::new(seconds, (count(), mean(|r: &Reading| r.2))))
    ///         .side(TOO_LATE);
    ///     too_late.sink("too-late", sink::null());
    ///     by_second.sink("by-second-out", sink::null());
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(by_second).start()?;
    /// for reading in [(7_u8, 100_i64, 20.0), (7, 900, 21.0), (7, 1_000, 30.0), (7, 999, 5.0)] {
    ///     driver.send("readings", reading)?;
    ///     driver.run()?;
    /// }
    /// assert_eq!(driver.outputs::<Reading>("too-late"), [(7, 999, 5.0)]);
    /// type Told = (u8, Fired<(u64, Option<f64>)>);
    /// let [(key, told)] = &driver.outputs::<Told>("by-second-out")[..] else { panic!() };
    /// assert_eq!((*key, told.value), (7, (2, Some(20.5))));
    /// assert_eq!(told.window, Window::new(Time::ZERO, Time::from_millis(1_000)));
    /// driver.finish()?;
    /// assert_eq!(driver.outputs::<Told>("by-second-out")[0].1.value, (1, Some(30.0)));
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn window<W: Windowing<D::Out>>(
        self,
        name: &str,
        time: impl Fn(&D::Out) -> Time + 'static,
        windows: W,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = (D::Key, W::Told)>> {
        let checked = windows.check();
        let keyed = self.checked(name, checked);
        let table: Panes<D::Key, D::Out, W> = MapTable::new(hidden_name(name, "panes"));
        let too_late = SideOutput::new(hidden_name(name, "too-late"));
        let timed = !windows.is_timeless();
        let find = move |stores: &mut Stores| -> Rc<dyn OwnRows<D::Key>> {
            Rc::new(PaneRows::<_, D::Out, W>(stores.map_store(table)))
        };
        let own_rows = W::ROWS_SAY_DUES.then(|| Box::new(find) as FindOwnRows<_>);
        keyed.add(name, table, Windowed::new(windows, time, too_late), timed, own_rows)
    }

    /// Makes a value at each record, of the records of its key so far: of all, of the last so many, or
    /// of those of the last so long. What it emits is the record with the value.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use anabranch::aggregate::mean;
    /// use anabranch::prelude::*;
    /// use anabranch::window::Rolling;
    /// use anabranch::{TestDriver, Watermarks, sink, source};
    ///
    /// /// Minutes, and a price.
    /// type Price = (i64, f64);
    ///
    /// let driver = TestDriver::new(|app: &App| {
    ///     let time = |price: &Price| Time::from_millis(price.0 * 60_000);
    ///     let ten_minutes = Duration::from_secs(600);
    ///     app.source("prices", source::empty::<Price>())
    ///         .event_time(Watermarks::monotonic(time))
    ///         .key_by(|_| ())
    ///         .rolling("average", Rolling::over(ten_minutes, time, mean(|price: &Price| price.1)))
    ///         .map(|(_, average)| average)
    ///         .sink("averages", sink::null());
    ///     Ok(())
    /// });
    /// let mut driver = driver.start()?;
    /// for price in [(0_i64, 100.0), (9, 200.0), (11, 300.0)] {
    ///     driver.send("prices", price)?;
    /// }
    /// driver.run()?;
    /// assert_eq!(
    ///     driver.outputs::<Option<f64>>("averages"),
    ///     [Some(100.0), Some(150.0), Some(250.0)]
    /// );
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn rolling<A: Aggregate<D::Out>>(
        self,
        name: &str,
        rolling: Rolling<D::Out, A>,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = (D::Out, A::Output)>> {
        let checked = rolling.check();
        let keyed = self.checked(name, checked);
        let table = MapTable::new(hidden_name(name, "values"));
        let too_late = SideOutput::new(hidden_name(name, "too-late"));
        let timed = !rolling.is_timeless();
        keyed.add(name, table, Rolls::new(rolling, too_late), timed, None)
    }
}
