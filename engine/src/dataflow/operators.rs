//! The timely operators.
//!
//! Invariant: a capability is held for every epoch whose records are kept, so the probe passes an
//! epoch only when every group and every sink has finished it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, Concatenate, InputCapability, Probe};
use timely::dataflow::{ProbeHandle, Scope, StreamVec};
use timely::progress::frontier::MutableAntichain;

use super::topology::{Operator, Topology};
use crate::fault::Fault;
use crate::opener::Opener;
use crate::pipeline::{Outbox, Parcel};
use crate::plan::{Plan, Relay, SinkPlan};
use crate::reading::Reading;
use crate::sink::Taken;
use crate::snapshots::Snapshots;
use crate::state::{Port, apply_open, fire_due};
use crate::trace::TableTrace;
use crate::watermark::{Clocks, Note};
use crate::{Error, Order, Result};

type Parcels = CapacityContainerBuilder<Vec<Parcel>>;
type ParcelStream<'s> = StreamVec<'s, u64, Parcel>;

/// What the dataflow of one worker is made of.
pub(crate) struct Assembly {
    pub(crate) plan: Plan,
    pub(crate) topology: Topology,
    pub(crate) reading: Rc<RefCell<Reading>>,
    pub(crate) finished: ProbeHandle<u64>,
    pub(crate) fault: Fault,
    pub(crate) opener: Opener,
    /// With a data directory.
    pub(crate) snapshots: Option<Rc<RefCell<Snapshots>>>,
    /// In a replay of which rows are compared.
    pub(crate) tables: Option<TableTrace>,
}

/// How durability reaches the operators: by two streams that leave the one that reads the sources.
#[derive(Clone)]
struct Durability<'s> {
    snapshots: Rc<RefCell<Snapshots>>,
    /// Carries nothing: its frontier passes an epoch when the epoch's input is durable everywhere.
    durable: StreamVec<'s, u64, ()>,
    /// A mark at the time of each boundary at which a checkpoint is made, for each worker.
    marks: StreamVec<'s, u64, usize>,
}

/// The boundary of the next checkpoint, as an operator knows it.
#[derive(Default)]
struct Marked(Option<u64>);

impl Marked {
    /// Takes the boundary, if everything before it has been handled.
    fn reached(&mut self, held: &Held, frontiers: &[MutableAntichain<u64>]) -> Option<u64> {
        let boundary = self.0?;
        let waits = held.epochs.keys().next().is_some_and(|epoch| *epoch < boundary)
            || open(frontiers, boundary.saturating_sub(1));
        if waits { None } else { self.0.take() }
    }
}

/// The outputs of an operator: what was put into an outbox leaves by the output beside it.
struct Outputs {
    outputs: Vec<(Outbox, OutputBuilder<u64, Parcels>)>,
}

impl Outputs {
    /// Adds the outputs of `operator` for the edges that leave it; gives their streams by edge.
    fn of<'s>(
        builder: &mut OperatorBuilder<'s, u64>,
        operator: Operator,
        topology: &Topology,
        plan: &Plan,
    ) -> (Self, Vec<(usize, ParcelStream<'s>)>) {
        let mut outputs = Vec::new();
        let mut streams = Vec::new();
        for (index, (edge, (from, _))) in plan.edges.iter().zip(&topology.edges).enumerate() {
            if *from == operator {
                let (output, stream) = builder.new_output::<Vec<Parcel>>();
                outputs.push((Rc::clone(&edge.outbox), OutputBuilder::from(output)));
                streams.push((index, stream));
            }
        }
        (Self { outputs }, streams)
    }

    /// Sends what is in the outboxes; `capabilities` has one for each output, after `skipped`
    /// others.
    fn ship(&mut self, capabilities: &[Capability<u64>], skipped: usize) {
        for ((outbox, output), capability) in
            self.outputs.iter_mut().zip(capabilities.iter().skip(skipped))
        {
            let mut parcels = outbox.borrow_mut();
            if !parcels.is_empty() {
                output.activate().session(capability).give_iterator(parcels.drain(..));
            }
        }
    }
}

/// Capabilities of the epochs that an operator keeps records of.
#[derive(Default)]
struct Held {
    epochs: BTreeMap<u64, Vec<Capability<u64>>>,
}

