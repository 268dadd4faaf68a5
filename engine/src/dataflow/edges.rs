//! What the operators have in common: streams of parcels, the epochs that are held, and boundaries.
//!
//! Invariant: a capability is held for every epoch whose records are kept, so the probe passes an
//! epoch only when every group and every sink has finished it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::progress::frontier::MutableAntichain;

use super::topology::{Operator, Topology};
use crate::looking::{Look, Looking};
use crate::pipeline::{Outbox, Parcel};
use crate::plan::{EdgePlan, Plan};
use crate::snapshots::Snapshots;

pub(super) type Parcels = CapacityContainerBuilder<Vec<Parcel>>;
pub(super) type ParcelStream<'s> = StreamVec<'s, u64, Parcel>;

/// How durability reaches the operators: by two streams that leave the one that reads the sources.
#[derive(Clone)]
pub(super) struct Durability<'s> {
    pub(super) snapshots: Rc<RefCell<Snapshots>>,
    /// Carries nothing: its frontier passes an epoch when the epoch's input is durable everywhere.
    pub(super) durable: StreamVec<'s, u64, ()>,
    /// A mark at the time of each boundary at which a checkpoint is made, for each worker; and of the epoch in
    /// which groups correct what an earlier program has told.
    pub(super) marks: StreamVec<'s, u64, Mark>,
}

/// A mark, for a worker.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) to: usize,
    /// Its time is not that of a boundary, but an epoch of corrections.
    pub(super) settles: bool,
}

impl Mark {
    /// The worker that a mark is for.
    pub(super) fn exchange() -> Exchange<Mark, impl FnMut(&Mark) -> u64 + 'static> {
        Exchange::new(|mark: &Mark| mark.to as u64)
    }
}

/// The boundary of the next checkpoint, as an operator knows it.
#[derive(Default)]
pub(super) struct Marked(pub(super) Option<u64>);

impl Marked {
    /// Takes note of marks; gives whether some are of corrections.
    pub(super) fn hear(&mut self, time: Option<u64>, marks: &mut Vec<Mark>) -> bool {
        let settles = marks.iter().any(|mark| mark.settles);
        if marks.drain(..).any(|mark| !mark.settles) {
            self.0 = time;
        }
        settles
    }

    /// Takes the boundary, if everything before it has been handled.
    pub(super) fn reached(
        &mut self,
        held: &Held,
        frontiers: &[MutableAntichain<u64>],
    ) -> Option<u64> {
        let boundary = self.0?;
        if is_at(boundary, held, frontiers) { self.0.take() } else { None }
    }
}

/// Whether everything before a boundary has been handled.
fn is_at(boundary: u64, held: &Held, frontiers: &[MutableAntichain<u64>]) -> bool {
    let Some(last) = boundary.checked_sub(1) else { return true };
    held.epochs.keys().next().is_none_or(|epoch| *epoch > last) && !open(frontiers, last)
}

/// What is asked of the tables of a group: see [`looking`](crate::looking).
#[derive(Clone)]
pub(super) struct Questions<'s> {
    pub(super) looking: Rc<RefCell<Looking>>,
    /// Each at the time of the boundary at which it is answered.
    pub(super) looks: StreamVec<'s, u64, Look>,
}

impl Questions<'_> {
    /// The worker that a question is for.
    pub(super) fn exchange() -> Exchange<Look, impl FnMut(&Look) -> u64 + 'static> {
        Exchange::new(|look: &Look| look.to as u64)
    }
}

/// Questions whose boundaries an operator has not reached, in order.
#[derive(Default)]
pub(super) struct Waiting(VecDeque<(u64, Look)>);

impl Waiting {
    /// Keeps those that are of a table of `tables`.
    pub(super) fn hear(
        &mut self,
        time: Option<u64>,
        looks: &mut Vec<Look>,
        tables: &BTreeSet<&'static str>,
    ) {
        let own = looks.drain(..).filter(|look| look.table().is_some_and(|it| tables.contains(it)));
        self.0.extend(own.filter_map(|look| Some((time?, look))));
    }

    /// Takes the next whose boundary is reached.
    pub(super) fn reached(
        &mut self,
        held: &Held,
        frontiers: &[MutableAntichain<u64>],
    ) -> Option<(u64, Look)> {
        self.0.pop_front_if(|(boundary, _)| is_at(*boundary, held, frontiers))
    }
}

/// The outputs of an operator: what was put into an outbox leaves by the output beside it.
pub(super) struct Outputs {
    pub(super) outputs: Vec<(Outbox, OutputBuilder<u64, Parcels>)>,
}

impl Outputs {
    /// Adds the outputs of `operator` for the edges that leave it; gives their streams by edge.
    pub(super) fn of<'s>(
        builder: &mut OperatorBuilder<'s, u64>,
        operator: Operator,
        topology: &Topology,
        plan: &Plan,
    ) -> (Self, Vec<(usize, ParcelStream<'s>)>) {
        Self::leaving(builder, plan, |index, _| {
            topology.edges.get(index).is_some_and(|(from, _)| *from == operator)
        })
    }

    /// Adds the outputs for those edges, by index, for which `leaves` holds.
    pub(super) fn leaving<'s>(
        builder: &mut OperatorBuilder<'s, u64>,
        plan: &Plan,
        leaves: impl Fn(usize, &EdgePlan) -> bool,
    ) -> (Self, Vec<(usize, ParcelStream<'s>)>) {
        let mut outputs = Vec::new();
        let mut streams = Vec::new();
        for (index, edge) in plan.edges.iter().enumerate() {
            if leaves(index, edge) {
                let (output, stream) = builder.new_output::<Vec<Parcel>>();
                outputs.push((Rc::clone(&edge.outbox), OutputBuilder::from(output)));
                streams.push((index, stream));
            }
        }
        (Self { outputs }, streams)
    }

    /// Sends what is in the outboxes; `capabilities` has one for each output, after `skipped`
    /// others.
    pub(super) fn ship(&mut self, capabilities: &[Capability<u64>], skipped: usize) {
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
pub(super) struct Held {
    pub(super) epochs: BTreeMap<u64, Vec<Capability<u64>>>,
}

impl Held {
    /// Keeps the epoch of `capability` open at the first `outputs` outputs; gives the epoch.
    pub(super) fn keep(
        &mut self,
        capability: &InputCapability<u64>,
        outputs: usize,
    ) -> Option<u64> {
        let epoch = *capability.least()?;
        self.epochs.entry(epoch).or_insert_with(|| {
            (0..outputs).filter_map(|output| capability.retain_least(output)).collect()
        });
        Some(epoch)
    }
}

/// Whether an input can still bring records of `epoch`.
pub(super) fn open(frontiers: &[MutableAntichain<u64>], epoch: u64) -> bool {
    frontiers.iter().any(|frontier| frontier.less_equal(&epoch))
}
