//! [`Windowing`]: the forms of windows that a stream can be given.
//!
//! Invariant: a form is told of records and timers of one key, and works on what it is handed.

use super::rows::Name;
use crate::aggregate::Aggregate;
use crate::window::WindowAssigner;
use crate::window::pane::{
    Cache, CountSlice, Counts, Evictor, Fired, Moment, Outcome, Row, Sliding, SlidingKey,
    SlidingRow, Store, Trigger, Windows,
};
use crate::{Record, Result, Time, Timer};

/// What can be given to [`Keyed::window`](crate::Keyed::window): [`Windows`], [`Sliding`], [`Counts`].
pub trait Windowing<T>: 'static {
    /// Names what is kept of a key.
    #[doc(hidden)]
    type Name: Name;
    /// What is kept under such a name.
    #[doc(hidden)]
    type Row: Record;
    /// What is cached of a key.
    #[doc(hidden)]
    type Cache: Default + 'static;
    /// What it tells.
    type Told: Record;
    /// Whether anything is cached.
    #[doc(hidden)]
    const CACHES: bool;
    /// Whether it may ask for timers by engine time.
    #[doc(hidden)]
    const ENGINE_TIMERS: bool;

    /// Whether its rows say for when its timers of event time are set.
    #[doc(hidden)]
    const ROWS_SAY_DUES: bool;

    /// For when the timer of event time of a row is set.
    #[doc(hidden)]
    fn due(_name: &Self::Name, _row: &Self::Row) -> Option<Time> {
        None
    }

    /// What is wrong with how it was made.
    ///
    /// # Errors
    /// [`Error::Application`](crate::Error::Application), with what to do.
    fn check(&self) -> Result<()>;

    /// Whether it can do without event time.
    #[doc(hidden)]
    fn is_timeless(&self) -> bool {
        false
    }

    /// How many records a record stands for.
    #[doc(hidden)]
    fn weight(&self, _: &T) -> u64 {
        1
    }

    /// A record of a key.
    #[doc(hidden)]
    fn on_record(
        &mut self,
        record: (Time, &T),
        at: Moment,
        cache: &mut Self::Cache,
        store: &mut impl Store<Self::Name, Self::Row>,
        told: &mut Vec<Self::Told>,
    ) -> Outcome;

    /// A timer of a key is due.
    #[doc(hidden)]
    fn on_timer(
        &mut self,
        timer: Timer<'_>,
        at: Moment,
        cache: &mut Self::Cache,
        store: &mut impl Store<Self::Name, Self::Row>,
        told: &mut Vec<Self::Told>,
    );
}

impl<T, W, A, R, E> Windowing<T> for Windows<T, W, A, R, E>
where
    T: 'static,
    W: WindowAssigner,
    A: Aggregate<T>,
    R: Trigger,
    E: Evictor<A::State>,
{
    type Name = crate::window::Window;
    type Row = Row<T, A, R>;
    type Cache = ();
    type Told = Fired<A::Output>;
    const CACHES: bool = false;
    const ENGINE_TIMERS: bool = R::ENGINE_TIME;
    const ROWS_SAY_DUES: bool = true;

    fn due(_: &Self::Name, pane: &Self::Row) -> Option<Time> {
        Some(pane.due())
    }

    fn check(&self) -> Result<()> {
        Self::check(self)
    }

    fn weight(&self, record: &T) -> u64 {
        self.aggregate().weight(record)
    }

    fn on_record(
        &mut self,
        (time, record): (Time, &T),
        at: Moment,
        (): &mut (),
        store: &mut impl Store<Self::Name, Self::Row>,
        told: &mut Vec<Self::Told>,
    ) -> Outcome {
        Self::on_record(self, time, record, at, store, told)
    }

    fn on_timer(
        &mut self,
        timer: Timer<'_>,
        at: Moment,
        (): &mut (),
        store: &mut impl Store<Self::Name, Self::Row>,
        told: &mut Vec<Self::Told>,
    ) {
        if let Some(window) = Name::of_timer(timer.name) {
            Self::on_timer(self, (timer.clock, window, timer.time), at, store, told);
        }
    }
}

impl<T: 'static, A: Aggregate<T>> Windowing<T> for Sliding<T, A> {
    type Name = SlidingKey;
    type Row = SlidingRow<A::State>;
    type Cache = Cache<A::State>;
    type Told = Fired<A::Output>;
    const CACHES: bool = true;
    const ENGINE_TIMERS: bool = false;
    const ROWS_SAY_DUES: bool = true;

    fn due(_: &Self::Name, row: &Self::Row) -> Option<Time> {
        row.due()
    }

    fn check(&self) -> Result<()> {
        Self::check(self)
    }

    fn weight(&self, record: &T) -> u64 {
        self.aggregate().weight(record)
    }

    fn on_record(
        &mut self,
        record: (Time, &T),
        at: Moment,
        cache: &mut Self::Cache,
        store: &mut impl Store<Self::Name, Self::Row>,
        told: &mut Vec<Self::Told>,
    ) -> Outcome {
        Self::on_record(self, record, at, cache, store, told)
    }

    fn on_timer(
        &mut self,
        timer: Timer<'_>,
        at: Moment,
        cache: &mut Self::Cache,
        store: &mut impl Store<Self::Name, Self::Row>,
        told: &mut Vec<Self::Told>,
    ) {
        Self::on_timer(self, timer.time, at, cache, store, told);
    }
}

impl<T: 'static, A: Aggregate<T>> Windowing<T> for Counts<T, A> {
    type Name = u64;
    type Row = CountSlice<A::State>;
    type Cache = Cache<A::State>;
    type Told = Fired<A::Output, u64>;
    const CACHES: bool = true;
    const ENGINE_TIMERS: bool = true;
    const ROWS_SAY_DUES: bool = false;

    fn check(&self) -> Result<()> {
        Self::check(self)
    }

    fn is_timeless(&self) -> bool {
        Self::is_timeless(self)
    }

    fn on_record(
        &mut self,
        record: (Time, &T),
        at: Moment,
        cache: &mut Self::Cache,
        store: &mut impl Store<Self::Name, Self::Row>,
        told: &mut Vec<Self::Told>,
    ) -> Outcome {
        Self::on_record(self, record, at, cache, store, told);
        Outcome::InTime
    }

    fn on_timer(
        &mut self,
        _: Timer<'_>,
        _: Moment,
        _: &mut Self::Cache,
        store: &mut impl Store<Self::Name, Self::Row>,
        told: &mut Vec<Self::Told>,
    ) {
        Self::on_timer(self, store, told);
    }
}
