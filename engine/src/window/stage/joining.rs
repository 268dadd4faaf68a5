//! Joins as computations: what a join keeps of a key is the rows of two hidden tables, and one timer.
//!
//! Invariant: a join sees the rows of one key and nothing else.

use crate::state::{MapRow, SubKey};
use crate::window::WindowAssigner;
use crate::window::entries::{OrderedMut, Stored};
use crate::window::join::{
    AsOf, CoGroup, Group, Held, IntervalJoin, Joined, Late, Open, Place, Side, Slot, Spot, State,
    Timer, WindowJoin, WindowState,
};
use crate::{Computation, Context, Key, MapTable, Record, Result, SideOutput, Time};

/// How two streams are joined, for [`ToBeKeyed::join`](crate::ToBeKeyed::join): an [`IntervalJoin`], a
/// [`WindowJoin`] or an [`AsOf`] join.
pub trait Joining<L, R>: 'static {
    /// Of one hidden table.
    #[doc(hidden)]
    type FirstKey: SubKey;
    #[doc(hidden)]
    type First: Record;
    /// Of the other.
    #[doc(hidden)]
    type SecondKey: SubKey;
    #[doc(hidden)]
    type Second: Record;

    /// What is wrong with how it was made.
    ///
    /// # Errors
    /// [`Error::Application`](crate::Error::Application), with what to do.
    fn check(&self) -> Result<()>;

    /// A record of a key.
    #[doc(hidden)]
    fn on_record(
        &mut self,
        record: (Time, Side<L, R>),
        watermark: Time,
        first: &mut impl OrderedMut<Self::FirstKey, Self::First>,
        second: &mut impl OrderedMut<Self::SecondKey, Self::Second>,
        timer: &mut impl Timer,
        emit: impl FnMut(Joined<'_, L, R>),
    ) -> Result<(), Late<Side<L, R>>>;

    /// The timer of a key is due.
    #[doc(hidden)]
    fn on_timer(
        &mut self,
        watermark: Time,
        first: &mut impl OrderedMut<Self::FirstKey, Self::First>,
        second: &mut impl OrderedMut<Self::SecondKey, Self::Second>,
        timer: &mut impl Timer,
        emit: impl FnMut(Joined<'_, L, R>),
    );
}

fn left<L, R>(late: Late<L>) -> Late<Side<L, R>> {
    Late { time: late.time, value: Side::Left(late.value) }
}

fn right<L, R>(late: Late<R>) -> Late<Side<L, R>> {
    Late { time: late.time, value: Side::Right(late.value) }
}

impl<L: Record, R: Record> Joining<L, R> for IntervalJoin {
    type FirstKey = Place;
    type First = Held<L>;
    type SecondKey = Place;
    type Second = Held<R>;

    fn check(&self) -> Result<()> {
        Self::check(self)
    }

    fn on_record(
        &mut self,
        (time, side): (Time, Side<L, R>),
        watermark: Time,
        first: &mut impl OrderedMut<Place, Held<L>>,
        second: &mut impl OrderedMut<Place, Held<R>>,
        timer: &mut impl Timer,
        emit: impl FnMut(Joined<'_, L, R>),
    ) -> Result<(), Late<Side<L, R>>> {
        let mut state = State { left: first, right: second, timer };
        match side {
            Side::Left(value) => self.left(time, value, watermark, &mut state, emit).map_err(left),
            Side::Right(value) => {
                self.right(time, value, watermark, &mut state, emit).map_err(right)
            }
        }
    }

    fn on_timer(
        &mut self,
        watermark: Time,
        first: &mut impl OrderedMut<Place, Held<L>>,
        second: &mut impl OrderedMut<Place, Held<R>>,
        timer: &mut impl Timer,
        emit: impl FnMut(Joined<'_, L, R>),
    ) {
        self.wake(watermark, &mut State { left: first, right: second, timer }, emit);
    }
}

impl<L: Record, R: Record> Joining<L, R> for AsOf {
    type FirstKey = Place;
    type First = L;
    type SecondKey = Time;
    type Second = R;

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn on_record(
        &mut self,
        (time, side): (Time, Side<L, R>),
        watermark: Time,
        first: &mut impl OrderedMut<Place, L>,
        second: &mut impl OrderedMut<Time, R>,
        timer: &mut impl Timer,
        emit: impl FnMut(Joined<'_, L, R>),
    ) -> Result<(), Late<Side<L, R>>> {
        let mut state = State { left: first, right: second, timer };
        match side {
            Side::Left(value) => self.left(time, value, watermark, &mut state, emit).map_err(left),
            Side::Right(value) => self.right(time, value, watermark, &mut state).map_err(right),
        }
    }

    fn on_timer(
        &mut self,
        watermark: Time,
        first: &mut impl OrderedMut<Place, L>,
        second: &mut impl OrderedMut<Time, R>,
        timer: &mut impl Timer,
        emit: impl FnMut(Joined<'_, L, R>),
    ) {
        self.wake(watermark, &mut State { left: first, right: second, timer }, emit);
    }
}

impl<L: Record, R: Record, A: WindowAssigner> Joining<L, R> for WindowJoin<A> {
    type FirstKey = Spot;
    type First = Side<L, R>;
    type SecondKey = Slot;
    type Second = Open;

    fn check(&self) -> Result<()> {
        Self::check(self)
    }

    fn on_record(
        &mut self,
        (time, side): (Time, Side<L, R>),
        watermark: Time,
        first: &mut impl OrderedMut<Spot, Side<L, R>>,
        second: &mut impl OrderedMut<Slot, Open>,
        timer: &mut impl Timer,
        mut emit: impl FnMut(Joined<'_, L, R>),
    ) -> Result<(), Late<Side<L, R>>> {
        let mut state = WindowState { records: first, windows: second, timer };
        let emit = |_, joined: Joined<'_, L, R>| emit(joined);
        match side {
            Side::Left(value) => self.left(time, value, watermark, &mut state, emit).map_err(left),
            Side::Right(value) => {
                self.right(time, value, watermark, &mut state, emit).map_err(right)
            }
        }
    }

    fn on_timer(
        &mut self,
        watermark: Time,
        first: &mut impl OrderedMut<Spot, Side<L, R>>,
        second: &mut impl OrderedMut<Slot, Open>,
        timer: &mut impl Timer,
        mut emit: impl FnMut(Joined<'_, L, R>),
    ) {
        let mut state = WindowState { records: first, windows: second, timer };
        self.wake(watermark, &mut state, |_, joined| emit(joined));
    }
}

/// The one timer of a key.
struct OneTimer<'a, 'c, O>(&'a mut Context<'c, O>);

impl<O> Timer for OneTimer<'_, '_, O> {
    fn set(&mut self, at: Time) {
        self.0.set_timer("", at);
    }

    fn set_by(&mut self, at: Time) {
        self.0.set_timer_by("", at);
    }

    fn cancel(&mut self) {
        self.0.cancel_timer("");
    }
}

/// The tables of a join.
pub(crate) type JoinTables<K, L, R, J> = (
    MapTable<K, <J as Joining<L, R>>::FirstKey, Stored<<J as Joining<L, R>>::First>>,
    MapTable<K, <J as Joining<L, R>>::SecondKey, Stored<<J as Joining<L, R>>::Second>>,
);

/// The rows of [`JoinTables`] of one key.
type JoinRows<'a, L, R, J> = (
    MapRow<'a, <J as Joining<L, R>>::FirstKey, Stored<<J as Joining<L, R>>::First>>,
    MapRow<'a, <J as Joining<L, R>>::SecondKey, Stored<<J as Joining<L, R>>::Second>>,
);

/// The computation of a join.
pub(crate) struct JoinedStreams<J, F, W, O, L, R> {
    pub(crate) join: J,
    pub(crate) times: F,
    pub(crate) with: W,
    pub(crate) too_late: SideOutput<Side<L, R>>,
    /// Kept for its memory.
    pub(crate) made: Vec<O>,
}

impl<K, L, R, J, F, W, O> Computation<K, Side<L, R>, JoinTables<K, L, R, J>>
    for JoinedStreams<J, F, W, O, L, R>
where
    K: Key,
    L: Record,
    R: Record,
    J: Joining<L, R>,
    F: Fn(&Side<L, R>) -> Time + 'static,
    W: FnMut(&K, Joined<'_, L, R>) -> Option<O> + 'static,
    O: Record,
{
    type Output = O;
    const TIMERS: bool = true;

    fn apply(
        &mut self,
        key: &K,
        record: Side<L, R>,
        (mut first, mut second): JoinRows<'_, L, R, J>,
        out: &mut Context<'_, O>,
    ) {
        let Self { join, times, with, too_late, made } = self;
        let (time, watermark) = (times(&record), out.watermark());
        let mut timer = OneTimer(out);
        let joined =
            join.on_record((time, record), watermark, &mut first, &mut second, &mut timer, |it| {
                made.extend(with(key, it));
            });
        if let Err(late) = joined {
            out.count("too_late", 1);
            out.emit_to(*too_late, late.value);
        }
        out.emit_all(made.drain(..));
    }

    fn on_timer(
        &mut self,
        key: &K,
        _: crate::Timer<'_>,
        (mut first, mut second): JoinRows<'_, L, R, J>,
        out: &mut Context<'_, O>,
    ) {
        let Self { join, with, made, .. } = self;
        let watermark = out.watermark();
        let mut timer = OneTimer(out);
        join.on_timer(watermark, &mut first, &mut second, &mut timer, |it| {
            made.extend(with(key, it));
        });
        out.emit_all(made.drain(..));
    }
}

/// The tables of a [`CoGroup`].
pub(crate) type GroupTables<K, T> = (MapTable<K, Spot, Stored<T>>, MapTable<K, Slot, Stored<Open>>);

/// The records of one window and key, in the [`Group`] that [`Keyed::co_group`](crate::Keyed::co_group) hands out.
pub type GroupRow<'a, T> = MapRow<'a, Spot, Stored<T>>;

/// The computation of a [`CoGroup`].
pub(crate) struct Grouped<A, F, W, T, O> {
    pub(crate) groups: CoGroup<A>,
    pub(crate) input: F,
    pub(crate) with: W,
    pub(crate) too_late: SideOutput<T>,
    /// Kept for its memory.
    pub(crate) made: Vec<O>,
}

impl<K, T, A, F, W, O> Computation<K, T, GroupTables<K, T>> for Grouped<A, F, W, T, O>
where
    K: Key,
    T: Record,
    A: WindowAssigner,
    F: Fn(&T) -> (u16, Time) + 'static,
    W: FnMut(&K, Group<'_, GroupRow<'_, T>>, &mut Vec<O>) + 'static,
    O: Record,
{
    type Output = O;
    const TIMERS: bool = true;

    fn apply(
        &mut self,
        key: &K,
        record: T,
        (mut records, mut windows): (GroupRow<'_, T>, MapRow<'_, Slot, Stored<Open>>),
        out: &mut Context<'_, O>,
    ) {
        let Self { groups, input, with, too_late, made } = self;
        let ((input, time), watermark) = (input(&record), out.watermark());
        let mut timer = OneTimer(out);
        let mut state =
            WindowState { records: &mut records, windows: &mut windows, timer: &mut timer };
        let grouped = groups.apply(input, time, record, watermark, &mut state, |group| {
            with(key, group, made);
        });
        if let Err(late) = grouped {
            out.count("too_late", 1);
            out.emit_to(*too_late, late.value);
        }
        out.emit_all(made.drain(..));
    }

    fn on_timer(
        &mut self,
        key: &K,
        _: crate::Timer<'_>,
        (mut records, mut windows): (GroupRow<'_, T>, MapRow<'_, Slot, Stored<Open>>),
        out: &mut Context<'_, O>,
    ) {
        let Self { groups, with, made, .. } = self;
        let watermark = out.watermark();
        let mut timer = OneTimer(out);
        let mut state =
            WindowState { records: &mut records, windows: &mut windows, timer: &mut timer };
        groups.wake(watermark, &mut state, |group| with(key, group, made));
        out.emit_all(made.drain(..));
    }
}
