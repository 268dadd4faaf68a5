//! One worker: builds the dataflow, then steps it until everything is done.
//!
//! Invariant: a worker parks when it has nothing to do, and whatever gives it something to do wakes
//! it. A fault on one worker ends all workers of the process.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::operators::{Input, Operator as _};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

use crate::app::{App, draw, draw_to_run};
use crate::control::{Pulse, State};
use crate::dataflow::{Assembly, Topology, assemble};
use crate::durable::Durable;
use crate::epoch::{Flow, FlowLimits, Signal, finished_before};
use crate::fault::Fault;
use crate::letters;
use crate::looking::{Board, Looking};
use crate::metrics::{Counter, Counters};
use crate::opener::{Inputs, Opener};
use crate::pauses::Pauses;
use crate::pipeline::Placement;
use crate::reading::{Mode, Reading};
use crate::snapshots::{Durability, Ends, Snapshots};
use crate::state::Stores;
use crate::test_driver::{Baton, Harness};
use crate::timer::Alarms;
use crate::trace::Trace;
use crate::view::culprit;
use crate::{Error, Order, Result, Time, Views, clock};

/// The builder function: draws the application on an [`App`].
pub(crate) type Build = Arc<dyn Fn(&App) -> Result<()> + Send + Sync>;

/// What all workers of a process need to know.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) build: Build,
    pub(crate) partitions: usize,
    pub(crate) workers_per_process: usize,
    pub(crate) epoch_max: Duration,
    pub(crate) limits: FlowLimits,
    pub(crate) counters: Counters,
    /// The rows of the views that workers of this process gather.
    pub(crate) views: Views,
    pub(crate) control: Arc<Control>,
    /// If others may ask; the same on all processes.
    pub(crate) board: Option<Board>,
    /// When an earlier start was asked to make place for this one, of another size.
    pub(crate) rescaled_at: Option<Time>,
    /// With a data directory.
    pub(crate) durable: Option<Arc<Durable>>,
    /// In a replay that is compared with another.
    pub(crate) trace: Option<Arc<Trace>>,
    /// Under a test driver.
    pub(crate) test: Option<(Harness, Arc<Baton>)>,
}

/// How a process tells its workers to stop.
#[derive(Default)]
pub(crate) struct Control {
    stop: AtomicBool,
    abort: AtomicBool,
    workers: Mutex<Vec<Thread>>,
    /// With the workers' indices.
    pulses: Mutex<Vec<(usize, Arc<Pulse>)>>,
    pauses: Pauses,
    first_fault: Mutex<Option<Error>>,
}

