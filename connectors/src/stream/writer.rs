//! [`Writer`]: appends frames, and says so when they are durable.
//!
//! Invariant: one writer holds the stream. What is acknowledged was synced and told to readers, in this
//! order. Whoever appends while another one's frames are being synced shares the next sync. After a
//! failure nothing more is appended: what the disk has then is found out by the next writer.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anabranch::{Error, Result, Time, clock};

use super::format::{Block, FRAME_HEADER_BYTES, push_frame};
use super::segment_file::SegmentFile;
use super::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX, FRAME_BYTES_MAX, OFFSETS_MAX, Stream};
use crate::durable::Patience;

/// What may wait for a sync, in bytes; one append that is larger still passes.
const WAITING_BYTES_MAX: usize = BATCH_BYTES_MAX;
/// How a writer may be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterOptions {
    /// A segment that has so many bytes is ended, and the next one begun: between 4 KiB and 256 MiB. Room
    /// is freed by whole segments.
    pub segment_bytes: u64,
}

impl Default for WriterOptions {
    /// Segments of 64 MiB.
    fn default() -> Self {
        Self { segment_bytes: 64 << 20 }
    }
}

impl WriterOptions {
    fn checked(&self) -> Result<()> {
        if (4 << 10..=256 << 20).contains(&self.segment_bytes) {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "segments of {} bytes are not possible: choose `segment_bytes` between 4 KiB and 256 MiB",
            self.segment_bytes
        )))
    }
}

/// Writes a stream; made by [`Stream::writer`]. Several threads can append at the same time.
pub struct Writer {
    stream: Stream,
    state: Mutex<State>,
    changed: Condvar,
    /// Written by that sink; 0 by none.
    by: u64,
}

struct State {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// The offset of the next frame,
    next: u64,
    /// and no frame before has a later time.
    time: Time,
    /// Every frame before this is acknowledged.
    durable: u64,
    /// Not here while somebody writes.
    disk: Option<SegmentFile>,
    /// Why nothing more can be appended.
    failed: Option<String>,
}

/// An append that is not written yet.
pub(super) struct Waiting {
    pub(super) block: Block,
    pub(super) payload: Vec<u8>,
}

impl Writer {
    pub(super) fn open(stream: &Stream, options: &WriterOptions) -> Result<Self> {
        options.checked()?;
        Self::open_as(
            stream,
            options,
            0,
            std::sync::Arc::new(|_| false),
            super::folder::LOCK_WITHIN,
        )
    }

    /// For the sink `by`, which waits for room on a full disk as long as `patience` says.
    pub(super) fn open_as(
        stream: &Stream,
        options: &WriterOptions,
        by: u64,
        patience: Patience,
        within: std::time::Duration,
    ) -> Result<Self> {
        let disk = SegmentFile::open(stream, options.segment_bytes, patience, within)?;
        let end = disk.end();
        let state = State {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            next: end.next,
            time: end.time,
            durable: end.next,
            disk: Some(disk),
            failed: None,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Ok(Self { stream: stream.clone(), state, changed, by })
    }

    /// The stream that it writes.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Appends a frame of at most [`FRAME_BYTES_MAX`] bytes, and gives its offset once it is durable and
    /// readers see it.
    ///
    /// # Errors
    /// When it is too long, or cannot be written: then it may be there or not, and nothing more can be
    /// appended by this writer; open another one.
    pub fn append(&self, frame: &[u8]) -> Result<u64> {
        self.append_batch(&[frame]).map(|offsets| offsets.start)
    }

    /// Appends frames with one sync, of which after a crash all are there or none; gives their offsets once
    /// they are durable and readers see them. Without frames nothing happens.
    ///
    /// # Errors
    /// As [`append`](Self::append); also when they are more than [`BATCH_FRAMES_MAX`], or take more than
    /// [`BATCH_BYTES_MAX`] bytes together, with 4 for each of them.
    pub fn append_batch<F: AsRef<[u8]>>(&self, frames: &[F]) -> Result<Range<u64>> {
        let payload = self.payload(frames)?;
        let count = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        let mut state = self.lock();
        while !state.waiting.is_empty()
            && state.waiting_bytes + payload.len() > WAITING_BYTES_MAX
            && state.failed.is_none()
        {
            state = self.wait(state);
        }
        self.check(&state)?;
        let first = state.next;
        if count == 0 {
            return Ok(first..first);
        }
        if first + u64::from(count) > OFFSETS_MAX {
            return Err(Error::Connector(format!(
                "stream `{}` has been given {first} frames, and can be given {OFFSETS_MAX} at most: begin \
                 another stream",
                self.stream.name()
            )));
        }
        state.time = state.time.max(clock::now());
        let block = Block::of(self.stream.id, count, &payload, first, state.time, self.by);
        state.next = block.end();
        state.waiting_bytes += payload.len();
        state.waiting.push_back(Waiting { block, payload });
        self.bring_out(state, block.end())?;
        Ok(first..block.end())
    }

    /// The frames with their lengths.
    fn payload<F: AsRef<[u8]>>(&self, frames: &[F]) -> Result<Vec<u8>> {
        let refused = |what: String| {
            let name = self.stream.name();
            Error::Connector(format!("stream `{name}` was not given {what}"))
        };
        if frames.len() > BATCH_FRAMES_MAX {
            return Err(refused(format!(
                "a batch of {} frames: at most {BATCH_FRAMES_MAX} can be appended at once",
                frames.len()
            )));
        }
        let bytes = frames.iter().map(|frame| frame.as_ref().len() + FRAME_HEADER_BYTES).sum();
        if let Some(frame) = frames.iter().find(|frame| frame.as_ref().len() > FRAME_BYTES_MAX) {
            return Err(refused(format!(
                "a frame of {} bytes: it can have {FRAME_BYTES_MAX} at most",
                frame.as_ref().len()
            )));
        }
        if bytes > BATCH_BYTES_MAX {
            return Err(refused(format!(
                "a batch of {bytes} bytes: at most {BATCH_BYTES_MAX} can be appended at once"
            )));
        }
        let mut payload = Vec::with_capacity(bytes);
        frames.iter().for_each(|frame| push_frame(&mut payload, frame.as_ref()));
        Ok(payload)
    }

    /// Returns when everything before `end` is durable: who comes first writes for all that wait.
    fn bring_out<'a>(&'a self, mut state: MutexGuard<'a, State>, end: u64) -> Result<()> {
        while state.durable < end {
            self.check(&state)?;
            let Some(mut disk) = state.disk.take() else {
                state = self.wait(state);
                continue;
            };
            let waiting = std::mem::take(&mut state.waiting);
            state.waiting_bytes = 0;
            drop(state);
            // There is room to wait again.
            self.changed.notify_all();
            let written = disk.append(&waiting);
            state = self.lock();
            match &written {
                Ok(()) => state.durable = disk.end().next,
                Err(error) => state.failed = Some(error.to_string()),
            }
            state.disk = Some(disk);
            self.changed.notify_all();
            written?;
        }
        Ok(())
    }

