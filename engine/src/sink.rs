//! Where records leave: sinks, their writers, and encoders.
//!
//! Invariant: a sink is written by one worker, receives each epoch's records in the order of their
//! origins whatever the layout, and never blocks a worker: what it cannot take stays with the
//! engine, which then holds back the sources.

mod retrying;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use self::retrying::RetryingWriter;
pub use self::retrying::{Retrying, retrying};
use crate::origin::RecordId;
use crate::pipeline::Tagged;
use crate::source::OpenContext;
use crate::{Failure, Origin, Record, Result, Retry};

/// A sink of records; a connector implements one.
pub trait Sink: 'static {
    /// What it takes.
    type Item: Record;

    /// Where it writes, for people: its URL without secrets.
    fn describe(&self) -> String;

    /// Opens it, on the one worker that owns it.
    ///
    /// # Errors
    /// When it cannot be opened; the program ends with that error.
    fn open(&self, context: &OpenContext) -> Result<Box<dyn Writer<Self::Item>>>;

    /// What it promises of what it was given once.
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    /// An encoder as the sink itself would use, so that [`TestDriver`](crate::TestDriver) can show
    /// bytes. `None` for sinks that have no bytes.
    fn encoder(&self) -> Option<Box<dyn Encoder<Self::Item>>> {
        None
    }

    /// Whether its writer may [refuse](Outgoing::refuse) records.
    #[doc(hidden)]
    fn refuses(&self) -> bool {
        false
    }
}

/// A sink as chosen at run time.
impl<T: Record> Sink for Box<dyn Sink<Item = T>> {
    type Item = T;

    fn describe(&self) -> String {
        (**self).describe()
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn Writer<T>>> {
        (**self).open(context)
    }

    fn guarantee(&self) -> Guarantee {
        (**self).guarantee()
    }

    fn encoder(&self) -> Option<Box<dyn Encoder<T>>> {
        (**self).encoder()
    }

    fn refuses(&self) -> bool {
        (**self).refuses()
    }
}

/// What a sink promises of records that are given to it again after a crash. With a data directory
/// every record is given at least once, and again exactly as it was: the same bytes, in the same
/// order, from the sink's last [`position`](Writer::position) on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// It keeps what it has with the data, and skips it: each record is there once.
    Transactional,
    /// It names each record by its [`RecordId`], and whoever receives it drops repeats by that.
    Idempotent,
    /// Records may be there twice after a crash.
    AtLeastOnce,
}

/// How much of what it was given a writer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// All of it.
    All,
    /// A part, or nothing: the [`Waker`](crate::source::Waker) will be called when there is room.
    Partly,
}

/// Writes what leaves by one sink.
pub trait Writer<T> {
    /// Takes records from the front of `batch`, in order, and leaves there what it has no room
    /// for. Never blocks for long.
    ///
    /// # Errors
    /// Only what ends the program.
    fn write(&mut self, batch: &mut Outgoing<T>) -> Result<Taken>;

    /// All records of an epoch were taken: passes on what is buffered.
    ///
    /// # Errors
    /// Only what ends the program.
    fn flush(&mut self) -> Result<Taken> {
        Ok(Taken::All)
    }

    /// Makes durable what was taken, and says where that ends: kept in checkpoints, and handed back by
    /// [`Resume::position`](crate::source::Resume::position) at the next start, after which the
    /// records that follow are given again. None: not yet; the
    /// [`Waker`](crate::source::Waker) will be called, and this again.
    ///
    /// # Errors
    /// Only what ends the program.
    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(Some(Vec::new()))
    }

    /// Nothing more will come: brings out what is buffered. Called until it says
    /// [`Taken::All`].
    ///
    /// # Errors
    /// Only what ends the program.
    fn close(&mut self) -> Result<Taken> {
        self.flush()
    }
}

/// Records on their way out, in order.
pub struct Outgoing<T> {
    pub(crate) records: VecDeque<Tagged<T>>,
    pub(crate) sources: Arc<[String]>,
    /// What the writer could not write, and why.
    pub(crate) refused: Vec<(Tagged<T>, Failure)>,
}

impl<T> Outgoing<T> {
    pub(crate) fn new(sources: Arc<[String]>) -> Self {
        Self { records: VecDeque::new(), sources, refused: Vec::new() }
    }

    /// The next record and its name, which stay here until [`pop`](Outgoing::pop).
    pub fn peek(&self) -> Option<(RecordId<'_>, &T)> {
        self.peek_at(0)
    }

