//! The journal's thread: group commit.
//!
//! Invariant: an epoch is published as durable only when all that was handed over before its end has been
//! written and, when so asked, synced. A failed sync is never tried again: the system may have
//! dropped what it could not write, and would say so only once.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Durability;
use super::segment::{self, SegmentName, sync_folder};
use crate::failpoint::hit;
use crate::{Error, Result};

/// How long it waits for room on a full disk, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How many used buffers are kept, and up to which size.
const SPARE: (usize, usize) = (16, 1 << 20);

/// Bytes for the end of a lane's segment.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) lane: usize,
    /// The segment that is begun first, with its header.
    pub(super) begin: Option<(SegmentName, Vec<u8>)>,
    pub(super) bytes: Vec<u8>,
    /// The offset after its last record, and all bytes of the lane up to its end.
    pub(super) next: u64,
    pub(super) total: u64,
}

/// What is handed over at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) pieces: Vec<Piece>,
    pub(super) commit: Option<u64>,
    /// To sync what was written since, whatever the durability.
    pub(super) sync: bool,
    /// Segments that are to go, oldest first.
    pub(super) remove: Vec<(usize, SegmentName)>,
}

/// What the worker and the thread share.
pub(super) struct Shared {
    durability: Durability,
    queue: Mutex<Queue>,
    filled: Condvar,
    /// Everything before this epoch is durable; and is on the disk.
    pub(super) durable: AtomicU64,
    pub(super) synced: AtomicU64,
    pub(super) lanes: Vec<LaneShared>,
    /// The bytes that were handed over and are not yet written.
    pub(super) queued: AtomicUsize,
    /// Whether `trouble` says anything.
    troubled: AtomicBool,
    trouble: Mutex<Option<Trouble>>,
}

#[derive(Default)]
pub(super) struct LaneShared {
    pub(super) durable_next: AtomicU64,
    /// How many bytes of the lane, since the start, are on the disk.
    pub(super) synced: AtomicU64,
}

#[derive(Default)]
struct Queue {
    batches: Vec<Batch>,
    busy: bool,
    closing: bool,
    spare: Vec<Vec<u8>>,
}

#[derive(Clone)]
pub(super) enum Trouble {
    Full(String),
    Failed { what: String, kind: ErrorKind, why: String },
}

impl Shared {
    pub(super) fn new(durability: Durability, next: impl Iterator<Item = u64>) -> Self {
        let lane =
            |next| LaneShared { durable_next: AtomicU64::new(next), ..LaneShared::default() };
        Self {
            durability,
            queue: Mutex::default(),
            filled: Condvar::new(),
            durable: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            lanes: next.map(lane).collect(),
            queued: AtomicUsize::new(0),
            troubled: AtomicBool::new(false),
            trouble: Mutex::default(),
        }
    }

    /// Gives the thread more to do. Publishes at once what needs nothing.
    pub(super) fn hand_over(&self, batch: Batch) {
        let mut queue = locked(&self.queue);
        let idle = !queue.busy && queue.batches.is_empty();
        if idle && batch.pieces.is_empty() && !batch.sync && batch.remove.is_empty() {
            // All that was written is synced, or nobody knows whether it is.
            return self.publish(batch.commit, self.durability == Durability::Sync);
        }
        let bytes: usize = batch.pieces.iter().map(|piece| piece.bytes.len()).sum();
        self.queued.fetch_add(bytes, Ordering::Relaxed);
        queue.batches.push(batch);
        drop(queue);
        self.filled.notify_one();
    }

    pub(super) fn spare(&self) -> Vec<u8> {
        locked(&self.queue).spare.pop().unwrap_or_default()
    }

    pub(super) fn close(&self) {
        locked(&self.queue).closing = true;
        self.filled.notify_one();
    }

    fn publish(&self, commit: Option<u64>, synced: bool) {
        let before = commit.unwrap_or(0);
        let before = self.durable.fetch_max(before, Ordering::AcqRel).max(before);
        if synced {
            self.synced.fetch_max(before, Ordering::Release);
        }
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.troubled.load(Ordering::Acquire).then(|| locked(&self.trouble).clone()).flatten()
    }

    fn set_trouble(&self, trouble: Option<Trouble>) {
        let mut known = locked(&self.trouble);
        self.troubled.store(trouble.is_some(), Ordering::Release);
        *known = trouble;
    }

