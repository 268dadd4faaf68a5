//! [`inbound`]: from sockets or a thread to the worker that reads.
//!
//! Offsets are given where frames enter, so a sender knows its frame's before the worker does.
//!
//! Invariant: a sender waits while there is no room for its frame, in the order of asking, so a
//! socket is not read and its peer is slowed by TCP; the worker is woken when the queue turns
//! non-empty or ends, and never waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch::source::{Frame, FrameReader, Progress, Waker};
use anabranch::{Error, Result};
use tokio::sync::{Semaphore, TryAcquireError, watch};
use tokio::task::JoinHandle;

use super::{Batch, Bounds, Owed};

/// The reader is gone: nothing more need be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// Why frames that cannot wait were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// There may be room later.
    Full,
    /// See [`Gone`].
    Gone,
}

impl std::convert::From<TryAcquireError> for NoRoom {
    fn from(error: TryAcquireError) -> Self {
        match error {
            TryAcquireError::NoPermits => Self::Full,
            TryAcquireError::Closed => Self::Gone,
        }
    }
}

struct Shared {
    state: Mutex<State>,
    frames: Semaphore,
    bytes: Semaphore,
    half: Bounds,
    waker: Waker,
    /// Every frame before this offset is durable.
    durable: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    batch: Batch,
    /// The offset of the next frame.
    next: u64,
    /// Permits that the batch holds.
    frames_taken: usize,
    bytes_taken: usize,
    end: Option<Result<()>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queue of frames for a worker that `waker` wakes; the first one's offset is `from`.
pub(crate) fn inbound(bounds: Bounds, waker: Waker, from: u64) -> (Inbound, InboundReader) {
    let half = bounds.half();
    let shared = Arc::new(Shared {
        state: Mutex::new(State { next: from, ..State::default() }),
        frames: Semaphore::new(half.frames),
        bytes: Semaphore::new(half.bytes),
        half,
        waker,
        durable: watch::Sender::new(0),
    });
    let sender = Inbound { shared: Arc::clone(&shared) };
    let (batch, refusal) = (Batch::default(), String::new());
    let reader = InboundReader { shared, batch, at: 0, offset: from, refusal, task: None };
    (sender, reader)
}

/// The sockets' end; cheap to clone, one for each connection.
#[derive(Clone)]
pub(crate) struct Inbound {
    shared: Arc<Shared>,
}

impl Inbound {
    /// Hands `frame` over, when there is room for it; gives its offset.
    pub(crate) async fn send(&self, frame: &[u8]) -> Result<u64, Gone> {
        self.hand_over(frame, false).await
    }

    /// As [`send`](Inbound::send), for a frame that is to become a dead letter: for the reason that
    /// the reader [has](InboundReader::refusing).
    pub(crate) async fn refuse(&self, frame: &[u8]) -> Result<u64, Gone> {
        self.hand_over(frame, true).await
    }

    /// What one connection is to be told of its frames.
    pub(crate) fn owed(&self) -> Owed {
        Owed::new(self.shared.durable.subscribe())
    }

    /// Hands all of `frames` over, one after the other, if there is room for all of them at this moment; else
    /// none. Gives the offset after the last. More frames than half of the bound never have room.
    pub(crate) fn offer_all(&self, frames: &[&[u8]]) -> Result<u64, NoRoom> {
        let shared = &*self.shared;
        let bytes = frames.iter().map(|frame| frame.len()).sum::<usize>().min(shared.half.bytes);
        let permits = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let places = shared.frames.try_acquire_many(permits(frames.len()))?;
        let room = shared.bytes.try_acquire_many(permits(bytes))?;
        // They come back when the worker takes the batch.
        places.forget();
        room.forget();
        let mut state = shared.lock();
        let was_empty = state.batch.is_empty();
        frames.iter().for_each(|frame| state.batch.push(&[frame], shared.half.bytes));
        state.frames_taken += frames.len();
        state.bytes_taken += bytes;
        state.next += frames.len() as u64;
        let end = state.next;
        drop(state);
        if was_empty && !frames.is_empty() {
            shared.waker.wake();
        }
        Ok(end)
    }

