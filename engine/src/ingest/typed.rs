//! [`TypedSource`]: partitions that are read, stamped and handed to the pipelines.
//!
//! Invariant: a partition's records leave here in order, each with its origin; what a decoder
//! refused leaves as a dead letter with the same origin that the record would have had.

use std::collections::VecDeque;
use std::rc::Rc;
use std::vec::IntoIter;

use super::reentry::TypedReentry;
use super::{AnySource, Brought, Filled, Kept, Lane, LaneContext, Past, Point, Reentry, Volume};
use crate::frame_log::{self, FrameLog, Logged};
use crate::letters::{self, Again, Posted};
use crate::log::{DEAD_LETTER_LINES, Limited};
use crate::metrics::{Counter, Counters};
use crate::origin::Entry;
use crate::pipeline::{Hub, Tagged};
use crate::source::{Frame, Intake, Nature, Progress, Reader, Refusal, Source};
use crate::test_driver::Feed;
use crate::{DeadLetter, Error, Failure, Origin, Record, Result, Time};

/// The records of a chunk of recorded input: a fence follows it.
const CHUNK_RECORDS: usize = 1024;
/// The bytes of a chunk of recorded input.
const CHUNK_BYTES: usize = 1 << 18;

pub(crate) struct TypedSource<S: Source> {
    source: S,
    hub: Rc<Hub<S::Item>>,
}

impl<S: Source> TypedSource<S> {
    pub(crate) fn new(source: S) -> Self {
        Self { source, hub: Hub::new() }
    }

    pub(crate) fn hub(&self) -> Rc<Hub<S::Item>> {
        Rc::clone(&self.hub)
    }
}

impl<S: Source> AnySource for TypedSource<S> {
    fn describe(&self) -> String {
        self.source.describe()
    }

    fn nature(&self) -> Nature {
        self.source.nature()
    }

    fn partitions(&self) -> Result<usize> {
        self.source.partitions()
    }

    fn reentry(&self) -> Box<dyn Reentry> {
        Box::new(TypedReentry { decoder: self.source.decoder(), hub: Rc::clone(&self.hub) })
    }

    fn open(&self, lane: LaneContext, feed: Option<Feed>) -> Result<Box<dyn Lane>> {
        let reader = match feed {
            Some(feed) => feed.reader(self.source.decoder()),
            None if lane.begin.kept == Kept::Already && self.source.nature() == Nature::Live => {
                crate::source::journaled(self.source.decoder())
            }
            None => self.source.open(lane.partition, &lane.open)?,
        };
        Ok(Box::new(TypedLane::new(lane, reader, Rc::clone(&self.hub), self.source.nature())))
    }
}

struct TypedLane<T> {
    context: LaneContext,
    reader: Box<dyn Reader<T>>,
    intake: Intake<T>,
    hub: Rc<Hub<T>>,
    chunks: VecDeque<Chunk<T>>,
    ended: bool,
    letters: Vec<Tagged<Posted>>,
    counts: Counts,
    log: Limited,
    /// There may be lines that the log held back.
    holds_back: bool,
    /// The offset after the last frame that was read.
    next: u64,
    /// How many frames were read when the journal was last written.
    taken_down: u64,
    /// Where the chunk begins that is being read.
    chunk_start: Point,
}

struct Counts {
    records: Counter,
    ignored: Counter,
    dead_letters: Counter,
}

impl Counts {
    fn new(counters: &Counters) -> Self {
        Self {
            records: counters.counter("records"),
            ignored: counters.counter("ignored"),
            dead_letters: counters.counter("dead_letters"),
        }
    }
}

/// Recorded input that is read and waits for its epochs.
struct Chunk<T> {
    records: IntoIter<Tagged<T>>,
    letters: IntoIter<Tagged<Posted>>,
    bytes_per_item: usize,
    start: Point,
    end: Entry,
}

impl<T: Record> TypedLane<T> {
    fn new(
        context: LaneContext,
        reader: Box<dyn Reader<T>>,
        hub: Rc<Hub<T>>,
        nature: Nature,
    ) -> Self {
        let counts = Counts::new(&context.open.counters);
        let (source, partition) = (context.source, context.partition);
        let mut intake = Intake::new(source, partition, CHUNK_RECORDS, CHUNK_BYTES);
        let chunk_start = context.begin.point.clone();
        intake.from = chunk_start.next;
        intake.set_last_time(chunk_start.last_time);
        let logs = context.begin.kept == Kept::Anew && nature == Nature::Live;
        intake.log = logs.then(FrameLog::default);
        Self {
            next: chunk_start.next,
            taken_down: 0,
            chunk_start,
            context,
            reader,
            intake,
            hub,
            chunks: VecDeque::new(),
            ended: false,
            letters: Vec::new(),
            counts,
            log: Limited::new(DEAD_LETTER_LINES),
            holds_back: false,
        }
    }

