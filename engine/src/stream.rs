//! [`Stream`] and [`Keyed`]: pipelines as a user draws them.
//!
//! Invariant: a step only adds to the type of its chain; operators come into being where a stream
//! is split, merged, keyed or written. A stream that is dropped unused still runs its steps.
//!
//! Over 500 lines because the two types offer the same steps, and are best read side by side.

use std::cell::RefCell;
use std::hash::Hasher as _;
use std::rc::Rc;

use crate::computation::{Closure, Compute, Sides, Surroundings};
use crate::delivery::TypedSink;
use crate::pipeline::{
    Branch, Chain, Discard, Edge, Filter, FlatMap, Hub, Identity, Inspect, Map, ToHub, ToKeys,
    ToWorker,
};
use crate::plan::{NodeKind, Owner, Plan, PortPlan, Target, relay};
use crate::sink::Sink;
use crate::state::{ChainPort, TableUse, Tables};
use crate::{Computation, Context, Key, Record, SideOutput};

/// Where a stream is in the drawing.
#[derive(Clone)]
struct Place {
    plan: Rc<RefCell<Plan>>,
    /// The operator whose thread runs the stream's steps.
    owner: Owner,
    /// The last node drawn.
    node: usize,
    /// The names from the source to here, for messages.
    trail: String,
    /// How many levels of places a record's path has here.
    depth: usize,
}

impl Place {
    fn step(&mut self, name: &str) {
        self.node = self.plan.borrow_mut().node(NodeKind::Step, name, vec![self.node]);
    }

    fn deeper<C: Chain>(&mut self) {
        self.depth += usize::from(C::FANS_OUT);
        self.plan.borrow_mut().check_depth(self.depth, &self.trail);
    }
}

/// A stream of records, not keyed: `C` is the chain of its steps, which users never name.
pub struct Stream<C: Chain<Key = (), In: Record, Out: Record>> {
    drawing: Option<Drawing<C>>,
}

struct Drawing<C: Chain> {
    place: Place,
    hub: Rc<Hub<C::In>>,
    chain: C,
    /// Whether the chain does anything, so that it must run even if nobody takes its outputs.
    steps: bool,
}

/// A stream at a point where several uses can begin; cheap to clone.
pub type Shared<T> = Stream<Identity<(), T>>;

impl<T: Record> Shared<T> {
    pub(crate) fn at_hub(
        plan: &Rc<RefCell<Plan>>,
        owner: Owner,
        hub: Rc<Hub<T>>,
        node: usize,
        trail: String,
        depth: usize,
    ) -> Self {
        let place = Place { plan: Rc::clone(plan), owner, node, trail, depth };
        Self::here(place, hub)
    }

    fn here(place: Place, hub: Rc<Hub<T>>) -> Self {
        Self { drawing: Some(Drawing { place, hub, chain: Identity::new(), steps: false }) }
    }
}

impl<T: Record> Clone for Shared<T> {
    fn clone(&self) -> Self {
        let drawing = self.drawing.as_ref().map(|Drawing { place, hub, .. }| Drawing {
            place: place.clone(),
            hub: Rc::clone(hub),
            chain: Identity::new(),
            steps: false,
        });
        Self { drawing }
    }
}

impl<C: Chain<Key = (), In: Record, Out: Record>> Drop for Stream<C> {
    fn drop(&mut self) {
        if let Some(Drawing { hub, chain, steps: true, .. }) = self.drawing.take() {
            hub.add(Discard(chain));
        }
    }
}

impl<C: Chain<Key = (), In: Record, Out: Record>> Stream<C> {
    #[allow(clippy::expect_used)]
    fn take(mut self) -> Drawing<C> {
        self.drawing.take().expect("a stream is used once: every use consumes it")
    }

    fn step<D>(self, name: &str, extend: impl FnOnce(C) -> D) -> Stream<D>
    where
        D: Chain<Key = (), In = C::In, Out: Record>,
    {
        let Drawing { mut place, hub, chain, .. } = self.take();
        place.step(name);
        Stream { drawing: Some(Drawing { place, hub, chain: extend(chain), steps: true }) }
    }

