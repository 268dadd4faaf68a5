//! The log of dead letters as a sink: a thread writes it, and no worker waits for a disk.
//!
//! Invariant: what waits for the thread is bounded; a full disk is waited for, any other failure ends the
//! program. A position is given when all that was taken before it is on the disk.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::entry::{Entry, Kept, Posted};
use super::log::{Log, Taken, is_full};
use crate::config::LettersBound;
use crate::log::{DEAD_LETTER_LINES, Limited};
use crate::metrics::Counter;
use crate::sink::{Guarantee, Outgoing, Sink, Taken as Took, Writer};
use crate::source::{OpenContext, Waker};
use crate::{Error, Result};

/// How many entries wait for the thread at most.
const WAITING_MAX: usize = 1 << 12;
/// And how many bytes of records, of all of them together.
const WAITING_BYTES: usize = 8 << 20;
/// How often a full disk is tried.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// The log of dead letters, as a sink of the engine's own.
pub(super) struct LetterSink {
    pub(super) folder: PathBuf,
    pub(super) version: String,
    pub(super) bound: LettersBound,
    /// The letters from that entry on are closed first.
    pub(super) closes_from: Option<u64>,
}

impl Sink for LetterSink {
    type Item = Posted;

    fn describe(&self) -> String {
        "the log of dead letters".to_string()
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn Writer<Posted>>> {
        if context.resume.generation == 0 {
            // A replay keeps nothing.
            return Ok(Box::new(Nowhere));
        }
        let position = super::number(&context.resume.position);
        let mut log = Log::open(&self.folder, position, self.bound)?;
        if let Some(number) = self.closes_from {
            log.close_since(number)?;
        }
        let counters = Counts {
            open: context.counters.gauge("open"),
            dropped: context.counters.counter("dropped"),
        };
        counters.open.set(log.open_count() as u64);
        let shared = Arc::new(Shared::default());
        let writing = Writing {
            log,
            shared: Arc::clone(&shared),
            waker: context.waker.clone(),
            counters,
            lines: Limited::new(DEAD_LETTER_LINES),
        };
        let thread = std::thread::Builder::new().name("dead letters log".to_string());
        let thread = thread
            .spawn(move || writing.run())
            .map_err(|e| Error::io("cannot start a thread", e))?;
        let version = self.version.clone();
        Ok(Box::new(LetterWriter { shared, version, thread: Some(thread) }))
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Transactional
    }
}

struct Nowhere;

impl Writer<Posted> for Nowhere {
    fn write(&mut self, batch: &mut Outgoing<Posted>) -> Result<Took> {
        while batch.pop().is_some() {}
        Ok(Took::All)
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Entry>,
    bytes: usize,
    /// The worker waits for room.
    full: bool,
    /// A position is asked for, and was not handed out yet: asked for again meanwhile, it is still that one.
    asked: bool,
    /// Until the thread comes to it, where the queue ended then, in entries from now.
    mark: Option<usize>,
    reached: Option<u64>,
    failed: Option<Error>,
    /// All was given; the thread is done when it has written and synced it.
    closed: bool,
    done: bool,
    /// Nobody waits any more.
    gone: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct LetterWriter {
    shared: Arc<Shared>,
    version: String,
    thread: Option<JoinHandle<()>>,
}

/// The bytes of what an entry holds.
fn size(entry: &Entry) -> usize {
    match entry {
        Entry::Letter(kept) => kept.letter.bytes.len() + size_of::<Kept>(),
        _ => size_of::<Entry>(),
    }
}

impl LetterWriter {
    fn healthy(queue: &mut Queue) -> Result<()> {
        queue.failed.take().map_or(Ok(()), Err)
    }
}

impl Writer<Posted> for LetterWriter {
    fn write(&mut self, batch: &mut Outgoing<Posted>) -> Result<Took> {
        let mut queue = self.shared.lock();
        Self::healthy(&mut queue)?;
        while let Some((id, _)) = batch.peek() {
            if queue.waiting.len() >= WAITING_MAX || queue.bytes >= WAITING_BYTES {
                queue.full = true;
                self.shared.changed.notify_all();
                return Ok(Took::Partly);
            }
            let name = id.to_string();
            let entry = match batch.pop() {
                None => break,
                Some(Posted::Answer(answer)) => Entry::Answer(answer),
                Some(Posted::Letter(posted)) => {
                    let (letter, again) = *posted;
                    let id = match &letter.computation {
                        Some(computation) => format!("{name}/{computation}"),
                        None => name,
                    };
                    let version = self.version.clone();
                    Entry::Letter(Box::new(Kept { id, version, letter, again }))
                }
            };
            queue.bytes += size(&entry);
            queue.waiting.push_back(entry);
        }
        self.shared.changed.notify_all();
        Ok(Took::All)
    }

    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        let mut queue = self.shared.lock();
        Self::healthy(&mut queue)?;
        if let Some(reached) = queue.reached.take() {
            queue.asked = false;
            return Ok(Some(reached.to_le_bytes().to_vec()));
        }
        if !std::mem::replace(&mut queue.asked, true) {
            queue.mark = Some(queue.waiting.len());
            self.shared.changed.notify_all();
        }
        Ok(None)
    }

    fn close(&mut self) -> Result<Took> {
        let mut queue = self.shared.lock();
        Self::healthy(&mut queue)?;
        queue.closed = true;
        self.shared.changed.notify_all();
        Ok(if queue.done { Took::All } else { Took::Partly })
    }
}

impl Drop for LetterWriter {
    /// Whoever opens the log next finds nobody at it.
    fn drop(&mut self) {
        self.shared.lock().gone = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Counts {
    open: Counter,
    dropped: Counter,
}

/// The thread that writes.
struct Writing {
    log: Log,
    shared: Arc<Shared>,
    waker: Waker,
    counters: Counts,
    lines: Limited,
}

/// What there is to do next.
enum Next {
    Entry(Entry),
    Sync,
    Close,
    End,
}

impl Writing {
    fn run(mut self) {
        loop {
            let done = match self.next() {
                Next::End => break,
                Next::Entry(entry) => self.take(&entry),
                Next::Sync => self.log.sync().map(|reached| {
                    self.shared.lock().reached = Some(reached);
                    self.waker.wake();
                }),
                Next::Close => self.log.sync().map(|_| {
                    self.shared.lock().done = true;
                    self.waker.wake();
                }),
            };
            if let Err(error) = done {
                self.shared.lock().failed = Some(error);
                self.waker.wake();
                break;
            }
        }
        self.lines.finish();
    }

    fn next(&self) -> Next {
        let mut queue = self.shared.lock();
        loop {
            if queue.gone {
                return Next::End;
            }
            if queue.mark == Some(0) {
                queue.mark = None;
                return Next::Sync;
            }
            if let Some(entry) = queue.waiting.pop_front() {
                queue.bytes -= size(&entry).min(queue.bytes);
                queue.mark = queue.mark.map(|before| before.saturating_sub(1));
                if queue.full && queue.waiting.len() < WAITING_MAX / 2 {
                    queue.full = false;
                    self.waker.wake();
                }
                return Next::Entry(entry);
            }
            if queue.closed && !queue.done {
                return Next::Close;
            }
            queue = self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes an entry; waits for room on a full disk.
    fn take(&mut self, entry: &Entry) -> Result<()> {
        let mut told = false;
        let taken = loop {
            match self.log.take(entry) {
                Err(Error::Io { what, source }) if is_full(&source) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(
                            "no room: {what}: {source}; no dead letter is taken until there is"
                        );
                    }
                    if !self.wait() {
                        return Ok(());
                    }
                }
                taken => break taken?,
            }
        };
        if matches!(taken, Taken::Dropped | Taken::Evicted) {
            self.counters.dropped.add(1);
            let which = if taken == Taken::Dropped { "a new" } else { "the oldest" };
            self.lines.warn(format_args!(
                "there are as many dead letters as there is room for: {which} one is dropped"
            ));
        }
        self.counters.open.set(self.log.open_count() as u64);
        Ok(())
    }

    /// Waits a while; false if there is nobody left to wait for.
    fn wait(&self) -> bool {
        let queue = self.shared.lock();
        let waited = self.shared.changed.wait_timeout(queue, TRY_EVERY);
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !queue.gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worker asks whenever it is woken, also while the thread syncs. An answer too many would be handed
    /// out at the next boundary, as if the letters since were not in the log.
    #[test]
    fn a_position_that_is_asked_for_again_is_given_once() {
        let shared = Arc::new(Shared::default());
        let mut writer =
            LetterWriter { shared: Arc::clone(&shared), version: String::new(), thread: None };
        assert_eq!(writer.position().unwrap(), None);
        assert_eq!(shared.lock().mark.take(), Some(0), "the thread syncs");
        assert_eq!(writer.position().unwrap(), None);
        assert_eq!(shared.lock().mark, None, "it is asked for already");
        shared.lock().reached = Some(3);
        assert_eq!(writer.position().unwrap(), Some(3_u64.to_le_bytes().to_vec()));
        assert_eq!(writer.position().unwrap(), None);
        assert_eq!(shared.lock().mark, Some(0), "the next one is another");
    }
}
