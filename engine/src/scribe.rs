//! The thread of a process that writes checkpoints: rows into files, and on one process the manifest.
//!
//! Invariant: a worker never waits for storage. What is on its way to the thread is bounded: a worker
//! that finds no room encodes no more rows until there is some.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::checkpoint::{BLOCK_BYTES, Checkpointer, Rows, Store, TableSchema, TableWriter};
use crate::durable::Extra;
use crate::metrics::Counter;
use crate::snapshots::Part;
use crate::{Error, Result, background, clock};

/// How many messages wait for the thread at most; one has rows of about [`BLOCK_BYTES`].
const WAITING: usize = 32;
/// The room for the rows of a message: a block, and what its last turn brings.
const ROOM: usize = BLOCK_BYTES + BLOCK_BYTES / 4;

/// What workers hand to the thread.
pub(crate) enum Work {
    /// Rows of a table at a boundary.
    Rows { worker: usize, boundary: u64, schema: TableSchema, rows: Rows },
    /// A worker has handed in all rows, and says what else its part has.
    End(Box<Part>),
    /// To the one that assembles: the part of a worker, with its files.
    Part(Box<Part>),
    /// To the one that assembles: to see whether this generation still has its place.
    Place,
}

/// What the thread says to a worker.
pub(crate) enum Said {
    /// The worker's part, with its files.
    Written(Box<Part>),
    /// How the checkpoint ended; to the worker that says when they are made.
    Outcome(Outcome),
    /// To the same: a later generation has this one's place, in words.
    Replaced(String),
}

/// How a checkpoint ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// It is there; none before `keep_from` is kept, and the journal from there on.
    Complete { boundary: u64, keep_from: u64 },
    /// It is not, and why was logged.
    Failed,
}

type Replies = Arc<Mutex<BTreeMap<usize, VecDeque<Said>>>>;
/// Rows without any, for their memory: workers fill it, the thread gives it back. Were it asked for when
/// it is filled, records would wait for the allocator, and for the system to hand out its pages.
type Spare = Arc<Mutex<Vec<Rows>>>;

/// The workers' side; clones share it.
#[derive(Clone)]
pub(crate) struct Desk {
    work: SyncSender<Work>,
    replies: Replies,
    spare: Spare,
}

impl Desk {
    /// Hands work in; gives it back if there is no room.
    pub(crate) fn say(&self, work: Work) -> Option<Work> {
        match self.work.try_send(work) {
            Err(TrySendError::Full(work)) => Some(work),
            // The thread ends last; if it was lost, the process is ending with its panic.
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
        }
    }

    /// Rows without any, to be filled.
    pub(crate) fn rows(&self) -> Rows {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Hands in the part of a worker, on the process that assembles them.
    pub(crate) fn submit(&self, part: Part) {
        let _ = self.work.send(Work::Part(Box::new(part)));
    }

    /// What the thread has to say to a worker.
    pub(crate) fn hear(&self, worker: usize) -> Option<Said> {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.get_mut(&worker)?.pop_front()
    }
}

/// What the thread needs to know.
pub(crate) struct Scribe {
    pub(crate) store: Store,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) generation: u64,
    /// How many workers the cluster has.
    pub(crate) workers: usize,
    /// The partitions that a worker owns.
    pub(crate) owned: Box<dyn Fn(usize) -> Range<u32> + Send>,
    /// Wakes the workers of this process.
    pub(crate) wake: Box<dyn Fn() + Send>,
    /// How many checkpoints were completed here.
    pub(crate) made: Counter,
    /// How long the last of them took, in microseconds.
    pub(crate) took: Counter,
}

impl Scribe {
    /// Starts the thread, which ends with the last desk.
    pub(crate) fn start(self) -> Result<Desk> {
        let (work, waiting) = sync_channel(WAITING);
        let replies = Replies::default();
        let spare: Vec<_> = (0..WAITING).map(|_| Rows::with_room(ROOM)).collect();
        let spare = Arc::new(Mutex::new(spare));
        let desk = Desk { work, replies: Arc::clone(&replies), spare: Arc::clone(&spare) };
        let (files, parts, begun) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let scribing = Scribing { scribe: self, replies, spare, files, parts, begun };
        background::spawn("checkpoints", move || scribing.run(&waiting))?;
        Ok(desk)
    }
}

struct Scribing {
    scribe: Scribe,
    replies: Replies,
    spare: Spare,
    /// What is being written: by worker and boundary, then table; or why it cannot be.
    files: BTreeMap<(usize, u64), Result<BTreeMap<String, TableWriter>>>,
    /// The parts of the checkpoint that is being assembled.
    parts: BTreeMap<u64, Vec<Part>>,
    /// When the first was heard of each boundary that is not complete.
    begun: BTreeMap<u64, Instant>,
}