    /// Keeps what was read for the journal, if the reader has not kept it as frames: a reader decodes
    /// all of its frames by [`Intake::decode`], or none.
    fn note(&mut self, logged_before: usize) -> Result<()> {
        self.next = self.intake.next_offset(self.next);
        let Some(log) = self.intake.log.as_mut().filter(|log| log.bytes().len() == logged_before)
        else {
            return Ok(());
        };
        for Tagged { origin, record } in &self.intake.records {
            log.record(origin.offset(), record)?;
        }
        for (origin, refusal) in &self.intake.refused {
            log.refused(origin.offset(), &refusal.failure.reason(), &refusal.bytes);
        }
        Ok(())
    }

    fn logged(&self) -> usize {
        self.intake.log.as_ref().map_or(0, |log| log.bytes().len())
    }

    /// Recorded: what remains of a chunk that an earlier run has applied in part.
    fn drop_applied(&mut self) {
        if let Some(applied) = self.context.begin.applied {
            self.intake.records.retain(|tagged| tagged.origin.entry() > applied);
            self.letters.retain(|tagged| tagged.origin.entry() > applied);
        }
    }

    /// Reads as many frames again as an earlier run has read for an epoch.
    fn read_again(&mut self, frames: u64) -> Result<bool> {
        if self.intake.frames_max == u64::MAX {
            self.intake.frames_max = self.intake.frames + frames;
        }
        while self.intake.frames < self.intake.frames_max {
            match self.reader.read(&mut self.intake)? {
                Progress::Idle => return Ok(false),
                Progress::End if self.intake.frames < self.intake.frames_max => {
                    return Err(Error::Data(format!(
                        "partition {} of source `{}` ends at frame {}, but an earlier run has read \
                         {} more of it: put back what it reads as it was, or begin with another \
                         --data-dir",
                        self.context.partition,
                        self.context.open.name,
                        self.intake.next_offset(self.next),
                        self.intake.frames_max - self.intake.frames,
                    )));
                }
                Progress::Ready | Progress::End => {}
            }
        }
        self.intake.frames_max = u64::MAX;
        Ok(true)
    }

    /// Decodes again what an earlier run has journaled.
    fn decode_again(&mut self, payload: &[u8]) -> Result<()> {
        self.intake.from = 0;
        for item in frame_log::read(payload) {
            let (offset, item) = item?;
            match item {
                Logged::Frame { bytes, refusal } => {
                    let frame = Frame { refusal, ..Frame::new(offset, bytes) };
                    self.reader.replay(frame, &mut self.intake)?;
                }
                Logged::Record(bytes) => {
                    let record = rmp_serde::from_slice(bytes).map_err(|e| {
                        Error::Data(format!(
                            "record {offset} of source `{}`, as an earlier run has journaled it, \
                             is no record of this program: {e}",
                            self.context.open.name
                        ))
                    })?;
                    self.intake.frame(offset, None, bytes.len());
                    self.intake.accept(record);
                }
                Logged::Refused { reason, bytes } => {
                    self.intake.frame(offset, None, bytes.len());
                    self.intake.reject(reason, bytes);
                }
            }
        }
        Ok(())
    }

    /// Live: hands on what was read.
    fn hand_on(&mut self) -> Volume {
        let bytes = self.settle();
        let records = self.intake.records.len() + self.letters.len();
        self.hub.dispatch(&mut self.intake.records);
        self.hand_on_letters();
        Volume { records, bytes }
    }

    /// Counts what was read and turns what was refused into dead letters. Gives the number of bytes.
    fn settle(&mut self) -> usize {
        if !self.context.begin.aside.is_empty() {
            self.refuse_aside();
        }
        for (origin, refusal) in std::mem::take(&mut self.intake.refused) {
            self.refuse(origin, refusal);
        }
        self.counts.records.add(self.intake.records.len() as u64);
        self.counts.ignored.add(std::mem::take(&mut self.intake.ignored));
        std::mem::take(&mut self.intake.bytes)
    }

    /// Records that were set aside become dead letters.
    fn refuse_aside(&mut self) {
        let aside = &self.context.begin.aside;
        let refused = &mut self.intake.refused;
        self.intake.records.retain(|Tagged { origin, record }| {
            let Some(reason) = aside.get(&origin.offset()) else { return true };
            let bytes = serde_json::to_vec(record).unwrap_or_default();
            let (failure, again) = (Failure::panic(reason.clone()), Again::Record);
            refused.push((*origin, Refusal { failure, bytes, again }));
            false
        });
        refused.sort_by_key(|(origin, _)| *origin);
    }

    fn refuse(&mut self, origin: Origin, refusal: Refusal) {
        let Refusal { failure, bytes, again } = refusal;
        let source = self.context.open.name.to_string();
        let (partition, offset) = (origin.partition(), origin.offset());
        self.counts.dead_letters.add(1);
        self.holds_back = true;
        let letter = DeadLetter {
            pipeline: source.clone(),
            source,
            partition,
            offset,
            time: origin.time(),
            computation: None,
            failure,
            bytes,
        };
        letter.warn(&self.log);
        let record = letters::posted(letter, again);
        self.letters.push(Tagged { origin, record });
    }

    /// Behind the last frame that was read.
    fn reached(&self) -> Point {
        Point {
            next: self.next,
            last_time: self.intake.last_time(),
            position: self.reader.position().unwrap_or_default(),
        }
    }

