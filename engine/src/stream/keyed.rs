//! [`Keyed`]: a stream with a key, and the computations on its rows.
//!
//! Invariant: computations of one key, one after the other, are one chain and become one port of a group;
//! it comes into being where the chain ends. It offers the steps of [`Stream`] and keeps the key.

use std::rc::Rc;

use super::uses::{Asks, FindOwnRows, Uses, timers_of};
use super::{Place, Shared, Stream};
use crate::computation::{Applied, Closure, Compute, Desk, Refusals, Stage};
use crate::pipeline::{Chain, Edge, Filter, FlatMap, Hub, Identity, Inspect, Map, ToKeys};
use crate::plan::{NodeKind, Owner, PortPlan, Target};
use crate::sink::Sink;
use crate::state::{ChainPort, Tables};
use crate::watermark::PortClock;
use crate::{Clock, Computation, Context, Key, Record, Result, SideOutput};

/// A stream whose key is chosen and that waits for its first computation.
#[must_use = "a key alone does nothing: add a `compute`"]
pub struct ToBeKeyed<C: Chain, F> {
    pub(super) place: Place,
    pub(super) hub: Rc<Hub<C::In>>,
    pub(super) chain: C,
    pub(super) key: Rc<F>,
}

impl<C, F, K> ToBeKeyed<C, F>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    F: Fn(&C::Out) -> K + 'static,
    K: Key,
{
    pub(super) fn keyed(self) -> Keyed<C, F, Identity<K, C::Out>> {
        let Self { place, hub, chain, key } = self;
        let clock = PortClock::new(Rc::clone(&place.clocks));
        let (tables, computations, sides) = (Vec::new(), Vec::new(), Rc::default());
        let values = Rc::default();
        let uses = Uses { tables, computations, sides, clock, timers: false, values };
        let port = place.plan.borrow_mut().reserve_port();
        let then = Identity::new();
        Keyed { drawing: Some(KeyedDrawing { place, hub, chain, key, then, port, uses }) }
    }

    /// Applies `compute` to each record, with the rows of its key in `tables`.
    ///
    /// Rows come as one [`Row`](crate::Row) or [`MapRow`](crate::MapRow), or as a tuple of them, in the
    /// form of `tables`. A closure that emits nothing must say so in its last parameter's type:
    /// `_: &mut Context<'_, ()>`.
    pub fn compute<S, O>(
        self,
        name: &str,
        tables: S,
        compute: impl for<'a> FnMut(C::Out, S::Rows<'a>, &mut Context<'_, O>) + 'static,
    ) -> Keyed<C, F, impl Chain<Key = K, In = C::Out, Out = O>>
    where
        S: Tables<K>,
        O: Record,
    {
        self.keyed().compute(name, tables, compute)
    }

    /// Applies a [`Computation`] to each record, with the rows of its key in `tables`.
    pub fn computation<S, P>(
        self,
        name: &str,
        tables: S,
        computation: P,
    ) -> Keyed<C, F, impl Chain<Key = K, In = C::Out, Out = P::Output>>
    where
        S: Tables<K>,
        P: Computation<K, C::Out, S>,
    {
        self.keyed().computation(name, tables, computation)
    }
}

/// A stream keyed by `K`, with its computations so far; `C` and `D` are chains of steps, which
/// users never name.
pub struct Keyed<C, F, D>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out: Record>,
    F: Fn(&C::Out) -> D::Key + 'static,
{
    drawing: Option<KeyedDrawing<C, F, D>>,
}

struct KeyedDrawing<C: Chain, F, D> {
    place: Place,
    hub: Rc<Hub<C::In>>,
    chain: C,
    key: Rc<F>,
    then: D,
    /// The index of the port that this will be, in declared order.
    port: usize,
    uses: Uses,
}