    /// Replaces each record by what `map` makes of it.
    pub fn map<O: Record>(
        self,
        map: impl FnMut(C::Out) -> O + 'static,
    ) -> Stream<impl Chain<Key = (), In = C::In, Out = O>> {
        self.step("map", |chain| Map { chain, map })
    }

    /// Lets those records pass for which `pass` holds.
    pub fn filter(
        self,
        pass: impl FnMut(&C::Out) -> bool + 'static,
    ) -> Stream<impl Chain<Key = (), In = C::In, Out = C::Out>> {
        self.step("filter", |chain| Filter { chain, pass })
    }

    /// Replaces each record by those that `map` makes of it, in order.
    pub fn flat_map<I>(
        self,
        map: impl FnMut(C::Out) -> I + 'static,
    ) -> Stream<impl Chain<Key = (), In = C::In, Out = I::Item>>
    where
        I: IntoIterator<Item: Record> + 'static,
    {
        self.step("flat_map", |chain| FlatMap { chain, map })
    }

    /// Looks at each record, in the order of the stream on its worker.
    pub fn inspect(
        self,
        inspect: impl FnMut(&C::Out) + 'static,
    ) -> Stream<impl Chain<Key = (), In = C::In, Out = C::Out>> {
        self.step("inspect", |chain| Inspect { chain, inspect })
    }

    /// Ends the chain here, so that the stream can be cloned and used several times.
    pub fn share(self) -> Shared<C::Out> {
        let Drawing { mut place, hub, chain, steps } = self.take();
        let shared = Hub::new();
        if steps {
            place.deeper::<C>();
        }
        hub.add(ToHub::new(chain, Rc::clone(&shared)));
        Stream::here(place, shared)
    }

    /// Splits the stream: first those records for which `test` holds, second the others.
    pub fn branch(
        self,
        test: impl FnMut(&C::Out) -> bool + 'static,
    ) -> (Shared<C::Out>, Shared<C::Out>) {
        let Drawing { mut place, hub, chain, .. } = self.take();
        place.step("branch");
        place.deeper::<C>();
        let hubs = [Hub::new(), Hub::new()];
        let [yes, no] = hubs.clone();
        hub.add(Branch { chain, test, hubs, outputs: [Vec::new(), Vec::new()] });
        (Stream::here(place.clone(), yes), Stream::here(place, no))
    }

    /// Joins two streams of the same type; of records with the same origin, those of `self` come
    /// first.
    pub fn merge<D>(self, other: Stream<D>) -> Shared<C::Out>
    where
        D: Chain<Key = (), In: Record, Out = C::Out>,
    {
        let (left, right) = (self.take(), other.take());
        let mut place = left.place.clone();
        let parents = vec![left.place.node, right.place.node];
        let hub = Hub::new();
        {
            let mut plan = place.plan.borrow_mut();
            place.node = plan.node(NodeKind::Step, "merge", parents);
            plan.relays.push(relay(Rc::clone(&hub), [left.depth(), right.depth()]));
            place.owner = Owner::Relay(plan.relays.len() - 1);
        }
        place.depth = 1 + left.depth().max(right.depth());
        to_relay(left, place.owner);
        to_relay(right, place.owner);
        place.plan.borrow_mut().check_depth(place.depth, &place.trail);
        Stream::here(place, hub)
    }

    /// Chooses each record's key: what follows is applied where that key's rows are.
    pub fn key_by<K: Key, F: Fn(&C::Out) -> K + 'static>(self, key: F) -> ToBeKeyed<C, F> {
        let Drawing { mut place, hub, chain, .. } = self.take();
        place.step("key_by");
        ToBeKeyed { place, hub, chain, key: Rc::new(key) }
    }

    /// Writes the stream to a sink. The stream can be used further, for example for another sink.
    pub fn sink(self, name: &str, sink: impl Sink<Item = C::Out>) -> Shared<C::Out> {
        let shared = self.share();
        if let Some(Drawing { place, hub, .. }) = &shared.drawing {
            let mut plan = place.plan.borrow_mut();
            let sink = TypedSink::new(sink);
            to_sink(&mut plan, hub, place.owner, Identity::new(), name, sink, Some(place.node));
        }
        shared
    }
}

