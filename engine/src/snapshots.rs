//! What one worker contributes to checkpoints: its tables at a boundary, encoded bit by bit between
//! batches, where its partitions and sinks were, and the word to the one that assembles them all.
//!
//! Invariant: a worker's part is the state of its groups when every epoch before the boundary and
//! none after it was applied; processing goes on meanwhile. One checkpoint is made at a time.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Input, Operator as _};
use timely::worker::Worker;

use crate::aside::Aside;
use crate::checkpoint::{BLOCK_BYTES, Rows, SinkPosition, TablePart, WorkerPart};
use crate::clock;
use crate::durable::Durable;
use crate::epoch::Signal;
use crate::looking::Board;
use crate::metrics::Counter;
use crate::reading::Reading;
use crate::scribe::{Desk, Outcome, Said, Work};
use crate::state::Snapshot;
use crate::watermark::EventTimes;
use crate::{Error, Result};

/// How many rows are encoded before records have their turn.
const ROWS_A_TURN: usize = 256;

/// What one worker has of a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) boundary: u64,
    pub(crate) worker: usize,
    pub(crate) part: WorkerPart,
    /// How far event time had come, if there is any.
    pub(crate) event_times: Option<EventTimes>,
    /// Why it is of no use.
    pub(crate) failed: Option<String>,
}

/// The contributions of one worker.
pub(crate) struct Snapshots {
    durable: Arc<Durable>,
    reading: Rc<RefCell<Reading>>,
    tables: Vec<(&'static str, Rc<dyn Snapshot>)>,
    /// Tables whose rows were restored as something else: all of them are in the next checkpoint.
    rewritten: BTreeSet<String>,
    ends: Ends,
    worker: usize,
    desk: Desk,
    current: Option<Current>,
    /// What is encoded of the first of its tables.
    rows: Rows,
    /// Rows of all tables must be in the next one: something of the last one was lost.
    whole: bool,
    /// Rows of this worker were lost on the way.
    lost: bool,
    coordinator: Option<Coordinator>,
    pause: Counter,
}

/// How many operators of a worker must have reached a boundary.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) groups: usize,
    /// Those that this worker writes.
    pub(crate) sinks: usize,
}

/// The checkpoint that is being made.
struct Current {
    part: Part,
    groups_left: usize,
    sinks_left: usize,
    /// Tables that are being encoded.
    encoding: VecDeque<usize>,
    /// What could not be handed to the thread that writes.
    held_back: Option<Work>,
    told: bool,
}

/// What the worker does in addition that says when checkpoints are made.
struct Coordinator {
    interval: Duration,
    last: Instant,
    /// When it was asked last whether this generation still has its place.
    asked: Instant,
    /// Whether one is being made.
    busy: bool,
    /// The boundary of the last one.
    done: u64,
    /// Whether it was said that this start has got further than the ones before.
    told_progress: bool,
    /// Where others ask for checkpoints.
    board: Board,
}

