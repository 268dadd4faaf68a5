//! [`Journal`]: what a worker's sources bring, on its way to the disk.
//!
//! Invariant: the worker decides every byte (frames, where a segment begins, what its header says), the
//! thread only writes them; so what is in a lane does not depend on when it is written. A segment begins
//! only where an epoch does, or a generation.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::Durability;
use super::commit::{Batch, Committer, LaneFile, Piece, Shared, Trouble};
use super::frame::{self, FrameHead, PAYLOAD_MAX, POSITION_MAX, Place};
use super::reader::{Kept, LaneEnd};
use super::segment::{self, Header, LaneName, LanePosition, Prior, SOURCE_MAX, SegmentName};
use crate::{Error, Result};

/// A segment that has more is ended with its epoch.
const SEGMENT_MAX: u64 = 64 << 20;
/// A segment that has less is not ended by [`Journal::roll`].
const ROLL_MIN: u64 = 1 << 20;
/// So many bytes are handed to the thread before their epoch ends.
const HAND_OVER: usize = 256 << 10;

/// How the journal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It writes.
    Writing,
    /// There is no room on the disk, in words; it goes on as soon as there is.
    DiskFull(String),
}

/// The lanes of one worker. Its thread ends with it.
///
/// What is appended waits in memory until the thread has written it. There is no bound here: the
/// caller stops its sources by how much is in flight, and what is not durable is.
pub(crate) struct Journal {
    lanes: Vec<Lane>,
    generation: u64,
    batch: Batch,
    batch_bytes: usize,
    committed: u64,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    limits: (u64, u64),
}

struct Lane {
    name: LaneName,
    position: LanePosition,
    /// The segments that are there; the last one is written to.
    segments: Vec<Kept>,
    /// The checksum of the present segment's header.
    sum: u32,
    /// The bytes of the lane since the start, and of them those before the present segment.
    total: u64,
    before: u64,
    /// Whether the present segment has frames.
    frames: bool,
    roll: bool,
    /// Its piece in the batch.
    piece: Option<usize>,
}

impl Journal {
    /// Goes on with lanes where their readers found their ends. Each gets a segment of this generation
    /// at once: what an older one still writes is no part of it from here on.
    ///
    /// `root` is the journal's folder. `wake` is called by the thread when more is durable, or when it
    /// failed.
    ///
    /// # Errors
    /// When a lane has a segment of this generation or a later one, or files cannot be made.
    pub(crate) fn start(
        root: &Path,
        generation: u64,
        durability: Durability,
        wake: impl Fn() + Send + 'static,
        lanes: Vec<(LaneName, LaneEnd)>,
    ) -> Result<Self> {
        let mut ours = Vec::with_capacity(lanes.len());
        let mut files = Vec::with_capacity(lanes.len());
        for (name, end) in lanes {
            let (lane, file) = begin(root, generation, name, end)?;
            ours.push(lane);
            files.push(file);
        }
        let next = ours.iter().map(|lane| lane.position.next);
        let shared = Arc::new(Shared::new(durability, next));
        let theirs = Arc::clone(&shared);
        let work = move || Committer { shared: &theirs, lanes: files, wake }.run();
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(work);
        let thread = thread.map_err(|e| Error::io("starting the journal's thread", e))?;
        Ok(Self {
            lanes: ours,
            generation,
            batch: Batch::default(),
            batch_bytes: 0,
            committed: 0,
            shared,
            thread: Some(thread),
            limits: (ROLL_MIN, SEGMENT_MAX),
        })
    }

