//! What a worker reads, and when: the logic of the operator that reads the sources.
//!
//! Invariant: every record leaves in exactly one epoch, which is closed only when no record of it
//! can follow; no more is read than may be in flight.

mod ending;
mod live;
mod recorded;
mod settling;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::ending::LastMark;
use self::live::Dues;
pub(crate) use self::settling::Settling;
use timely::scheduling::Activator;

use crate::checkpoint::SourcePosition;
use crate::epoch::{Fences, Flow, Signal, Ticks};
use crate::ingest::Lane;
use crate::journal::Journal;
use crate::keeper::Keeper;
use crate::origin::Entry;
use crate::watermark::{Board, Moment};
use crate::{Result, Time, clock};

/// How many epochs of recorded input enter before the other operators have their turn.
const EPOCHS_A_TURN: usize = 2;

/// How input gets its epochs.
pub(crate) enum Mode {
    /// Stamped when it is read; an epoch closes when nothing is pending, at the latest after this
    /// long.
    Live { epoch_max: Duration },
    /// Brings its time; epochs end at fences.
    Recorded,
}

/// A partition that this worker reads.
pub(crate) struct OwnLane {
    pub(crate) lane: Box<dyn Lane>,
    /// Its index among the partitions of all sources.
    pub(crate) index: usize,
    pub(crate) name: String,
    /// The index of its source.
    pub(crate) of: usize,
    pub(crate) source: String,
    pub(crate) partition: u32,
    /// It waits for others, as it is far ahead of them.
    pub(crate) held: bool,
    pub(crate) ended: bool,
    /// It has ended when all others have, of all workers.
    pub(crate) attends: bool,
}

/// What this worker reads.
pub(crate) struct Reading {
    mode: Mode,
    lanes: Vec<OwnLane>,
    fences: Fences,
    ticks: Ticks,
    flow: Flow,
    /// The first epoch that is still open here.
    at: u64,
    /// For other workers; empty if there are none.
    signals: Vec<Signal>,
    worker: usize,
    /// The workers that have partitions, and where each of them stops, once it was told to.
    stops: BTreeMap<usize, Option<u64>>,
    /// The same workers, and before which epoch each of them has handed on all that it reads.
    ends: BTreeMap<usize, Option<u64>>,
    stopping: bool,
    stalled: bool,
    stalled_since: Option<Instant>,
    /// Before that.
    stalled_for: Duration,
    /// The sources that are not read for now.
    paused: BTreeSet<usize>,
    done: bool,
    current: Option<usize>,
    last_cut: Option<(Time, u64)>,
    /// Whether others may ask what tables hold, at boundaries that one worker marks.
    is_asked: bool,
    /// With a data directory.
    keeper: Option<Keeper>,
    /// What else is journaled, beside the input: dropped and brought to the disk with it.
    also: Vec<Rc<RefCell<Journal>>>,
    /// What this worker was asked to be the first to say: everything before `at` belongs to a
    /// checkpoint.
    mark: bool,
    last_mark: LastMark,
    /// Until it is done with what an earlier program had computed otherwise.
    settling: Option<Settling>,
    settle_asked: bool,
    settle_mark: bool,
    told_done: bool,
    /// Nothing at or after this time is handed on.
    until: Option<Time>,
    pub(crate) activator: Option<Activator>,
    /// What is to be told of event times.
    pub(crate) board: Board,
    /// Recorded: where the last epoch ended.
    applied: Option<Entry>,
    /// Recorded: it was told that nothing follows.
    told_end: bool,
    /// Live: when something is due by engine time.
    dues: Dues,
}

