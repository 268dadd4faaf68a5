//! The operator that reads the sources.
//!
//! Invariant: what it sends of an epoch (records, and how far event time has come) leaves before its
//! capabilities pass the epoch.

use std::cell::RefCell;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};

use super::edges::{Mark, Outputs, ParcelStream};
use super::topology::{Operator, Topology};
use crate::Time;
use crate::fault::Fault;
use crate::looking::{Look, Looking};
use crate::metrics::Busy;
use crate::opener::Opener;
use crate::plan::Plan;
use crate::reading::Reading;
use crate::watermark::Note;

/// The streams of the operator that reads the sources: by edge, those of [`Durability`], and of event
/// times.
pub(super) struct Read<'s> {
    pub(super) streams: Vec<(usize, ParcelStream<'s>)>,
    pub(super) durable: StreamVec<'s, u64, ()>,
    pub(super) marks: StreamVec<'s, u64, Mark>,
    /// How far event time has come by the end of each epoch, for each worker.
    pub(super) notes: StreamVec<'s, u64, Note>,
    /// The logical time of each epoch, for each worker, if views are to be told it.
    pub(super) times: Option<StreamVec<'s, u64, (usize, Time)>>,
    /// What is asked of tables.
    pub(super) looks: Option<StreamVec<'s, u64, Look>>,
}

/// The operator that reads the sources; [`Reading`] decides what and when.
pub(super) fn ingest<'s>(
    scope: Scope<'s, u64>,
    topology: &Topology,
    plan: &Plan,
    reading: &Rc<RefCell<Reading>>,
    opener: &Opener,
    (looking, busy): (Option<Rc<RefCell<Looking>>>, Busy),
    fault: &Fault,
) -> Read<'s> {
    let mut builder = OperatorBuilder::new("ingest".to_string(), scope);
    let (mut outputs, streams) = Outputs::of(&mut builder, Operator::Ingest, topology, plan);
    let (mut times, times_stream) = plan
        .board
        .tells_times
        .get()
        .then(|| {
            let (times, stream) = builder.new_output::<Vec<(usize, Time)>>();
            (OutputBuilder::<_, CapacityContainerBuilder<Vec<(usize, Time)>>>::from(times), stream)
        })
        .unzip();
    let (notes, notes_stream) = builder.new_output::<Vec<Note>>();
    let mut notes = OutputBuilder::<_, CapacityContainerBuilder<Vec<Note>>>::from(notes);
    let (_durable, durable_stream) = builder.new_output::<Vec<()>>();
    let (marks, marks_stream) = builder.new_output::<Vec<Mark>>();
    let mut marks = OutputBuilder::<_, CapacityContainerBuilder<Vec<Mark>>>::from(marks);
    let (mut looks, looks_stream) = looking
        .is_some()
        .then(|| {
            let (looks, stream) = builder.new_output::<Vec<Look>>();
            (OutputBuilder::<_, CapacityContainerBuilder<Vec<Look>>>::from(looks), stream)
        })
        .unzip();
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
        let has_looks = looks.is_some();
        let mut may_look = capabilities.pop_if(|_| has_looks).filter(|_| this == 0);
        let mut may_mark = capabilities.pop().filter(|_| keeps && this == 0);
        let mut undurable = capabilities.pop().filter(|_| keeps);
        let mut capabilities = Some(capabilities);
        move |_| {
            let _working = busy.begin();
            if let Some(held) = &mut capabilities {
                let read = fault.guard(|| {
                    reading.borrow_mut().advance(|epoch, next| {
                        for capability in held.iter_mut() {
                            capability.downgrade(&epoch);
                        }
                        outputs.ship(held, 0);
                        // That of the notes is the last, and that of times the one before.
                        if let (Some(times), [.., capability, _]) = (&mut times, held.as_slice()) {
                            let told = board.times(workers);
                            if !told.is_empty() {
                                times
                                    .activate()
                                    .session(capability)
                                    .give_iterator(told.into_iter());
                            }
                        }
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
            // Where an earlier start has stopped, nothing is before that, though nothing may come for long.
            for capability in capabilities.iter_mut().flatten() {
                if *capability.time() < at {
                    capability.downgrade(&at);
                }
            }
            if let Some(capability) = &mut may_mark {
                capability.downgrade(&at);
                let settles = reading.take_settle_mark();
                let boundary = reading.take_mark();
                debug_assert!(boundary.is_none_or(|boundary| boundary == at));
                if settles || boundary.is_some() {
                    let to_all = (0..workers).map(|to| Mark { to, settles });
                    marks.activate().session(capability).give_iterator(to_all);
                }
            }
            if let (Some(capability), Some(looks), Some(looking)) =
                (&mut may_look, &mut looks, &looking)
            {
                capability.downgrade(&at);
                // What was read before is computed again; what asks waits or is told so.
                let asked =
                    if reading.replays() { Vec::new() } else { looking.borrow_mut().take() };
                if !asked.is_empty() {
                    looks.activate().session(capability).give_iterator(asked.into_iter());
                }
            }
            if is_done {
                (may_mark, may_look) = (None, None);
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
    Read {
        streams,
        durable: durable_stream,
        marks: marks_stream,
        notes: notes_stream,
        times: times_stream,
        looks: looks_stream,
    }
}