    /// Does something with the stream's files while nobody appends; all that was appended is durable.
    pub(super) fn with_disk<T>(
        &self,
        work: impl FnOnce(&mut SegmentFile) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.lock();
        loop {
            self.check(&state)?;
            let all = state.next;
            if state.durable < all {
                self.bring_out(state, all)?;
                state = self.lock();
            } else if let Some(disk) = state.disk.as_mut() {
                return work(disk);
            } else {
                state = self.wait(state);
            }
        }
    }

    fn check(&self, state: &State) -> Result<()> {
        let Some(why) = &state.failed else { return Ok(()) };
        Err(Error::Connector(format!(
            "stream `{}` could not be written ({why}): open a writer again, which finds what is there",
            self.stream.name()
        )))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::folder::{Dropped, Streams};
    use super::super::format::SegmentHeader;
    use super::super::segment;
    use super::*;

    fn stream() -> (std::path::PathBuf, Stream) {
        let mut random = [0; 8];
        clock::entropy(&mut random).unwrap();
        let name = format!("anabranch-writer-{:016x}", u64::from_le_bytes(random));
        let dir = std::env::temp_dir().join(name);
        let stream = Streams::open(&dir).unwrap().create("s").unwrap();
        (dir, stream)
    }

    #[test]
    fn the_last_offset_can_be_given_and_no_more() {
        let (dir, stream) = stream();
        let first = OFFSETS_MAX - 3;
        let dropped = Dropped { first, unread: 0, until: Time::ZERO };
        std::fs::write(stream.path("first.json"), serde_json::to_vec(&dropped).unwrap()).unwrap();
        let header = SegmentHeader { first, floor: Time::ZERO }.encode(stream.id);
        std::fs::write(segment::path(&stream.folder, first), header).unwrap();
        let writer = stream.writer().unwrap();
        assert_eq!(writer.append(b"").unwrap(), first);
        let refused = writer.append_batch(&["", "", ""]).unwrap_err().to_string();
        assert!(refused.contains("begin another stream"), "{refused}");
        assert_eq!(writer.append_batch(&["", ""]).unwrap().end, OFFSETS_MAX);
        assert!(writer.append(b"").is_err());
        drop(writer);
        std::fs::remove_dir_all(dir).unwrap();
    }

    /// Whoever finds no room waits, and all are written once there is some.
    #[test]
    fn what_waits_for_a_sync_is_bounded() {
        let (dir, stream) = stream();
        let writer = Arc::new(stream.writer().unwrap());
        let disk = writer.lock().disk.take();
        let append = |n: u8| {
            let writer = Arc::clone(&writer);
            std::thread::spawn(move || writer.append(&vec![n; 12 << 20]).unwrap())
        };
        let threads: Vec<_> = (0..5).map(append).collect();
        while writer.lock().waiting.len() < 2 {
            std::thread::yield_now();
        }
        for _ in 0..1000 {
            std::thread::yield_now();
            assert!(writer.lock().waiting_bytes <= WAITING_BYTES_MAX);
        }
        writer.lock().disk = disk;
        writer.changed.notify_all();
        let mut offsets: Vec<_> =
            threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        offsets.sort_unstable();
        assert_eq!(offsets, [0, 1, 2, 3, 4]);
        drop(writer);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn after_a_failure_nothing_more_is_appended_and_the_next_writer_goes_on() {
        let (dir, stream) = stream();
        let writer = stream.writer_with(&WriterOptions { segment_bytes: 4 << 10 }).unwrap();
        writer.append(&[0; 5000]).unwrap();
        // The next segment cannot be made.
        let blocked = segment::path(&stream.folder, 1);
        std::fs::create_dir(&blocked).unwrap();
        let failed = writer.append(b"one").unwrap_err().to_string();
        assert!(failed.contains("what was acknowledged is there"), "{failed}");
        std::fs::remove_dir(&blocked).unwrap();
        let after = writer.append(b"two").unwrap_err().to_string();
        assert!(after.contains("open a writer again"), "{after}");
        assert!(writer.trim().is_err());
        drop(writer);
        assert_eq!(stream.end().unwrap(), 1);
        assert_eq!(stream.writer().unwrap().append(b"one").unwrap(), 1);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