impl Reading {
    /// `partitions` counts those of all sources; `readers` are the workers that have some.
    pub(crate) fn new(
        mode: Mode,
        flow: Flow,
        partitions: usize,
        worker: usize,
        readers: impl IntoIterator<Item = usize>,
    ) -> Self {
        let nowhere: BTreeMap<_, _> = readers.into_iter().map(|worker| (worker, None)).collect();
        Self {
            mode,
            lanes: Vec::new(),
            fences: Fences::new(partitions),
            ticks: Ticks::default(),
            flow,
            at: 0,
            signals: Vec::new(),
            worker,
            stops: nowhere.clone(),
            ends: nowhere,
            stopping: false,
            stalled: false,
            stalled_since: None,
            stalled_for: Duration::ZERO,
            paused: BTreeSet::new(),
            done: false,
            current: None,
            last_cut: None,
            is_asked: false,
            keeper: None,
            also: Vec::new(),
            mark: false,
            last_mark: LastMark::default(),
            settling: None,
            settle_asked: false,
            settle_mark: false,
            told_done: false,
            until: None,
            activator: None,
            board: Board::default(),
            applied: None,
            told_end: false,
            dues: Dues::default(),
        }
    }

    pub(crate) fn add(&mut self, lane: OwnLane) {
        self.lanes.push(lane);
    }

    /// Keeps what is read, and begins with what an earlier run has kept from the boundary `from` on.
    pub(crate) fn keep(&mut self, keeper: Keeper, from: u64) {
        self.applied = keeper.applied();
        self.keeper = Some(keeper);
        self.at = from;
        self.fences.begin(from);
    }

    /// Others may ask what tables hold.
    pub(crate) fn may_be_asked(&mut self) {
        self.is_asked = true;
    }

    /// Brings `journal` to the disk, and drops of it what nobody needs, when the one of the input is.
    pub(crate) fn keep_also(&mut self, journal: Option<Rc<RefCell<Journal>>>) {
        self.also.extend(journal);
    }