    /// Appends a frame to a lane (by its place among those given at the start).
    ///
    /// # Errors
    /// When it does not follow the lane's last one, belongs to an epoch that was committed or is too
    /// long; and when the journal has failed.
    pub(crate) fn append(
        &mut self,
        lane: usize,
        head: FrameHead,
        position: Option<&[u8]>,
        payload: &[u8],
    ) -> Result<()> {
        self.shared.failure()?;
        let limits = self.limits;
        let generation = self.generation;
        let Some(to) = self.lanes.get_mut(lane) else {
            return Err(Error::Data(format!("the journal has no lane {lane}")));
        };
        let wrong = |why: &str| {
            let LaneName { source, partition } = &to.name;
            Err(Error::Data(format!("partition {partition} of source `{source}`: {why}")))
        };
        if let Some(why) = to.position.refuses(&head) {
            return wrong(&why);
        }
        if head.epoch < self.committed {
            let committed = self.committed;
            return wrong(&format!("epoch {} ended, all before {committed} did", head.epoch));
        }
        if payload.len() > PAYLOAD_MAX || position.is_some_and(|p| p.len() > POSITION_MAX) {
            return wrong("a frame of the journal holds at most 64 MiB, and a position of 1 MiB");
        }
        let length = to.total - to.before;
        let full = length > limits.1 || (to.roll && length > limits.0);
        let begin = (full && to.frames && to.position.last_epoch < Some(head.epoch))
            .then(|| to.begin(generation, head.epoch));
        let piece = match to.piece.filter(|_| begin.is_none()) {
            Some(piece) => piece,
            None => {
                let bytes = self.shared.spare();
                self.batch.pieces.push(Piece { lane, begin, bytes, ..Piece::default() });
                self.batch.pieces.len() - 1
            }
        };
        to.piece = Some(piece);
        let Some(piece) = self.batch.pieces.get_mut(piece) else { return Ok(()) };
        let on_disk = self.shared.lanes.get(lane).map_or(0, |l| l.synced.load(Ordering::Acquire));
        let place = Place { segment: to.sum, at: to.total - to.before };
        let start = piece.bytes.len();
        let synced = on_disk.saturating_sub(to.before);
        frame::push(&mut piece.bytes, place, &head, synced, position, payload);
        let bytes = piece.bytes.len() - start;
        to.passed(&head, position, bytes as u64);
        (piece.next, piece.total) = (head.next, to.total);
        self.batch_bytes += bytes;
        if self.batch_bytes > HAND_OVER {
            self.hand_over();
        }
        Ok(())
    }

    /// Says that everything that was appended is all of this worker's input before epoch `before`.
    pub(crate) fn commit(&mut self, before: u64) {
        if before > self.committed {
            self.committed = before;
            self.batch.commit = Some(before);
        }
        self.hand_over();
    }

    /// Everything before this epoch is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.shared.durable.load(Ordering::Acquire)
    }

    /// Everything before this epoch is on the disk, whatever the durability asks for. With
    /// [`Durability::Async`] only [`roll`](Self::roll) brings it forward: a checkpoint is complete
    /// only when the journal is on the disk up to it, or a power cut would leave it ahead.
    pub(crate) fn synced(&self) -> u64 {
        self.shared.synced.load(Ordering::Acquire)
    }

    /// Records of the lane before this offset are durable.
    pub(crate) fn durable_next(&self, lane: usize) -> u64 {
        let lane = self.shared.lanes.get(lane);
        lane.map_or(0, |lane| lane.durable_next.load(Ordering::Acquire))
    }

    /// The bytes that were handed to the thread and are not yet written.
    #[cfg(test)]
    pub(crate) fn queued_bytes(&self) -> usize {
        self.batch_bytes + self.shared.queued.load(Ordering::Relaxed)
    }

    /// Where a lane is, with all that was appended.
    #[cfg(test)]
    pub(crate) fn position(&self, lane: usize) -> Option<&LanePosition> {
        self.lanes.get(lane).map(|lane| &lane.position)
    }

    /// Lets the next epoch of each lane begin a segment, if the present one is worth it, and syncs what
    /// there is: for a checkpoint.
    pub(crate) fn roll(&mut self) {
        for lane in &mut self.lanes {
            lane.roll = lane.total - lane.before > self.limits.0;
        }
        self.batch.sync = true;
        self.hand_over();
    }

    /// Drops segments all of whose frames are before `epoch`. From the epoch that is returned on
    /// everything is still there, in all lanes of this journal.
    pub(crate) fn drop_before(&mut self, epoch: u64) -> u64 {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            // The last one is written to.
            let present = lane.segments.len().saturating_sub(1);
            let old = lane.segments.iter().take(present).take_while(|s| s.last_epoch < epoch);
            let old = old.count();
            self.batch.remove.extend(lane.segments.drain(..old).map(|gone| (index, gone.name)));
        }
        if !self.batch.remove.is_empty() {
            self.hand_over();
        }
        let whole = self.lanes.iter().filter_map(|lane| lane.segments.first());
        whole.map(|front| front.whole_from).max().unwrap_or(0)
    }

    /// How it is.
    ///
    /// # Errors
    /// When it has failed, for good.
    pub(crate) fn health(&self) -> Result<Health> {
        self.shared.failure()?;
        Ok(match self.shared.trouble() {
            Some(Trouble::Full(state)) => Health::DiskFull(state),
            _ => Health::Writing,
        })
    }

    /// Writes and syncs what is left, and ends the thread. When the disk is full it tries once.
    ///
    /// # Errors
    /// When it has failed, or fails now.
    #[cfg(test)]
    pub(crate) fn close(mut self) -> Result<()> {
        self.end();
        self.shared.failure()
    }

    fn end(&mut self) {
        self.hand_over();
        self.shared.close();
        if let Some(thread) = self.thread.take() {
            // Its panic is a failure that it has reported itself.
            let _ = thread.join();
        }
    }

    fn hand_over(&mut self) {
        self.batch_bytes = 0;
        for piece in &self.batch.pieces {
            if let Some(lane) = self.lanes.get_mut(piece.lane) {
                lane.piece = None;
            }
        }
        self.shared.hand_over(std::mem::take(&mut self.batch));
    }

    /// Makes segments short, for tests.
    #[cfg(test)]
    pub(super) fn with_limits(mut self, roll_min: u64, segment_max: u64) -> Self {
        self.limits = (roll_min, segment_max);
        self
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}

