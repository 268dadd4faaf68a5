//! Several tasks of time frames over the same records of a key: each has frames of its own, and a record goes when
//! none needs it.
//!
//! Invariant: a record is put in once, if any task lets it in.

use std::time::Duration;

use super::framing::{of_timer_name, timer_name};
use crate::state::MapRow;
use crate::window::entries::{Ordered, OrderedMut, Plain, Stored};
use crate::window::frames::{
    Frame, FrameEvent, FrameMethod, FrameStore, FrameTimer, Head, OfTask, Place, Placed, Rework,
    Task, Turn, insert_item, least_cutoff,
};
use crate::{Clock, Computation, Context, Key, MapTable, Record, Time, Timer, clock, timer};

/// The tables of tasks: what is known of keys, their frames, the records of all, and what is to be calculated
/// again.
pub(crate) type SharedTables<K, T, R> = (
    MapTable<K, u32, Head>,
    MapTable<K, (u32, Time), Frame<R>>,
    MapTable<K, Place, Stored<T>>,
    MapTable<K, (u32, Time), Rework>,
);

/// The rows of [`SharedTables`] of one key.
type SharedRows<'a, T, R> = (
    MapRow<'a, u32, Head>,
    MapRow<'a, (u32, Time), Frame<R>>,
    MapRow<'a, Place, Stored<T>>,
    MapRow<'a, (u32, Time), Rework>,
);

/// The rows of a key, of all tasks.
struct Rows<'r, T: Record, R: Record> {
    heads: MapRow<'r, u32, Head>,
    frames: Plain<'r, (u32, Time), Frame<R>>,
    records: MapRow<'r, Place, Stored<T>>,
    rework: Plain<'r, (u32, Time), Rework>,
}

impl<'r, T: Record, R: Record> Rows<'r, T, R> {
    fn new((heads, frames, records, rework): SharedRows<'r, T, R>) -> Self {
        Self { heads, frames: Plain(frames), records, rework: Plain(rework) }
    }

    /// Lets `act` work on what one task sees, of which the others need what is not before `others`.
    fn with<'c, O, P>(
        &mut self,
        task: u32,
        others: &[Option<Time>],
        out: &mut Context<'c, O>,
        act: impl FnOnce(&mut Kept<'_, 'r, 'c, T, R, O>) -> P,
    ) -> P {
        let Self { heads, frames, records, rework } = self;
        let head = heads.get(&task).cloned().unwrap_or_default();
        let (frames, rework) = (OfTask { entries: frames, task }, OfTask { entries: rework, task });
        let mut kept = Kept { task, head, changed: false, frames, records, rework, others, out };
        let done = act(&mut kept);
        let Kept { head, changed, .. } = kept;
        if changed {
            heads.insert(task, head);
        }
        done
    }
}

/// What one task sees of a key, and its timers.
struct Kept<'a, 'r, 'c, T: Record, R: Record, O> {
    task: u32,
    head: Head,
    changed: bool,
    frames: OfTask<&'a mut Plain<'r, (u32, Time), Frame<R>>>,
    records: &'a mut MapRow<'r, Place, Stored<T>>,
    rework: OfTask<&'a mut Plain<'r, (u32, Time), Rework>>,
    others: &'a [Option<Time>],
    out: &'a mut Context<'c, O>,
}

impl<T: Record, R: Record, O> FrameStore<T, R> for Kept<'_, '_, '_, T, R, O> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn head_mut(&mut self) -> &mut Head {
        self.changed = true;
        &mut self.head
    }

    fn frames(&self) -> &impl Ordered<Time, Frame<R>> {
        &self.frames
    }

    fn frames_mut(&mut self) -> &mut impl OrderedMut<Time, Frame<R>> {
        &mut self.frames
    }

    fn entries(&self) -> &impl Ordered<Place, T> {
        &*self.records
    }

    fn entries_mut(&mut self) -> &mut impl OrderedMut<Place, T> {
        self.records
    }

    fn rework(&self) -> &impl Ordered<Time, Rework> {
        &self.rework
    }

    fn rework_mut(&mut self) -> &mut impl OrderedMut<Time, Rework> {
        &mut self.rework
    }

    fn set_timer(&mut self, timer: FrameTimer, at: Time) {
        let name = name_of(self.task, timer);
        match timer.is_event_time() {
            true => self.out.set_timer(name, at),
            false => self.out.set_engine_timer(name, at),
        }
    }

    fn cancel_timer(&mut self, timer: FrameTimer) {
        let name = name_of(self.task, timer);
        match timer.is_event_time() {
            true => self.out.cancel_timer(name),
            false => self.out.cancel_engine_timer(name),
        }
    }

    fn least_cutoff(&self, own: Time) -> Option<Time> {
        least_cutoff(own, self.others.iter().copied())
    }
}