impl Held {
    /// Keeps the epoch of `capability` open at the first `outputs` outputs; gives the epoch.
    fn keep(&mut self, capability: &InputCapability<u64>, outputs: usize) -> Option<u64> {
        let epoch = *capability.least()?;
        self.epochs.entry(epoch).or_insert_with(|| {
            (0..outputs).filter_map(|output| capability.retain_least(output)).collect()
        });
        Some(epoch)
    }
}

/// Whether an input can still bring records of `epoch`.
fn open(frontiers: &[MutableAntichain<u64>], epoch: u64) -> bool {
    frontiers.iter().any(|frontier| frontier.less_equal(&epoch))
}

/// Builds the operators of `assembly` in `scope`.
pub(crate) fn assemble(scope: Scope<'_, u64>, assembly: Assembly) {
    let Assembly { mut plan, topology, reading, finished, fault, opener, snapshots, tables } =
        assembly;
    let (mut durability, mut told) = (None, None);
    let mut streams: BTreeMap<usize, ParcelStream<'_>> = BTreeMap::new();
    let mut ends = Vec::new();
    let order = topology.order.clone();
    let mut sinks: Vec<Option<SinkPlan>> = plan.sinks.drain(..).map(Some).collect();
    let mut relays: Vec<Option<Relay>> = plan.relays.drain(..).map(Some).collect();
    for operator in order {
        let inputs: Vec<ParcelStream<'_>> =
            topology.inputs(&plan, operator).filter_map(|edge| streams.remove(&edge)).collect();
        let outputs = match operator {
            Operator::Ingest => {
                let Read { streams, durable, marks, notes } =
                    ingest(scope, &topology, &plan, &reading, &opener, &fault);
                durability =
                    snapshots.clone().map(|snapshots| Durability { snapshots, durable, marks });
                told = Some(notes);
                streams
            }
            Operator::Relay(index) => {
                let Some(relay) = relays.get_mut(index).and_then(Option::take) else { continue };
                merge(scope, inputs, index, relay, &topology, &plan, &fault)
            }
            Operator::Group(index) => {
                let clocks = clocks(&plan, &topology, index, &opener);
                let clocks = clocks.and_then(|clocks| Some((clocks, told.clone()?)));
                let after =
                    After { durability: durability.clone(), watched: tables.clone(), clocks };
                let (end, outputs) =
                    group(scope, inputs, index, &topology, &mut plan, after, &fault);
                ends.push(end);
                outputs
            }
            Operator::Sink(index) => {
                if let Some(sink) = sinks.get_mut(index).and_then(Option::take) {
                    let own = plan.placement.sink_worker(index) == plan.placement.this_worker();
                    let opener = own.then_some(&opener);
                    let (sink, durability) = ((index, sink), durability.clone());
                    ends.push(sink_operator(
                        scope, inputs, sink, opener, &plan, durability, &fault,
                    ));
                }
                Vec::new()
            }
        };
        streams.extend(outputs);
    }
    scope.concatenate(ends).probe_with(&finished);
}

/// The streams of the operator that reads the sources: by edge, those of [`Durability`], and of event
/// times.
struct Read<'s> {
    streams: Vec<(usize, ParcelStream<'s>)>,
    durable: StreamVec<'s, u64, ()>,
    marks: StreamVec<'s, u64, usize>,
    /// How far event time has come by the end of each epoch, for each worker.
    notes: StreamVec<'s, u64, Note>,
}

