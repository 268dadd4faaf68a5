//! Sources on a worker, as those see them who do not know their record types: partitions, and what is asked
//! of them.
//!
//! Invariant: a partition is live or recorded, and is asked only what is meant for its kind.

mod reentry;
mod typed;

use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) use self::typed::TypedSource;
use crate::letters::{Content, Posted};
use crate::metrics::Counters;
use crate::origin::Entry;
use crate::pipeline::Hub;
use crate::source::{Nature, OpenContext, Progress};
use crate::test_driver::Feed;
use crate::watermark::SourceClock;
use crate::{Origin, Result, Time};

/// How many chunks a partition is read ahead of the epochs: others wait for its fences.
pub(crate) const CHUNKS_AHEAD: usize = 4;

/// A source whose record type only its own code knows.
pub(crate) trait AnySource {
    fn describe(&self) -> String;
    fn nature(&self) -> Nature;
    fn partitions(&self) -> Result<usize>;
    /// What takes its dead letters once more.
    fn reentry(&self) -> Box<dyn Reentry>;
    /// Opens a partition; from `feed` instead of the real thing under a test driver.
    fn open(&self, lane: LaneContext, feed: Option<Feed>) -> Result<Box<dyn Lane>>;
}

/// Takes dead letters of a source once more, on any worker.
pub(crate) trait Reentry {
    /// Hands on what is found in `content`, as of that origin.
    ///
    /// # Errors
    /// When nothing is found there.
    fn enter(&mut self, origin: Origin, content: &Content) -> Result<()>;
}

/// What a partition needs to know.
pub(crate) struct LaneContext {
    pub(crate) source: usize,
    pub(crate) partition: usize,
    pub(crate) open: OpenContext,
    pub(crate) dead_letters: Rc<Hub<Posted>>,
    /// How many chunks of recorded input to read ahead.
    pub(crate) chunks_ahead: usize,
    pub(crate) begin: Begin,
    /// If the source has event times.
    pub(crate) clock: Option<Rc<SourceClock>>,
}

/// One partition, being read on the worker that owns it.
pub(crate) trait Lane {
    /// Live: reads what is ready, stamps it with `time` and hands it on.
    fn read(&mut self, time: Time) -> Result<(Progress, Volume)>;
    /// Recorded: reads ahead, and says where a chunk ends.
    fn fill(&mut self) -> Result<Filled>;
    /// Recorded: hands on what was read up to `fence`.
    fn emit(&mut self, fence: Entry) -> Volume;
    /// Recorded: whether everything that was read was handed on.
    fn is_empty(&self) -> bool;
    /// Recorded: nothing more is handed on.
    fn end(&mut self);
    /// Tells how many dead letters were not logged, once their second is over; gives whether some
    /// are still to be told of.
    fn tell_held_back(&mut self) -> bool;
    /// Live: what was read since it was last [taken down](Lane::taken_down), for the journal; none if
    /// nothing was.
    fn brought(&self) -> Option<Brought<'_>>;
    /// What was brought is in the journal.
    fn taken_down(&mut self);
    /// Live: hands on what an earlier run has journaled. None: not all of it can be read yet; again
    /// when the waker was called.
    fn replay(&mut self, past: &Past<'_>) -> Result<Option<Volume>>;
    /// Live: everything journaled was replayed; from here on it is read.
    fn go_on(&mut self);
    /// Frames before offset `next` are durable.
    fn durable(&mut self, next: u64);
    /// From where a later run would read to go on after what was handed on.
    fn point(&self) -> Point;
}

/// A place in a partition from which reading can go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    /// The offset of the next frame.
    pub(crate) next: u64,
    /// The running maximum of times before it.
    pub(crate) last_time: Option<Time>,
    /// What the connector must know beside the offset.
    pub(crate) position: Vec<u8>,
}

/// What a live partition brought to an epoch.
pub(crate) struct Brought<'a> {
    /// The offset after the last frame.
    pub(crate) next: u64,
    pub(crate) frames: u64,
    /// The frames themselves; none if the source can be read again.
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) position: Option<Vec<u8>>,
}

/// What a live partition brought to an epoch of an earlier run.
pub(crate) struct Past<'a> {
    pub(crate) time: Time,
    pub(crate) frames: u64,
    /// The frames themselves; none if the source is to be read again.
    pub(crate) payload: Option<&'a [u8]>,
}

/// From where a partition is read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Begin {
    pub(crate) point: Point,
    /// Recorded: everything up to here was applied by an earlier run.
    pub(crate) applied: Option<Entry>,
    /// Offsets of frames that were set aside, and why: they become dead letters.
    pub(crate) aside: BTreeMap<u64, String>,
    pub(crate) kept: Kept,
}

/// What the journal has to do with a live partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kept {
    /// There is none.
    #[default]
    Nothing,
    /// What is read is to be kept there.
    Anew,
    /// Only what it has is read; the source itself is not touched.
    Already,
}

/// How much was handed on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Volume {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// What reading ahead came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// A chunk is complete, up to this entry.
    Chunk(Entry),
    /// Read again at once.
    More,
    /// Enough is read ahead.
    Enough,
    /// The waker will be called.
    Idle,
    /// Everything is read.
    End,
}

/// The context in which a connector of that name opens.
pub(crate) fn open_context(
    name: &str,
    waker: crate::source::Waker,
    counters: &Counters,
) -> OpenContext {
    OpenContext::new(name, waker, counters.scoped(name))
}