impl Lane {
    fn passed(&mut self, head: &FrameHead, position: Option<&[u8]>, bytes: u64) {
        self.position.pass(head, position);
        self.total += bytes;
        self.frames = true;
        if let Some(present) = self.segments.last_mut() {
            present.last_epoch = head.epoch;
        }
    }

    /// Begins a segment after the present one.
    fn begin(&mut self, generation: u64, first_epoch: u64) -> (SegmentName, Vec<u8>) {
        let length = self.total - self.before;
        let prior = self.segments.last().map(|present| Prior { name: present.name, length });
        self.begin_after(SegmentName { generation, first_epoch }, prior)
    }

    fn begin_after(&mut self, name: SegmentName, prior: Option<Prior>) -> (SegmentName, Vec<u8>) {
        let (lane, position) = (self.name.clone(), self.position.clone());
        let header = Header { lane, name, prior, position };
        let whole_from = header.whole_from();
        let header = header.encode();
        self.sum = header.last_chunk::<4>().map_or(0, |sum| u32::from_le_bytes(*sum));
        self.before = self.total;
        self.total += header.len() as u64;
        (self.frames, self.roll) = (false, false);
        self.segments.push(Kept {
            name,
            last_epoch: self.position.last_epoch.unwrap_or(0),
            whole_from,
        });
        (name, header)
    }
}

/// Begins a generation's first segment of a lane.
fn begin(root: &Path, generation: u64, name: LaneName, end: LaneEnd) -> Result<(Lane, LaneFile)> {
    let folder = name.folder(root);
    if name.source.len() > SOURCE_MAX || end.position.position.len() > POSITION_MAX {
        return Err(Error::Data(format!(
            "source `{}` cannot be journaled: its name or its position is too long",
            name.source
        )));
    }
    segment::create_folder(root, &folder)?;
    let newest = segment::list(&folder)?.into_iter().map(|(name, _)| name).max();
    if let Some(newest) = newest.filter(|newest| newest.generation >= generation) {
        return Err(Error::Data(format!(
            "generation {generation} cannot go on with the journal: {} was begun by generation {}, \
             which is not older; end this program if another one took its place",
            folder.join(newest.file()).display(),
            newest.generation
        )));
    }
    let mut segments = end.segments;
    if let Some(last) = segments.last_mut() {
        last.last_epoch = end.position.last_epoch.unwrap_or(last.name.first_epoch);
    }
    let first_epoch = end.position.last_epoch.unwrap_or(0);
    let mut lane = Lane {
        name,
        position: end.position,
        segments,
        sum: 0,
        total: 0,
        before: 0,
        frames: false,
        roll: false,
        piece: None,
    };
    let segment = SegmentName { generation, first_epoch };
    let (segment, header) = lane.begin_after(segment, end.prior);
    let file = segment::create(&folder, segment, &header).map_err(|e| {
        Error::io(format!("beginning {}", folder.join(segment.file()).display()), e)
    })?;
    let length = header.len() as u64;
    Ok((
        lane,
        LaneFile {
            folder,
            name: segment,
            file,
            length,
            synced: length,
            total: length,
            dirty: false,
        },
    ))
}
