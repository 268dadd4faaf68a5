//! Time frames as a computation: what is kept of a key is the rows of four tables, and its timers.
//!
//! Invariant: a frame's row says what was handed on of it, and what it will be tried again.

use std::time::Duration;

use super::rows::{of_time_name, time_name};
use crate::state::{MapRow, Row};
use crate::window::entries::{Ordered, OrderedMut, Plain, Stored};
use crate::window::frames::{
    Frame, FrameEvent, FrameMethod, FrameStore, FrameTimer, Head, Place, Rework, Task, Turn,
};
use crate::{Clock, Computation, Context, Key, MapTable, Record, Table, Time, Timer, clock, timer};

/// What a task of frames is told, for [`Keyed::frames_of`](crate::Keyed::frames_of).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum FrameInput<T> {
    /// A record.
    Item {
        /// Its event time.
        time: Time,
        /// The record.
        value: T,
    },
    /// The frame of that start, if it failed for good, is calculated as if it had never been tried.
    Retry(Time),
    /// The frame of that start is removed, whatever its state, and made anew.
    Remove(Time),
}

/// The tables of a task: what is known of keys, their frames, their records, and what is to be calculated
/// again.
pub(crate) type FrameTables<K, T, M> = (
    Table<K, Head>,
    MapTable<K, Time, Frame<<M as FrameMethod<T>>::Output>>,
    MapTable<K, Place, Stored<<M as FrameMethod<T>>::Entry>>,
    MapTable<K, Time, Rework>,
);

/// The rows of [`FrameTables`] of one key.
type FrameRows<'a, T, M> = (
    Row<'a, Head>,
    MapRow<'a, Time, Frame<<M as FrameMethod<T>>::Output>>,
    MapRow<'a, Place, Stored<<M as FrameMethod<T>>::Entry>>,
    MapRow<'a, Time, Rework>,
);

/// The rows and timers of one key.
struct Kept<'a, 'r, 'c, T, M: FrameMethod<T>, O> {
    head: Row<'r, Head>,
    frames: Plain<'r, Time, Frame<M::Output>>,
    records: MapRow<'r, Place, Stored<M::Entry>>,
    rework: Plain<'r, Time, Rework>,
    out: &'a mut Context<'c, O>,
}

impl<T, M: FrameMethod<T>, O> FrameStore<M::Entry, M::Output> for Kept<'_, '_, '_, T, M, O> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn head_mut(&mut self) -> &mut Head {
        &mut self.head
    }

    fn frames(&self) -> &impl Ordered<Time, Frame<M::Output>> {
        &self.frames
    }

    fn frames_mut(&mut self) -> &mut impl OrderedMut<Time, Frame<M::Output>> {
        &mut self.frames
    }

    fn entries(&self) -> &impl Ordered<Place, M::Entry> {
        &self.records
    }

    fn entries_mut(&mut self) -> &mut impl OrderedMut<Place, M::Entry> {
        &mut self.records
    }

    fn rework(&self) -> &impl Ordered<Time, Rework> {
        &self.rework
    }

    fn rework_mut(&mut self) -> &mut impl OrderedMut<Time, Rework> {
        &mut self.rework
    }

    fn set_timer(&mut self, timer: FrameTimer, at: Time) {
        match timer.is_event_time() {
            true => self.out.set_timer(timer_name(timer), at),
            false => self.out.set_engine_timer(timer_name(timer), at),
        }
    }

    fn cancel_timer(&mut self, timer: FrameTimer) {
        match timer.is_event_time() {
            true => self.out.cancel_timer(timer_name(timer)),
            false => self.out.cancel_engine_timer(timer_name(timer)),
        }
    }
}

/// Names of one clock; those of frames that are done again are in the order of their starts.
pub(super) fn timer_name(timer: FrameTimer) -> timer::Name {
    match timer {
        FrameTimer::Due => timer::Name::default(),
        FrameTimer::Backfill => timer::Name::new_static("backfill"),
        FrameTimer::More => timer::Name::new_static("more"),
        FrameTimer::Rework(start) => time_name(start),
    }
}

pub(super) fn of_timer_name(clock: Clock, name: &str) -> Option<FrameTimer> {
    match (clock, name) {
        (Clock::Event, _) => Some(FrameTimer::Due),
        (Clock::Engine, "backfill") => Some(FrameTimer::Backfill),
        (Clock::Engine, "more") => Some(FrameTimer::More),
        (Clock::Engine, start) => of_time_name(start).map(FrameTimer::Rework),
    }
}

/// The computation of frames; `input` makes of a record what the task is told.
pub(crate) struct Framed<T, M: FrameMethod<T>, F> {
    pub(crate) task: Task<T, M>,
    pub(crate) input: F,
    /// Kept for its memory.
    pub(crate) events: Vec<FrameEvent<T, M::Output>>,
}

impl<T: Record, M: FrameMethod<T>, F: 'static> Framed<T, M, F> {
    /// Lets `act` work on what is kept of a key, and emits what there is to hand on.
    fn turn<K: Key>(
        &mut self,
        key: &K,
        rows: FrameRows<'_, T, M>,
        out: &mut Context<'_, (K, FrameEvent<T, M::Output>)>,
        act: impl for<'t> FnOnce(
            &mut Task<T, M>,
            &mut Kept<'_, '_, '_, T, M, (K, FrameEvent<T, M::Output>)>,
            &mut Turn<'t, T, M::Output>,
        ),
    ) {
        let Self { task, events, .. } = self;
        let began = task.options().is_timed().then(clock::instant);
        let mut stopwatch = || began.map_or(Duration::ZERO, |began| began.elapsed());
        let (watermark, now) = (out.watermark(), out.now());
        let mut turn = Turn { watermark, now, stopwatch: &mut stopwatch, out: events };
        let (head, frames, records, rework) = rows;
        let (frames, rework) = (Plain(frames), Plain(rework));
        act(task, &mut Kept { head, frames, records, rework, out }, &mut turn);
        for event in events.drain(..) {
            out.count(event.counted(), 1);
            out.emit((key.clone(), event));
        }
    }
}

impl<K, I, T, M, F> Computation<K, I, FrameTables<K, T, M>> for Framed<T, M, F>
where
    K: Key,
    T: Record,
    M: FrameMethod<T>,
    F: Fn(I) -> FrameInput<T> + 'static,
{
    type Output = (K, FrameEvent<T, M::Output>);
    const TIMERS: bool = true;
    const ENGINE_TIMERS: bool = true;

    fn apply(
        &mut self,
        key: &K,
        record: I,
        rows: FrameRows<'_, T, M>,
        out: &mut Context<'_, Self::Output>,
    ) {
        let input = (self.input)(record);
        self.turn(key, rows, out, |task, kept, turn| match input {
            FrameInput::Item { time, value } => task.on_record(kept, time, value, turn),
            FrameInput::Retry(start) => drop(task.retry(kept, start, turn.now)),
            FrameInput::Remove(start) => drop(task.remove(kept, start, turn.now)),
        });
    }

    fn on_timer(
        &mut self,
        key: &K,
        timer: Timer<'_>,
        rows: FrameRows<'_, T, M>,
        out: &mut Context<'_, Self::Output>,
    ) {
        if let Some(timer) = of_timer_name(timer.clock, timer.name) {
            self.turn(key, rows, out, |task, kept, turn| task.on_timer(kept, timer, turn));
        }
    }
}