/// The operator that reads the sources; [`Reading`] decides what and when.
fn ingest<'s>(
    scope: Scope<'s, u64>,
    topology: &Topology,
    plan: &Plan,
    reading: &Rc<RefCell<Reading>>,
    opener: &Opener,
    fault: &Fault,
) -> Read<'s> {
    let mut builder = OperatorBuilder::new("ingest".to_string(), scope);
    let (mut outputs, streams) = Outputs::of(&mut builder, Operator::Ingest, topology, plan);
    let (notes, notes_stream) = builder.new_output::<Vec<Note>>();
    let mut notes = OutputBuilder::<_, CapacityContainerBuilder<Vec<Note>>>::from(notes);
    let (_durable, durable_stream) = builder.new_output::<Vec<()>>();
    let (marks, marks_stream) = builder.new_output::<Vec<usize>>();
    let mut marks = OutputBuilder::<_, CapacityContainerBuilder<Vec<usize>>>::from(marks);
    let (this, workers) = (plan.placement.this_worker(), plan.placement.workers());
    let address = builder.operator_info().address;
    {
        let mut reading = reading.borrow_mut();
        reading.activator = Some(scope.activator_for(Rc::clone(&address)));
        let waker = opener.waker(scope.worker().sync_activator_for(address.to_vec()));
        if let Err(error) = opener.open_sources(plan, &mut reading, &waker) {
            fault.report(error);
        }
    }
    let (reading, board) = (Rc::clone(reading), plan.board.clone());
    let fault = fault.clone();
    builder.build(move |mut capabilities| {
        let keeps = reading.borrow().keeps();
        // Only one worker marks boundaries.
        let mut may_mark = capabilities.pop().filter(|_| keeps && this == 0);
        let mut undurable = capabilities.pop().filter(|_| keeps);
        let mut capabilities = Some(capabilities);
        move |_| {
            if let Some(held) = &mut capabilities {
                let read = fault.guard(|| {
                    reading.borrow_mut().advance(|epoch, next| {
                        for capability in held.iter_mut() {
                            capability.downgrade(&epoch);
                        }
                        outputs.ship(held, 0);
                        // That of the notes is the last.
                        if let Some(capability) = held.last() {
                            let told = board.notes(workers);
                            if !told.is_empty() {
                                notes
                                    .activate()
                                    .session(capability)
                                    .give_iterator(told.into_iter());
                            }
                        }
                        for capability in held.iter_mut() {
                            capability.downgrade(&next);
                        }
                    })
                });
                match read {
                    Ok(Ok(false)) if reading.borrow().is_done() => capabilities = None,
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return fault.report(error),
                    Err(panic) => {
                        let culprit = reading.borrow().current().unwrap_or("a source").to_string();
                        return fault.report(panic.at(&culprit));
                    }
                }
            }
            let mut reading = reading.borrow_mut();
            let (at, is_done) = (reading.at(), reading.is_done());
            if let Some(capability) = &mut may_mark {
                capability.downgrade(&at);
                if let Some(boundary) = reading.take_mark() {
                    debug_assert_eq!(boundary, at);
                    marks.activate().session(capability).give_iterator(0..workers);
                }
            }
            if is_done {
                may_mark = None;
            }
            if let Some(capability) = &mut undurable {
                match reading.durable() {
                    Ok(durable) if is_done && durable >= at => undurable = None,
                    Ok(durable) => capability.downgrade(&durable.max(*capability.time())),
                    Err(error) => fault.report(error),
                }
            }
        }
    });
    Read { streams, durable: durable_stream, marks: marks_stream, notes: notes_stream }
}

/// The watermarks of the pipelines that end in a group; none if no source of them has event times.
fn clocks(plan: &Plan, topology: &Topology, group: usize, opener: &Opener) -> Option<Clocks> {
    let members = topology.groups.get(group)?.iter();
    let ports = members.filter_map(|member| plan.port(*member)).map(|port| {
        let name = port.computations.first().cloned().unwrap_or_default();
        (name, port.clock.clone())
    });
    let ports: Vec<_> = ports.collect();
    let timed = ports.iter().any(|(_, clock)| !clock.sources.is_empty());
    timed.then(|| Clocks::new(ports, opener.source_times(plan), &opener.event_times()))
}

/// The operator of a merge: hands on what arrives, at once.
fn merge<'s>(
    scope: Scope<'s, u64>,
    streams: Vec<ParcelStream<'s>>,
    index: usize,
    mut relay: Relay,
    topology: &Topology,
    plan: &Plan,
    fault: &Fault,
) -> Vec<(usize, ParcelStream<'s>)> {
    let mut builder = OperatorBuilder::new("merge".to_string(), scope);
    let mut inputs: Vec<_> =
        streams.into_iter().map(|stream| builder.new_input(stream, Pipeline)).collect();
    let (mut outputs, streams) = Outputs::of(&mut builder, Operator::Relay(index), topology, plan);
    let count = outputs.outputs.len();
    let fault = fault.clone();
    builder.build(move |initial| {
        drop(initial);
        move |_| {
            for (leg, input) in inputs.iter_mut().enumerate() {
                input.for_each(|capability, parcels| {
                    let handed_on = fault.guard(|| {
                        for parcel in parcels.drain(..) {
                            relay(leg, parcel);
                        }
                    });
                    if let Err(panic) = handed_on {
                        return fault.report(panic.at("a step after a merge"));
                    }
                    let held: Vec<_> =
                        (0..count).filter_map(|port| capability.retain_least(port)).collect();
                    outputs.ship(&held, 0);
                });
            }
        }
    });
    streams
}