impl Snapshots {
    pub(crate) fn new(
        (durable, desk): (&Arc<Durable>, Desk),
        reading: Rc<RefCell<Reading>>,
        tables: Vec<(&'static str, Rc<dyn Snapshot>)>,
        rewritten: BTreeSet<String>,
        ends: Ends,
        (worker, board): (usize, Option<Board>),
    ) -> Self {
        let coordinator = (worker == 0).then(|| Coordinator {
            interval: durable.interval(),
            last: clock::instant(),
            asked: clock::instant(),
            busy: false,
            done: durable.computed(),
            told_progress: false,
            board: board.unwrap_or_default(),
        });
        Self {
            durable: Arc::clone(durable),
            reading,
            tables,
            rewritten,
            ends,
            worker,
            rows: desk.rows(),
            desk,
            current: None,
            whole: false,
            lost: false,
            coordinator,
            pause: durable.pause_counter(),
        }
    }

    /// A group has applied every epoch before `boundary`, and none after it.
    pub(crate) fn group_reached(
        &mut self,
        boundary: u64,
        tables: &BTreeSet<&'static str>,
        event_times: Option<EventTimes>,
    ) {
        let whole = self.whole;
        let mut refused = false;
        let mut begun = Vec::new();
        for (index, (name, table)) in self.tables.iter().enumerate() {
            if tables.contains(name) {
                refused |= !if whole { table.all() && table.begin() } else { table.begin() };
                begun.push(index);
            }
        }
        let current = self.current(boundary);
        if let Some(known) = event_times {
            current.part.event_times.get_or_insert_default().add(known);
        }
        current.groups_left = current.groups_left.saturating_sub(1);
        current.encoding.extend(begun);
        if refused {
            let problem = "the one before was not complete";
            current.part.failed.get_or_insert_with(|| problem.to_string());
        }
    }

    /// A sink has released every record before `boundary`, and none after it.
    pub(crate) fn sink_reached(&mut self, boundary: u64, reached: SinkPosition) {
        let current = self.current(boundary);
        current.sinks_left = current.sinks_left.saturating_sub(1);
        current.part.part.sinks.push(reached);
    }

    /// Sets a record aside on which user code panicked.
    pub(crate) fn set_aside(&self, aside: &Aside) -> Result<bool> {
        self.durable.set_aside(aside).map(|()| true)
    }

    fn current(&mut self, boundary: u64) -> &mut Current {
        let Self { reading, tables, rewritten, ends, worker, current, rows, .. } = self;
        let stale = current.as_ref().is_some_and(|current| current.part.boundary != boundary);
        if stale {
            *current = None;
        }
        if current.is_none() {
            reading.borrow_mut().roll();
            rows.clear();
        }
        current.get_or_insert_with(|| Current {
            part: Part {
                boundary,
                worker: *worker,
                part: WorkerPart {
                    tables: tables
                        .iter()
                        .map(|(_, table)| unchanged(&**table, rewritten))
                        .collect(),
                    sources: reading.borrow().positions_at(boundary),
                    sinks: Vec::new(),
                },
                event_times: None,
                failed: None,
            },
            groups_left: ends.groups,
            sinks_left: ends.sinks,
            encoding: VecDeque::new(),
            held_back: None,
            told: false,
        })
    }

    /// Does some of the work, between batches. Gives how long the worker may sleep; none if it may
    /// until it is woken.
    pub(crate) fn work(&mut self, out: &mut Vec<Part>) -> Result<Option<Duration>> {
        while let Some(said) = self.desk.hear(self.worker) {
            match said {
                Said::Written(part) => {
                    self.lost |= part.failed.is_some();
                    out.push(*part);
                }
                Said::Outcome(outcome) => self.concluded(outcome),
                Said::Replaced(by) => return Err(Error::Replaced(by)),
            }
        }
        let mut more = None;
        if self.current.is_some() {
            let began = clock::instant();
            more = self.encode()?;
            let pause = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.pause.set(self.pause.get().max(pause));
            self.finish();
        }
        Ok([more, self.ask_place(), self.coordinate()].into_iter().flatten().min())
    }

    /// Encodes some rows; gives how long to wait before the next, if there are any.
    fn encode(&mut self) -> Result<Option<Duration>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        if let Some(work) = current.held_back.take() {
            current.held_back = self.desk.say(work);
        }
        if current.held_back.is_some() {
            return Ok(Some(Duration::from_millis(1)));
        }
        let Some(index) = current.encoding.front().copied() else { return Ok(None) };
        let Some((_, table)) = self.tables.get(index) else { return Ok(None) };
        let last = table.encode(ROWS_A_TURN, &mut self.rows)?;
        if last || self.rows.bytes().len() >= BLOCK_BYTES {
            let (worker, boundary) = (self.worker, current.part.boundary);
            let rows = std::mem::replace(&mut self.rows, self.desk.rows());
            let work = Work::Rows { worker, boundary, schema: table.schema(), rows };
            current.held_back = self.desk.say(work);
        }
        if last {
            current.encoding.pop_front();
        }
        Ok(Some(Duration::ZERO))
    }

    /// Hands the part in, if it is complete.
    fn finish(&mut self) {
        let Some(current) = &mut self.current else { return };
        let complete = current.groups_left == 0
            && current.sinks_left == 0
            && current.encoding.is_empty()
            && current.held_back.is_none()
            && self.reading.borrow().synced() >= current.part.boundary;
        if complete && !std::mem::replace(&mut current.told, true) {
            current.held_back = self.desk.say(Work::End(Box::new(current.part.clone())));
        } else if complete {
            self.current = None;
            (self.whole, self.lost) = (false, false);
        }
    }

    /// On the worker that says when: whether or not there is anything to commit, lets the thread see from
    /// time to time whether this generation still has its place. Gives how long that is.
    fn ask_place(&mut self) -> Option<Duration> {
        let coordinator = self.coordinator.as_mut()?;
        let left = coordinator.interval.saturating_sub(coordinator.asked.elapsed());
        if !left.is_zero() {
            return Some(left);
        }
        coordinator.asked = clock::instant();
        // If there is no room it is committing, and asks by itself.
        let _ = self.desk.say(Work::Place);
        Some(coordinator.interval)
    }

    /// On the worker that says when: asks for the next checkpoint when it is time. Gives how long that
    /// is.
    fn coordinate(&mut self) -> Option<Duration> {
        let coordinator = self.coordinator.as_mut()?;
        if !coordinator.told_progress && self.reading.borrow().has_gone_on() {
            coordinator.told_progress = true;
            self.durable.made_progress();
        }
        if coordinator.busy {
            return None;
        }
        let mut reading = self.reading.borrow_mut();
        if reading.wants_last_mark() {
            coordinator.busy = reading.at() > coordinator.done && reading.ask_mark();
            if !coordinator.busy {
                reading.leave_last_mark();
            }
            return None;
        }
        if reading.is_done() || reading.at() <= coordinator.done {
            // Nothing was read since; whatever is read wakes this worker.
            coordinator.board.no_checkpoint_needed(coordinator.done);
            return None;
        }
        let left = coordinator.interval.saturating_sub(coordinator.last.elapsed());
        if !left.is_zero() && !coordinator.board.wants_checkpoint() {
            return Some(left);
        }
        if reading.ask_mark() {
            coordinator.board.begin_checkpoint();
            coordinator.busy = true;
            coordinator.last = clock::instant();
            return None;
        }
        Some(coordinator.interval)
    }

