//! The operator of a look-up.
//!
//! Invariant: it never waits: answers wake its worker. An epoch is held from its first record until its
//! answers have left, so what waits here is in flight, and bounded with it.

use std::cell::RefCell;
use std::rc::Rc;

use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::edges::{Held, Outputs, ParcelStream, open};
use super::topology::{Operator, Topology};
use crate::fault::Fault;
use crate::lookup::{AnyLookup, Kept, Opening, lane_of};
use crate::opener::Opener;
use crate::pipeline::Parcel;
use crate::plan::Plan;
use crate::reading::Reading;
use crate::source::Waker;
use crate::{Error, Result};

/// The operator of a look-up: the stream that ends with it, and those of its answers.
pub(super) fn lookup_operator<'s>(
    scope: Scope<'s, u64>,
    streams: Vec<ParcelStream<'s>>,
    (index, mut lookup): (usize, Box<dyn AnyLookup>),
    topology: &Topology,
    plan: &Plan,
    (opener, reading): (&Opener, &Rc<RefCell<Reading>>),
    fault: &Fault,
) -> (ParcelStream<'s>, Vec<(usize, ParcelStream<'s>)>) {
    let name = lookup.name().to_string();
    let mut builder = OperatorBuilder::new(format!("lookup {name}"), scope);
    let mut inputs: Vec<_> =
        streams.into_iter().map(|stream| builder.new_input(stream, Pipeline)).collect();
    let (_, end) = builder.new_output::<Vec<Parcel>>();
    let (mut outputs, streams) = Outputs::of(&mut builder, Operator::Lookup(index), topology, plan);
    let count = 1 + outputs.outputs.len();
    let address = builder.operator_info().address.to_vec();
    let waker = opener.waker(scope.worker().sync_activator_for(address));
    if let Err(error) = open_lookup(index, &mut *lookup, plan, opener, reading, waker) {
        fault.report(error);
    }
    let fault = fault.clone();
    builder.build(move |initial| {
        drop(initial);
        let mut held = Held::default();
        // Epochs before this one are complete.
        let mut begun = 0;
        move |frontiers| {
            for input in &mut inputs {
                input.for_each(|capability, parcels| {
                    if let Some(epoch) = held.keep(&capability, count) {
                        parcels.drain(..).for_each(|parcel| lookup.stash(epoch, parcel.body));
                    }
                });
            }
            let complete = held.epochs.range(begun..).map(|(epoch, _)| *epoch);
            let complete: Vec<u64> =
                complete.take_while(|epoch| !open(frontiers, *epoch)).collect();
            for epoch in complete {
                begun = epoch + 1;
                if guarded(&fault, &name, || lookup.complete(epoch)).is_none() {
                    return;
                }
            }
            loop {
                match guarded(&fault, &name, || lookup.advance()) {
                    Some(Some(epoch)) => {
                        if let Some(capabilities) = held.epochs.remove(&epoch) {
                            outputs.ship(&capabilities, 1);
                        }
                    }
                    Some(None) | None => return,
                }
            }
        }
    });
    (end, streams)
}

fn open_lookup(
    index: usize,
    lookup: &mut dyn AnyLookup,
    plan: &Plan,
    opener: &Opener,
    reading: &Rc<RefCell<Reading>>,
    waker: Waker,
) -> Result<()> {
    let placement = &plan.placement;
    let mut kept = None;
    if let Some(durable) = &opener.durable {
        let (source, waker) = (lane_of(lookup.name()), waker.clone());
        let worker = (placement.this_worker(), placement.workers());
        let opened = Kept::open(durable, &source, worker, move || waker.wake())?;
        reading.borrow_mut().keep_also(opened.journal());
        kept = Some(opened);
    }
    lookup.open(Opening {
        waker,
        counters: opener.counters.scoped(lookup.name()),
        sources: plan.source_names.get().cloned().unwrap_or_else(|| [].into()),
        number: u32::try_from(plan.port_count() + index).unwrap_or(u32::MAX),
        kept,
        waits: opener.harness.is_some(),
    })
}

/// What the look-up says; `None` if it failed, which is reported.
fn guarded<R>(fault: &Fault, name: &str, call: impl FnOnce() -> Result<R>) -> Option<R> {
    match fault.guard(call) {
        Ok(Ok(result)) => return Some(result),
        Ok(Err(error @ (Error::Data(_) | Error::Io { .. }))) => fault.report(error),
        Ok(Err(error)) => fault.report(Error::Connector(format!("look-up `{name}`: {error}"))),
        Err(panic) => fault.report(panic.at(&format!("a step after look-up `{name}`"))),
    }
    None
}
