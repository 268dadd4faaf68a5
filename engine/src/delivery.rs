//! Sinks on a worker: epochs that are complete are handed to the writer, in order.
//!
//! Invariant: an epoch is finished for a sink when its writer has taken every record of it; until
//! then it counts as in flight, so a slow sink slows the sources.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::SinkPosition;
use crate::computation::Refusals;
use crate::durable::Span;
use crate::letters::{Again, Posted};
use crate::lookup::{Refused, refusal};
use crate::metrics::{Counters, Latency};
use crate::pipeline::{Body, Hub, Merge, Tagged};
use crate::released::{Released, Tally};
use crate::side_output::Sides;
use crate::sink::{Encoder, Json, Outgoing, Sink, Taken, Writer};
use crate::source::OpenContext;
use crate::test_driver::Capture;
use crate::trace::{Output, SinkTrace};
use crate::{Error, Failure, Record, Result, Time, clock};

/// How a sink is opened, on the worker that owns it.
pub(crate) struct Opening {
    pub(crate) context: OpenContext,
    /// The names of the sources.
    pub(crate) sources: Arc<[String]>,
    /// What stands in for it.
    pub(crate) instead: Option<Instead>,
    /// What has times beyond is left out: of records before it, and of what is due after it.
    pub(crate) span: Span,
    /// What it was given before, if that is counted.
    pub(crate) released: Option<Released>,
    /// What tells its dead letters from those of others.
    pub(crate) number: u32,
    /// If it may refuse records, with a data directory.
    pub(crate) refused: Option<Refused>,
    /// What belongs to earlier epochs it was told by an earlier program.
    pub(crate) told_before: u64,
    /// Whether it is measured how long records take: of live input, if somebody may ask.
    pub(crate) measures: bool,
}

/// What stands in for a sink.
pub(crate) enum Instead {
    /// Under a test driver.
    Capture(Capture),
    /// In a replay that is compared with another.
    Trace(SinkTrace),
}

/// A sink whose record type only its own code knows.
pub(crate) trait AnySink {
    fn describe(&self) -> String;
    /// Whether it may refuse records.
    fn refuses(&self) -> bool;
    /// Opens it, or what stands in for it.
    fn open(&mut self, opening: Opening) -> Result<()>;
    /// Keeps `body` until its epoch is delivered.
    fn stash(&mut self, epoch: u64, body: Body);
    /// Offers the records of `epoch` to the writer; again after [`Taken::Partly`].
    fn deliver(&mut self, epoch: u64) -> Result<Taken>;
    /// Makes durable what was delivered, and says where that ends; none: not yet.
    fn position(&mut self, name: &str) -> Result<Option<SinkPosition>>;
    /// Nothing more will come.
    fn close(&mut self) -> Result<Taken>;
}

pub(crate) struct TypedSink<T> {
    sink: Box<dyn Sink<Item = T>>,
    writer: Option<Box<dyn Writer<T>>>,
    /// In the place of the writer.
    trace: Option<(SinkTrace, Box<dyn Encoder<T>>)>,
    waiting: BTreeMap<u64, Merge<T>>,
    outgoing: Outgoing<T>,
    written: Option<crate::metrics::Counter>,
    span: Span,
    told_before: u64,
    tally: Option<Tally>,
    refusing: Option<Refusing>,
    delays: Option<Delays>,
}

/// How long records take until the writer has them.
struct Delays {
    latency: Latency,
    /// When those were read that wait for it, and how many at once.
    waiting: VecDeque<(Time, u64)>,
}

impl Delays {
    fn begin(&mut self, read: Time) {
        match self.waiting.back_mut() {
            Some((time, count)) if *time == read => *count += 1,
            _ => self.waiting.push_back((read, 1)),
        }
    }

    /// The writer has so many more.
    fn end(&mut self, mut count: u64) {
        if count == 0 {
            return;
        }
        let now = clock::now();
        while let Some((read, waiting)) = self.waiting.front_mut()
            && count > 0
        {
            let ended = count.min(*waiting);
            let nanos = now.as_nanos().saturating_sub(read.as_nanos());
            self.latency.record(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)), ended);
            count -= ended;
            *waiting -= ended;
            if *waiting == 0 {
                self.waiting.pop_front();
            }
        }
    }
}

/// How a sink refuses records.
struct Refusing {
    refusals: Refusals,
    sides: Rc<Sides>,
    counters: Counters,
    refused: Option<Refused>,
}

impl<T: Record> TypedSink<T> {
    pub(crate) fn new(sink: impl Sink<Item = T>) -> Self {
        Self {
            sink: Box::new(sink),
            writer: None,
            trace: None,
            waiting: BTreeMap::new(),
            outgoing: Outgoing::new(Arc::from([])),
            written: None,
            span: Span::default(),
            told_before: 0,
            tally: None,
            refusing: None,
            delays: None,
        }
    }

    /// If it may refuse records: where they are dead letters, of the sink of that name at the end of
    /// `pipeline`.
    pub(crate) fn letters(&mut self, name: &str, pipeline: &str) -> Option<Rc<Hub<Posted>>> {
        let sides: Rc<Sides> = Rc::default();
        let letters = self.sink.refuses().then(|| sides.letters())?;
        let refusals = Refusals::new(pipeline, name, 0);
        let (counters, refused) = (Counters::default(), None);
        self.refusing = Some(Refusing { refusals, sides, counters, refused });
        Some(letters)
    }