    /// The record behind so many others, and its name.
    pub fn peek_at(&self, place: usize) -> Option<(RecordId<'_>, &T)> {
        let next = self.records.get(place)?;
        let source = self.sources.get(next.origin.source()).map_or("", String::as_str);
        Some((RecordId { source, origin: next.origin }, &next.record))
    }

    /// Takes the next record.
    pub fn pop(&mut self) -> Option<T> {
        self.records.pop_front().map(|next| next.record)
    }

    /// Takes the next record, which becomes a dead letter.
    pub(crate) fn refuse(&mut self, failure: Failure) {
        self.refused.extend(self.records.pop_front().map(|next| (next, failure)));
    }

    /// How many records are left.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no record is left.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// Turns records into frames.
pub trait Encoder<T> {
    /// Appends the frame of `record` to `frame`, without delimiter or length.
    ///
    /// # Errors
    /// When the record has no form in this encoding; it is logged, counted and left out.
    fn encode(&mut self, id: RecordId<'_>, record: &T, frame: &mut Vec<u8>) -> Result<()>;
}

impl<T, F: FnMut(RecordId<'_>, &T, &mut Vec<u8>) -> Result<()>> Encoder<T> for F {
    fn encode(&mut self, id: RecordId<'_>, record: &T, frame: &mut Vec<u8>) -> Result<()> {
        self(id, record, frame)
    }
}

/// One JSON document a record, by its `Serialize`, on one line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<T: Record> Encoder<T> for Json {
    fn encode(&mut self, _: RecordId<'_>, record: &T, frame: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(frame, record)
            .map_err(|e| crate::Error::Connector(format!("a record has no JSON form: {e}")))
    }
}

/// One line a record, by its `Display`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl<T: Record + std::fmt::Display> Encoder<T> for Text {
    fn encode(&mut self, _: RecordId<'_>, record: &T, frame: &mut Vec<u8>) -> Result<()> {
        let mut text = String::new();
        write!(text, "{record}")
            .map_err(|e| crate::Error::Connector(format!("a record has no text form: {e}")))?;
        frame.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// An [`Outlet`] with an encoder: the usual sink. Built by [`frames`].
pub struct Frames<T> {
    outlet: Box<dyn Outlet>,
    encoder: Rc<dyn Fn() -> Box<dyn Encoder<T>>>,
}

/// A sink that encodes records by what `encoder` makes and writes the frames to `outlet`.
pub fn frames<T, E>(outlet: impl Outlet, encoder: impl Fn() -> E + 'static) -> Frames<T>
where
    T: Record,
    E: Encoder<T> + 'static,
{
    Frames { outlet: Box::new(outlet), encoder: Rc::new(move || Box::new(encoder())) }
}

/// What takes frames away: the part of a sink that knows a protocol and no record type.
pub trait Outlet: 'static {
    /// See [`Sink::describe`].
    fn describe(&self) -> String;
    /// See [`Sink::open`].
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, context: &OpenContext) -> Result<Box<dyn FrameWriter>>;
    /// See [`Sink::guarantee`].
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }
    /// How its writer is to be tried again when it fails, as by [`retrying()`]; none: the program ends then.
    fn retry(&self) -> Option<Retry> {
        None
    }
}

/// An outlet behind a pointer, as chosen by URL.
impl Outlet for Box<dyn Outlet> {
    fn describe(&self) -> String {
        (**self).describe()
    }
    fn open(&self, context: &OpenContext) -> Result<Box<dyn FrameWriter>> {
        (**self).open(context)
    }
    fn guarantee(&self) -> Guarantee {
        (**self).guarantee()
    }
    fn retry(&self) -> Option<Retry> {
        (**self).retry()
    }
}

/// Writes frames, in order.
pub trait FrameWriter {
    /// Takes `frame`, or says [`Taken::Partly`] and has taken nothing of it: then it is offered
    /// again after the waker was called.
    ///
    /// # Errors
    /// Only what ends the program.
    fn write(&mut self, id: RecordId<'_>, frame: &[u8]) -> Result<Taken>;

    /// How many frames it wants to be [shown](Self::show) before they are written, the next one included.
    fn ahead(&self) -> usize {
        0
    }

    /// Shows a frame that is to be written after those that were shown before, so that its way out can begin;
    /// false if there is no room for it yet. It counts as written only when [`write`](Self::write) has taken it:
    /// that may never be called for it, if the record is refused.
    fn show(&mut self, id: RecordId<'_>, frame: &[u8]) -> bool {
        let _ = (id, frame);
        false
    }

    /// See [`Writer::flush`].
    ///
    /// # Errors
    /// Only what ends the program.
    fn flush(&mut self) -> Result<Taken> {
        Ok(Taken::All)
    }

    /// See [`Writer::position`].
    ///
    /// # Errors
    /// Only what ends the program.
    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(Some(Vec::new()))
    }

