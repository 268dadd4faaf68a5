//! Time frames of keyed streams.
//!
//! Invariant: the frames of a task are rows of a table that others may read.

// What a chain is made of is in its type, and users never name it.
#![allow(clippy::type_complexity)]

use super::keyed::{Keyed, ToBeKeyed};
use crate::pipeline::Chain;
use crate::state::hidden_name;
use crate::window::frames::{FrameEvent, FrameMethod, Task};
use crate::window::{FrameInput, Framed};
use crate::{Key, MapTable, Record, Table, Time};

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
}