    pub(super) fn failure(&self) -> Result<()> {
        match self.trouble() {
            Some(Trouble::Failed { what, kind, why }) => {
                Err(Error::io(what, io::Error::new(kind, why)))
            }
            Some(Trouble::Full(_)) | None => Ok(()),
        }
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lane as the thread has it.
pub(super) struct LaneFile {
    pub(super) folder: PathBuf,
    pub(super) name: SegmentName,
    pub(super) file: File,
    /// Its length: after a whole frame.
    pub(super) length: u64,
    /// How much of that the disk has for certain.
    pub(super) synced: u64,
    /// All bytes of the lane that were written.
    pub(super) total: u64,
    pub(super) dirty: bool,
}

impl LaneFile {
    fn path(&self) -> String {
        self.folder.join(self.name.file()).display().to_string()
    }
}

/// The thread.
pub(super) struct Committer<'a, W: Fn()> {
    pub(super) shared: &'a Shared,
    pub(super) lanes: Vec<LaneFile>,
    pub(super) wake: W,
}

/// An error, and what was being done.
type Failure = (String, io::Error);

impl<W: Fn()> Committer<'_, W> {
    /// Works until it is closed or fails.
    pub(super) fn run(mut self) {
        let mut ended = Ended { shared: self.shared, wake: &self.wake, well: false };
        // Borrowed apart: whoever waits for it learns of its end even when it panics.
        let lanes = &mut self.lanes;
        let mut work = Work { shared: self.shared, lanes };
        loop {
            let mut queue = locked(&self.shared.queue);
            queue.busy = false;
            while queue.batches.is_empty() && !queue.closing {
                queue = self.shared.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let closing = queue.closing && queue.batches.is_empty();
            let batches = std::mem::take(&mut queue.batches);
            queue.busy = true;
            drop(queue);
            match work.commit(batches, closing) {
                Ok(remove) => {
                    (self.wake)();
                    work.remove(&remove);
                }
                Err((what, error)) => {
                    tracing::error!("{what}: {error}; the journal writes no more");
                    let (kind, why) = (error.kind(), error.to_string());
                    self.shared.set_trouble(Some(Trouble::Failed { what, kind, why }));
                    ended.well = true;
                    (self.wake)();
                    return;
                }
            }
            if closing {
                ended.well = true;
                return;
            }
        }
    }
}

/// Says that the thread is gone when nothing else has.
struct Ended<'a, W: Fn()> {
    shared: &'a Shared,
    wake: &'a W,
    well: bool,
}

impl<W: Fn()> Drop for Ended<'_, W> {
    fn drop(&mut self) {
        if !self.well {
            self.shared.set_trouble(Some(Trouble::Failed {
                what: "the journal's thread".to_owned(),
                kind: ErrorKind::Other,
                why: "it panicked; this is a bug, please report it".to_owned(),
            }));
            (self.wake)();
        }
    }
}

struct Work<'a> {
    shared: &'a Shared,
    lanes: &'a mut Vec<LaneFile>,
}

