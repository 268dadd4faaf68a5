//! Where records enter: sources, their partitions, and decoders.
//!
//! Invariant: a source says *what* was read and, for recorded input, *when* it was recorded; the
//! engine alone stamps, orders and forms epochs. A reader never blocks a worker: it gives what is
//! ready, and calls the [`Waker`] when there is more.
//!
//! Over 500 lines because all that the author of a connector implements or calls is here, with
//! its documentation.

mod context;
mod mapped;

use std::rc::Rc;
use std::sync::Arc;

pub use self::context::{OpenContext, Resume, Waker};
pub use self::mapped::map;
use crate::frame_log::FrameLog;
use crate::pipeline::Tagged;
use crate::{Origin, Record, Result, Time};

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

/// What a reader reads into: frames, each with an offset, and the records found in them.
///
/// For each frame (a line, a message, a row) a reader calls [`frame`](Intake::frame) and then any
/// number of [`accept`](Intake::accept), or one [`reject`](Intake::reject), or
/// [`ignore`](Intake::ignore).
pub struct Intake<T> {
    pub(crate) records: Vec<Tagged<T>>,
    pub(crate) refused: Vec<(Origin, Refusal)>,
    pub(crate) ignored: u64,
    pub(crate) bytes: usize,
    bytes_max: usize,
    items_max: usize,
    /// The origin of the current frame.
    frame: Origin,
    /// How many records were found in the current frame.
    place: u32,
    /// The running maximum of times; [`UNKNOWN`] before the first.
    last_time: Time,
    /// Whether the frame's time stands in for one that is not known: no frame came before.
    time_unknown: bool,
    /// Live input: the time of everything that is read now.
    pub(crate) now: Option<Time>,
    /// Frames before this offset were handled by an earlier run: they are dropped.
    pub(crate) from: u64,
    /// Whether the current frame is one of them.
    dropping: bool,
    /// How many frames were read, and how many may be.
    pub(crate) frames: u64,
    pub(crate) frames_max: u64,
    /// Live input that is journaled: the frames as they come.
    pub(crate) log: Option<FrameLog>,
    /// A test driver ends an epoch here.
    pub(crate) cut: Option<Time>,
}

/// No time: before all others. Not an `Option`, which costs several nanoseconds per record, as its
/// two halves are written apart and read together.
const UNKNOWN: Time = Time::from_nanos(i64::MIN);

/// Why a frame was not decoded, and the frame.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) bytes: Vec<u8>,
}

impl<T> Intake<T> {
    pub(crate) fn new(source: usize, partition: usize, items_max: usize, bytes_max: usize) -> Self {
        Self {
            records: Vec::new(),
            refused: Vec::new(),
            ignored: 0,
            bytes: 0,
            bytes_max,
            items_max,
            frame: Origin::new(Time::ZERO, source, partition, 0),
            place: 0,
            last_time: UNKNOWN,
            time_unknown: false,
            now: None,
            from: 0,
            dropping: false,
            frames: 0,
            frames_max: u64::MAX,
            log: None,
            cut: None,
        }
    }

    /// An empty intake of the same partition.
    fn like<U>(&self) -> Intake<U> {
        Intake::new(self.frame.source(), self.frame.partition(), 0, 0)
    }

