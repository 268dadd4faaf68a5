//! [`Owed`]: the acknowledgements that one connection of a source waits for.
//!
//! Invariant: what is told only grows, and counts the connection's own frames, all of them durable.
//! Many are told at once; a connection to which too much is owed is not read.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anabranch::source::OpenContext;
use anabranch::{Error, Result};
use tokio::sync::{Notify, watch};

/// How many frames of one connection may wait for their acknowledgement: then it is not read.
const OWED_MAX: usize = 16 << 10;

/// What one connection is to be told.
pub(crate) struct Owed {
    /// Every frame of the source before this offset is durable.
    durable: watch::Receiver<u64>,
    state: Mutex<State>,
    /// Another frame was sent, or no more will be.
    sent: Notify,
    /// Fewer are owed than before.
    room: Notify,
}

#[derive(Default)]
struct State {
    /// The offsets of the frames that were not acknowledged yet.
    waiting: VecDeque<u64>,
    acknowledged: u64,
    finished: bool,
}

impl Owed {
    pub(super) fn new(durable: watch::Receiver<u64>) -> Self {
        let (sent, room) = (Notify::new(), Notify::new());
        Self { durable, state: Mutex::default(), sent, room }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection's next frame has this offset.
    pub(crate) fn sent(&self, offset: u64) {
        self.lock().waiting.push_back(offset);
        self.sent.notify_one();
    }

    /// The connection sends nothing more.
    pub(crate) fn finish(&self) {
        self.lock().finished = true;
        self.sent.notify_one();
    }

    /// Whether the connection may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().waiting.len() < OWED_MAX
    }

    /// Waits until the connection may be read.
    pub(crate) async fn room(&self) {
        while !self.has_room() {
            self.room.notified().await;
        }
    }

    /// Waits until there is something to tell: how many frames of the connection are durable.
    /// `None` when nothing more will be. Can be dropped while it waits.
    pub(crate) async fn due(&self) -> Option<u64> {
        let mut durable = self.durable.clone();
        loop {
            let next = *durable.borrow_and_update();
            {
                let mut state = self.lock();
                let count = state.waiting.partition_point(|offset| *offset < next);
                if count > 0 {
                    state.waiting.drain(..count);
                    state.acknowledged += count as u64;
                    self.room.notify_one();
                    return Some(state.acknowledged);
                }
                if state.finished && state.waiting.is_empty() {
                    return None;
                }
            }
            tokio::select! {
                changed = durable.changed() => changed.ok()?,
                () = self.sent.notified() => {}
            }
        }
    }
}

/// Refuses to promise what nothing makes true.
///
/// # Errors
/// When there is no data directory.
pub(crate) fn can_acknowledge(context: &OpenContext, url: &str) -> Result<()> {
    if context.resume.folder.is_some() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "`{url}` of source `{}` has `ack=true`, and nothing that is read is durable: give the \
         program a data directory (`--data-dir DIR`), or take the option out",
        context.name
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                value = future => Some(value),
                () = std::future::ready(()) => None,
            }
        })
    }

    #[test]
    fn a_connection_is_told_of_its_own_frames_and_of_many_at_once() {
        let durable = watch::Sender::new(0);
        let owed = Owed::new(durable.subscribe());
        for offset in [100, 103, 104, 110] {
            owed.sent(offset);
        }
        assert_eq!(now(owed.due()), None);
        durable.send_replace(100);
        assert_eq!(now(owed.due()), None, "the frame at 100 is not before 100");
        durable.send_replace(101);
        assert_eq!(now(owed.due()), Some(Some(1)));
        assert_eq!(now(owed.due()), None, "nothing is told twice");
        durable.send_replace(109);
        durable.send_replace(110);
        assert_eq!(now(owed.due()), Some(Some(3)));
        owed.finish();
        assert_eq!(now(owed.due()), None);
        durable.send_replace(111);
        assert_eq!(now(owed.due()), Some(Some(4)));
        assert_eq!(now(owed.due()), Some(None));
    }

    #[test]
    fn a_frame_that_was_durable_before_it_was_noted_is_told() {
        let durable = watch::Sender::new(7);
        let owed = Owed::new(durable.subscribe());
        owed.sent(6);
        assert_eq!(now(owed.due()), Some(Some(1)));
    }

    #[test]
    fn what_is_owed_is_bounded() {
        let durable = watch::Sender::new(0);
        let owed = Owed::new(durable.subscribe());
        for offset in 0..OWED_MAX as u64 {
            assert!(owed.has_room());
            owed.sent(offset);
        }
        assert!(!owed.has_room());
        assert_eq!(now(owed.room()), None);
        durable.send_replace(1);
        assert_eq!(now(owed.due()), Some(Some(1)));
        assert_eq!(now(owed.room()), Some(()));
    }
}