    /// See [`Writer::close`].
    ///
    /// # Errors
    /// Only what ends the program.
    fn close(&mut self) -> Result<Taken> {
        self.flush()
    }
}

impl<T: Record> Sink for Frames<T> {
    type Item = T;

    fn describe(&self) -> String {
        self.outlet.describe()
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn Writer<T>>> {
        let writer = EncodingWriter {
            frames: self.outlet.open(context)?,
            encoder: (self.encoder)(),
            frame: Vec::new(),
            shown: VecDeque::new(),
            refused: context.counters.counter("encoding_errors"),
            name: Arc::clone(&context.name),
        };
        Ok(match self.outlet.retry() {
            Some(retry) => Box::new(RetryingWriter::new(Box::new(writer), retry, context)),
            None => Box::new(writer),
        })
    }

    fn guarantee(&self) -> Guarantee {
        self.outlet.guarantee()
    }

    fn refuses(&self) -> bool {
        self.outlet.retry().is_some()
    }

    fn encoder(&self) -> Option<Box<dyn Encoder<T>>> {
        Some((self.encoder)())
    }
}

struct EncodingWriter<T> {
    frames: Box<dyn FrameWriter>,
    encoder: Box<dyn Encoder<T>>,
    /// The encoded front of the batch, when it was offered and not taken; else empty.
    frame: Vec<u8>,
    /// The records at the front of the batch that were shown.
    shown: VecDeque<Origin>,
    refused: crate::metrics::Counter,
    name: Arc<str>,
}

impl<T: Record> EncodingWriter<T> {
    /// Shows what comes next to a writer that wants to see it.
    fn look_ahead(&mut self, batch: &Outgoing<T>) {
        let ahead = self.frames.ahead();
        if ahead == 0 {
            return;
        }
        let front = batch.peek().map(|(id, _)| id.origin());
        while self.shown.front().is_some_and(|shown| Some(*shown) != front) {
            self.shown.pop_front();
        }
        let mut frame = Vec::new();
        while self.shown.len() < ahead
            && let Some((id, record)) = batch.peek_at(self.shown.len())
        {
            frame.clear();
            // One that has no form is left out when it is its turn.
            let encoded = self.encoder.encode(id, record, &mut frame);
            if encoded.is_err() || !self.frames.show(id, &frame) {
                break;
            }
            self.shown.push_back(id.origin());
        }
    }
}

impl<T: Record> Writer<T> for EncodingWriter<T> {
    fn write(&mut self, batch: &mut Outgoing<T>) -> Result<Taken> {
        self.look_ahead(batch);
        while let Some((id, record)) = batch.peek() {
            if self.frame.is_empty()
                && let Err(error) = self.encoder.encode(id, record, &mut self.frame)
            {
                self.refused.add(1);
                tracing::error!(sink = %self.name, record = %id, "left out: {error}");
                self.frame.clear();
            } else {
                match self.frames.write(id, &self.frame) {
                    Ok(Taken::All) => {}
                    Ok(Taken::Partly) => return Ok(Taken::Partly),
                    Err(error) => {
                        // Who is asked again may be asked about another record.
                        self.frame.clear();
                        return Err(error);
                    }
                }
            }
            self.frame.clear();
            batch.pop();
        }
        Ok(Taken::All)
    }

    fn flush(&mut self) -> Result<Taken> {
        self.frames.flush()
    }

    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        self.frames.position()
    }

    fn close(&mut self) -> Result<Taken> {
        self.frames.close()
    }
}

/// A sink that discards what it gets: for measurements, and for
/// [`TestDriver`](crate::TestDriver), which captures it.
pub fn null<T: Record>() -> impl Sink<Item = T> {
    Null(std::marker::PhantomData)
}

struct Null<T>(std::marker::PhantomData<fn(T)>);

impl<T: Record> Sink for Null<T> {
    type Item = T;

    fn describe(&self) -> String {
        "null".to_string()
    }

    fn open(&self, _: &OpenContext) -> Result<Box<dyn Writer<T>>> {
        Ok(Box::new(Discard))
    }
}

struct Discard;

impl<T> Writer<T> for Discard {
    fn write(&mut self, batch: &mut Outgoing<T>) -> Result<Taken> {
        batch.records.clear();
        Ok(Taken::All)
    }
}
