//! Sinks on a worker: epochs that are complete are handed to the writer, in order.
//!
//! Invariant: an epoch is finished for a sink when its writer has taken every record of it; until
//! then it counts as in flight, so a slow sink slows the sources.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checkpoint::SinkPosition;
use crate::durable::Span;
use crate::pipeline::{Body, Merge};
use crate::released::{Released, Tally};
use crate::sink::{Encoder, Json, Outgoing, Sink, Taken, Writer};
use crate::source::OpenContext;
use crate::test_driver::Capture;
use crate::trace::{Output, SinkTrace};
use crate::{Record, Result};

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
    tally: Option<Tally>,
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
            tally: None,
        }
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

    fn open(&mut self, opening: Opening) -> Result<()> {
        let Opening { context, sources, instead, span, released } = opening;
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
        self.waiting.entry(epoch).or_default().add(body.records());
    }

    fn deliver(&mut self, epoch: u64) -> Result<Taken> {
        if let Some(mut merge) = self.waiting.remove(&epoch) {
            let Span { from, to } = self.span;
            merge.take_before(None, 0, |record, _| {
                if let Some(tally) = &mut self.tally {
                    tally.add(&record.record);
                }
                let time = record.origin.time();
                if from.is_none_or(|from| time >= from) && to.is_none_or(|to| time < to) {
                    self.outgoing.records.push_back(record);
                }
            });
        }
        let Some(writer) = &mut self.writer else {
            self.tell(epoch);
            return Ok(Taken::All);
        };
        let before = self.outgoing.len();
        let taken = writer.write(&mut self.outgoing)?;
        if let Some(written) = &self.written {
            written.add((before - self.outgoing.len()) as u64);
        }
        match taken {
            Taken::All => writer.flush(),
            Taken::Partly => Ok(Taken::Partly),
        }
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
