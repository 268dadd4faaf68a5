//! Joins of streams: by an interval of time, by window, as of a time, and of any number of inputs.
//!
//! Invariant: what is joined is one stream before it is keyed, so a join's watermark is the least of its
//! inputs', and its records have one order.

// What a chain is made of is in its type, and users never name it.
#![allow(clippy::type_complexity)]

use super::keyed::{Keyed, ToBeKeyed};
use super::{Drawing, Shared, Stream};
use crate::pipeline::{Chain, Identity};
use crate::state::hidden_name;
use crate::window::WindowAssigner;
use crate::window::join::{CoGroup, Group, Joined, Side};
use crate::window::{GroupRow, Grouped, JoinedStreams, Joining};
use crate::{Key, MapTable, Record, SideOutput, Time};

impl<C, F, K> ToBeKeyed<C, F>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    F: Fn(&C::Out) -> K + 'static,
    K: Key,
{
    /// Joins the records of two streams that have the same key, by the event times that `times` takes from
    /// a left and from a right record. What `with` makes of a pair, or of a record that has no partner
    /// (where the join gives those), is emitted.
    ///
    /// All sources of both streams must say what their [`event_time`](crate::Stream::event_time) is. Records
    /// that come too late join nothing; they are counted as `<name>.too_late` and go to the side output
    /// `<name>.too-late`.
    ///
    /// ```
    /// use anabranch::prelude::*;
    /// use anabranch::window::join::AsOf;
    /// use anabranch::{TestDriver, Watermarks, sink, source};
    ///
    /// /// A product, milliseconds, and a quantity or a price.
    /// type Order = (String, i64, u32);
    /// type Price = (String, i64, f64);
    ///
    /// /// What orders cost, by the price at their time.
    /// fn priced(app: &App) -> Result<()> {
    ///     let orders = app
    ///         .source("orders", source::empty::<Order>())
    ///         .event_time(Watermarks::monotonic(|order: &Order| Time::from_millis(order.1)));
    ///     let prices = app
    ///         .source("prices", source::empty::<Price>())
    ///         .event_time(Watermarks::monotonic(|price: &Price| Time::from_millis(price.1)));
    ///     orders
    ///         .key_by(|order| order.0.clone())
    ///         .join(
    ///             "price-of-order",
    ///             prices.key_by(|price| price.0.clone()),
    ///             (|order: &Order| Time::from_millis(order.1), |price: &Price| Time::from_millis(price.1)),
    ///             AsOf::exact(),
    ///             |_, joined| Some(f64::from(joined.left()?.2) * joined.right()?.2),
    ///         )
    ///         .sink("costs", sink::null());
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(priced).start()?;
    /// driver.send("prices", ("coin".to_string(), 10_i64, 99.5))?;
    /// driver.send("prices", ("coin".to_string(), 20_i64, 97.0))?;
    /// driver.send("orders", ("coin".to_string(), 15_i64, 2_u32))?;
    /// driver.finish()?;
    /// assert_eq!(driver.outputs::<f64>("costs"), [199.0]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn join<D, G, J, O>(
        self,
        name: &str,
        right: ToBeKeyed<D, G>,
        times: (impl Fn(&C::Out) -> Time + 'static, impl Fn(&D::Out) -> Time + 'static),
        join: J,
        with: impl FnMut(&K, Joined<'_, C::Out, D::Out>) -> Option<O> + 'static,
    ) -> Keyed<
        Identity<(), Side<C::Out, D::Out>>,
        impl Fn(&Side<C::Out, D::Out>) -> K + 'static,
        impl Chain<Key = K, In = Side<C::Out, D::Out>, Out = O>,
    >
    where
        D: Chain<Key = (), In: Record, Out: Record>,
        G: Fn(&D::Out) -> K + 'static,
        J: Joining<C::Out, D::Out>,
        O: Record,
    {
        let (left_key, right_key) = (self.key.clone(), right.key.clone());
        let both: Shared<Side<C::Out, D::Out>> =
            self.unkeyed().map(Side::Left).merge(right.unkeyed().map(Side::Right));
        let keyed = both.key_by(move |side| match side {
            Side::Left(record) => left_key(record),
            Side::Right(record) => right_key(record),
        });
        let times = move |side: &Side<C::Out, D::Out>| match side {
            Side::Left(record) => (times.0)(record),
            Side::Right(record) => (times.1)(record),
        };
        let checked = join.check();
        let tables =
            (MapTable::new(hidden_name(name, "left")), MapTable::new(hidden_name(name, "right")));
        let too_late = SideOutput::new(hidden_name(name, "too-late"));
        let joined = JoinedStreams { join, times, with, too_late, made: Vec::new() };
        keyed.keyed().checked(name, checked).add(name, tables, joined, true, None)
    }

    /// Gives the records of each key that are in the same window, input by input: see
    /// [`Keyed::co_group`].
    pub fn co_group<A: WindowAssigner, O: Record>(
        self,
        name: &str,
        input: impl Fn(&C::Out) -> (u16, Time) + 'static,
        groups: CoGroup<A>,
        with: impl FnMut(&K, Group<'_, GroupRow<'_, C::Out>>, &mut Vec<O>) + 'static,
    ) -> Keyed<C, F, impl Chain<Key = K, In = C::Out, Out = O>> {
        self.keyed().co_group(name, input, groups, with)
    }

    /// The stream before a key was chosen.
    fn unkeyed(self) -> Stream<C> {
        let Self { place, hub, chain, .. } = self;
        Stream { drawing: Some(Drawing { place, hub, chain, steps: true }) }
    }
}