    /// Whether what an earlier start had read is computed again.
    pub(crate) fn replays(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::replays)
    }

    /// Whether this worker takes no more input, and had some to take.
    pub(crate) fn is_ending(&self) -> bool {
        self.stopping || self.done && !self.lanes.is_empty()
    }

    /// Whether what is read is kept.
    pub(crate) fn keeps(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::keeps)
    }

    /// Hands on nothing at or after `until`.
    pub(crate) fn end_at(&mut self, until: Option<Time>) {
        self.until = until;
    }

    /// Where the partitions were when every epoch before `boundary` and none after it had been read.
    pub(crate) fn positions_at(&self, boundary: u64) -> Vec<SourcePosition> {
        let keeper = self.keeper.as_ref();
        keeper.map_or_else(Vec::new, |keeper| keeper.positions_at(boundary, &self.lanes))
    }

    /// Whether every worker has finished an epoch that no earlier run had read here.
    pub(crate) fn has_gone_on(&self) -> bool {
        let keeper = self.keeper.as_ref().filter(|keeper| !keeper.replays());
        keeper.is_some_and(|keeper| self.flow.finished_before() > keeper.known())
    }

    /// A checkpoint is complete, and none before the boundary `epoch` is kept.
    pub(crate) fn forget_before(&mut self, epoch: u64) {
        if let Some(keeper) = &mut self.keeper {
            keeper.forget_before(epoch);
        }
        for journal in &self.also {
            journal.borrow_mut().drop_before(epoch);
        }
    }

    /// A checkpoint is being made: the journal is brought to the disk.
    pub(crate) fn roll(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.roll();
        }
        for journal in &self.also {
            journal.borrow_mut().roll();
        }
    }

    /// Everything that this worker has read before this epoch is on the disk.
    pub(crate) fn synced(&self) -> u64 {
        let synced = self.keeper.as_ref().map_or(self.at, Keeper::synced);
        // Nothing follows what was read here.
        if self.done && synced >= self.at { u64::MAX } else { synced }
    }

    /// Tells all workers, this one too, how a checkpoint ended.
    pub(crate) fn announce_checkpoint(&mut self, signal: Signal) {
        self.signals.push(signal);
    }

    /// Everything of this worker before this epoch survives whatever happens; without a data
    /// directory, everything that it has read.
    pub(crate) fn durable(&mut self) -> Result<u64> {
        let Some(keeper) = &mut self.keeper else { return Ok(self.at) };
        Ok(keeper.durable(&mut self.lanes)?.min(self.at))
    }

    /// Asks for a mark: see [`take_mark`](Self::take_mark). Refused while an earlier run is being
    /// replayed.
    pub(crate) fn ask_mark(&mut self) -> bool {
        if self.at == 0 || self.keeper.as_ref().is_none_or(Keeper::replays) {
            return false;
        }
        self.mark = true;
        self.activate();
        true
    }

    /// The boundary at which a checkpoint was asked for: all before it was read here, and nothing
    /// after it. New segments of the journal begin there.
    pub(crate) fn take_mark(&mut self) -> Option<u64> {
        if !std::mem::take(&mut self.mark) {
            return None;
        }
        if self.wants_last_mark() {
            self.leave_last_mark();
        }
        Some(self.at)
    }

    /// The first epoch that is still open here.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Takes no more input: what was accepted is completed, then the sources end.
    pub(crate) fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.tell(Signal::Stop { worker: self.worker, epoch: self.at });
            self.activate();
        }
    }

    /// What a worker (this one too) told all.
    pub(crate) fn hear(&mut self, signal: Signal) -> Result<()> {
        match signal {
            Signal::Tick(tick) => self.ticks.see(tick, now())?,
            Signal::Stop { worker, epoch } => {
                self.stops.insert(worker, Some(epoch));
                self.stop();
            }
            Signal::Done { worker, epoch } => {
                self.stops.insert(worker, Some(epoch));
                self.ends.insert(worker, Some(epoch));
            }
            Signal::Fence { .. } | Signal::End { .. } => self.fences.publish(signal),
            Signal::Due { worker, at } => {
                self.dues.set(worker, at);
            }
            Signal::Pause { source, paused } => self.pause(source, paused),
            Signal::Checkpoint { .. } | Signal::NoCheckpoint => {}
        }
        self.activate();
        Ok(())
    }

    /// A source is read no further here, or again.
    pub(crate) fn pause(&mut self, source: usize, paused: bool) {
        if paused {
            self.paused.insert(source);
        } else {
            self.paused.remove(&source);
        }
        self.activate();
    }

    /// The same on all workers.
    pub(crate) fn pause_everywhere(&mut self, source: usize, paused: bool) {
        if self.paused.contains(&source) != paused {
            self.pause(source, paused);
            self.tell(Signal::Pause { source, paused });
        }
    }

    /// For how long this worker has not read on because too much was in flight.
    pub(crate) fn stalled_for(&self) -> Duration {
        let now = self.stalled_since.map_or(Duration::ZERO, |since| since.elapsed());
        self.stalled_for + now
    }

    /// Reads no further until there is room.
    fn stall(&mut self) {
        self.stalled = true;
        self.stalled_since.get_or_insert_with(clock::instant);
    }

    /// What to tell the other workers.
    pub(crate) fn take_signals(&mut self) -> Vec<Signal> {
        std::mem::take(&mut self.signals)
    }

    /// Whether there is something to tell them.
    pub(crate) fn has_signals(&self) -> bool {
        !self.signals.is_empty()
    }

    /// Whether everything was read, or reading has stopped.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Reads on if it waited for room and there is room now.
    pub(crate) fn resume(&mut self) {
        if self.stalled && self.flow.admits() {
            self.stalled = false;
            let since = self.stalled_since.take();
            self.stalled_for += since.map_or(Duration::ZERO, |since| since.elapsed());
            self.activate();
        }
        self.resume_held();
    }

    /// Tells how many dead letters were not logged; gives whether some are still to be told of, in
    /// a while.
    pub(crate) fn tell_held_back(&mut self) -> bool {
        let mut waits = false;
        for own in &mut self.lanes {
            waits |= own.lane.tell_held_back();
        }
        waits
    }

    /// The partition that was being read last: whom to name if user code panicked.
    pub(crate) fn current(&self) -> Option<&str> {
        Some(self.lanes.get(self.current?)?.name.as_str())
    }

    /// The last cut of a test driver that was closed here, and the epoch that it ended.
    pub(crate) fn last_cut(&self) -> Option<(Time, u64)> {
        self.last_cut
    }

    /// Reads what may be read now. Calls `ship(epoch, next)` when the records of `epoch` are in
    /// the outboxes, and no epoch before `next` is open here any more. Gives whether there is
    /// anything left to read.
    pub(crate) fn advance(&mut self, mut ship: impl FnMut(u64, u64)) -> Result<bool> {
        if self.done || !self.replay(&mut ship)? {
            return Ok(!self.done);
        }
        match self.mode {
            Mode::Live { epoch_max } => self.advance_live(epoch_max, ship)?,
            Mode::Recorded => self.advance_recorded(ship)?,
        }
        Ok(!self.done)
    }

    /// Live: hands on what an earlier run has journaled; gives whether all of it was.
    fn replay(&mut self, ship: &mut impl FnMut(u64, u64)) -> Result<bool> {
        for _ in 0..EPOCHS_A_TURN {
            let Some(keeper) = self.keeper.as_mut() else { return Ok(true) };
            if let Some(until) = self.until {
                keeper.leave_out_after(u64::try_from(until.as_nanos()).unwrap_or(0));
            }
            let replays = keeper.replays();
            if matches!(self.mode, Mode::Live { .. }) && !self.is_anew() && !self.settle(ship)? {
                return Ok(false);
            }
            let Some(keeper) = self.keeper.as_mut() else { return Ok(true) };
            if !replays {
                let live = matches!(self.mode, Mode::Live { .. });
                if live && !keeper.keeps() {
                    self.end_of_span(ship);
                    self.done = true;
                }
                return Ok(!self.done);
            }
            // What was journaled was accepted, so a program that is to end completes it first.
            if self.stopping && !keeper.keeps() {
                self.done = true;
                return Ok(false);
            }
            if !self.flow.admits() {
                self.stall();
                return Ok(false);
            }
            let Some((epoch, volume)) = keeper.replay(&mut self.lanes)? else { return Ok(false) };
            if !keeper.replays() {
                self.lanes.iter_mut().for_each(|own| own.lane.go_on());
            }
            self.board.begin(Moment::whole(time(epoch)));
            ship(epoch, epoch + 1);
            self.at = epoch + 1;
            self.flow.enter(epoch, volume.records, volume.bytes);
            self.close(None)?;
            // Nothing else might come for long, and what was read is to be complete before.
            if matches!(self.mode, Mode::Live { .. }) && !self.replays() {
                self.tell(Signal::Tick(self.at));
            }
        }
        self.activate();
        Ok(false)
    }

    /// No input before `at` follows here; recorded input of the last epoch ended at `applied`.
    fn close(&mut self, applied: Option<Entry>) -> Result<()> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        keeper.close(self.at, applied, self.flow.finished_before(), &self.lanes)
    }

    /// Whether this worker has nothing left to read itself, and goes on only to mark the boundaries of
    /// checkpoints while others read, or to tell of the end of time when they have.
    fn follows(&mut self) -> bool {
        // Others may be further, and that its partitions have ended belongs to an epoch that they know.
        let tells = matches!(self.mode, Mode::Recorded) && self.tells_end();
        // It is not done until then: others that stop must come as far as it has.
        if tells || self.stopping || !self.keeps() && !self.is_asked {
            return tells;
        }
        self.tell_done();
        tells || self.worker == 0 && self.stops.values().any(Option::is_none)
    }

    /// Others have closed everything before `epoch`, and so does this worker.
    fn follow(&mut self, epoch: u64, ship: &mut impl FnMut(u64, u64)) -> Result<()> {
        self.at = epoch;
        ship(epoch, epoch);
        self.close(self.applied)
    }

    fn tell(&mut self, signal: Signal) {
        if let Signal::Stop { worker, epoch } | Signal::Done { worker, epoch } = signal {
            self.stops.insert(worker, Some(epoch));
        }
        if let Signal::Done { worker, epoch } = signal {
            self.ends.insert(worker, Some(epoch));
        }
        self.signals.push(signal);
    }

    /// Lets the operator that reads take its turn.
    pub(crate) fn activate(&self) {
        if let Some(activator) = &self.activator {
            activator.activate();
        }
    }
}

/// The time of a tick.
fn time(tick: u64) -> Time {
    Time::from_nanos(i64::try_from(tick).unwrap_or(i64::MAX))
}

/// The wall clock as a tick.
fn now() -> u64 {
    u64::try_from(clock::now().as_nanos()).unwrap_or(0)
}
