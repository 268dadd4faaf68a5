//! [`outbound`]: from the worker that writes to a socket or a thread.
//!
//! Invariant: the worker is told [`Taken::Partly`] while there is no room, has then given nothing,
//! and is woken when there is room again; a failure of the other side reaches the worker once, as
//! an error that ends the program. Where the other side is, is asked of it at one place among the
//! frames, and answered once everything before that place is written.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anabranch::sink::Taken;
use anabranch::source::Waker;
use anabranch::{Error, Result};
use tokio::sync::Notify;

use super::{Batch, Bounds};
use crate::durable::Patience;

struct Shared {
    state: Mutex<State>,
    /// Wakes a task that takes, or a thread.
    task: Notify,
    thread: Condvar,
    closed: Notify,
    half: Bounds,
    waker: Waker,
}

#[derive(Default)]
struct State {
    batch: Batch,
    /// The worker was told `Partly` and waits to be woken.
    starved: bool,
    closing: bool,
    /// Nobody waits for the end.
    abandoned: bool,
    /// The worker has asked where the other side is, and was not told yet.
    asked: bool,
    reached: Option<Vec<u8>>,
    end: Option<Result<()>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, result: Result<()>) {
        self.lock().end.get_or_insert(result);
        self.waker.wake();
    }
}

/// A queue of frames from a worker that `waker` wakes.
pub(crate) fn outbound(bounds: Bounds, waker: Waker) -> (Outbound, OutboundReceiver) {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        task: Notify::new(),
        thread: Condvar::new(),
        closed: Notify::new(),
        half: bounds.half(),
        waker,
    });
    (Outbound { shared: Arc::clone(&shared) }, OutboundReceiver { shared })
}

/// The worker's end.
pub(crate) struct Outbound {
    shared: Arc<Shared>,
}

impl Outbound {
    /// Queues one frame made of `parts`, or nothing.
    ///
    /// # Errors
    /// What the other side failed with.
    pub(crate) fn offer(&self, parts: &[&[u8]]) -> Result<Taken> {
        let size = parts.iter().map(|part| part.len()).sum::<usize>();
        let half = self.shared.half;
        let mut state = self.shared.lock();
        if let Some(end) = &mut state.end {
            return Err(spent(end));
        }
        let queued = state.batch.bytes().len();
        let full = state.batch.len() >= half.frames || queued + size > half.bytes;
        if full && !state.batch.is_empty() {
            state.starved = true;
            return Ok(Taken::Partly);
        }
        let was_empty = state.batch.is_empty();
        state.batch.push(parts, half.bytes);
        drop(state);
        if was_empty {
            self.notify();
        }
        Ok(Taken::All)
    }

    /// Where the other side is when it has written everything that was offered before this was
    /// first called; `None` as long as it has not.
    ///
    /// # Errors
    /// What the other side failed with.
    pub(crate) fn position(&self) -> Result<Option<Vec<u8>>> {
        let mut state = self.shared.lock();
        if let Some(end) = state.end.as_mut().filter(|end| end.is_err()) {
            return Err(spent(end));
        }
        if let Some(reached) = state.reached.take() {
            return Ok(Some(reached));
        }
        if !std::mem::replace(&mut state.asked, true) {
            state.batch.ask();
            drop(state);
            self.notify();
        }
        Ok(None)
    }

    /// Nothing more will be offered: `All` when the other side has said that it is done.
    ///
    /// # Errors
    /// What the other side failed with.
    pub(crate) fn close(&self) -> Result<Taken> {
        let mut state = self.shared.lock();
        state.closing = true;
        match &mut state.end {
            Some(Ok(())) => return Ok(Taken::All),
            Some(end) => return Err(spent(end)),
            None => drop(state),
        }
        self.shared.closed.notify_one();
        self.notify();
        Ok(Taken::Partly)
    }

    fn notify(&self) {
        self.shared.task.notify_one();
        self.shared.thread.notify_one();
    }
}

/// Without a worker there is nobody to write for.
impl Drop for Outbound {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closing = true;
        state.abandoned = true;
        drop(state);
        self.shared.closed.notify_one();
        self.notify();
    }
}

/// The error, the first time; then that it was told.
fn spent(end: &mut Result<()>) -> Error {
    let told = Error::Connector("the sink has already failed or is closed".into());
    match std::mem::replace(end, Err(told)) {
        Err(error) => error,
        Ok(()) => Error::Connector("the sink is closed".into()),
    }
}

/// The other side's end.
pub(crate) struct OutboundReceiver {
    shared: Arc<Shared>,
}

impl OutboundReceiver {
    /// Waits for frames and puts them into the empty `batch`; false when nothing more comes.
    pub(crate) async fn take(&self, batch: &mut Batch) -> bool {
        loop {
            let notified = self.shared.task.notified();
            if let Some(more) = self.try_take(self.shared.lock(), batch) {
                return more;
            }
            notified.await;
        }
    }

    /// As [`take`](Self::take), for a thread.
    pub(crate) fn take_blocking(&self, batch: &mut Batch) -> bool {
        loop {
            let state = self.shared.lock();
            let idle = !state.closing && state.batch.is_empty() && state.batch.mark().is_none();
            if idle {
                drop(self.shared.thread.wait(state).unwrap_or_else(PoisonError::into_inner));
            } else if let Some(more) = self.try_take(state, batch) {
                return more;
            }
        }
    }

    fn try_take(&self, mut state: MutexGuard<'_, State>, batch: &mut Batch) -> Option<bool> {
        batch.clear();
        std::mem::swap(&mut state.batch, batch);
        if batch.is_empty() && batch.mark().is_none() {
            return state.closing.then_some(false);
        }
        let starved = std::mem::take(&mut state.starved);
        drop(state);
        if starved {
            self.shared.waker.wake();
        }
        Some(true)
    }

    /// Answers a batch's [mark](Batch::mark).
    pub(crate) fn reached(&self, position: Vec<u8>) {
        let mut state = self.shared.lock();
        state.asked = false;
        state.reached = Some(position);
        drop(state);
        self.shared.waker.wake();
    }

    /// Waits for a time, or less if the worker is gone; false then.
    pub(crate) fn patience(&self) -> Patience {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |time| {
            let waiting = |state: &mut State| !state.abandoned;
            let waited = shared.thread.wait_timeout_while(shared.lock(), time, waiting);
            !waited.unwrap_or_else(PoisonError::into_inner).0.abandoned
        })
    }

    /// Waits until the worker has closed its end; frames may still be queued.
    pub(crate) async fn closing(&self) {
        while !self.shared.lock().closing {
            self.shared.closed.notified().await;
        }
    }

    /// How many frames are queued.
    pub(crate) fn queued(&self) -> usize {
        self.shared.lock().batch.len()
    }

    /// Everything is written, or the program must end with that error.
    pub(crate) fn finish(self, result: Result<()>) {
        self.shared.end(result);
    }
}

/// A task or thread that ended without saying how must not look like one that is slow.
impl Drop for OutboundReceiver {
    fn drop(&mut self) {
        let unexpected = Error::Connector("the sink's writer ended unexpectedly".into());
        self.shared.end(Err(unexpected));
    }
}
