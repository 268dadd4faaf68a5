//! What stands in for connectors under a test driver.

use std::any::{Any, TypeId, type_name};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sink::{Encoder, Outgoing, Taken, Writer};
use crate::source::{Decoder, Frame, Intake, Progress, Reader, Waker};
use crate::{Error, Record, Result, Time};

/// Feeds in the place of sources, captures in the place of sinks; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Harness {
    feeds: Arc<Mutex<BTreeMap<String, Feed>>>,
    captured: Capture,
}

/// A frame to be decoded, not a record.
struct Bytes(Vec<u8>);

enum Fed {
    Item(Time, Box<dyn Any + Send>),
    /// Everything before this time was sent: an epoch ends here.
    Cut(Time),
    End,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Harness {
    /// The feed of the source of that name.
    pub(crate) fn feed(&self, source: &str, waker: Waker) -> Feed {
        let mut feeds = lock(&self.feeds);
        let feed = feeds.entry(source.to_string()).or_default();
        lock(&feed.queue).waker = Some(waker);
        feed.clone()
    }

    pub(crate) fn capture(&self) -> Capture {
        self.captured.clone()
    }

    pub(super) fn send<T: Record>(&self, source: &str, time: Time, record: T) -> Result<()> {
        let feed = self.known_feed(source)?;
        let (sent, item) = (type_name::<T>(), Box::new(record) as Box<dyn Any + Send>);
        let takes = lock(&feed.queue).takes;
        if takes.is_some_and(|takes| takes.type_id != TypeId::of::<T>()) {
            let takes = takes.map_or("", |takes| takes.name);
            return Err(Error::Usage(format!(
                "source `{source}` has records of type {takes}, not {sent}: send one of those"
            )));
        }
        feed.push(Fed::Item(time, item));
        Ok(())
    }

    pub(super) fn send_bytes(&self, source: &str, time: Time, bytes: Vec<u8>) -> Result<()> {
        let feed = self.known_feed(source)?;
        if lock(&feed.queue).takes.is_some_and(|takes| !takes.bytes) {
            return Err(Error::Usage(format!(
                "source `{source}` has no decoder for bytes: send it records"
            )));
        }
        feed.push(Fed::Item(time, Box::new(Bytes(bytes))));
        Ok(())
    }

    fn known_feed(&self, source: &str) -> Result<Feed> {
        let feeds = lock(&self.feeds);
        feeds.get(source).cloned().ok_or_else(|| {
            let known = feeds.keys().cloned().collect::<Vec<_>>().join("`, `");
            Error::Usage(format!("there is no source `{source}`; there are `{known}`"))
        })
    }

    pub(super) fn cut(&self, time: Time) {
        lock(&self.feeds).values().for_each(|feed| feed.push(Fed::Cut(time)));
    }

    pub(super) fn end(&self) {
        lock(&self.feeds).values().for_each(|feed| feed.push(Fed::End));
    }

    /// What the sink of that name has received since the last call.
    pub(super) fn take(&self, sink: &str) -> Vec<Captured> {
        lock(&self.captured.0).remove(sink).unwrap_or_default()
    }
}

/// What was sent to one source and not yet read.
#[derive(Clone, Default)]
pub(crate) struct Feed {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    fed: VecDeque<Fed>,
    waker: Option<Waker>,
    takes: Option<Takes>,
}

/// What a source takes.
#[derive(Clone, Copy)]
struct Takes {
    type_id: TypeId,
    name: &'static str,
    bytes: bool,
}

impl Feed {
    fn push(&self, fed: Fed) {
        let mut queue = lock(&self.queue);
        queue.fed.push_back(fed);
        if let Some(waker) = &queue.waker {
            waker.wake();
        }
    }

    pub(crate) fn reader<T: Record>(
        self,
        decoder: Option<Box<dyn Decoder<T>>>,
    ) -> Box<dyn Reader<T>> {
        lock(&self.queue).takes = Some(Takes {
            type_id: TypeId::of::<T>(),
            name: type_name::<T>(),
            bytes: decoder.is_some(),
        });
        Box::new(FeedReader { feed: self, decoder, offset: 0 })
    }
}

struct FeedReader<T> {
    feed: Feed,
    decoder: Option<Box<dyn Decoder<T>>>,
    offset: u64,
}

impl<T: Record> Reader<T> for FeedReader<T> {
    fn read(&mut self, intake: &mut Intake<T>) -> Result<Progress> {
        while !intake.is_full() {
            let next = lock(&self.feed.queue).fed.pop_front();
            match next {
                None => return Ok(Progress::Idle),
                Some(Fed::End) => return Ok(Progress::End),
                Some(Fed::Cut(time)) => intake.cut = Some(time),
                Some(Fed::Item(time, item)) => {
                    self.take(time, item, intake)?;
                    self.offset += 1;
                }
            }
        }
        Ok(Progress::Ready)
    }
}

impl<T: Record> FeedReader<T> {
    fn take(
        &mut self,
        time: Time,
        item: Box<dyn Any + Send>,
        intake: &mut Intake<T>,
    ) -> Result<()> {
        let item = match item.downcast::<T>() {
            Ok(record) => {
                intake.frame(self.offset, Some(time), 0);
                intake.accept(*record);
                return Ok(());
            }
            Err(item) => item,
        };
        let Ok(bytes) = item.downcast::<Bytes>() else {
            return Err(Error::Usage(format!(
                "a record of another type was sent to a source of {}",
                std::any::type_name::<T>()
            )));
        };
        let Some(decoder) = &mut self.decoder else {
            return Err(Error::Usage("bytes were sent to a source without a decoder".to_string()));
        };
        let frame = Frame { stamp: Some(time), ..Frame::new(self.offset, &bytes.0) };
        intake.decode(frame, &mut **decoder);
        Ok(())
    }
}

/// What sinks have received; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Capture(Arc<Mutex<BTreeMap<String, Vec<Captured>>>>);

/// One record that a sink has received.
pub(super) struct Captured {
    pub(super) id: String,
    pub(super) record: Box<dyn Any + Send>,
    pub(super) frame: Vec<u8>,
}

impl Capture {
    pub(crate) fn writer<T: Record>(
        self,
        sink: &str,
        encoder: Option<Box<dyn Encoder<T>>>,
    ) -> Box<dyn Writer<T>> {
        Box::new(CaptureWriter { capture: self, sink: sink.to_string(), encoder })
    }
}

struct CaptureWriter<T> {
    capture: Capture,
    sink: String,
    encoder: Option<Box<dyn Encoder<T>>>,
}

impl<T: Record> Writer<T> for CaptureWriter<T> {
    fn write(&mut self, batch: &mut Outgoing<T>) -> Result<Taken> {
        while let Some((id, record)) = batch.peek() {
            let mut frame = Vec::new();
            if let Some(encoder) = &mut self.encoder {
                encoder.encode(id, record, &mut frame)?;
            }
            let id = id.to_string();
            let Some(record) = batch.pop() else { break };
            let captured = Captured { id, record: Box::new(record), frame };
            lock(&self.capture.0).entry(self.sink.clone()).or_default().push(captured);
        }
        Ok(Taken::All)
    }
}
