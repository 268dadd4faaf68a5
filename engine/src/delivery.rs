//! Sinks on a worker: epochs that are complete are handed to the writer, in order.
//!
//! Invariant: an epoch is finished for a sink when its writer has taken every record of it; until
//! then it counts as in flight, so a slow sink slows the sources.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Record;
use crate::pipeline::{Body, Merge};
use crate::sink::{Outgoing, Sink, Taken, Writer};
use crate::source::OpenContext;
use crate::test_driver::Capture;
use crate::{Result, Time};

/// A sink whose record type only its own code knows.
pub(crate) trait AnySink {
    fn describe(&self) -> String;
    /// Opens it on the worker that owns it; into `capture` under a test driver. What comes of records
    /// before `from` is left out.
    fn open(
        &mut self,
        context: &OpenContext,
        sources: Arc<[String]>,
        capture: Option<Capture>,
        from: Option<Time>,
    ) -> Result<()>;
    /// Keeps `body` until its epoch is delivered.
    fn stash(&mut self, epoch: u64, body: Body);
    /// Offers the records of `epoch` to the writer; again after [`Taken::Partly`].
    fn deliver(&mut self, epoch: u64) -> Result<Taken>;
    /// Makes durable what was delivered, and says where that ends; none: not yet.
    fn position(&mut self) -> Result<Option<Vec<u8>>>;
    /// Nothing more will come.
    fn close(&mut self) -> Result<Taken>;
}

pub(crate) struct TypedSink<T> {
    sink: Box<dyn Sink<Item = T>>,
    writer: Option<Box<dyn Writer<T>>>,
    waiting: BTreeMap<u64, Merge<T>>,
    outgoing: Outgoing<T>,
    written: Option<crate::metrics::Counter>,
    from: Option<Time>,
}

impl<T: Record> TypedSink<T> {
    pub(crate) fn new(sink: impl Sink<Item = T>) -> Self {
        Self {
            sink: Box::new(sink),
            writer: None,
            waiting: BTreeMap::new(),
            outgoing: Outgoing::new(Arc::from([])),
            written: None,
            from: None,
        }
    }
}

impl<T: Record> AnySink for TypedSink<T> {
    fn describe(&self) -> String {
        self.sink.describe()
    }

    fn open(
        &mut self,
        context: &OpenContext,
        sources: Arc<[String]>,
        capture: Option<Capture>,
        from: Option<Time>,
    ) -> Result<()> {
        self.from = from;
        self.outgoing = Outgoing::new(sources);
        self.written = Some(context.counters.counter("records"));
        self.writer = Some(match capture {
            Some(capture) => capture.writer(&context.name, self.sink.encoder()),
            None => self.sink.open(context)?,
        });
        Ok(())
    }

    fn stash(&mut self, epoch: u64, body: Body) {
        self.waiting.entry(epoch).or_default().add(body.records());
    }

    fn deliver(&mut self, epoch: u64) -> Result<Taken> {
        if let Some(mut merge) = self.waiting.remove(&epoch) {
            let from = self.from;
            merge.take_before(None, |record| {
                if from.is_none_or(|from| record.origin.time() >= from) {
                    self.outgoing.records.push_back(record);
                }
            });
        }
        let Some(writer) = &mut self.writer else { return Ok(Taken::All) };
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

    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        self.writer.as_mut().map_or(Ok(Some(Vec::new())), |writer| writer.position())
    }

    fn close(&mut self) -> Result<Taken> {
        self.writer.as_mut().map_or(Ok(Taken::All), |writer| writer.close())
    }
}