    /// True when no further frame should be read for now.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.records.len() + self.refused.len() >= self.items_max
            || self.bytes >= self.bytes_max
            || self.frames >= self.frames_max
            || self.cut.is_some()
    }

    /// The offset after the last frame that was read; `from` if none was.
    pub(crate) fn next_offset(&self, from: u64) -> u64 {
        let last = |offset: u64| offset + 1;
        let single = self.records.last().map(|tagged| last(tagged.origin.offset()));
        let framed = (self.frames > 0).then(|| last(self.frame.offset()));
        single.max(framed).unwrap_or(from).max(from)
    }

    /// The running maximum of times; none before the first frame whose time is known.
    pub(crate) fn last_time(&self) -> Option<Time> {
        (self.last_time != UNKNOWN).then_some(self.last_time)
    }

    /// Goes on behind `time`.
    pub(crate) fn set_last_time(&mut self, time: Option<Time>) {
        self.last_time = time.unwrap_or(UNKNOWN);
    }

    /// How many records of `bytes` bytes each it takes until it is full.
    fn room(&self, bytes: usize) -> usize {
        if self.is_full() {
            return 0;
        }
        let items = self.items_max - self.records.len() - self.refused.len();
        let frames = usize::try_from(self.frames_max - self.frames).unwrap_or(usize::MAX);
        items.min(frames).min((self.bytes_max - self.bytes).div_ceil(bytes.max(1)))
    }

    /// Begins the frame at `offset` (its index within the partition, from 0) of `bytes` bytes,
    /// recorded at `stamp` if the recording says so.
    #[inline]
    pub fn frame(&mut self, offset: u64, stamp: Option<Time>, bytes: usize) {
        self.dropping = offset < self.from;
        if !self.dropping {
            self.frame = self.enter(offset, stamp, bytes);
            self.place = 0;
        }
    }

    /// A frame as for [`frame`](Intake::frame) that is one record: costs less than to
    /// [`accept`](Intake::accept) it.
    #[inline(always)]
    pub fn single(&mut self, offset: u64, stamp: Option<Time>, bytes: usize, record: T) {
        if offset >= self.from {
            let origin = self.enter(offset, stamp, bytes);
            self.records.push(Tagged { origin, record });
        }
    }

    #[inline(always)]
    fn enter(&mut self, offset: u64, stamp: Option<Time>, bytes: usize) -> Origin {
        self.frames += 1;
        self.bytes += bytes;
        let known = self.now.or(stamp).unwrap_or(UNKNOWN).max(self.last_time);
        self.time_unknown = known == UNKNOWN;
        let time = if self.time_unknown { Time::ZERO } else { known };
        self.last_time = time;
        self.frame.at(time, offset)
    }

    /// The time that the frame itself names, for a recording whose lines have no stamp. Call it
    /// before [`accept`](Intake::accept).
    #[inline]
    pub fn frame_time(&mut self, time: Time) {
        if self.now.is_none() && !self.dropping {
            let unknown = std::mem::take(&mut self.time_unknown);
            let time = if unknown { time } else { time.max(self.frame.time()) };
            self.last_time = time;
            self.frame = self.frame.at(time, self.frame.offset());
        }
    }

    /// A record found in the current frame.
    #[inline]
    pub fn accept(&mut self, record: T) {
        if self.dropping {
            return;
        }
        let origin = if self.place == 0 { self.frame } else { self.next_of_several() };
        self.records.push(Tagged { origin, record });
        self.place += 1;
    }

    /// The origin of a further record of one frame: places tell them apart.
    #[cold]
    fn next_of_several(&mut self) -> Origin {
        if self.place == 1
            && let Some(first) = self.records.last_mut()
        {
            first.origin = first.origin.child(0);
        }
        self.frame.child(self.place)
    }

    /// The current frame, `bytes`, is refused for `reason`: it becomes a dead letter.
    pub fn reject(&mut self, reason: impl Into<String>, bytes: &[u8]) {
        if self.dropping {
            return;
        }
        let refusal = Refusal { reason: reason.into(), bytes: bytes.to_vec() };
        self.refused.push((self.frame, refusal));
    }

    /// The current frame is well-formed and of no interest (a heartbeat): only counted.
    pub fn ignore(&mut self) {
        self.ignored += u64::from(!self.dropping);
    }

    /// Decodes `frame` with `decoder` and accepts, rejects or ignores it; one that its transport
    /// refused is rejected unseen.
    pub fn decode(&mut self, frame: Frame<'_>, decoder: &mut (impl Decoder<T> + ?Sized)) {
        self.frame(frame.offset, frame.stamp, frame.bytes.len());
        if self.dropping {
            return;
        }
        if let Some(log) = &mut self.log {
            log.frame(&frame);
        }
        if let Some(reason) = frame.refusal {
            return self.reject(reason, frame.bytes);
        }
        let before = self.records.len();
        let stamped = frame.stamp.is_some();
        match decoder.decode(frame, &mut Decoded { intake: self, stamped }) {
            Ok(()) if self.records.len() == before => self.ignore(),
            Ok(()) => {}
            Err(error) => {
                self.records.truncate(before);
                self.reject(error.to_string(), frame.bytes);
            }
        }
    }
}

