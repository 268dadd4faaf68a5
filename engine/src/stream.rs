//! [`Stream`]: pipelines as a user draws them, before a key is chosen and after.
//!
//! Invariant: a step only adds to the type of its chain; operators come into being where a stream
//! is split, merged, keyed or written. A stream that is dropped unused still runs its steps.

mod batches;
mod collecting;
mod corrections;
mod framed;
mod joins;
mod keyed;
mod lookups;
mod named;
mod trying;
mod uses;
mod windows;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

pub use self::corrections::Identified;
pub use self::keyed::{Keyed, ToBeKeyed};
pub(crate) use self::named::Named;
use crate::delivery::TypedSink;
use crate::pipeline::{
    Branch, Chain, Discard, Edge, Filter, FlatMap, Hub, Identity, Inspect, Map, ToHub, ToWorker,
};
use crate::plan::{NodeKind, Owner, Plan, Target, relay};
use crate::sink::Sink;
use crate::watermark::Timed;
use crate::{Key, Record, Time, Watermarks};

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
    /// The source whose records these are, before they are merged or computed with.
    source: Option<usize>,
    /// The sources upstream that have event times.
    clocks: Rc<BTreeSet<usize>>,
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
    pub(crate) fn of_source(
        plan: &Rc<RefCell<Plan>>,
        index: usize,
        hub: Rc<Hub<T>>,
        node: usize,
        name: &str,
    ) -> Self {
        let place = Place {
            plan: Rc::clone(plan),
            owner: Owner::Ingest,
            node,
            trail: name.to_string(),
            depth: 1,
            source: Some(index),
            clocks: Rc::default(),
        };
        Self::here(place, hub)
    }

    /// What the view of that name tells.
    pub(crate) fn of_view(
        plan: &Rc<RefCell<Plan>>,
        owner: Owner,
        hub: Rc<Hub<T>>,
        node: usize,
        name: &str,
    ) -> Self {
        let (plan, trail) = (Rc::clone(plan), name.to_string());
        let place =
            Place { plan, owner, node, trail, depth: 1, source: None, clocks: Rc::default() };
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

    /// Says what the records' event time is, for [watermarks](Watermarks): how far the source has
    /// come, which computations see as [`Context::watermark`](crate::Context::watermark). To be called on
    /// the stream of a source, once for each, before it is split, merged or keyed; records are
    /// filtered and mapped before or after it. The counter `<computation>.watermark_ms`, of the first
    /// computation of a pipeline, shows it in milliseconds since 1970.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use anabranch::prelude::*;
    /// use anabranch::{TestDriver, Watermarks, sink, source};
    ///
    /// fn too_late(app: &App) -> Result<()> {
    ///     app.source("readings", source::empty::<i64>())
    ///         .event_time(Watermarks::bounded(Duration::from_millis(2), |ms| Time::from_millis(*ms)))
    ///         .key_by(|_| 0_u8)
    ///         .compute("too-late", (), |ms, (), out| {
    ///             if Time::from_millis(ms) < out.watermark() {
    ///                 out.emit(ms);
    ///             }
    ///         })
    ///         .sink("too-late", sink::null());
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(too_late).start()?;
    /// for ms in [10_i64, 8, 7, 12] {
    ///     driver.send("readings", ms)?;
    ///     driver.run()?;
    /// }
    /// // 8 is less than 2 ms behind 10.
    /// assert_eq!(driver.outputs::<i64>("too-late"), [7]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    pub fn event_time(
        self,
        watermarks: Watermarks<impl Fn(&C::Out, Time) -> Option<Time> + 'static>,
    ) -> Stream<impl Chain<Key = (), In = C::In, Out = C::Out>> {
        let Watermarks { after, idle_after, within } = watermarks;
        let Drawing { mut place, hub, chain, .. } = self.take();
        place.step("event_time");
        let source = place.source.unwrap_or(usize::MAX);
        let clock = match place.source {
            Some(source) => {
                place.clocks = Rc::new(BTreeSet::from([source]));
                place.plan.borrow_mut().add_clock(source, idle_after, within)
            }
            None => {
                place.plan.borrow_mut().mistake(format!(
                    "`event_time` in pipeline `{}` comes after a merge or a computation; call it on \
                     the stream of each source",
                    place.trail
                ));
                Rc::default()
            }
        };
        Stream {
            drawing: Some(Drawing {
                place,
                hub,
                chain: Timed { chain, after, clock, source },
                steps: true,
            }),
        }
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
            place.source = None;
            place.clocks = Rc::new(&*place.clocks | &*right.place.clocks);
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
            let mut sink = TypedSink::new(sink);
            let letters = sink.letters(name, &place.trail);
            let (owner, chain, parent) = (place.owner, Identity::new(), Some(place.node));
            let index = to_sink(&mut plan, hub, owner, chain, name, sink, parent);
            if let Some(letters) = letters {
                // A letter is named by the record, the sink, and a count.
                plan.check_depth(place.depth + 2, &place.trail);
                plan.refuses(name, Owner::Sink(index), letters);
            }
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

/// Ends `chain` in a sink; gives its index.
pub(crate) fn to_sink<C>(
    plan: &mut Plan,
    hub: &Hub<C::In>,
    owner: Owner,
    chain: C,
    name: &str,
    sink: TypedSink<C::Out>,
    parent: Option<usize>,
) -> usize
where
    C: Chain<Key = (), In: Record, Out: Record>,
{
    let index = plan.add_sink(name, Box::new(sink));
    plan.node(NodeKind::Sink(index), name, parent.into_iter().collect());
    let outbox = plan.edge(owner, Target::Sink(index));
    let edge = Edge::new(&plan.placement, outbox);
    let worker = plan.placement.sink_worker(index);
    hub.add(ToWorker { chain, worker, edge });
    index
}
