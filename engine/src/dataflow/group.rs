//! The operator of a group of tables.
//!
//! Invariant: an epoch is applied when no input can bring more of it, what is due after it is fired
//! then, and a boundary is reached between two epochs.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::edges::{
    Durability, Held, Mark, Marked, Outputs, ParcelStream, Questions, Waiting, open,
};
use super::topology::{Operator, Topology};
use crate::fault::Fault;
use crate::looking::HotKeys;
use crate::metrics::{Busy, Counter, Counters};
use crate::opener::Opener;
use crate::pipeline::Parcel;
use crate::plan::{Plan, Target};
use crate::state::{Port, apply_in_time, apply_open, apply_rest, fire_due};
use crate::timer::DueKey;
use crate::trace::TableTrace;
use crate::view::Tap;
use crate::watermark::{Clocks, Note, PortTime};
use crate::{Clock, Order, Time};

/// The watermarks of the pipelines that end in a group, and its engine time; none if no source of them has
/// event times, and nothing is due by engine time.
pub(super) fn clocks(
    plan: &Plan,
    topology: &Topology,
    group: usize,
    opener: &Opener,
) -> Option<Clocks> {
    let members = topology.groups.get(group)?.iter();
    let ports = members.filter_map(|member| plan.port(*member)).map(|port| {
        let name = port.computations.first().cloned().unwrap_or_default();
        let clock = port.clock.clone();
        let shown = match clock.sources.is_empty() {
            true => Counter::default(),
            false => opener.counters.scoped(&name).gauge("watermark_ms"),
        };
        PortTime { name, clock, shown }
    });
    let ports: Vec<_> = ports.collect();
    let timed = ports.iter().any(|port| !port.clock.sources.is_empty());
    (timed || plan.engine_timers).then(|| {
        let alignment = plan.board.alignment.clone();
        Clocks::new(ports, opener.source_times(plan), &opener.event_times(), alignment)
    })
}

/// What a group does beside applying records.
pub(super) struct After<'s> {
    pub(super) durability: Option<Durability<'s>>,
    pub(super) watched: Option<TableTrace>,
    /// The tables of the group that views look at.
    pub(super) taps: Vec<Rc<dyn Tap>>,
    pub(super) clocks: Option<(Clocks, StreamVec<'s, u64, Note>)>,
    pub(super) questions: Option<Questions<'s>>,
    /// What the worker counts for itself.
    pub(super) meters: Option<Counters>,
}

/// The streams that leave a group.
pub(super) struct Grouped<'s> {
    pub(super) end: ParcelStream<'s>,
    /// By edge.
    pub(super) streams: Vec<(usize, ParcelStream<'s>)>,
    /// Says which epochs have changed tables that views look at.
    pub(super) told: Option<StreamVec<'s, u64, ()>>,
}