impl<C, F, D> Keyed<C, F, D>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out: Record>,
    F: Fn(&C::Out) -> D::Key + 'static,
{
    /// Gives the records of each key that are in the same window, input by input, to `with`, which makes
    /// what is emitted of them: any join of two and more streams. They are one stream before, mostly of an
    /// enum; `input` says of which input a record is, and what its event time is.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use anabranch::prelude::*;
    /// use anabranch::window::{join::CoGroup, tumbling};
    /// use anabranch::{TestDriver, Watermarks, sink, source};
    ///
    /// /// How many of each of three inputs there were in a second: the input, and milliseconds.
    /// type Event = (u16, i64);
    ///
    /// let driver = TestDriver::new(|app: &App| {
    ///     let time = |event: &Event| Time::from_millis(event.1);
    ///     app.source("events", source::empty::<Event>())
    ///         .event_time(Watermarks::monotonic(time))
    ///         .key_by(|_| ())
    ///         .co_group(
    ///             "by-second",
    ///             move |event| (event.0, time(event)),
    ///             CoGroup::new(tumbling(Duration::from_secs(1))),
    ///             |_, group, out| out.push([0, 1, 2].map(|input| group.input(input).count())),
    ///         )
    ///         .sink("counts", sink::null());
    ///     Ok(())
    /// });
    /// let mut driver = driver.start()?;
    /// for event in [(0_u16, 10_i64), (2, 20), (2, 30), (1, 1_500)] {
    ///     driver.send("events", event)?;
    /// }
    /// driver.finish()?;
    /// assert_eq!(driver.outputs::<[usize; 3]>("counts"), [[1, 0, 2], [0, 1, 0]]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn co_group<A: WindowAssigner, O: Record>(
        self,
        name: &str,
        input: impl Fn(&D::Out) -> (u16, Time) + 'static,
        groups: CoGroup<A>,
        with: impl FnMut(&D::Key, Group<'_, GroupRow<'_, D::Out>>, &mut Vec<O>) + 'static,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = O>> {
        let checked = groups.check();
        let tables = (
            MapTable::new(hidden_name(name, "records")),
            MapTable::new(hidden_name(name, "windows")),
        );
        let too_late = SideOutput::new(hidden_name(name, "too-late"));
        let grouped = Grouped { groups, input, with, too_late, made: Vec::new() };
        self.checked(name, checked).add(name, tables, grouped, true, None)
    }
}