/// For a reader's own tests, where no engine reads.
impl<T> Intake<T> {
    /// An intake that is full with `items_max` items or `bytes_max` bytes.
    pub fn detached(items_max: usize, bytes_max: usize) -> Self {
        Self::new(0, 0, items_max, bytes_max)
    }

    /// Takes out what was read, in order: records, and refused frames with the reason.
    pub fn take(&mut self) -> Vec<Result<T, (String, Vec<u8>)>> {
        self.bytes = 0;
        let mut items: Vec<_> =
            self.records.drain(..).map(|tagged| (tagged.origin, Ok(tagged.record))).collect();
        for (origin, refusal) in self.refused.drain(..) {
            items.push((origin, Err((refusal.reason, refusal.bytes))));
        }
        items.sort_by_key(|(origin, _)| *origin);
        items.into_iter().map(|(_, item)| item).collect()
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

/// An [`Inlet`] with a decoder: the usual source. Built by [`frames`].
pub struct Frames<T> {
    inlet: Box<dyn Inlet>,
    decoder: Rc<dyn Fn() -> Box<dyn Decoder<T>>>,
}

/// A source that reads frames from `inlet` and decodes them by what `decoder` makes, one a
/// partition.
pub fn frames<T, D>(inlet: impl Inlet, decoder: impl Fn() -> D + 'static) -> Frames<T>
where
    T: Record,
    D: Decoder<T> + 'static,
{
    Frames { inlet: Box::new(inlet), decoder: Rc::new(move || Box::new(decoder())) }
}

/// What brings frames: the part of a source that knows a protocol and no record type.
pub trait Inlet: 'static {
    /// See [`Source::describe`].
    fn describe(&self) -> String;
    /// See [`Source::nature`].
    fn nature(&self) -> Nature;
    /// See [`Source::partitions`].
    ///
    /// # Errors
    /// When what it reads cannot be found.
    fn partitions(&self) -> Result<usize>;
    /// See [`Source::open`].
    ///
    /// # Errors
    /// When the partition cannot be opened.
    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>>;
}

/// An inlet behind a pointer, as chosen by URL.
impl Inlet for Box<dyn Inlet> {
    fn describe(&self) -> String {
        (**self).describe()
    }
    fn nature(&self) -> Nature {
        (**self).nature()
    }
    fn partitions(&self) -> Result<usize> {
        (**self).partitions()
    }
    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        (**self).open(partition, context)
    }
}

/// Reads the frames of one partition.
pub trait FrameReader {
    /// Gives each frame that is ready to `each`, until `each` returns false or none is ready. Never
    /// blocks for long.
    ///
    /// # Errors
    /// Only what ends the program.
    fn read(&mut self, each: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress>;

    /// See [`Reader::durable`].
    fn durable(&mut self, _next: u64) {}

    /// See [`Reader::position`].
    fn position(&self) -> Option<Vec<u8>> {
        None
    }
}

impl<T: Record> Source for Frames<T> {
    type Item = T;

    fn describe(&self) -> String {
        self.inlet.describe()
    }

    fn nature(&self) -> Nature {
        self.inlet.nature()
    }

    fn partitions(&self) -> Result<usize> {
        self.inlet.partitions()
    }

    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn Reader<T>>> {
        let frames = self.inlet.open(partition, context)?;
        Ok(Box::new(FramePartition { frames, decoder: (self.decoder)() }))
    }

    fn decoder(&self) -> Option<Box<dyn Decoder<T>>> {
        Some((self.decoder)())
    }
}

/// A reader that has nothing of its own, and decodes what was journaled.
pub(crate) fn journaled<T: Record>(decoder: Option<Box<dyn Decoder<T>>>) -> Box<dyn Reader<T>> {
    match decoder {
        Some(decoder) => Box::new(FramePartition { frames: Box::new(NoFrames), decoder }),
        None => Box::new(Ended),
    }
}

struct NoFrames;

impl FrameReader for NoFrames {
    fn read(&mut self, _: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress> {
        Ok(Progress::End)
    }
}

struct FramePartition<T> {
    frames: Box<dyn FrameReader>,
    decoder: Box<dyn Decoder<T>>,
}

impl<T> Reader<T> for FramePartition<T> {
    fn read(&mut self, intake: &mut Intake<T>) -> Result<Progress> {
        if intake.is_full() {
            return Ok(Progress::Ready);
        }
        let decoder = &mut *self.decoder;
        self.frames.read(&mut |frame| {
            intake.decode(frame, decoder);
            !intake.is_full()
        })
    }