impl<C: Chain> Drawing<C> {
    /// How many levels of places the paths of the chain's outputs have.
    fn depth(&self) -> usize {
        self.place.depth + usize::from(C::FANS_OUT)
    }
}

/// Ends `drawing` in the merge that `owner` names.
fn to_relay<C>(drawing: Drawing<C>, owner: Owner)
where
    C: Chain<Key = (), In: Record, Out: Record>,
{
    let Drawing { place, hub, chain, .. } = drawing;
    let mut plan = place.plan.borrow_mut();
    let Owner::Relay(relay) = owner else { return };
    let outbox = plan.edge(place.owner, Target::Relay(relay));
    let edge = Edge::new(&plan.placement, outbox);
    let worker = plan.placement.this_worker();
    hub.add(ToWorker { chain, worker, edge });
}

/// Ends `chain` in a sink.
pub(crate) fn to_sink<C>(
    plan: &mut Plan,
    hub: &Hub<C::In>,
    owner: Owner,
    chain: C,
    name: &str,
    sink: TypedSink<C::Out>,
    parent: Option<usize>,
) where
    C: Chain<Key = (), In: Record, Out: Record>,
{
    let index = plan.add_sink(name, Box::new(sink));
    plan.node(NodeKind::Sink(index), name, parent.into_iter().collect());
    let outbox = plan.edge(owner, Target::Sink(index));
    let edge = Edge::new(&plan.placement, outbox);
    let worker = plan.placement.sink_worker(index);
    hub.add(ToWorker { chain, worker, edge });
}

/// A stream whose key is chosen and that waits for its first computation.
#[must_use = "a key alone does nothing: add a `compute`"]
pub struct ToBeKeyed<C: Chain, F> {
    place: Place,
    hub: Rc<Hub<C::In>>,
    chain: C,
    key: Rc<F>,
}

impl<C, F, K> ToBeKeyed<C, F>
where
    C: Chain<Key = (), In: Record, Out: Record>,
    F: Fn(&C::Out) -> K + 'static,
    K: Key,
{
    fn keyed(self) -> Keyed<C, F, Identity<K, C::Out>> {
        let Self { place, hub, chain, key } = self;
        let uses = Uses { tables: Vec::new(), computations: Vec::new(), sides: Rc::default() };
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

/// What the computations of one fused chain use.
struct Uses {
    tables: Vec<TableUse>,
    computations: Vec<String>,
    sides: Rc<Sides>,
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
            let typed = ChainPort::new(then, key, Rc::clone(&outputs), uses.sides, names);
            let trail = place.trail.clone();
            let finished =
                PortPlan { port: Box::new(typed), uses: uses.tables, computations, trail };
            plan.fill_port(port, finished);
            place.owner = Owner::Port(port);
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
        let KeyedDrawing { mut place, hub, chain, key, then, port, mut uses } = self.take();
        place.trail = format!("{} -> {name}", place.trail);
        let mut used = Vec::new();
        tables.uses(&mut used);
        let bound;
        let surroundings;
        {
            let mut plan = place.plan.borrow_mut();
            plan.add_computation(name, &used, &place.trail);
            bound = tables.bind(&mut plan.stores);
            plan.check_tables(name, &place.trail);
            let mut salt = xxhash_rust::xxh3::Xxh3::new();
            salt.write(name.as_bytes());
            surroundings = Surroundings {
                sources: Rc::clone(&plan.source_names),
                salt: salt.finish(),
                sides: Rc::clone(&uses.sides),
            };
            let kind = NodeKind::Computation(used.clone());
            place.node = plan.node(kind, name, vec![place.node]);
        }
        uses.tables.extend(used);
        uses.computations.push(name.to_string());
        let outputs = Vec::new();
        let then = Compute { chain: then, bound, computation, surroundings, outputs };
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
        let mut place = Place { owner: Owner::Port(*port), ..place.clone() };
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