    /// On the worker that says when: whether there are checkpoints to come.
    fn is_open(&self, reading: &Reading) -> bool {
        let open = |coordinator: &Coordinator| coordinator.busy || !reading.is_done();
        self.coordinator.as_ref().is_some_and(open)
    }

    /// On the worker that says when: the part of a worker is there.
    pub(crate) fn collect(&mut self, part: Part) {
        // Unbounded for this: as many as there are workers.
        self.desk.submit(part);
    }

    /// On the worker that says when: how a checkpoint ended.
    fn concluded(&mut self, outcome: Outcome) {
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.busy = false;
            match outcome {
                Outcome::Complete { boundary, .. } => {
                    coordinator.done = boundary;
                    coordinator.board.end_checkpoint(Some(boundary));
                }
                Outcome::Failed => coordinator.board.end_checkpoint(None),
            }
        }
        let signal = match outcome {
            Outcome::Complete { keep_from, .. } => Signal::Checkpoint { keep_from },
            Outcome::Failed => Signal::NoCheckpoint,
        };
        self.reading.borrow_mut().announce_checkpoint(signal);
    }

    /// What was said of a checkpoint to all workers.
    pub(crate) fn hear(&mut self, signal: Signal) {
        match signal {
            Signal::Checkpoint { keep_from } => {
                self.rewritten.clear();
                self.reading.borrow_mut().forget_before(keep_from);
            }
            // Its files are part of the next one; rows that never came into a file are not.
            Signal::NoCheckpoint => self.whole |= self.lost,
            _ => {}
        }
    }
}

/// A table of which no file is written yet.
fn unchanged(table: &dyn Snapshot, rewritten: &BTreeSet<String>) -> TablePart {
    let schema = table.schema();
    let replaces = rewritten.contains(&schema.name);
    TablePart { schema, files: Vec::new(), replaces }
}

/// The bytes of a part, on its way to the worker that collects them.
pub(crate) fn to_bytes(part: &Part) -> Result<Vec<u8>> {
    serde_json::to_vec(part)
        .map_err(|e| Error::Data(format!("a worker's part of a checkpoint: {e}")))
}

/// The part in these bytes.
pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Part> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::Data(format!("a worker's part of a checkpoint: {e}")))
}

type PartHandle = InputHandle<u64, CapacityContainerBuilder<Vec<Vec<u8>>>>;

/// Checkpoints on one worker, with the dataflow by which parts travel to the worker that collects them.
pub(crate) struct Durability {
    pub(crate) snapshots: Rc<RefCell<Snapshots>>,
    parts: Option<PartHandle>,
    arrived: Rc<RefCell<Vec<Vec<u8>>>>,
    /// What was said of checkpoints.
    pub(crate) heard: Vec<Signal>,
}

impl Durability {
    pub(crate) fn new(worker: &mut Worker, snapshots: Snapshots) -> Self {
        let arrived: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
        let arriving = Rc::clone(&arrived);
        let parts = worker.dataflow_named("checkpoints", |scope| {
            let (handle, stream) = scope.new_input::<Vec<Vec<u8>>>();
            stream.sink(Exchange::new(|_: &Vec<u8>| 0), "collect", move |(input, _)| {
                input.for_each(|_, parts| arriving.borrow_mut().append(parts));
            });
            handle
        });
        let snapshots = Rc::new(RefCell::new(snapshots));
        Self { snapshots, parts: Some(parts), arrived, heard: Vec::new() }
    }

    /// On the worker that says when: whether there are checkpoints to come.
    pub(crate) fn is_open(&self, reading: &Reading) -> bool {
        self.snapshots.borrow().is_open(reading)
    }

    /// Does some of the work; gives how long the worker may sleep. After `done` no checkpoint is made.
    pub(crate) fn work(&mut self, done: bool) -> Result<Option<Duration>> {
        let mut snapshots = self.snapshots.borrow_mut();
        for signal in self.heard.drain(..) {
            snapshots.hear(signal);
        }
        if done {
            self.parts = None;
            return Ok(None);
        }
        for bytes in self.arrived.borrow_mut().drain(..) {
            snapshots.collect(of_bytes(&bytes)?);
        }
        let mut written = Vec::new();
        let sleep = snapshots.work(&mut written)?;
        if let Some(parts) = &mut self.parts {
            for part in &written {
                parts.send(to_bytes(part)?);
                // An exchange keeps what is less than a batch until time goes on.
                parts.advance_to(parts.time() + 1);
            }
        }
        Ok(sleep)
    }
}