    fn replay(&mut self, frame: Frame<'_>, intake: &mut Intake<T>) -> Result<()> {
        intake.decode(frame, &mut *self.decoder);
        Ok(())
    }

    fn durable(&mut self, next: u64) {
        self.frames.durable(next);
    }

    fn position(&self) -> Option<Vec<u8>> {
        self.frames.position()
    }
}

/// A recorded source of records in memory, each with its time: one partition an element of
/// `partitions`. Times are raised to the running maximum of their partition.
///
/// ```
/// use anabranch::{Time, source};
/// let at = |nanos, word: &str| (Time::from_nanos(nanos), word.to_string());
/// let words = source::memory(vec![vec![at(1, "a"), at(3, "c")], vec![at(2, "b")]].into());
/// ```
pub fn memory<T: Record + Sync>(partitions: Arc<[Vec<(Time, T)>]>) -> impl Source<Item = T> {
    Memory { partitions, split: |(time, record): &(Time, T)| (*time, record.clone()) }
}

/// As [`memory`], of records that know their time.
///
/// ```
/// use anabranch::{Time, source};
/// let at = |nanos: &i64| Time::from_nanos(*nanos);
/// let beats = source::memory_timed(vec![vec![1, 3], vec![2]].into(), at);
/// ```
pub fn memory_timed<T: Record + Sync>(
    partitions: Arc<[Vec<T>]>,
    time: impl Fn(&T) -> Time + Clone + 'static,
) -> impl Source<Item = T> {
    Memory { partitions, split: move |record: &T| (time(record), record.clone()) }
}

struct Memory<E, F> {
    partitions: Arc<[Vec<E>]>,
    /// The time and the record of an element.
    split: F,
}

impl<E, T, F> Source for Memory<E, F>
where
    E: Send + Sync + 'static,
    T: Record,
    F: Fn(&E) -> (Time, T) + Clone + 'static,
{
    type Item = T;

    fn describe(&self) -> String {
        "memory".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Recorded
    }

    fn partitions(&self) -> Result<usize> {
        Ok(self.partitions.len())
    }

    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn Reader<T>>> {
        let (partitions, split) = (Arc::clone(&self.partitions), self.split.clone());
        let next = usize::try_from(context.resume.from).unwrap_or(usize::MAX);
        Ok(Box::new(MemoryReader { partitions, split, partition, next }))
    }
}

struct MemoryReader<E, F> {
    partitions: Arc<[Vec<E>]>,
    split: F,
    partition: usize,
    next: usize,
}

impl<E, T: Record, F: Fn(&E) -> (Time, T)> Reader<T> for MemoryReader<E, F> {
    fn read(&mut self, intake: &mut Intake<T>) -> Result<Progress> {
        let elements = self.partitions.get(self.partition).map_or(&[][..], Vec::as_slice);
        let left = elements.get(self.next..).unwrap_or_default();
        let ready = left.get(..intake.room(size_of::<T>())).unwrap_or(left);
        intake.records.reserve(ready.len());
        for (offset, element) in (self.next as u64..).zip(ready) {
            let (time, record) = (self.split)(element);
            intake.single(offset, Some(time), size_of::<T>(), record);
        }
        self.next += ready.len();
        Ok(if ready.len() < left.len() { Progress::Ready } else { Progress::End })
    }
}

/// A source without records: for [`TestDriver`](crate::TestDriver), which feeds them.
pub fn empty<T: Record>() -> impl Source<Item = T> {
    Empty(std::marker::PhantomData)
}

struct Empty<T>(std::marker::PhantomData<fn() -> T>);

impl<T: Record> Source for Empty<T> {
    type Item = T;

    fn describe(&self) -> String {
        "empty".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Recorded
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, _: &OpenContext) -> Result<Box<dyn Reader<T>>> {
        Ok(Box::new(Ended))
    }
}

struct Ended;

impl<T> Reader<T> for Ended {
    fn read(&mut self, _: &mut Intake<T>) -> Result<Progress> {
        Ok(Progress::End)
    }
}