/// The operator of a group of tables.
pub(super) fn group<'s>(
    scope: Scope<'s, u64>,
    streams: Vec<ParcelStream<'s>>,
    index: usize,
    topology: &Topology,
    plan: &mut Plan,
    after: After<'s>,
    fault: &Fault,
) -> Grouped<'s> {
    let After { durability, watched, taps, clocks, questions, meters } = after;
    let mut builder = OperatorBuilder::new(format!("group-{index}"), scope);
    let exchange = || Exchange::new(|parcel: &Parcel| parcel.to as u64);
    let mut inputs: Vec<_> =
        streams.into_iter().map(|stream| builder.new_input(stream, exchange())).collect();
    let ends = ends(index, topology, plan);
    let mut checkpoints = durability.map(|durability| {
        (builder.new_input(durability.marks, Mark::exchange()), durability.snapshots)
    });
    let mut clocks = clocks.map(|(clocks, notes)| {
        let to_worker = Exchange::new(|note: &Note| note.to as u64);
        (builder.new_input(notes, to_worker), clocks)
    });
    let mut questions = questions.map(|Questions { looks, looking }| {
        (builder.new_input(looks, Questions::exchange()), looking, Waiting::default())
    });
    let (_, end) = builder.new_output::<Vec<Parcel>>();
    let (mut outputs, streams) = Outputs::of(&mut builder, Operator::Group(index), topology, plan);
    let (mut tells, told) = match taps.is_empty() {
        true => (None, None),
        false => {
            let (tells, told) = builder.new_output::<Vec<()>>();
            (Some(OutputBuilder::<_, CapacityContainerBuilder<Vec<()>>>::from(tells)), Some(told))
        }
    };
    let members = topology.groups.get(index).into_iter().flatten();
    let mut computations = Vec::new();
    let mut ports: Vec<Box<dyn Port>> = Vec::new();
    let mut tables = BTreeSet::new();
    // The first computation of each, and the tables that it uses.
    let mut names_of_ports = Vec::new();
    for mut port in members.filter_map(|port| plan.take_port(*port)) {
        if let (Some(meters), Some(first)) = (&meters, port.computations.first()) {
            port.port.count(meters.scoped(first).counter("records"));
        }
        tables.extend(port.uses.iter().map(|used| used.name));
        let used: Vec<_> = port.uses.iter().map(|used| used.name).collect();
        names_of_ports.push((port.computations.first().cloned().unwrap_or_default(), used));
        computations.extend(port.computations.iter().map(|name| format!("`{name}`")));
        ports.push(port.port);
    }
    let busy = Busy::of(meters.as_ref(), &computations.join(", ").replace('`', ""));
    let computations = computations.join(" or ");
    let alarms = plan.alarms.clone();
    let mut former = plan.former.clone();
    let has_engine_timers = ports.iter().any(|port| port.has_engine_timers());
    let at_once = plan.order == Order::Arrival;
    let count = 1 + outputs.outputs.len() + usize::from(tells.is_some());
    let names = Rc::clone(&plan.source_names);
    let fault = fault.clone();
    builder.build(move |initial| {
        drop(initial);
        let (mut held, mut marked) = (Held::default(), Marked::default());
        let mut begun = false;
        // The epoch in which what an earlier program has told is corrected.
        let mut settles = None;
        move |frontiers| {
            let _working = busy.begin();
            let mut changed = !std::mem::replace(&mut begun, true);
            if changed
                && let Some((_, clocks)) = &clocks
                && let Err(panic) = fault.guard(|| begin(&mut ports, clocks))
            {
                return fault.report(panic.at(&format!("the keys of computation {computations}")));
            }
            if let Some((marks, _)) = &mut checkpoints {
                marks.for_each(|capability, marks| {
                    if marked.hear(capability.least().copied(), marks) {
                        settles = held.keep(&capability, count);
                    }
                });
            }
            if let Some((looks, _, waiting)) = &mut questions {
                looks.for_each(|capability, looks| {
                    waiting.hear(capability.least().copied(), looks, &tables);
                });
            }
            if let Some((notes, clocks)) = &mut clocks {
                notes.for_each(|capability, notes| {
                    if let Some(epoch) = held.keep(&capability, count) {
                        notes.drain(..).for_each(|note| clocks.stash(epoch, note));
                    }
                });
            }
            for (input, (port, is_retries)) in inputs.iter_mut().zip(&ends) {
                let Some(port) = ports.get_mut(*port) else { continue };
                input.for_each(|capability, parcels| {
                    if let Some(epoch) = held.keep(&capability, count) {
                        let bodies = parcels.drain(..).map(|parcel| parcel.body);
                        match is_retries {
                            false => bodies.for_each(|body| port.stash(epoch, body)),
                            true => bodies.for_each(|body| port.stash_retries(epoch, body)),
                        }
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
                if let Some((_, looking, waiting)) = &mut questions {
                    while let Some((boundary, look)) = waiting.reached(&held, frontiers) {
                        let hot = || hot_keys(&ports, &names_of_ports, look.table());
                        looking.borrow_mut().reached(boundary, &look, hot);
                    }
                }
                let Some(epoch) = held.epochs.keys().next().copied() else { break };
                if !at_once && open(frontiers, epoch) {
                    break;
                }
                for port in &mut ports {
                    port.open(epoch);
                }
                let settled = former.take_if(|_| settles == Some(epoch));
                let applied = fault.guard(|| {
                    if let Some(former) = &settled {
                        ports.iter_mut().for_each(|port| {
                            port.settle(former);
                            port.dispatch();
                        });
                    }
                    apply(
                        &mut ports,
                        clocks.as_mut().map(|(_, clocks)| clocks),
                        epoch,
                        has_engine_timers,
                    );
                    ports.iter_mut().for_each(|port| port.dispatch());
                });
                changed = true;
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
                // All of them: what is taken of one is not taken of another.
                let told = |tap: &dyn Tap| match (&settled, &former) {
                    (Some(settled), _) => tap.settle(epoch, &settled.stores),
                    (None, None) => tap.seal(epoch),
                    // Not until all is computed anew.
                    (None, Some(_)) => {
                        tap.pass_over();
                        false
                    }
                };
                let seal = || taps.iter().filter(|tap| told(&***tap)).count();
                let changes = match fault.guard(seal) {
                    Ok(changes) => changes,
                    Err(panic) => return fault.report(panic.at("what a view selects of a table")),
                };
                if let Some(capabilities) = held.epochs.remove(&epoch) {
                    if let (Some(tells), Some(capability)) = (&mut tells, capabilities.last())
                        && changes > 0
                    {
                        tells.activate().session(capability).give(());
                    }
                    outputs.ship(&capabilities, 1);
                }
            }
            if changed && let (Some(alarms), Some((_, clocks))) = (&alarms, &clocks) {
                alarms.set(index, next_alarm(&ports, clocks));
            }
        }
    });
    Grouped { end, streams, told }
}

/// Of each input of a group, the place of its port, and whether it brings retries of dead letters.
fn ends(index: usize, topology: &Topology, plan: &Plan) -> Vec<(usize, bool)> {
    let members = topology.groups.get(index).map_or(&[][..], Vec::as_slice);
    let place = |port: usize| members.iter().position(|it| *it == port).unwrap_or(usize::MAX);
    let edges = topology.inputs(plan, Operator::Group(index));
    let targets = edges.filter_map(|edge| plan.edges.get(edge)).map(|edge| edge.to);
    targets
        .map(|to| match to {
            Target::Retries(port) => (place(port), true),
            Target::Port(port) => (place(port), false),
            Target::Relay(_) | Target::Lookup(_) | Target::Sink(_) => (usize::MAX, false),
        })
        .collect()
}

/// Takes up engine time where an earlier run has left it; the rows were restored.
fn begin(ports: &mut [Box<dyn Port>], clocks: &Clocks) {
    ports.iter_mut().for_each(|port| port.engine_passed(clocks.passed(), false));
}

/// Applies what the ports have open of `epoch`, and fires what is due with it.
fn apply(
    ports: &mut [Box<dyn Port>],
    clocks: Option<&mut Clocks>,
    epoch: u64,
    has_engine_timers: bool,
) {
    let Some(clocks) = clocks else { return apply_open(ports) };
    let passing = clocks.passing(epoch);
    if has_engine_timers || passing.ended {
        apply_in_time(ports, passing);
        ports.iter_mut().for_each(|port| port.engine_passed(passing.until, passing.ended));
    } else {
        apply_open(ports);
    }
    if let Some(rounds) = clocks.applied(epoch) {
        fire_due(ports, &rounds);
    }
    if passing.ended {
        apply_rest(ports);
    }
}

/// The keys that come most often to each port that uses `table`, by its first computation.
fn hot_keys(
    ports: &[Box<dyn Port>],
    names: &[(String, Vec<&'static str>)],
    table: Option<&str>,
) -> BTreeMap<String, HotKeys> {
    let used = ports
        .iter()
        .zip(names)
        .filter(|(_, (_, tables))| table.is_some_and(|table| tables.contains(&table)));
    let hot = used.filter_map(|(port, (name, _))| {
        let (sampled, keys) = port.hot()?;
        Some((name.clone(), HotKeys { sampled, keys }))
    });
    hot.collect()
}

/// When there is something to do next though nothing may come.
fn next_alarm(ports: &[Box<dyn Port>], clocks: &Clocks) -> Option<Time> {
    let timers = ports.iter().filter_map(|port| port.next_due(Clock::Engine));
    timers.map(DueKey::moment).chain(clocks.next_idle()).min()
}
