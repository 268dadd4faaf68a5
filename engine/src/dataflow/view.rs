//! The operators of views: where the changes of a table enter, and where those of a view are gathered.
//!
//! Invariant: an epoch of a view is told of when no table can change in it any more, on one worker, and then
//! all of it. Each difference is sent with a capability of its own epoch or an earlier one.

use std::collections::BTreeMap;

use differential_dataflow::AsCollection;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::frontier::MutableAntichain;

use super::edges::{Outputs, ParcelStream, open};
use crate::durable::RECORDED_EPOCHS;
use crate::fault::Fault;
use crate::plan::{Owner, Plan};
use crate::view::{Collection, Gathered, Source, Update, ViewData};
use crate::{Error, Origin, Result, Time};

type Updates<D> = CapacityContainerBuilder<Vec<Update<D>>>;

/// What a view is built with, on one worker.
pub struct Building<'a, 's> {
    pub(super) scope: Scope<'s, u64>,
    /// By table, a stream on which its group says which epochs have changed it.
    pub(super) told: BTreeMap<&'static str, StreamVec<'s, u64, ()>>,
    /// The logical times of epochs, for each worker; none if epochs are times.
    pub(super) times: Option<StreamVec<'s, u64, (usize, Time)>>,
    /// The boundary at which this start goes on: what was before it is known.
    pub(super) from: u64,
    pub(super) plan: &'a Plan,
    pub(super) fault: &'a Fault,
    pub(super) ends: Vec<ParcelStream<'s>>,
    pub(super) streams: Vec<(usize, ParcelStream<'s>)>,
}

impl<'s> Building<'_, 's> {
    /// The collection of what a view takes of a table. What was restored comes first, as of the last epoch
    /// before the boundary.
    pub(crate) fn enter<D: ViewData>(&self, source: Source<D>) -> Collection<'s, D> {
        let Source { table, feed, restored } = source;
        let mut builder = OperatorBuilder::new(format!("rows of {table}"), self.scope);
        let told = self.told.get(table).cloned();
        let mut told = told.map(|told| builder.new_input(told, Pipeline));
        let (output, stream) = builder.new_output::<Vec<Update<D>>>();
        let mut output = OutputBuilder::<_, Updates<D>>::from(output);
        let (from, former) = (self.from, self.plan.former.clone());
        builder.build(move |mut initial| {
            let mut begin = initial.pop().map(|capability| (capability, restored, former));
            move |_| {
                if let Some((capability, restored, former)) = begin.take()
                    && let Some(last) = from.checked_sub(1)
                {
                    let mut rows = Vec::new();
                    let former = former.as_ref().map(|former| &former.stores);
                    restored(former, &mut |row| rows.push((row, last, 1)));
                    output
                        .activate()
                        .session(&capability.delayed(&last))
                        .give_iterator(rows.into_iter());
                }
                let Some(told) = &mut told else { return };
                told.for_each(|capability, _| {
                    if let (Some(epoch), Some(held)) =
                        (capability.least().copied(), capability.retain_least(0))
                    {
                        let mut feed = feed.borrow_mut();
                        output.activate().session(&held).give_iterator(feed.take(epoch));
                    }
                });
            }
        });
        Collection::new(stream.as_collection())
    }

    /// The operator that gathers what changes in the view, and hands it on.
    pub(crate) fn gather<D: ViewData>(&mut self, collection: Collection<'s, D>, to: Gathered<D>) {
        let Gathered { name, index, worker, tellers, rows } = to;
        let mut builder = OperatorBuilder::new(format!("view {name}"), self.scope);
        let to_one = Exchange::new(move |_: &Update<D>| worker as u64);
        let mut input = builder.new_input(collection.into_stream(), to_one);
        let to_worker = Exchange::new(|(to, _): &(usize, Time)| *to as u64);
        let mut told = self.times.clone().map(|times| builder.new_input(times, to_worker));
        let (_, end) = builder.new_output::<Vec<_>>();
        let (mut outputs, streams) =
            Outputs::leaving(&mut builder, self.plan, |_, edge| edge.from == Owner::View(index));
        let count = 1 + outputs.outputs.len();
        let (fault, from) = (self.fault.clone(), self.from);
        builder.build(move |initial| {
            drop(initial);
            let mut epochs = Epochs { waiting: BTreeMap::new(), times: BTreeMap::new() };
            move |frontiers| {
                input.for_each(|capability, updates| {
                    let held = (0..count).filter_map(|port| capability.retain_least(port));
                    epochs.stash(&held.collect::<Vec<_>>(), updates);
                });
                if let Some(told) = &mut told {
                    told.for_each(|capability, times| {
                        let epoch = capability.least().copied().unwrap_or_default();
                        times.drain(..).for_each(|(_, time)| epochs.time(epoch, time));
                    });
                }
                while let Some((epoch, (changes, held))) = epochs.next(frontiers) {
                    let time = match told {
                        Some(_) => epochs.times.get(&epoch).copied(),
                        None => Some(time_of(epoch)),
                    };
                    let time = time.filter(|_| epoch >= from);
                    let done = fault.guard(|| -> Result<()> {
                        rows.change(epoch + 1, &changes);
                        let origin = time.map(|time| {
                            move |place| Origin::of_view(time, index, numbered(epoch), place)
                        });
                        let origin = origin.as_ref().map(|origin| origin as &dyn Fn(u32) -> Origin);
                        for teller in tellers.borrow_mut().iter_mut() {
                            let told = teller.tell(epoch, &changes, origin);
                            told.map_err(|problem| of_view(&name, &problem))?;
                        }
                        Ok(())
                    });
                    match done {
                        Ok(Ok(())) => outputs.ship(&held, 1),
                        Ok(Err(error)) => return fault.report(error),
                        Err(panic) => return fault.report(panic.at(&format!("view `{name}`"))),
                    }
                }
                epochs.forget(frontiers);
            }
        });
        self.ends.push(end);
        self.streams.extend(streams);
    }
}