/// Those of one task are in the order of their names.
fn name_of(task: u32, timer: FrameTimer) -> timer::Name {
    timer::Name::from(format!("{task} {}", timer_name(timer)))
}

/// The task and the timer of that name.
fn of_name(clock: Clock, name: &str) -> Option<(u32, FrameTimer)> {
    let (task, name) = name.split_once(' ')?;
    Some((task.parse().ok()?, of_timer_name(clock, name)?))
}

/// The computation of the frames of several tasks.
pub(crate) struct SharedFrames<T, M: FrameMethod<T>, F> {
    tasks: Vec<Task<T, M>>,
    time: F,
    /// Kept for its memory.
    events: Vec<FrameEvent<T, M::Output>>,
}

impl<T, M: FrameMethod<T>, F> SharedFrames<T, M, F> {
    pub(crate) fn new(tasks: Vec<Task<T, M>>, time: F) -> Self {
        Self { tasks, time, events: Vec::new() }
    }
}

impl<K, T, M, F> Computation<K, T, SharedTables<K, T, M::Output>> for SharedFrames<T, M, F>
where
    K: Key,
    T: Record,
    M: FrameMethod<T, Entry = T>,
    F: Fn(&T) -> Time + 'static,
{
    type Output = (K, u32, FrameEvent<T, M::Output>);
    const TIMERS: bool = true;
    const ENGINE_TIMERS: bool = true;

    fn apply(
        &mut self,
        key: &K,
        value: T,
        rows: SharedRows<'_, T, M::Output>,
        out: &mut Context<'_, Self::Output>,
    ) {
        let mut rows = Rows::new(rows);
        let time = (self.time)(&value);
        let (watermark, now) = (out.watermark(), out.now());
        let mut wanted = false;
        for (number, task) in (0..).zip(&self.tasks) {
            let placed =
                rows.with(number, &[], out, |kept| task.observe(kept, time, watermark, now));
            wanted |= placed != Placed::Late;
            if placed == Placed::Late {
                out.count("too_late", 1);
                out.emit((key.clone(), number, FrameEvent::Late { time, value: value.clone() }));
            }
        }
        if wanted {
            insert_item(&mut rows.records, time, value);
        }
    }

    fn on_timer(
        &mut self,
        key: &K,
        timer: Timer<'_>,
        rows: SharedRows<'_, T, M::Output>,
        out: &mut Context<'_, Self::Output>,
    ) {
        let Self { tasks, events, .. } = self;
        let Some((number, timer)) = of_name(timer.clock, timer.name) else { return };
        let mut rows = Rows::new(rows);
        let (watermark, now) = (out.watermark(), out.now());
        let others: Vec<_> = (0..)
            .zip(&*tasks)
            .filter(|(other, _)| *other != number)
            .map(|(other, task)| rows.with(other, &[], out, |kept| task.cutoff(kept, watermark)))
            .collect();
        let Some(task) = tasks.get_mut(number as usize) else { return };
        let began = task.options().is_timed().then(clock::instant);
        let mut stopwatch = || began.map_or(Duration::ZERO, |began| began.elapsed());
        let mut turn = Turn { watermark, now, stopwatch: &mut stopwatch, out: events };
        rows.with(number, &others, out, |kept| task.on_timer(kept, timer, &mut turn));
        for event in events.drain(..) {
            out.count(event.counted(), 1);
            out.emit((key.clone(), number, event));
        }
    }
}