    /// Takes the records of `epoch` over, in their order; those that were refused once are not offered again.
    fn take_over(&mut self, epoch: u64, mut merge: Merge<T>) -> Result<()> {
        let known = self.refusing.as_mut().and_then(|refusing| refusing.refused.as_mut());
        let known = known.map(|refused| refused.known(epoch)).transpose()?.unwrap_or_default();
        let Span { from, to } = self.span;
        let mut refused = Vec::new();
        merge.take_before(None, 0, |record, _| {
            if let Some(tally) = &mut self.tally {
                tally.add(&record.record);
            }
            let time = record.origin.time();
            if from.is_none_or(|from| time >= from) && to.is_none_or(|to| time < to) {
                match refusal(&known, record.origin, &record.record) {
                    Some(failure) => refused.push((record, failure)),
                    None => {
                        if let Some(delays) = &mut self.delays {
                            delays.begin(time);
                        }
                        self.outgoing.records.push_back(record);
                    }
                }
            }
        });
        self.refuse(epoch, refused, true)
    }

    /// Makes dead letters of records; unless that is `known`, it is kept.
    fn refuse(
        &mut self,
        epoch: u64,
        refused: Vec<(Tagged<T>, Failure)>,
        known: bool,
    ) -> Result<()> {
        for (Tagged { origin, record }, failure) in refused {
            let Some(refusing) = &mut self.refusing else {
                return Err(Error::Connector(failure.reason()));
            };
            if let Some(refused) = refusing.refused.as_mut().filter(|_| !known) {
                refused.keep(epoch, (origin, &record), &failure)?;
            }
            let Refusing { refusals, sides, counters, .. } = refusing;
            let from = (&*self.outgoing.sources, &*counters, &**sides);
            refusals.refuse(failure, origin, &record, Again::Never, from);
        }
        if let Some(refusing) = &self.refusing {
            refusing.sides.dispatch();
        }
        Ok(())
    }

    /// Whether something that was refused is not durable yet: nothing behind it may be written.
    fn waits(&self) -> Result<bool> {
        let refused = self.refusing.as_ref().and_then(|refusing| refusing.refused.as_ref());
        refused.map_or(Ok(false), |refused| refused.is_durable().map(|durable| !durable))
    }

    /// Tells of the records of `epoch` instead of writing them.
    fn tell(&mut self, epoch: u64) {
        let Self { trace: Some((trace, encoder)), outgoing, tally, .. } = self else { return };
        let mut outputs = Vec::new();
        while let Some((id, record)) = outgoing.peek() {
            let mut frame = Vec::new();
            let encoded = encoder.encode(id, record, &mut frame);
            let frame = encoded.is_ok().then_some(frame);
            outputs.push(Output { id: id.to_string(), time: id.origin.time(), frame });
            outgoing.pop();
        }
        if let Some(tally) = tally.as_ref().filter(|_| !outputs.is_empty()) {
            trace.delivered(epoch, outputs, tally.released);
        }
    }
}

impl<T: Record> AnySink for TypedSink<T> {
    fn describe(&self) -> String {
        self.sink.describe()
    }

    fn refuses(&self) -> bool {
        self.refusing.is_some()
    }

    fn open(&mut self, opening: Opening) -> Result<()> {
        let Opening { context, sources, instead, span, released, number, refused, .. } = opening;
        self.told_before = opening.told_before;
        if opening.measures {
            let latency = context.counters.latency();
            self.delays = Some(Delays { latency, waiting: VecDeque::new() });
        }
        if let Some(refusing) = &mut self.refusing {
            refusing.refusals.port = number;
            (refusing.counters, refusing.refused) = (context.counters.clone(), refused);
        }
        self.span = span;
        self.outgoing = Outgoing::new(sources);
        self.written = Some(context.counters.counter("records"));
        self.tally = released.map(Tally::from);
        match instead {
            None => self.writer = Some(self.sink.open(&context)?),
            Some(Instead::Capture(capture)) => {
                self.writer = Some(capture.writer(&context.name, self.sink.encoder()));
            }
            Some(Instead::Trace(trace)) => {
                let encoder = self.sink.encoder().unwrap_or_else(|| Box::new(Json));
                self.trace = Some((trace, encoder));
            }
        }
        Ok(())
    }

    fn stash(&mut self, epoch: u64, body: Body) {
        if epoch >= self.told_before {
            self.waiting.entry(epoch).or_default().add(body.records());
        }
    }

    fn deliver(&mut self, epoch: u64) -> Result<Taken> {
        if let Some(merge) = self.waiting.remove(&epoch) {
            self.take_over(epoch, merge)?;
        }
        while !self.waits()? {
            let Some(writer) = &mut self.writer else {
                self.tell(epoch);
                return Ok(Taken::All);
            };
            let before = self.outgoing.len();
            let taken = writer.write(&mut self.outgoing)?;
            if let Some(delays) = &mut self.delays {
                delays.end((before - self.outgoing.len()) as u64);
            }
            let refused = std::mem::take(&mut self.outgoing.refused);
            if let Some(written) = &self.written {
                written.add((before - self.outgoing.len() - refused.len()) as u64);
            }
            if refused.is_empty() {
                return if taken == Taken::All { writer.flush() } else { Ok(taken) };
            }
            self.refuse(epoch, refused, false)?;
        }
        Ok(Taken::Partly)
    }

    fn position(&mut self, name: &str) -> Result<Option<SinkPosition>> {
        let position = match &mut self.writer {
            Some(writer) => writer.position()?,
            None => Some(Vec::new()),
        };
        let released = self.tally.as_ref().map(|tally| tally.released);
        Ok(position.map(|position| SinkPosition { name: name.to_string(), position, released }))
    }

    fn close(&mut self) -> Result<Taken> {
        self.writer.as_mut().map_or(Ok(Taken::All), |writer| writer.close())
    }
}
