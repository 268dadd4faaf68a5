//! The operator of a sink.
//!
//! Invariant: an epoch is delivered when it is complete, and with a data directory durable; it is held
//! until the last of its records is taken.

use std::cell::RefCell;
use std::rc::Rc;

use timely::dataflow::Scope;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::edges::{Durability, Held, Mark, Marked, Outputs, ParcelStream, open};
use super::topology::{Operator, Topology};
use crate::fault::Fault;
use crate::metrics::Busy;
use crate::opener::Opener;
use crate::pipeline::Parcel;
use crate::plan::{Plan, SinkPlan};
use crate::reading::Reading;
use crate::sink::Taken;
use crate::{Error, Order, Result};

/// The operator of a sink: the stream that ends with it, and that of what it refuses.
pub(super) fn sink_operator<'s>(
    scope: Scope<'s, u64>,
    streams: Vec<ParcelStream<'s>>,
    (index, sink): (usize, SinkPlan),
    (opener, reading): (Option<&Opener>, &Rc<RefCell<Reading>>),
    (topology, plan, busy): (&Topology, &Plan, Busy),
    durability: Option<Durability<'s>>,
    fault: &Fault,
) -> (ParcelStream<'s>, Vec<(usize, ParcelStream<'s>)>) {
    let SinkPlan { name, mut sink } = sink;
    let at_once = plan.order == Order::Arrival;
    let mut builder = OperatorBuilder::new(format!("sink {name}"), scope);
    let exchange = || Exchange::new(|parcel: &Parcel| parcel.to as u64);
    let mut inputs: Vec<_> =
        streams.into_iter().map(|stream| builder.new_input(stream, exchange())).collect();
    let is_open = opener.is_some();
    let mut checkpoints = durability.map(|durability| {
        let durable = builder.new_input(durability.durable, Pipeline);
        (durable, builder.new_input(durability.marks, Mark::exchange()), durability.snapshots)
    });
    let (_, end) = builder.new_output::<Vec<Parcel>>();
    let (mut letters, streams) = Outputs::of(&mut builder, Operator::Sink(index), topology, plan);
    let count = 1 + letters.outputs.len();
    let fault = fault.clone();
    if let Some(opener) = opener {
        let address = builder.operator_info().address.to_vec();
        let waker = opener.waker(scope.worker().sync_activator_for(address));
        match opener.open_sink(index, &name, &mut *sink, plan, waker) {
            Ok(journal) => reading.borrow_mut().keep_also(journal),
            Err(error) => fault.report(error),
        }
    }
    builder.build_reschedule(move |initial| {
        drop(initial);
        let (mut held, mut marked) = (Held::default(), Marked::default());
        // A boundary that was reached, until the writer says where it is.
        let mut boundary = None;
        let mut closed = false;
        move |frontiers| {
            let _working = busy.begin();
            if let Some((durable, marks, _)) = &mut checkpoints {
                durable.for_each(|_, _| {});
                marks.for_each(|capability, marks| {
                    marked.hear(capability.least().copied(), marks);
                });
            }
            for input in &mut inputs {
                input.for_each(|capability, parcels| {
                    if let Some(epoch) = held.keep(&capability, count) {
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
                let delivered = guarded(&fault, &name, || sink.deliver(epoch));
                if let Some(capabilities) = held.epochs.get(&epoch) {
                    letters.ship(capabilities, 1);
                }
                match delivered {
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
    (end, streams)
}

/// What the sink of that name says; `None` if it failed, which is reported.
fn guarded<R>(fault: &Fault, name: &str, call: impl FnOnce() -> Result<R>) -> Option<R> {
    match fault.guard(call) {
        Ok(Ok(result)) => return Some(result),
        Ok(Err(Error::Data(what))) => fault.report(Error::Data(format!("sink `{name}`: {what}"))),
        Ok(Err(error)) => fault.report(Error::Connector(format!("sink `{name}`: {error}"))),
        Err(panic) => fault.report(panic.at(&format!("sink `{name}`"))),
    }
    None
}