    async fn hand_over(&self, frame: &[u8], is_refused: bool) -> Result<u64, Gone> {
        let shared = &*self.shared;
        let bytes = frame.len().min(shared.half.bytes);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let place = shared.frames.acquire().await.map_err(|_| Gone)?;
        let room = shared.bytes.acquire_many(permits).await.map_err(|_| Gone)?;
        // They come back when the worker takes the batch.
        place.forget();
        room.forget();
        let mut state = shared.lock();
        let was_empty = state.batch.is_empty();
        state.batch.push(&[frame], shared.half.bytes);
        if is_refused {
            state.batch.refuse_last();
        }
        state.frames_taken += 1;
        state.bytes_taken += permits as usize;
        let offset = state.next;
        state.next += 1;
        drop(state);
        if was_empty {
            shared.waker.wake();
        }
        Ok(offset)
    }

    /// Nothing more comes, or the program must end with that error.
    pub(crate) fn finish(&self, result: Result<()>) {
        let mut state = self.shared.lock();
        state.end.get_or_insert(result);
        drop(state);
        self.shared.waker.wake();
    }
}

/// The worker's end: a [`FrameReader`] whose offsets count frames.
pub(crate) struct InboundReader {
    shared: Arc<Shared>,
    batch: Batch,
    /// The next frame of `batch`.
    at: usize,
    offset: u64,
    /// Why frames are refused that their transport refused.
    refusal: String,
    /// What feeds the queue, ended with the reader.
    task: Option<JoinHandle<()>>,
}

impl InboundReader {
    /// Ends `task` when the reader is dropped.
    pub(crate) fn fed_by(mut self, task: JoinHandle<()>) -> Self {
        self.task = Some(task);
        self
    }

    /// Gives `reason` for the frames that are [refused](Inbound::refuse).
    pub(crate) fn refusing(mut self, reason: String) -> Self {
        self.refusal = reason;
        self
    }

    /// Takes what is queued; `None` when that is something, else what to say.
    fn refill(&mut self) -> Option<Result<Progress>> {
        self.batch.clear();
        self.at = 0;
        let mut state = self.shared.lock();
        std::mem::swap(&mut state.batch, &mut self.batch);
        let frames = std::mem::take(&mut state.frames_taken);
        let bytes = std::mem::take(&mut state.bytes_taken);
        let end = if self.batch.is_empty() { state.end.take() } else { None };
        if let Some(Ok(())) = end {
            state.end = Some(Ok(()));
        }
        drop(state);
        self.shared.frames.add_permits(frames);
        self.shared.bytes.add_permits(bytes);
        match end {
            Some(Ok(())) => Some(Ok(Progress::End)),
            Some(Err(error)) => Some(Err(error)),
            None if self.batch.is_empty() => Some(Ok(Progress::Idle)),
            None => None,
        }
    }
}

#[cfg(test)]
impl InboundReader {
    /// How many frames are queued, and whether their memory is within the bound.
    pub(super) fn held(&self) -> (usize, bool) {
        let state = self.shared.lock();
        (state.batch.len(), state.batch.capacity() <= self.shared.half.bytes)
    }
}

impl FrameReader for InboundReader {
    fn read(&mut self, each: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress> {
        loop {
            while let Some(bytes) = self.batch.get(self.at) {
                let refusal = self.batch.is_refused(self.at).then_some(self.refusal.as_str());
                let frame = Frame { refusal, ..Frame::new(self.offset, bytes) };
                self.at += 1;
                self.offset += 1;
                if !each(frame) {
                    return Ok(Progress::Ready);
                }
            }
            if let Some(said) = self.refill() {
                return said;
            }
        }
    }

    fn durable(&mut self, next: u64) {
        self.shared.durable.send_replace(next);
    }
}

impl Drop for InboundReader {
    fn drop(&mut self) {
        self.shared.frames.close();
        self.shared.bytes.close();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Ends the queue with an error if what feeds it ends without saying how: that must not look like
/// a source that is silent.
pub(crate) struct EndGuard(pub(crate) Inbound);

impl Drop for EndGuard {
    fn drop(&mut self) {
        let unexpected = "what feeds the source ended unexpectedly".into();
        self.0.finish(Err(Error::Connector(unexpected)));
    }
}