/// What a group does beside applying records.
struct After<'s> {
    durability: Option<Durability<'s>>,
    watched: Option<TableTrace>,
    clocks: Option<(Clocks, StreamVec<'s, u64, Note>)>,
}

/// The operator of a group of tables.
fn group<'s>(
    scope: Scope<'s, u64>,
    streams: Vec<ParcelStream<'s>>,
    index: usize,
    topology: &Topology,
    plan: &mut Plan,
    after: After<'s>,
    fault: &Fault,
) -> (ParcelStream<'s>, Vec<(usize, ParcelStream<'s>)>) {
    let After { durability, watched, clocks } = after;
    let mut builder = OperatorBuilder::new(format!("group-{index}"), scope);
    let exchange = || Exchange::new(|parcel: &Parcel| parcel.to as u64);
    let mut inputs: Vec<_> =
        streams.into_iter().map(|stream| builder.new_input(stream, exchange())).collect();
    let mut checkpoints = durability.map(|durability| {
        let to_worker = Exchange::new(|worker: &usize| *worker as u64);
        (builder.new_input(durability.marks, to_worker), durability.snapshots)
    });
    let mut clocks = clocks.map(|(clocks, notes)| {
        let to_worker = Exchange::new(|note: &Note| note.to as u64);
        (builder.new_input(notes, to_worker), clocks)
    });
    let (_, end) = builder.new_output::<Vec<Parcel>>();
    let (mut outputs, streams) = Outputs::of(&mut builder, Operator::Group(index), topology, plan);
    let members = topology.groups.get(index).into_iter().flatten();
    let mut computations = Vec::new();
    let mut ports: Vec<Box<dyn Port>> = Vec::new();
    let mut tables = BTreeSet::new();
    for port in members.filter_map(|port| plan.take_port(*port)) {
        tables.extend(port.uses.iter().map(|used| used.name));
        computations.extend(port.computations.iter().map(|name| format!("`{name}`")));
        ports.push(port.port);
    }
    let computations = computations.join(" or ");
    let at_once = plan.order == Order::Arrival;
    let count = 1 + outputs.outputs.len();
    let names = Rc::clone(&plan.source_names);
    let fault = fault.clone();
    builder.build(move |initial| {
        drop(initial);
        let (mut held, mut marked) = (Held::default(), Marked::default());
        move |frontiers| {
            if let Some((marks, _)) = &mut checkpoints {
                marks.for_each(|capability, _| marked.0 = capability.least().copied());
            }
            if let Some((notes, clocks)) = &mut clocks {
                notes.for_each(|capability, notes| {
                    if let Some(epoch) = held.keep(&capability, count) {
                        notes.drain(..).for_each(|note| clocks.stash(epoch, note));
                    }
                });
            }
            for (input, port) in inputs.iter_mut().zip(&mut ports) {
                input.for_each(|capability, parcels| {
                    if let Some(epoch) = held.keep(&capability, count) {
                        parcels.drain(..).for_each(|parcel| port.stash(epoch, parcel.body));
                    }
                });
            }
            loop {
                if let Some(boundary) = marked.reached(&held, frontiers)
                    && let Some((_, snapshots)) = &checkpoints
                {
                    let known = clocks.as_ref().map(|(_, clocks)| clocks.known());
                    snapshots.borrow_mut().group_reached(boundary, &tables, known);
                }
                let Some(epoch) = held.epochs.keys().next().copied() else { break };
                if !at_once && open(frontiers, epoch) {
                    break;
                }
                for port in &mut ports {
                    port.open(epoch);
                }
                let applied = fault.guard(|| {
                    apply_open(&mut ports);
                    let rounds = clocks.as_mut().and_then(|(_, clocks)| clocks.applied(epoch));
                    if let Some(rounds) = rounds {
                        fire_due(&mut ports, &rounds);
                    }
                    ports.iter_mut().for_each(|port| port.dispatch());
                });
                if let Err(panic) = applied {
                    let set_aside = |aside| match &checkpoints {
                        Some((_, snapshots)) => snapshots.borrow().set_aside(&aside),
                        None => Ok(false),
                    };
                    let error = panic.while_applying(&ports, names.get(), &computations, set_aside);
                    return fault.report(error);
                }
                if let Some(watched) = &watched
                    && let Err(error) = watched.applied(epoch, |table| tables.contains(table))
                {
                    return fault.report(error);
                }
                if let Some(capabilities) = held.epochs.remove(&epoch) {
                    outputs.ship(&capabilities, 1);
                }
            }
        }
    });
    (end, streams)
}

