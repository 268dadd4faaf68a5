//! Time frames of keyed streams.
//!
//! Invariant: the frames of a task are rows of a table that others may read.

// What a chain is made of is in its type, and users never name it.
#![allow(clippy::type_complexity)]

use super::keyed::{Keyed, ToBeKeyed};
use crate::pipeline::Chain;
use crate::state::hidden_name;
use crate::window::frames::{FrameEvent, FrameMethod, Task};
use crate::window::{FrameInput, Framed, SharedFrames};
use crate::{Error, Key, MapTable, Record, Result, Table, Time};

impl<C, F, K> ToBeKeyed<C, F>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    F: Fn(&C::Out) -> K + 'static,
    K: Key,
{
    /// Makes the time frames of each key: see [`Keyed::frames`].
    pub fn frames<M: FrameMethod<C::Out>>(
        self,
        name: &str,
        time: impl Fn(&C::Out) -> Time + 'static,
        task: Task<C::Out, M>,
    ) -> Keyed<C, F, impl Chain<Key = K, In = C::Out, Out = (K, FrameEvent<C::Out, M::Output>)>>
    {
        self.keyed().frames(name, time, task)
    }

    /// The same, of records that may ask for more: see [`Keyed::frames_of`].
    pub fn frames_of<T: Record, M: FrameMethod<T>>(
        self,
        name: &str,
        input: impl Fn(C::Out) -> FrameInput<T> + 'static,
        task: Task<T, M>,
    ) -> Keyed<C, F, impl Chain<Key = K, In = C::Out, Out = (K, FrameEvent<T, M::Output>)>> {
        self.keyed().frames_of(name, input, task)
    }

    /// Makes the time frames of each key by several tasks over the same records: see
    /// [`Keyed::frames_shared`].
    pub fn frames_shared<M: FrameMethod<C::Out, Entry = C::Out>>(
        self,
        name: &str,
        time: impl Fn(&C::Out) -> Time + 'static,
        tasks: Vec<Task<C::Out, M>>,
    ) -> Keyed<C, F, impl Chain<Key = K, In = C::Out, Out = (K, u32, FrameEvent<C::Out, M::Output>)>>
    {
        self.keyed().frames_shared(name, time, tasks)
    }
}