impl Scribing {
    fn run(mut self, waiting: &Receiver<Work>) {
        while let Ok(work) = waiting.recv() {
            match work {
                Work::Rows { worker, boundary, schema, rows } => {
                    self.begun.entry(boundary).or_insert_with(clock::instant);
                    let files = self.files.entry((worker, boundary)).or_insert(Ok(BTreeMap::new()));
                    if let Ok(tables) = files
                        && let Err(error) =
                            write(&self.scribe, tables, worker, boundary, &schema, &rows)
                    {
                        *files = Err(error);
                    }
                    self.give_back(rows);
                }
                Work::End(part) => self.end(*part),
                Work::Part(part) => self.assemble(*part),
                Work::Place => {
                    // What cannot be read now is asked again before anything is committed.
                    if let Err(Error::Replaced(by)) = self.scribe.checkpointer.check_fence() {
                        self.reply(0, Said::Replaced(by));
                    }
                }
            }
        }
    }

    fn give_back(&self, mut rows: Rows) {
        rows.clear();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < WAITING {
            spare.push(rows);
        }
    }

    fn end(&mut self, mut part: Part) {
        let files = self.files.remove(&(part.worker, part.boundary)).unwrap_or(Ok(BTreeMap::new()));
        let finished = files.and_then(|tables| {
            for (name, writer) in tables {
                let files = writer.finish()?;
                let mut named = part.part.tables.iter_mut();
                if let Some(table) = named.find(|table| table.schema.name == name) {
                    table.files = files;
                }
            }
            Ok(())
        });
        if let Err(error) = finished {
            part.failed.get_or_insert(error.to_string());
        }
        // What a worker has given up half-way is of no use to later ones.
        self.files
            .retain(|(worker, boundary), _| *worker != part.worker || *boundary > part.boundary);
        self.reply(part.worker, Said::Written(Box::new(part)));
    }

    fn assemble(&mut self, part: Part) {
        let boundary = part.boundary;
        self.begun.entry(boundary).or_insert_with(clock::instant);
        self.parts.retain(|other, _| *other >= boundary);
        let parts = self.parts.entry(boundary).or_default();
        parts.push(part);
        if parts.len() < self.scribe.workers {
            return;
        }
        let parts = self.parts.remove(&boundary).unwrap_or_default();
        let outcome = match self.commit(boundary, parts) {
            Ok(keep_from) => Outcome::Complete { boundary, keep_from },
            Err(Error::Replaced(by)) => return self.reply(0, Said::Replaced(by)),
            Err(error) => {
                tracing::error!("no checkpoint could be made, the one before stays: {error}");
                Outcome::Failed
            }
        };
        let later = self.begun.split_off(&boundary.saturating_add(1));
        let begun = std::mem::replace(&mut self.begun, later).remove(&boundary);
        if matches!(outcome, Outcome::Complete { .. }) {
            let took = begun.map_or(Duration::ZERO, |begun| begun.elapsed());
            self.scribe.took.set(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            self.scribe.made.add(1);
        }
        self.reply(0, Said::Outcome(outcome));
    }

    fn commit(&mut self, boundary: u64, mut parts: Vec<Part>) -> Result<u64> {
        if let Some(failed) = parts.iter().find_map(|part| part.failed.clone()) {
            // Who failed brings all of its rows the next time; the others do not bring theirs again.
            let whole = parts.into_iter().filter(|part| part.failed.is_none());
            let tables = whole.flat_map(|part| part.part.tables).collect();
            self.scribe.checkpointer.carry(tables)?;
            return Err(Error::Data(failed));
        }
        parts.sort_by_key(|part| part.worker);
        // All workers know the same.
        let event_times = parts.iter_mut().find_map(|part| part.event_times.take());
        let extra = Extra { event_times }.to_value();
        let parts = parts.into_iter().map(|part| part.part).collect();
        self.scribe.checkpointer.commit(boundary, parts, extra)?;
        Ok(self.scribe.checkpointer.journal_from())
    }

    fn reply(&self, worker: usize, said: Said) {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.entry(worker).or_default().push_back(said);
        drop(replies);
        (self.scribe.wake)();
    }
}

fn write(
    scribe: &Scribe,
    tables: &mut BTreeMap<String, TableWriter>,
    worker: usize,
    boundary: u64,
    schema: &TableSchema,
    rows: &Rows,
) -> Result<()> {
    if !tables.contains_key(&schema.name) {
        let owned = (scribe.owned)(worker);
        let writer =
            TableWriter::new(&scribe.store, schema, boundary, scribe.generation, worker, owned)?;
        tables.insert(schema.name.clone(), writer);
    }
    tables.get_mut(&schema.name).map_or(Ok(()), |writer| writer.block(rows))
}
