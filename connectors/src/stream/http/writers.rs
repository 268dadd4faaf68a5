//! [`Writers`]: one writer a stream, which all requests append by.
//!
//! Invariant: a stream has one writer in this process, so appends at the same time share its syncs. One that failed
//! is opened anew by the next append; one that nobody uses is let go, so that another process can write.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anabranch::{Result, clock};

use super::groups::expire;
use super::shared::{Shared, failed};
use crate::http::Problem;
use crate::stream::{Stream, Writer};

/// The writers that are open.
pub(super) struct Writers {
    open: Mutex<BTreeMap<String, Arc<Slot>>>,
    most: usize,
    idle: Duration,
    /// Whether a task looks for those that nobody uses.
    sweeping: AtomicBool,
}

/// The place of one.
struct Slot {
    writer: Mutex<Option<Arc<Writer>>>,
    used: Mutex<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writers {
    pub(super) fn new(most: usize, idle: Duration) -> Self {
        Self { open: Mutex::default(), most, idle, sweeping: AtomicBool::new(false) }
    }

    /// Appends `frames`, and gives their offsets once they are durable.
    pub(super) fn append(&self, stream: &Stream, frames: &[&[u8]]) -> Result<Range<u64>, Problem> {
        self.with(stream, |writer| writer.append_batch(frames))
    }

    /// Does something with the writer of `stream`.
    pub(super) fn with<T>(
        &self,
        stream: &Stream,
        work: impl FnOnce(&Writer) -> Result<T>,
    ) -> Result<T, Problem> {
        let slot = self.slot(stream.name())?;
        let writer = {
            // Who comes meanwhile waits for the one that opens it.
            let mut writer = lock(&slot.writer);
            match &*writer {
                Some(writer) if writer.stream().id == stream.id => Arc::clone(writer),
                _ => {
                    *writer = None;
                    let opened = Arc::new(stream.writer().map_err(failed)?);
                    Arc::clone(writer.insert(opened))
                }
            }
        };
        let worked = work(&writer);
        if worked.is_err() {
            let mut kept = lock(&slot.writer);
            if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &writer)) {
                *kept = None;
            }
        }
        *lock(&slot.used) = clock::instant();
        worked.map_err(failed)
    }

    fn slot(&self, name: &str) -> Result<Arc<Slot>, Problem> {
        let mut open = lock(&self.open);
        if let Some(slot) = open.get(name) {
            return Ok(Arc::clone(slot));
        }
        if open.len() >= self.most {
            let unused = open.iter().find(|(_, slot)| Arc::strong_count(slot) == 1);
            let Some(unused) = unused.map(|(name, _)| name.clone()) else {
                return Err(Problem::busy(
                    "too many streams are being written at this moment: try again",
                ));
            };
            open.remove(&unused);
        }
        let slot = Slot { writer: Mutex::default(), used: Mutex::new(clock::instant()) };
        let slot = Arc::new(slot);
        open.insert(name.to_owned(), Arc::clone(&slot));
        Ok(slot)
    }

    /// Lets the writer of that stream go, once those that use it are done.
    pub(super) fn close(&self, name: &str) {
        lock(&self.open).remove(name);
    }

    fn is_empty(&self) -> bool {
        lock(&self.open).is_empty()
    }

    /// Lets those go that nobody has used.
    fn sweep(&self) {
        let now = clock::instant();
        let mut open = lock(&self.open);
        open.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || now.saturating_duration_since(*lock(&slot.used)) < self.idle
        });
    }
}

/// Has writers and consumers that nobody uses let go, by a task that ends with the last of them.
pub(super) fn keep_swept(shared: &Arc<Shared>) {
    let is_begun = |shared: &Shared| shared.writers.sweeping.swap(true, Ordering::SeqCst);
    if is_begun(shared) {
        return;
    }
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let every = shared.writers.idle.min(shared.limits.lease) / 2;
        let is_empty = |shared: &Shared| shared.writers.is_empty() && shared.consumers().is_empty();
        loop {
            tokio::time::sleep(every).await;
            // Files are closed on a thread that may wait.
            let swept = shared.work(|shared| {
                shared.writers.sweep();
                expire(shared);
                Ok(())
            });
            let _ = swept.await;
            if is_empty(&shared) {
                shared.writers.sweeping.store(false, Ordering::SeqCst);
                // One may have come in between, which has found this task.
                if is_empty(&shared) || is_begun(&shared) {
                    return;
                }
            }
        }
    });
}