impl<C, F, D> Keyed<C, F, D>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out: Record>,
    F: Fn(&C::Out) -> D::Key + 'static,
{
    /// Makes the time frames of each key, by the event time that `time` takes from a record: intervals
    /// side by side, each calculated once its time is over, and kept. See
    /// [`frames`](crate::window::frames). What happens to them is emitted, with the key.
    ///
    /// The frames are the table `<name>.frames`, a [`MapTable`] from the key to starts to
    /// [`Frame`](crate::window::frames::Frame)s, which other computations may
    /// [read](MapTable::read), and ask by [`query`](crate::window::frames::query).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use anabranch::aggregate::count;
    /// use anabranch::prelude::*;
    /// use anabranch::window::Window;
    /// use anabranch::window::frames::{Frame, FrameEvent, frames, query};
    /// use anabranch::{TestDriver, Watermarks, sink, source};
    ///
    /// const FRAMES: MapTable<(), Time, Frame<u64>> = MapTable::new("counts.frames");
    ///
    /// /// How many items there were in each quarter of a minute.
    /// fn counts(app: &App) -> Result<()> {
    ///     let second = |second: &i64| Time::from_millis(second * 1_000);
    ///     app.source("items", source::empty::<i64>())
    ///         .event_time(Watermarks::monotonic(second))
    ///         .key_by(|_| ())
    ///         .frames("counts", second, frames(Duration::from_secs(15)).aggregate(count()))
    ///         .sink("frames", sink::null());
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(counts).start()?;
    /// for second in [1_i64, 7, 16, 29, 31, 50] {
    ///     driver.send("items", second)?;
    /// }
    /// driver.run()?;
    /// let made = driver.outputs::<((), FrameEvent<i64, u64>)>("frames");
    /// let counts = made.iter().map(|(_, event)| event.frame().and_then(|frame| frame.result));
    /// assert_eq!(counts.collect::<Vec<_>>(), [Some(2), Some(2), Some(1)]);
    ///
    /// let frames = driver.entries(FRAMES, &())?;
    /// let kept = frames.into_iter().collect::<std::collections::BTreeMap<_, _>>();
    /// let within = Window::new(Time::from_millis(14_000), Time::from_millis(20_000));
    /// assert_eq!(query::overlapping(&kept, within).count(), 2);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn frames<M: FrameMethod<D::Out>>(
        self,
        name: &str,
        time: impl Fn(&D::Out) -> Time + 'static,
        task: Task<D::Out, M>,
    ) -> Keyed<
        C,
        F,
        impl Chain<Key = D::Key, In = C::Out, Out = (D::Key, FrameEvent<D::Out, M::Output>)>,
    > {
        self.frames_of(name, move |value| FrameInput::Item { time: time(&value), value }, task)
    }

    /// The same, of records that may ask for a frame to be tried again or removed, besides.
    pub fn frames_of<T: Record, M: FrameMethod<T>>(
        self,
        name: &str,
        input: impl Fn(D::Out) -> FrameInput<T> + 'static,
        task: Task<T, M>,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = (D::Key, FrameEvent<T, M::Output>)>>
    {
        let checked = task.options().check();
        let tables = (
            Table::new(hidden_name(name, "heads")),
            MapTable::new(hidden_name(name, "frames")),
            MapTable::new(hidden_name(name, "records")),
            MapTable::new(hidden_name(name, "rework")),
        );
        let framed = Framed { task, input, events: Vec::new() };
        self.checked(name, checked).add(name, tables, framed, true, None)
    }

    /// The frames of several tasks over the same records, which are kept once: a record is deleted when none
    /// of the tasks needs it, so before the [least](crate::window::frames::least_cutoff) of their cut-offs.
    /// What happens is emitted with the key and the number of the task, from 0. All are
    /// calculated [from records](crate::window::frames::Frames::calculate), and none
    /// [backfills](crate::window::frames::Frames::backfill).
    ///
    /// The frames are the table `<name>.frames`, a [`MapTable`] from the key to task and start; those of one
    /// task can be asked about by [`query::of_task`](crate::window::frames::query::of_task).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use anabranch::prelude::*;
    /// use anabranch::window::frames::{Attempt, FrameEvent, frames};
    /// use anabranch::{TestDriver, Watermarks, sink, source};
    ///
    /// /// How many items there were, by the quarter of a minute and by the minute.
    /// fn counts(app: &App) -> Result<()> {
    ///     let second = |second: &i64| Time::from_millis(second * 1_000);
    ///     let count = |_: &mut Attempt, items: &[(Time, &i64)]| Ok::<_, String>(items.len());
    ///     let [quarters, minutes] = [15, 60].map(|long| frames(Duration::from_secs(long)));
    ///     app.source("items", source::empty::<i64>())
    ///         .event_time(Watermarks::monotonic(second))
    ///         .key_by(|_| ())
    ///         .frames_shared("counts", second, vec![quarters.calculate(count), minutes.calculate(count)])
    ///         .sink("frames", sink::null());
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(counts).start()?;
    /// for second in [1_i64, 7, 16, 59, 61] {
    ///     driver.send("items", second)?;
    /// }
    /// driver.run()?;
    /// let made = driver.outputs::<((), u32, FrameEvent<i64, usize>)>("frames");
    /// let counts = made.iter().map(|(_, task, made)| (*task, made.frame().and_then(|made| made.result)));
    /// let counts: Vec<_> = counts.collect();
    /// assert_eq!(counts, [(0, Some(2)), (0, Some(1)), (0, Some(0)), (0, Some(1)), (1, Some(4))]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn frames_shared<M: FrameMethod<D::Out, Entry = D::Out>>(
        self,
        name: &str,
        time: impl Fn(&D::Out) -> Time + 'static,
        tasks: Vec<Task<D::Out, M>>,
    ) -> Keyed<
        C,
        F,
        impl Chain<Key = D::Key, In = C::Out, Out = (D::Key, u32, FrameEvent<D::Out, M::Output>)>,
    > {
        let checked = check_shared(&tasks);
        let tables = (
            MapTable::new(hidden_name(name, "heads")),
            MapTable::new(hidden_name(name, "frames")),
            MapTable::new(hidden_name(name, "records")),
            MapTable::new(hidden_name(name, "rework")),
        );
        self.checked(name, checked).add(name, tables, SharedFrames::new(tasks, time), true, None)
    }
}

/// Whether tasks can share records.
fn check_shared<T, M: FrameMethod<T>>(tasks: &[Task<T, M>]) -> Result<()> {
    let wrong = |what: &str| Err(Error::Application(what.to_string()));
    if tasks.is_empty() {
        return wrong("frames of no task; give at least one");
    }
    if tasks.iter().any(|task| task.options().backfills()) {
        return wrong(
            "a task that shares its records makes no frames for history: leave `backfill` out, or give it \
             records of its own by `frames`",
        );
    }
    tasks.iter().try_for_each(|task| task.options().check())
}