/// The operator of a sink.
fn sink_operator<'s>(
    scope: Scope<'s, u64>,
    streams: Vec<ParcelStream<'s>>,
    (index, sink): (usize, SinkPlan),
    opener: Option<&Opener>,
    plan: &Plan,
    durability: Option<Durability<'s>>,
    fault: &Fault,
) -> ParcelStream<'s> {
    let SinkPlan { name, mut sink } = sink;
    let at_once = plan.order == Order::Arrival;
    let mut builder = OperatorBuilder::new(format!("sink {name}"), scope);
    let exchange = || Exchange::new(|parcel: &Parcel| parcel.to as u64);
    let mut inputs: Vec<_> =
        streams.into_iter().map(|stream| builder.new_input(stream, exchange())).collect();
    let is_open = opener.is_some();
    let mut checkpoints = durability.map(|durability| {
        let to_worker = Exchange::new(|worker: &usize| *worker as u64);
        let durable = builder.new_input(durability.durable, Pipeline);
        (durable, builder.new_input(durability.marks, to_worker), durability.snapshots)
    });
    let (_, end) = builder.new_output::<Vec<Parcel>>();
    let fault = fault.clone();
    if let Some(opener) = opener {
        let address = builder.operator_info().address.to_vec();
        let waker = opener.waker(scope.worker().sync_activator_for(address));
        if let Err(error) = opener.open_sink(index, &name, &mut *sink, plan, waker) {
            fault.report(error);
        }
    }
    builder.build_reschedule(move |initial| {
        drop(initial);
        let (mut held, mut marked) = (Held::default(), Marked::default());
        // A boundary that was reached, until the writer says where it is.
        let mut boundary = None;
        let mut closed = false;
        move |frontiers| {
            if let Some((durable, marks, _)) = &mut checkpoints {
                durable.for_each(|_, _| {});
                marks.for_each(|capability, _| marked.0 = capability.least().copied());
            }
            for input in &mut inputs {
                input.for_each(|capability, parcels| {
                    if let Some(epoch) = held.keep(&capability, 1) {
                        parcels.drain(..).for_each(|parcel| sink.stash(epoch, parcel.body));
                    }
                });
            }
            loop {
                if let Some((.., snapshots)) = &checkpoints {
                    boundary = boundary.or_else(|| marked.reached(&held, frontiers));
                    if let Some(reached) = boundary.filter(|_| is_open) {
                        match guarded(&fault, &name, || sink.position(&name)) {
                            Some(Some(position)) => {
                                snapshots.borrow_mut().sink_reached(reached, position);
                            }
                            Some(None) => return true,
                            None => return false,
                        }
                    }
                    boundary = None;
                }
                let Some(epoch) = held.epochs.keys().next().copied() else { break };
                if !at_once && open(frontiers, epoch) {
                    return true;
                }
                match guarded(&fault, &name, || sink.deliver(epoch)) {
                    Some(Taken::All) => drop(held.epochs.remove(&epoch)),
                    Some(Taken::Partly) => return true,
                    None => return false,
                }
            }
            if !closed && frontiers.iter().all(|frontier| frontier.is_empty()) {
                match guarded(&fault, &name, || sink.close()) {
                    Some(taken) => closed = taken == Taken::All,
                    None => return false,
                }
            }
            !closed
        }
    });
    end
}

/// What the sink of that name says; `None` if it failed, which is reported.
fn guarded<R>(fault: &Fault, name: &str, call: impl FnOnce() -> Result<R>) -> Option<R> {
    match fault.guard(call) {
        Ok(Ok(result)) => return Some(result),
        Ok(Err(error)) => fault.report(Error::Connector(format!("sink `{name}`: {error}"))),
        Err(panic) => fault.report(panic.at(&format!("sink `{name}`"))),
    }
    None
}
