//! The timely operators of one worker, one after the other; and the one of a merge.
//!
//! Invariant: an operator is built after those whose streams it takes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Concatenate, Probe};
use timely::dataflow::{ProbeHandle, Scope};

use super::edges::{Durability, Held, Mark, Marked, Outputs, ParcelStream, Questions};
use super::group::{After, Grouped, clocks, group};
use super::ingest::{Read, ingest};
use super::lookup::lookup_operator;
use super::sink::sink_operator;
use super::topology::{Operator, Topology};
use super::view::Building;
use crate::fault::Fault;
use crate::looking::Looking;
use crate::metrics::{Busy, Counters};
use crate::opener::Opener;
use crate::plan::{Plan, Relay, SinkPlan};
use crate::reading::Reading;
use crate::snapshots::Snapshots;
use crate::trace::TableTrace;

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
    /// If others may ask.
    pub(crate) looking: Option<Rc<RefCell<Looking>>>,
    /// What the worker counts for itself, if others may ask.
    pub(crate) meters: Option<Counters>,
}

/// Builds the operators of `assembly` in `scope`.
pub(crate) fn assemble(scope: Scope<'_, u64>, assembly: Assembly) {
    let Assembly { mut plan, topology, reading, finished, fault, opener, .. } = assembly;
    let (snapshots, tables, looking) = (assembly.snapshots, assembly.tables, assembly.looking);
    let meters = assembly.meters;
    let (mut durability, mut questions, mut told, mut times) = (None, None, None, None);
    let mut changed = BTreeMap::new();
    let mut streams: BTreeMap<usize, ParcelStream<'_>> = BTreeMap::new();
    let mut ends = Vec::new();
    let order = topology.order.clone();
    let mut sinks: Vec<Option<SinkPlan>> = plan.sinks.drain(..).map(Some).collect();
    let mut relays: Vec<Option<Relay>> = plan.relays.drain(..).map(Some).collect();
    let mut lookups: Vec<_> = plan.lookups.drain(..).map(Some).collect();
    for operator in order {
        let inputs: Vec<ParcelStream<'_>> =
            topology.inputs(&plan, operator).filter_map(|edge| streams.remove(&edge)).collect();
        let outputs = match operator {
            Operator::Ingest => {
                let asked = (looking.clone(), Busy::of(meters.as_ref(), "sources"));
                let Read { streams, durable, marks, notes, times: told_times, looks } =
                    ingest(scope, &topology, &plan, &reading, &opener, asked, &fault);
                questions =
                    looking.clone().zip(looks).map(|(looking, looks)| Questions { looking, looks });
                durability =
                    snapshots.clone().map(|snapshots| Durability { snapshots, durable, marks });
                told = Some(notes);
                times = told_times;
                streams
            }
            Operator::Relay(index) => {
                let Some(relay) = relays.get_mut(index).and_then(Option::take) else { continue };
                merge(scope, inputs, index, relay, &topology, &plan, &fault)
            }
            Operator::Lookup(index) => {
                let Some(lookup) = lookups.get_mut(index).and_then(Option::take) else { continue };
                let (lookup, doors) = ((index, lookup), (&opener, &reading));
                let (end, outputs) =
                    lookup_operator(scope, inputs, lookup, &topology, &plan, doors, &fault);
                ends.push(end);
                outputs
            }
            Operator::Group(index) => {
                let clocks = clocks(&plan, &topology, index, &opener);
                let clocks = clocks.and_then(|clocks| Some((clocks, told.clone()?)));
                let viewed = viewed(&plan, &topology, index);
                let taps = viewed.iter().filter_map(|table| plan.taps.get(table)).collect();
                let (durability, watched) = (durability.clone(), tables.clone());
                let questions = questions.clone();
                let after =
                    After { durability, watched, taps, clocks, questions, meters: meters.clone() };
                let Grouped { end, streams, told } =
                    group(scope, inputs, index, &topology, &mut plan, after, &fault);
                ends.push(end);
                changed.extend(viewed.into_iter().filter_map(|table| Some((table, told.clone()?))));
                streams
            }
            Operator::View(index) => {
                let Some(draw) = plan.drawings.get_mut(index).and_then(|it| it.draw.take()) else {
                    continue;
                };
                let (told, times) = (changed.clone(), times.clone());
                // Of what is computed anew nothing is told until then.
                let from = opener.durable.as_ref().map_or(0, |durable| durable.computed());
                let (plan, fault) = (&plan, &fault);
                let mut building = Building {
                    scope,
                    told,
                    times,
                    from,
                    plan,
                    fault,
                    ends: Vec::new(),
                    streams: Vec::new(),
                };
                draw(&mut building);
                ends.append(&mut building.ends);
                building.streams
            }
            Operator::Sink(index) => {
                if let Some(sink) = sinks.get_mut(index).and_then(Option::take) {
                    let own = plan.placement.sink_worker(index) == plan.placement.this_worker();
                    let opener = own.then_some(&opener);
                    let (sink, durability) = ((index, sink), durability.clone());
                    let doors = (opener, &reading);
                    let drawn = (&topology, &plan, Busy::of(meters.as_ref(), &sink.1.name));
                    let (end, letters) =
                        sink_operator(scope, inputs, sink, doors, drawn, durability, &fault);
                    ends.push(end);
                    letters
                } else {
                    Vec::new()
                }
            }
        };
        streams.extend(outputs);
    }
    if let Some(durability) = durability.filter(|_| topology.groups.is_empty()) {
        boundary(scope, durability);
    }
    scope.concatenate(ends).probe_with(&finished);
}

/// Where there are no groups: says for them that this worker has reached a boundary.
fn boundary<'s>(scope: Scope<'s, u64>, durability: Durability<'s>) {
    let mut builder = OperatorBuilder::new("boundary".to_string(), scope);
    let mut durable = builder.new_input(durability.durable, Pipeline);
    let mut marks = builder.new_input(durability.marks, Mark::exchange());
    builder.build(move |initial| {
        drop(initial);
        let (held, mut marked) = (Held::default(), Marked::default());
        move |frontiers| {
            durable.for_each(|_, _| {});
            marks.for_each(|capability, marks| {
                marked.hear(capability.least().copied(), marks);
            });
            if let Some(boundary) = marked.reached(&held, frontiers) {
                durability.snapshots.borrow_mut().group_reached(boundary, &BTreeSet::new(), None);
            }
        }
    });
}

/// The tables of a group that views look at.
fn viewed(plan: &Plan, topology: &Topology, group: usize) -> Vec<&'static str> {
    let members = topology.groups.get(group).into_iter().flatten();
    let uses = members.filter_map(|member| plan.port(*member)).flat_map(|port| &port.uses);
    let names: BTreeSet<&'static str> = uses.map(|used| used.name).collect();
    names.into_iter().filter(|table| plan.taps.get(table).is_some()).collect()
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
