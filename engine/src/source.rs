//! Where records enter: sources, their partitions, and decoders.
//!
//! Invariant: a source says *what* was read and, for recorded input, *when* it was recorded; the
//! engine alone stamps, orders and forms epochs. A reader never blocks a worker: it gives what is
//! ready, and calls the [`Waker`] when there is more.

mod context;
mod frames;
mod intake;
mod mapped;
mod memory;

pub use self::context::{OpenContext, Resume, Waker};
pub(crate) use self::frames::journaled;
pub use self::frames::{FrameReader, Frames, Inlet, frames};
pub use self::intake::Intake;
pub(crate) use self::intake::Refusal;
pub use self::mapped::map;
pub use self::memory::{empty, memory, memory_timed};
use crate::{Record, Result, Time};

/// Whether input brings its time or is stamped when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Stamped when it is read (`ws:`, `tcp-listen:`, `-`).
    Live,
    /// Brings its time and is finite or generated (`file:`, `gen:`): a run over recorded sources
    /// alone is a pure function of them.
    Recorded,
}

/// A source of records; a connector implements one.
///
/// Built once on every worker (and once more to check the application), so building one touches
/// nothing outside; [`open`](Source::open) does, and only on the worker that owns the partition.
pub trait Source: 'static {
    /// What it yields.
    type Item: Record;

    /// What it reads, for people: its URL without secrets.
    fn describe(&self) -> String;

    /// Whether input is stamped when it is read or brings its time.
    fn nature(&self) -> Nature;

    /// How many partitions it has, at least one. Each has its own order and its own reader, on
    /// one worker.
    ///
    /// # Errors
    /// When what it reads cannot be found.
    fn partitions(&self) -> Result<usize>;

    /// Opens a partition for reading, from where `context` says that an earlier run stopped.
    ///
    /// # Errors
    /// When the partition cannot be opened; the program ends with that error.
    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn Reader<Self::Item>>>;

    /// A decoder as the source itself would use, so that [`TestDriver`](crate::TestDriver) can
    /// feed bytes. `None` for sources that have no bytes.
    fn decoder(&self) -> Option<Box<dyn Decoder<Self::Item>>> {
        None
    }
}

/// What a reader says after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more at once: call again.
    Ready,
    /// Nothing for now; the [`Waker`] will be called.
    Idle,
    /// Nothing any more.
    End,
}

/// Reads one partition.
pub trait Reader<T> {
    /// Moves what is ready into `intake`, until it [is full](Intake::is_full). Never blocks for
    /// long: a slow device is read on a thread of the reader's own.
    ///
    /// # Errors
    /// Only what ends the program: a record that cannot be decoded is
    /// [rejected](Intake::reject), a connection that breaks is made again.
    fn read(&mut self, intake: &mut Intake<T>) -> Result<Progress>;

    /// Every frame before offset `next` will survive whatever happens: who asked for an
    /// acknowledgement can have it. Never called without a data directory, nor with
    /// `--durability off`.
    fn durable(&mut self, _next: u64) {}

    /// Reads `frame`, which was journaled by an earlier run, as if it had just come.
    ///
    /// # Errors
    /// When this reader has no frames: its records are journaled themselves.
    fn replay(&mut self, frame: Frame<'_>, intake: &mut Intake<T>) -> Result<()> {
        let _ = intake;
        Err(crate::Error::Connector(format!(
            "frame {} of the journal cannot be read by this source, which has no decoder: start the \
             program with the source that wrote it",
            frame.offset
        )))
    }

    /// What the reader must know, beside the next offset, to go on after the frames it has given:
    /// journaled with them, and handed back by [`Resume::position`] at the next start. None if the
    /// offset is enough.
    fn position(&self) -> Option<Vec<u8>> {
        None
    }
}

/// One frame as a transport read it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its index within the partition, from 0.
    pub offset: u64,
    /// When it was received, if a recording says so.
    pub stamp: Option<Time>,
    /// The columns' names, when `bytes` is a row of comma-separated values.
    pub columns: Option<&'a [String]>,
    /// The frame itself, without delimiter or length.
    pub bytes: &'a [u8],
    /// Why the transport refuses it, whatever a decoder would say (`bytes` is only its beginning):
    /// it becomes a dead letter with this reason.
    pub refusal: Option<&'a str>,
}

impl<'a> Frame<'a> {
    /// A whole frame of which nothing more is known.
    ///
    /// ```
    /// use anabranch::Time;
    /// use anabranch::source::Frame;
    /// let stamped = Frame { stamp: Some(Time::ZERO), ..Frame::new(7, b"hello") };
    /// assert_eq!((stamped.offset, stamped.refusal), (7, None));
    /// ```
    pub const fn new(offset: u64, bytes: &'a [u8]) -> Self {
        Self { offset, stamp: None, columns: None, bytes, refusal: None }
    }
}

/// Turns frames into records.
pub trait Decoder<T> {
    /// Finds the records of `frame`: none if it is well-formed and of no interest.
    ///
    /// # Errors
    /// [`Error::Decode`](crate::Error::Decode) with the reason: the frame becomes a dead letter,
    /// and what was already emitted from it is dropped.
    fn decode(&mut self, frame: Frame<'_>, out: &mut Decoded<'_, T>) -> Result<()>;
}

impl<T, F: FnMut(Frame<'_>, &mut Decoded<'_, T>) -> Result<()>> Decoder<T> for F {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Decoded<'_, T>) -> Result<()> {
        self(frame, out)
    }
}

/// Each frame as text; what is not UTF-8 is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl Decoder<String> for Text {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Decoded<'_, String>) -> Result<()> {
        let text = std::str::from_utf8(frame.bytes)
            .map_err(|e| crate::Error::Decode(format!("not UTF-8: {e}")))?;
        out.emit(text.to_string());
        Ok(())
    }
}

/// Each frame as one JSON document, by the record's `Deserialize`: an array is one record, a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<T: serde::de::DeserializeOwned> Decoder<T> for Json {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Decoded<'_, T>) -> Result<()> {
        let record = serde_json::from_slice(frame.bytes);
        out.emit(record.map_err(|e| crate::Error::Decode(format!("not the JSON asked for: {e}")))?);
        Ok(())
    }
}

/// Where a decoder puts what it found.
pub struct Decoded<'a, T> {
    intake: &'a mut Intake<T>,
    stamped: bool,
}

impl<T> Decoded<'_, T> {
    /// The time that the frame names: it is the ingest time of a recorded frame that has no
    /// receipt stamp. Call it before [`emit`](Decoded::emit).
    #[inline]
    pub fn time(&mut self, time: Time) {
        if !self.stamped {
            self.intake.frame_time(time);
        }
    }

    /// A record of the frame.
    #[inline]
    pub fn emit(&mut self, item: T) {
        self.intake.accept(item);
    }
}