    fn hand_on_letters(&mut self) {
        self.context.dead_letters.dispatch(&mut self.letters);
    }
}

impl<T> Drop for TypedLane<T> {
    /// The last lines that were held back are told too.
    fn drop(&mut self) {
        self.log.finish();
    }
}

impl<T: Record> Lane for TypedLane<T> {
    fn read(&mut self, time: Time) -> Result<(Progress, Volume)> {
        self.intake.now = Some(time);
        let logged_before = self.logged();
        let progress = self.reader.read(&mut self.intake)?;
        self.note(logged_before)?;
        Ok((progress, self.hand_on()))
    }

    fn fill(&mut self) -> Result<Filled> {
        if self.ended {
            return Ok(Filled::End);
        }
        if self.chunks.len() >= self.context.chunks_ahead {
            return Ok(Filled::Enough);
        }
        if self.intake.records.capacity() == 0 {
            self.intake.records.reserve(CHUNK_RECORDS);
        }
        let progress = self.reader.read(&mut self.intake)?;
        self.next = self.intake.next_offset(self.next);
        self.ended = progress == Progress::End;
        if !self.ended && !self.intake.is_full() {
            return Ok(if progress == Progress::Idle { Filled::Idle } else { Filled::More });
        }
        let bytes = self.settle();
        let cut = self.intake.cut.take().map(|time| Entry { time, position: u64::MAX });
        let ends = [
            self.intake.records.last().map(|tagged| tagged.origin.entry()),
            self.letters.last().map(|tagged| tagged.origin.entry()),
            cut,
        ];
        let reached = self.reached();
        let start = std::mem::replace(&mut self.chunk_start, reached);
        let Some(end) = ends.into_iter().flatten().max() else {
            return Ok(if self.ended { Filled::End } else { Filled::More });
        };
        self.drop_applied();
        let items = self.intake.records.len() + self.letters.len();
        self.chunks.push_back(Chunk {
            records: std::mem::take(&mut self.intake.records).into_iter(),
            letters: std::mem::take(&mut self.letters).into_iter(),
            bytes_per_item: bytes / items.max(1),
            start,
            end,
        });
        Ok(Filled::Chunk(end))
    }

    fn emit(&mut self, fence: Entry) -> Volume {
        let mut volume = Volume::default();
        while let Some(chunk) = self.chunks.front_mut() {
            let mut records = take_until(&mut chunk.records, fence);
            let items = records.len() + {
                self.letters = take_until(&mut chunk.letters, fence);
                self.letters.len()
            };
            volume.records += items;
            volume.bytes += items * chunk.bytes_per_item;
            let whole = chunk.end <= fence;
            self.hub.dispatch(&mut records);
            self.hand_on_letters();
            if !whole {
                break;
            }
            self.chunks.pop_front();
        }
        volume
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    fn end(&mut self) {
        if let Some(clock) = &self.context.clock {
            clock.end(self.context.partition);
        }
    }

    fn brought(&self) -> Option<Brought<'_>> {
        let frames = self.intake.frames - self.taken_down;
        (frames > 0).then(|| Brought {
            next: self.next,
            frames,
            payload: self.intake.log.as_ref().map(FrameLog::bytes),
            position: self.reader.position(),
        })
    }

    fn taken_down(&mut self) {
        self.taken_down = self.intake.frames;
        if let Some(log) = &mut self.intake.log {
            log.clear();
        }
    }

    fn replay(&mut self, past: &Past<'_>) -> Result<Option<Volume>> {
        self.intake.now = Some(past.time);
        // It is behind what the partition began with, which is where the journal ends.
        self.intake.set_last_time(None);
        let log = self.intake.log.take();
        let whole = match past.payload {
            Some(payload) => self.decode_again(payload).map(|()| true),
            None => self.read_again(past.frames),
        };
        self.intake.log = log;
        self.next = self.intake.next_offset(self.next);
        if !whole? {
            return Ok(None);
        }
        let volume = self.hand_on();
        self.taken_down();
        Ok(Some(volume))
    }

    fn go_on(&mut self) {
        self.intake.from = self.next;
    }

    fn durable(&mut self, next: u64) {
        self.reader.durable(next);
    }

    fn point(&self) -> Point {
        match self.chunks.front() {
            _ if self.intake.now.is_some() => self.reached(),
            Some(chunk) => chunk.start.clone(),
            None => self.chunk_start.clone(),
        }
    }

    fn tell_held_back(&mut self) -> bool {
        if self.holds_back {
            self.log.poll();
            self.holds_back = self.log.held_back() > 0;
        }
        self.holds_back
    }
}

/// Takes the records up to `fence` from the front of `from`, all without a copy if they are all.
fn take_until<T>(from: &mut IntoIter<Tagged<T>>, fence: Entry) -> Vec<Tagged<T>> {
    let last = from.as_slice().last();
    if last.is_none_or(|last| last.origin.entry() <= fence) {
        return std::mem::take(from).collect();
    }
    let count = from.as_slice().partition_point(|tagged| tagged.origin.entry() <= fence);
    from.by_ref().take(count).collect()
}