impl Control {
    /// Sources take no more input; what was accepted is completed.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Workers end where they are.
    pub(crate) fn abort(&self) {
        self.abort.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Keeps `fault`, if it is the first of the process, and ends all workers.
    fn fail(&self, fault: Error) {
        let mut first = self.first_fault.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() && !self.abort.load(Ordering::SeqCst) {
            *first = Some(fault);
        }
        drop(first);
        self.abort();
    }

    /// What ended the workers.
    pub(crate) fn first_fault(&self) -> Option<Error> {
        self.first_fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Wakes all workers of the process.
    pub(crate) fn wake(&self) {
        for worker in self.workers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            worker.unpark();
        }
    }

    /// What the workers of the process leave for those who ask how they do, by index.
    pub(crate) fn pulses(&self) -> Vec<(usize, Arc<Pulse>)> {
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which sources are not read for now.
    pub(crate) fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    fn register(&self) {
        let this = std::thread::current();
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(this);
    }

    fn pulse_of(&self, index: usize) -> Arc<Pulse> {
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        let pulse = Arc::new(Pulse::default());
        let place = pulses.partition_point(|(other, _)| *other < index);
        pulses.insert(place, (index, Arc::clone(&pulse)));
        pulse
    }
}

/// How long a worker parks at most that has yet to tell of lines that the log held back.
const HELD_BACK_PARK: Duration = Duration::from_secs(1);

type SignalHandle = InputHandle<u64, CapacityContainerBuilder<Vec<(usize, Signal)>>>;

/// What workers have told each other, and by whom.
#[derive(Default)]
struct Heard {
    signals: Vec<(usize, Signal)>,
    /// Nobody will tell anything any more.
    silent: bool,
}

/// One worker, running.
pub(crate) struct Running {
    reading: Rc<RefCell<Reading>>,
    heard: Rc<RefCell<Heard>>,
    signals: Option<SignalHandle>,
    durability: Option<Durability>,
    /// If live input may fall silent while something is due.
    alarms: Option<Alarms>,
    looking: Option<Rc<RefCell<Looking>>>,
    /// The names of the sources, and the version of what is paused that is known.
    sources: (Vec<String>, u64),
    trace: Option<Arc<Trace>>,
    fault: Fault,
    control: Arc<Control>,
    pulse: Arc<Pulse>,
    stalled: Counter,
    /// Until it was told how long input has waited.
    rescaled_at: Option<Time>,
    counters: Counters,
    index: usize,
    pub(crate) finished: ProbeHandle<u64>,
    pub(crate) stores: Stores,
}

/// Runs `worker` until everything is done.
///
/// # Errors
/// The first fault of this worker.
pub(crate) fn run(worker: &mut Worker, setup: &Setup) -> Result<()> {
    setup.control.register();
    let result = match &setup.test {
        None => run_parking(worker, setup),
        Some((_, baton)) => baton.run(worker, setup),
    };
    if let Some(board) = setup.board.as_ref().filter(|_| worker.index() == 0) {
        board.close();
    }
    let Err(fault) = result else { return Ok(()) };
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
    let text = fault.to_string();
    setup.control.fail(fault);
    Err(Error::Cluster(text))
}

fn run_parking(worker: &mut Worker, setup: &Setup) -> Result<()> {
    // Most user code is guarded where its record is known; this is for all other code.
    let guarded = Fault::default().guard(|| {
        let mut running = Running::start(worker, setup)?;
        let mut park = None;
        while running.step(worker, park)? {
            let held_back = running.reading.borrow_mut().tell_held_back().then_some(HELD_BACK_PARK);
            let tick_in = running.reading.borrow().tick_in();
            park = [held_back, tick_in, running.checkpoint()?].into_iter().flatten().min();
        }
        running.tell_digests(setup)
    });
    guarded.unwrap_or_else(|panic| Err(panic.at(&culprit())))
}

impl Running {
    /// Draws the application and builds its dataflow on `worker`.
    pub(crate) fn start(worker: &mut Worker, setup: &Setup) -> Result<Self> {
        let (index, peers) = (worker.index(), worker.peers());
        let pulse = setup.control.pulse_of(index);
        let placement = Placement::new(setup.partitions, peers, index, local(index, setup));
        let (counters, views) = (setup.counters.clone(), setup.views.clone());
        let app = draw_to_run(placement.clone(), counters, views, |app| (setup.build)(app))?;
        let mut plan = app.into_plan()?;
        if let Some(durable) = &setup.durable {
            letters::keep(&mut plan, durable.letters());
        }
        let topology = Topology::of(&plan)?;
        let harness = setup.test.as_ref().map(|(harness, _)| harness.clone());
        let inputs = Inputs::of(&plan, harness.as_ref())?;
        if !inputs.recorded && index == 0 && plan.has_recorded_source() {
            tracing::info!("one source is live, so all records are stamped when they are read");
        }
        plan.prepare_time(inputs.recorded);
        let alarms = plan.alarms.clone();
        let finished = ProbeHandle::new();
        let flow = Flow::new(setup.limits, finished.clone());
        let mode = if inputs.recorded {
            Mode::Recorded
        } else {
            Mode::Live { epoch_max: setup.epoch_max }
        };
        let readers = inputs.lanes().map(|(source, p)| plan.reader(source, p));
        let reading = Reading::new(mode, flow, inputs.lanes().count(), index, readers);
        let sources = plan.sources.iter().map(|source| source.name.clone());
        let sources: (Vec<String>, u64) = (sources.collect(), setup.control.pauses.version());
        let reading = Rc::new(RefCell::new(reading));
        for name in setup.control.pauses.paused() {
            match sources.0.iter().position(|source| *source == name) {
                Some(source) => reading.borrow_mut().pause(source, true),
                None => return Err(unknown_source(&name, &sources.0)),
            }
        }
        let fault = Fault::default();
        let stores = std::mem::take(&mut plan.stores);
        if setup.durable.is_some() && plan.order == Order::Arrival {
            // A checkpoint needs the boundary between epochs, and a replay the order that was.
            plan.order = Order::Deterministic;
            if index == 0 {
                tracing::info!(
                    "with a data directory records are applied in order, though the application asks \
                     for the order of arrival: what is replayed must give what it gave before"
                );
            }
        }
        let board = setup.board.clone().filter(|_| index == 0);
        let durability = match &setup.durable {
            None => None,
            Some(durable) => {
                let owned = Placement::owned(setup.partitions, peers, index);
                let partitions = u32::try_from(setup.partitions).unwrap_or(u32::MAX);
                if durable.is_anew() {
                    let drawn =
                        draw(placement.clone(), Counters::default(), |app| (setup.build)(app))?;
                    let (stores, slice) = (drawn.into_plan()?.stores, (partitions, owned.clone()));
                    let viewed = |table: &str| plan.taps.get(table).is_some();
                    let former = durable.load_former(stores, slice, viewed, index == 0)?;
                    plan.former = former.map(Rc::new);
                }
                let rewritten = durable.restore(&stores, partitions, owned, index == 0)?;
                let keeps = durable.desk().map(|desk| (durable, desk));
                let tables = stores.snapshots().map(|(name, t)| (name, Rc::clone(t))).collect();
                let sinks = (0..plan.sinks.len()).filter(|s| placement.sink_worker(*s) == index);
                // One reaches a boundary for those that there are not.
                let groups = topology.groups.len().max(1);
                let ends = Ends { groups, sinks: sinks.count() };
                keeps.map(|keeps| {
                    let reading = Rc::clone(&reading);
                    let snapshots =
                        Snapshots::new(keeps, reading, tables, rewritten, ends, (index, board));
                    Durability::new(worker, snapshots)
                })
            }
        };
        let heard: Rc<RefCell<Heard>> = Rc::default();
        heard.borrow_mut().silent = peers == 1;
        let signals = (peers > 1).then(|| signals(worker, &heard));
        let looking = setup.board.as_ref().map(|board| {
            reading.borrow_mut().may_be_asked();
            let used = (&stores, &topology.tables(&plan));
            let looking = Looking::new(worker, board, used, &placement, setup);
            Rc::new(RefCell::new(looking))
        });
        let assembly = Assembly {
            plan,
            topology,
            reading: Rc::clone(&reading),
            finished: finished.clone(),
            fault: fault.clone(),
            meters: setup.board.as_ref().map(|_| pulse.counters().clone()),
            opener: Opener {
                inputs,
                counters: setup.counters.clone(),
                is_asked: setup.board.is_some(),
                harness,
                durable: setup.durable.clone(),
                trace: setup.trace.clone(),
            },
            looking: looking.clone(),
            tables: setup.trace.as_ref().and_then(|trace| trace.of_tables(&stores)),
            snapshots: durability.as_ref().map(|durability| Rc::clone(&durability.snapshots)),
        };
        worker.dataflow_named("anabranch", |scope| assemble(scope, assembly));
        let control = Arc::clone(&setup.control);
        let trace = setup.trace.clone();
        Ok(Self {
            reading,
            heard,
            signals,
            durability,
            alarms,
            looking,
            sources,
            trace,
            fault,
            control,
            stalled: pulse.counters().scoped("sources").counter("stalled_ns"),
            pulse,
            rescaled_at: setup.rescaled_at.filter(|_| index == 0),
            counters: setup.counters.clone(),
            index,
            finished,
            stores,
        })
    }

    /// Steps the worker once, parking for at most `park` (`None`: until woken) if there is nothing
    /// to do. Gives whether there is anything left to do.
    pub(crate) fn step(&mut self, worker: &mut Worker, park: Option<Duration>) -> Result<bool> {
        let alive = worker.step_or_park(park);
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if let Some(trace) = &self.trace {
            trace.complete(finished_before(&self.finished))?;
        }
        if self.control.abort.load(Ordering::SeqCst) {
            return Err(Error::Cluster("another worker of this process failed".to_string()));
        }
        let mut reading = self.reading.borrow_mut();
        if self.control.stop.load(Ordering::SeqCst) {
            reading.stop();
        }
        for (from, signal) in self.heard.borrow_mut().signals.drain(..) {
            if from != self.index {
                reading.hear(signal)?;
            }
            if let Some(durability) = &mut self.durability {
                durability.heard.push(signal);
            }
        }
        let version = self.control.pauses.version();
        if self.index == 0 && std::mem::replace(&mut self.sources.1, version) != version {
            let paused = self.control.pauses.paused();
            for (source, name) in self.sources.0.iter().enumerate() {
                reading.pause_everywhere(source, paused.contains(name));
            }
        }
        reading.resume();
        if let Some(alarms) = &self.alarms {
            reading.due_here(alarms.next());
        }
        let signals = reading.take_signals();
        match (&mut self.signals, &mut self.durability) {
            (Some(handle), _) => {
                for signal in signals {
                    handle.send((self.index, signal));
                }
                handle.flush();
            }
            // Alone, there is nobody else to hear them.
            (None, Some(durability)) => durability.heard.extend(signals),
            (None, None) => {}
        }
        if let Some(looking) = &self.looking {
            looking.borrow_mut().work(&reading, self.finished.done())?;
        }
        if self.looking.is_some() {
            let stalled = u64::try_from(reading.stalled_for().as_nanos()).unwrap_or(u64::MAX);
            self.stalled.set(stalled);
        }
        if let Some(at) = self.rescaled_at.take_if(|_| !reading.replays()) {
            let nanos = clock::now().as_nanos().saturating_sub(at.as_nanos()).max(0);
            let pause = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
            tracing::info!("input is taken again after {pause:?}, on another number of workers");
            let pause = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
            self.counters.scoped("rescale").gauge("pause_us").set(pause);
        }
        self.pulse.beat(State::of(&reading), finished_before(&self.finished));
        // A worker that reads nothing may still have to say that something is due, or how a checkpoint ended.
        let is_open =
            self.durability.as_ref().is_some_and(|durability| durability.is_open(&reading));
        if reading.is_done() && !is_open && (self.alarms.is_none() || self.finished.done()) {
            self.signals = None;
        }
        Ok(alive)
    }

    /// After a replay: what tables are, for comparison with another replay.
    fn tell_digests(&self, setup: &Setup) -> Result<()> {
        if setup.durable.as_ref().is_some_and(|durable| !durable.keeps()) {
            let digests = setup.counters.scoped("digest");
            for (name, table) in self.stores.snapshots() {
                digests.counter(name).add(table.digest()?);
            }
        }
        Ok(())
    }

    /// Works on a checkpoint, if one is being made, and says when there is more to do.
    fn checkpoint(&mut self) -> Result<Option<Duration>> {
        let Some(durability) = &mut self.durability else { return Ok(None) };
        // Until nobody has anything to tell, there may be a last checkpoint to come.
        let is_last = self.heard.borrow().silent && !durability.is_open(&self.reading.borrow());
        let sleep = durability.work(is_last && self.finished.done())?;
        // How a checkpoint ended is yet to be told.
        Ok(if self.reading.borrow().has_signals() { Some(Duration::ZERO) } else { sleep })
    }

    /// The test driver's last cut and the epoch that it ended.
    pub(crate) fn last_cut(&self) -> Option<(crate::Time, u64)> {
        self.reading.borrow().last_cut()
    }
}

fn unknown_source(name: &str, sources: &[String]) -> Error {
    let sources = sources.join(", ");
    Error::Usage(format!("there is no source `{name}` to be paused; there are: {sources}"))
}

/// The workers of the process of worker `index`.
fn local(index: usize, setup: &Setup) -> Range<usize> {
    let first = index - index % setup.workers_per_process;
    first..first + setup.workers_per_process
}

/// The dataflow by which workers tell each other about ticks and fences.
fn signals(worker: &mut Worker, heard: &Rc<RefCell<Heard>>) -> SignalHandle {
    let heard = Rc::clone(heard);
    worker.dataflow_named("signals", |scope| {
        let (handle, stream) = scope.new_input::<Vec<(usize, Signal)>>();
        stream.broadcast().sink(Pipeline, "hear", move |(input, frontier)| {
            let mut heard = heard.borrow_mut();
            input.for_each(|_, signals| heard.signals.append(signals));
            heard.silent = frontier.is_empty();
        });
        handle
    })
}