impl<C, F, D> KeyedDrawing<C, F, D>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out: Record>,
    F: Fn(&C::Out) -> D::Key + 'static,
{
    /// Adds the port of this chain to the plan; gives where its outputs are.
    fn finish(self) -> (Place, Rc<Hub<D::Out>>) {
        let Self { mut place, hub, chain, key, then, port, uses } = self;
        let outputs = Hub::new();
        place.deeper::<C>();
        {
            let mut plan = place.plan.borrow_mut();
            let outbox = plan.edge(place.owner, Target::Port(port));
            let placement = plan.placement.clone();
            let edge = Edge::new(&placement, outbox);
            hub.add(ToKeys { chain, key: Rc::clone(&key), placement, edge });
            let computations = uses.computations;
            let names = computations.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
            let names = names.join(" -> ");
            let typed = ChainPort::new(then, key, Rc::clone(&outputs), uses.sides, names, port);
            let trail = place.trail.clone();
            // What timers emit has its place among them, too.
            place.depth += usize::from(uses.timers);
            let (uses, clock) = (uses.tables, uses.clock);
            let finished = PortPlan { port: Box::new(typed), uses, computations, clock, trail };
            plan.fill_port(port, finished);
            place.owner = Owner::Port(port);
            place.source = None;
        }
        place.deeper::<D>();
        (place, outputs)
    }
}

impl<C, F, D> Drop for Keyed<C, F, D>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out: Record>,
    F: Fn(&C::Out) -> D::Key + 'static,
{
    fn drop(&mut self) {
        if let Some(drawing) = self.drawing.take() {
            drop(drawing.finish());
        }
    }
}