fn of_view(name: &str, problem: &str) -> Error {
    Error::Application(format!("view `{name}`: {problem}"))
}

/// The time of an epoch of live input.
fn time_of(epoch: u64) -> Time {
    Time::from_nanos(i64::try_from(epoch).unwrap_or(i64::MAX))
}

/// What tells an epoch of recorded input from others of its time; of live input there is none.
fn numbered(epoch: u64) -> u64 {
    if epoch < RECORDED_EPOCHS { epoch } else { 0 }
}

/// Records and how much more often they are there, and with what capabilities that is told.
type Waiting<D> = (Vec<(D, i64)>, Vec<Capability<u64>>);

/// What has come of epochs that are not complete.
struct Epochs<D> {
    waiting: BTreeMap<u64, Waiting<D>>,
    times: BTreeMap<u64, Time>,
}

impl<D: ViewData> Epochs<D> {
    /// Keeps `updates`, which came with the capabilities `held`.
    fn stash(&mut self, held: &[Capability<u64>], updates: &mut Vec<Update<D>>) {
        for (record, epoch, diff) in updates.drain(..) {
            let (changes, _) = self.waiting.entry(epoch).or_insert_with(|| {
                (Vec::new(), held.iter().map(|capability| capability.delayed(&epoch)).collect())
            });
            changes.push((record, diff));
        }
    }

    fn time(&mut self, epoch: u64, time: Time) {
        let known = self.times.entry(epoch).or_insert(time);
        *known = time.max(*known);
    }

    /// The next epoch of which no more can come: what it changed, in order, each record once.
    fn next(&mut self, frontiers: &[MutableAntichain<u64>]) -> Option<(u64, Waiting<D>)> {
        let first = self.waiting.first_entry()?;
        if open(frontiers, *first.key()) {
            return None;
        }
        let (epoch, mut waiting) = first.remove_entry();
        differential_dataflow::consolidation::consolidate(&mut waiting.0);
        Some((epoch, waiting))
    }

    /// The times of epochs that have passed are not asked for any more.
    fn forget(&mut self, frontiers: &[MutableAntichain<u64>]) {
        while self.times.first_key_value().is_some_and(|(epoch, _)| !open(frontiers, *epoch)) {
            self.times.pop_first();
        }
    }
}
