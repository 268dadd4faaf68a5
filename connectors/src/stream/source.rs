//! The source `stream:`: reads a durable stream.
//!
//! Invariant: a frame's offset is the stream's, and so is its time, unless the source follows: then it is
//! live input, which is stamped and journaled when it is read. Where reading began, and in which stream, is
//! kept with the data directory, so that a restart goes on there although more has come.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anabranch::source::{Frame, FrameReader, Inlet, Nature, OpenContext, Progress, Waker};
use anabranch::{Error, Result};

use super::horizon::Horizon;
use super::sink::Marker;
use super::{From, Reader, Stream};

/// A call of `read` returns after about so many bytes, so that the worker can do its other work.
const CALL_BYTES: usize = 1 << 20;
/// How often a stream is looked at for more.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A stream to read.
#[derive(Clone, Debug)]
pub(crate) struct StreamSource {
    pub(super) dir: PathBuf,
    pub(super) name: String,
    pub(super) from: From,
    /// Whether it waits for more at the end.
    pub(super) follow: bool,
}

impl Inlet for StreamSource {
    fn describe(&self) -> String {
        format!("stream:{}", self.name)
    }

    fn nature(&self) -> Nature {
        if self.follow { Nature::Live } else { Nature::Recorded }
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn FrameReader>> {
        let stream = Stream::open(&self.dir, &self.name)?;
        let mut begin = || Ok(stream.read(self.from)?.position());
        let begin = match &context.resume.folder {
            Some(folder) => Marker::claim(folder, &stream, context, &mut begin)?.begin,
            None => begin()?,
        };
        let from = context.resume.from.max(begin);
        let reader = stream.read(From::Offset(from))?;
        let end = stream.end()?;
        let watch = self.follow.then(|| watch(&stream, context)).transpose()?;
        Ok(Box::new(StreamReader { reader, end, watch }))
    }
}

struct StreamReader {
    reader: Reader,
    /// Where it ends, if it does not follow: where the stream did when it was opened.
    end: u64,
    watch: Option<Watch>,
}

impl FrameReader for StreamReader {
    fn read(&mut self, each: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress> {
        let mut done = 0;
        while done < CALL_BYTES {
            if self.watch.is_none() && self.reader.position() >= self.end {
                return Ok(Progress::End);
            }
            let Some(entry) = self.reader.next_entry()? else {
                let Some(watch) = &self.watch else { return Ok(Progress::End) };
                // Whatever is told from now on wakes the worker.
                watch.seen.store(self.reader.known(), Ordering::SeqCst);
                return Ok(Progress::Idle);
            };
            done += entry.bytes.len() + 1;
            let stamp = Some(entry.time);
            if !each(Frame { stamp, ..Frame::new(entry.offset, entry.bytes) }) {
                break;
            }
        }
        Ok(Progress::Ready)
    }
}

/// A thread that looks whether there is more; it ends with this value.
struct Watch {
    /// Up to where the reader has seen the stream; the worker is woken when there is more.
    seen: Arc<AtomicU64>,
    _alive: mpsc::Sender<()>,
}

fn watch(stream: &Stream, context: &OpenContext) -> Result<Watch> {
    let (alive, ended) = mpsc::channel();
    let seen = Arc::new(AtomicU64::new(u64::MAX));
    let (horizon, shared) = (Horizon::new(stream), Arc::clone(&seen));
    let waker = context.waker.clone();
    std::thread::Builder::new()
        .name(format!("source {}", context.name))
        .spawn(move || look(horizon, &shared, &ended, &waker))
        .map_err(|e| Error::io("cannot start the thread of a source", e))?;
    Ok(Watch { seen, _alive: alive })
}

fn look(mut horizon: Horizon, seen: &AtomicU64, ended: &mpsc::Receiver<()>, waker: &Waker) {
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK_EVERY) {
        let seen = seen.load(Ordering::SeqCst);
        if seen == u64::MAX {
            continue;
        }
        // An error is told by the reader, which comes upon it too.
        if horizon.refresh().map_or(true, |end| end.next > seen) {
            waker.wake();
        }
    }
}