impl<C, F, D> Keyed<C, F, D>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    D: Chain<Key: Key, In = C::Out, Out: Record>,
    F: Fn(&C::Out) -> D::Key + 'static,
{
    #[allow(clippy::expect_used)]
    fn take(mut self) -> KeyedDrawing<C, F, D> {
        self.drawing.take().expect("a stream is used once: every use consumes it")
    }

    fn step<E>(self, name: &str, extend: impl FnOnce(D) -> E) -> Keyed<C, F, E>
    where
        E: Chain<Key = D::Key, In = D::In, Out: Record>,
    {
        let KeyedDrawing { mut place, hub, chain, key, then, port, uses } = self.take();
        place.step(name);
        let then = extend(then);
        Keyed { drawing: Some(KeyedDrawing { place, hub, chain, key, then, port, uses }) }
    }

    /// Applies `compute` to each record, with the rows of the same key in `tables`: in one
    /// operator with the computation before, whose tables and these become one group.
    pub fn compute<S, O>(
        self,
        name: &str,
        tables: S,
        compute: impl for<'a> FnMut(D::Out, S::Rows<'a>, &mut Context<'_, O>) + 'static,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = O>>
    where
        S: Tables<D::Key>,
        O: Record,
    {
        self.computation(name, tables, Closure::new(compute))
    }

    /// Applies a [`Computation`] to each record, with the rows of the same key in `tables`.
    pub fn computation<S, P>(
        self,
        name: &str,
        tables: S,
        computation: P,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = P::Output>>
    where
        S: Tables<D::Key>,
        P: Computation<D::Key, D::Out, S>,
    {
        self.add(name, tables, computation, P::TIMERS, None)
    }

    /// Takes down what is wrong with the computation of that name.
    pub(super) fn checked(self, name: &str, checked: Result<()>) -> Self {
        if let (Err(error), Some(drawing)) = (checked, &self.drawing) {
            let mistake = format!("computation `{name}`: {error}");
            drawing.place.plan.borrow_mut().mistake(mistake);
        }
        self
    }

    /// Adds a computation, which is `timed` if it asks for event time. `own_rows` finds those of its rows that
    /// say for when its timers of event time are set, if they do.
    pub(super) fn add<S, P>(
        self,
        name: &str,
        tables: S,
        computation: P,
        timed: bool,
        own_rows: Option<FindOwnRows<D::Key>>,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = P::Output>>
    where
        S: Tables<D::Key>,
        P: Computation<D::Key, D::Out, S>,
    {
        let (timers, engine_timers, tries) = (P::TIMERS, P::ENGINE_TIMERS, P::TRIES);
        let asks = Asks { timers, engine_timers, tries, timed, own_rows };
        self.stage(name, tables, asks, |desk| Applied::new(desk, computation))
    }

    /// Adds a computation, which `make` makes with its desk.
    pub(super) fn stage<S, T>(
        self,
        name: &str,
        tables: S,
        asks: Asks<D::Key>,
        make: impl FnOnce(Desk<D::Key, S>) -> T,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = T::Out>>
    where
        S: Tables<D::Key>,
        T: Stage<Key = D::Key, In = D::Out, Tables = S>,
    {
        let drawing = self.checked(name, tables.check()).take();
        let KeyedDrawing { mut place, hub, chain, key, then, port, mut uses } = drawing;
        let pipeline = place.trail.clone();
        place.trail = format!("{pipeline} -> {name}");
        let mut clocks = Vec::new();
        tables.clocks(&mut clocks);
        let event_timers = asks.timers || clocks.contains(&Clock::Event);
        let engine_timers = asks.engine_timers || clocks.contains(&Clock::Engine);
        let timed = asks.timed || clocks.contains(&Clock::Event);
        let mut used = Vec::new();
        tables.uses(&mut used);
        let level = uses.computations.len();
        let desk = {
            let mut plan = place.plan.borrow_mut();
            plan.add_computation(name, &used, &place.trail);
            let bound = tables.bind(&mut plan.stores);
            let refusals = asks.tries.then(|| {
                plan.refuses(name, Owner::Port(port), uses.sides.letters());
                // A letter is named by the record, or a timer, its port, and a count.
                let of_timer = usize::from(uses.timers || event_timers || engine_timers);
                let depth = place.depth + usize::from(C::FANS_OUT) + of_timer + 2;
                plan.check_depth(depth, &place.trail);
                let refusals = Refusals::new(&pipeline, name, port as u32);
                refusals.keeping(&plan.keeps_letters)
            });
            let surroundings = uses.surroundings(&plan, name, &asks, refusals);
            let kind = NodeKind::Computation(used.clone());
            place.node = plan.node(kind, name, vec![place.node]);
            if timed && place.clocks.is_empty() {
                plan.mistake(format!(
                    "computation `{name}` of pipeline `{}` needs event time, but no source of the \
                     pipeline says what it is: call `event_time` on it",
                    place.trail
                ));
            }
            let own_rows = asks.own_rows.map(|find| find(&mut plan.stores));
            let asked = (event_timers, engine_timers, own_rows);
            let (timers, engine_timers) = timers_of(&mut plan, (name, level), asked, &mut used);
            plan.check_tables(name, &place.trail);
            let (requests, held) = (Vec::new(), Vec::new());
            Desk { bound, surroundings, requests, held, timers, engine_timers }
        };
        uses.tables.extend(used);
        uses.timers |= event_timers || engine_timers;
        uses.computations.push(name.to_string());
        let then = Compute { chain: then, then: make(desk) };
        Keyed { drawing: Some(KeyedDrawing { place, hub, chain, key, then, port, uses }) }
    }

    /// Replaces each record by what `map` makes of it; the key stays.
    pub fn map<O: Record>(
        self,
        map: impl FnMut(D::Out) -> O + 'static,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = O>> {
        self.step("map", |chain| Map { chain, map })
    }

    /// Lets those records pass for which `pass` holds.
    pub fn filter(
        self,
        pass: impl FnMut(&D::Out) -> bool + 'static,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = D::Out>> {
        self.step("filter", |chain| Filter { chain, pass })
    }

    /// Replaces each record by those that `map` makes of it, in order; the key stays.
    pub fn flat_map<I>(
        self,
        map: impl FnMut(D::Out) -> I + 'static,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = I::Item>>
    where
        I: IntoIterator<Item: Record> + 'static,
    {
        self.step("flat_map", |chain| FlatMap { chain, map })
    }

    /// Looks at each record, in the order in which the group is applied.
    pub fn inspect(
        self,
        inspect: impl FnMut(&D::Out) + 'static,
    ) -> Keyed<C, F, impl Chain<Key = D::Key, In = C::Out, Out = D::Out>> {
        self.step("inspect", |chain| Inspect { chain, inspect })
    }

    /// Ends the chain here: the outputs as a stream that can be cloned and used several times.
    pub fn share(self) -> Shared<D::Out> {
        let (place, hub) = self.take().finish();
        Stream::here(place, hub)
    }

    /// The records that the computations of this chain emit to `side`, by
    /// [`Context::emit_to`](crate::Context::emit_to), and the stream itself, to take another side
    /// output from or to go on with.
    ///
    /// ```
    /// use anabranch::prelude::*;
    /// use anabranch::{TestDriver, sink, source};
    ///
    /// const LARGE: SideOutput<u64> = SideOutput::new("large");
    /// const ODD: SideOutput<String> = SideOutput::new("odd");
    ///
    /// fn sort(app: &App) -> Result<()> {
    ///     let sorted = app.source("numbers", source::empty::<u64>()).key_by(|n| *n).compute(
    ///         "sort",
    ///         (),
    ///         |n, (), out| match n {
    ///             100.. => out.emit_to(LARGE, n),
    ///             n if n % 2 == 1 => out.emit_to(ODD, n.to_string()),
    ///             n => out.emit(n),
    ///         },
    ///     );
    ///     let (large, sorted) = sorted.side(LARGE);
    ///     let (odd, sorted) = sorted.side(ODD);
    ///     large.sink("large", sink::null());
    ///     odd.sink("odd", sink::null());
    ///     sorted.sink("even", sink::null());
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(sort).start()?;
    /// for n in [4, 7, 500] {
    ///     driver.send("numbers", n as u64)?;
    /// }
    /// driver.run()?;
    /// assert_eq!(driver.outputs::<u64>("large"), [500]);
    /// assert_eq!(driver.outputs::<String>("odd"), ["7"]);
    /// assert_eq!(driver.outputs::<u64>("even"), [4]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn side<T: Record>(self, side: SideOutput<T>) -> (Shared<T>, Self) {
        let drawing = self.take();
        let KeyedDrawing { place, port, uses, .. } = &drawing;
        let hub = uses.sides.hub(side).unwrap_or_else(|| {
            place.plan.borrow_mut().mistake(format!(
                "side output `{}` of pipeline `{}` is used with two record types; give one of the \
                 two another name",
                side.name(),
                place.trail
            ));
            Hub::new()
        });
        let mut place = Place { owner: Owner::Port(*port), source: None, ..place.clone() };
        place.deeper::<C>();
        place.deeper::<D>();
        place.step(side.name());
        (Stream::here(place, hub), Self { drawing: Some(drawing) })
    }

    /// Splits the outputs: see [`Stream::branch`].
    pub fn branch(
        self,
        test: impl FnMut(&D::Out) -> bool + 'static,
    ) -> (Shared<D::Out>, Shared<D::Out>) {
        self.share().branch(test)
    }

    /// Joins the outputs with another stream: see [`Stream::merge`].
    pub fn merge<E>(self, other: Stream<E>) -> Shared<D::Out>
    where
        E: Chain<Key = (), In: Record, Out = D::Out>,
    {
        self.share().merge(other)
    }

    /// Chooses another key for the outputs.
    pub fn key_by<K: Key, G: Fn(&D::Out) -> K + 'static>(
        self,
        key: G,
    ) -> ToBeKeyed<Identity<(), D::Out>, G> {
        self.share().key_by(key)
    }

    /// Writes the outputs to a sink; the stream can be used further.
    pub fn sink(self, name: &str, sink: impl Sink<Item = D::Out>) -> Shared<D::Out> {
        self.share().sink(name, sink)
    }
}