impl Work<'_> {
    /// Writes batches and publishes what is durable then. What is left to do is to remove segments.
    fn commit(
        &mut self,
        batches: Vec<Batch>,
        closing: bool,
    ) -> Result<Vec<(usize, SegmentName)>, Failure> {
        let mut sync = closing || self.shared.durability == Durability::Sync;
        let (mut commit, mut reached, mut remove) = (None, Vec::new(), Vec::new());
        for batch in batches {
            for piece in batch.pieces {
                self.write(&piece)?;
                reached.push((piece.lane, piece.next));
                self.shared.queued.fetch_sub(piece.bytes.len(), Ordering::Relaxed);
                self.keep_buffer(piece.bytes);
            }
            commit = batch.commit.or(commit);
            sync |= batch.sync;
            remove.extend(batch.remove);
        }
        if sync {
            for (index, lane) in self.lanes.iter_mut().enumerate() {
                sync_lane(self.shared, index, lane)?;
            }
        }
        for (lane, next) in reached {
            if let Some(lane) = self.shared.lanes.get(lane) {
                lane.durable_next.store(next, Ordering::Release);
            }
        }
        self.shared.publish(commit, sync);
        Ok(remove)
    }

    fn keep_buffer(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut queue = locked(&self.shared.queue);
        if queue.spare.len() < SPARE.0 && buffer.capacity() <= SPARE.1 {
            queue.spare.push(buffer);
        }
    }

    fn write(&mut self, piece: &Piece) -> Result<(), Failure> {
        let Some(lane) = self.lanes.get_mut(piece.lane) else { return Ok(()) };
        if let Some((name, header)) = &piece.begin {
            // Its header says how long the one before is, which must be true after a power cut.
            sync_lane(self.shared, piece.lane, lane)?;
            let file = with_room(self.shared, || {
                segment::create(&lane.folder, *name, header).map_err(|e| {
                    (format!("beginning {}", lane.folder.join(name.file()).display()), e)
                })
            })?;
            lane.file = file;
            lane.name = *name;
            lane.length = header.len() as u64;
            lane.synced = lane.length;
        }
        if piece.bytes.is_empty() {
            return Ok(());
        }
        lane.dirty = true;
        with_room(self.shared, || {
            append(&mut lane.file, &piece.bytes).map_err(|e| {
                let failure = format!("writing to {}", lane.path());
                match lane.file.set_len(lane.length) {
                    Ok(()) => (failure, e),
                    Err(cut) => (format!("{failure} ({e}), and cutting what was written"), cut),
                }
            })
        })?;
        lane.length += piece.bytes.len() as u64;
        lane.total = piece.total;
        hit("journal::written").map_err(|e| (format!("writing to {}", lane.path()), e))
    }

    /// Removes segments. That one stays is no harm: it is found and dropped by the next start.
    fn remove(&mut self, segments: &[(usize, SegmentName)]) {
        for (lane, name) in segments {
            let Some(lane) = self.lanes.get(*lane) else { continue };
            let path = lane.folder.join(name.file());
            let removed = hit("journal::drop")
                .and_then(|()| fs::remove_file(&path))
                // One by one, so that after a power cut too what is left has no gap.
                .and_then(|()| sync_folder(&lane.folder))
                .and_then(|()| hit("journal::dropped"));
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    let file = path.display();
                    tracing::warn!(%file, %error, "a segment of the journal could not be dropped");
                }
                _ => tracing::debug!(file = %path.display(), "dropped"),
            }
        }
    }
}

fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    hit("journal::write")?;
    if let Err(error) = hit("journal::short-write") {
        file.write_all(bytes.split_at(bytes.len() / 2).0)?;
        hit("journal::half-written")?;
        return Err(error);
    }
    file.write_all(bytes)
}

fn sync_lane(shared: &Shared, index: usize, lane: &mut LaneFile) -> Result<(), Failure> {
    if !std::mem::take(&mut lane.dirty) {
        return Ok(());
    }
    let synced = hit("journal::sync")
        .and_then(|()| lane.file.sync_data())
        .and_then(|()| hit("journal::synced"));
    if let Err(error) = synced {
        let what = format!("syncing {}", lane.path());
        if shared.durability == Durability::Sync {
            // The system shows it as if it were there, and the disk may not have it: so that the next
            // start does not take it for what is durable. Nothing that follows from it was released.
            if let Err(cut) = lane.file.set_len(lane.synced) {
                tracing::error!("{what}: what the disk may not have could not be cut off: {cut}");
            }
        }
        return Err((what, error));
    }
    lane.synced = lane.length;
    if let Some(shared) = shared.lanes.get(index) {
        shared.synced.store(lane.total, Ordering::Release);
    }
    Ok(())
}

/// Tries until there is room on the disk. When the journal is closed meanwhile, once more.
fn with_room<T>(
    shared: &Shared,
    mut attempt: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut pause = BACK_OFF.0;
    let mut full = false;
    loop {
        let last = locked(&shared.queue).closing;
        match attempt() {
            Err((what, error)) if no_room(&error) && !last => {
                let state = format!("{what}: {error}; make room, it then goes on by itself");
                if !std::mem::replace(&mut full, true) {
                    tracing::error!("{state}; until then nothing more is taken in");
                    shared.set_trouble(Some(Trouble::Full(state)));
                }
            }
            done => {
                if full && done.is_ok() {
                    tracing::info!("there is room again: the journal goes on");
                    shared.set_trouble(None);
                }
                return done;
            }
        }
        let until = crate::clock::instant() + pause;
        let mut queue = locked(&shared.queue);
        while !queue.closing {
            let left = until.saturating_duration_since(crate::clock::instant());
            if left.is_zero() {
                break;
            }
            let waited = shared.filled.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(queue);
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

fn no_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
