//! [`Replaying`]: a replay that goes on in its own threads, or in another program, and tells step by
//! step what comes of it.
//!
//! Invariant: it is at most [`QUEUED`] steps ahead of whoever takes them; when it is let go of, it
//! ends.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::Common;
use crate::trace::{Give, Step, Trace};
use crate::{Error, Result, program};

/// Steps that may wait to be taken.
const QUEUED: usize = 64;

/// A replay on its way.
pub(super) struct Replaying {
    /// What it is called before its results.
    pub(super) name: String,
    steps: Option<Receiver<Step>>,
    next: Option<Step>,
    thread: Option<JoinHandle<Result<()>>>,
    stop: Box<dyn Fn()>,
}

impl Replaying {
    /// `run` gives steps until it has ended; `stop` makes it end earlier.
    pub(super) fn start(
        name: String,
        stop: impl Fn() + 'static,
        run: impl FnOnce(Give) -> Result<()> + Send + 'static,
    ) -> Self {
        let (sender, steps) = sync_channel(QUEUED);
        let thread = Some(std::thread::spawn(move || run(giver(sender))));
        Self { name, steps: Some(steps), next: None, thread, stop: Box::new(stop) }
    }

    /// Replays in threads of this process.
    pub(super) fn here(common: &Common, name: String, workers: usize, rows: bool) -> Result<Self> {
        // Its trace is made with what it gives steps to, so it hands both over.
        let (sender, steps) = sync_channel(QUEUED);
        let trace = Trace::new(rows, giver(sender));
        let setup = common.setup(workers, std::sync::Arc::clone(&trace))?;
        let control = std::sync::Arc::clone(&setup.control);
        let config = program::worker_config(&common.config);
        let run = move || {
            program::run_alone(setup, config)?;
            trace.complete(u64::MAX)
        };
        let thread = Some(std::thread::spawn(run));
        let stop = Box::new(move || control.abort());
        Ok(Self { name, steps: Some(steps), next: None, thread, stop })
    }

    /// The epoch of the next step; none if the replay has ended.
    ///
    /// # Errors
    /// Why it ended, if it should not have.
    pub(super) fn next_epoch(&mut self) -> Result<Option<u64>> {
        if self.next.is_none() {
            self.next = self.steps.as_ref().and_then(|steps| steps.recv().ok());
        }
        if let Some(next) = &self.next {
            return Ok(Some(next.epoch));
        }
        self.join().map(|()| None)
    }

    /// What came of `epoch`, which is not after the next one.
    pub(super) fn take(&mut self, epoch: u64) -> Step {
        let next = self.next.take_if(|next| next.epoch == epoch);
        next.unwrap_or_else(|| Step { epoch, ..Step::default() })
    }

    fn join(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let ended = thread.join().unwrap_or_else(|_| Err(Error::Panic("a replay".to_string())));
        ended.map_err(|error| within(&self.name, &error))
    }
}

impl Drop for Replaying {
    fn drop(&mut self) {
        self.steps = None;
        (self.stop)();
        // How it ends is of no interest any more.
        let _ = self.join();
    }
}

/// The earliest epoch in which one of `replays` did something; none when all have ended.
pub(super) fn next_epoch(replays: &mut [Replaying]) -> Result<Option<u64>> {
    let mut least = None;
    for replay in replays {
        let next = replay.next_epoch()?;
        least = [least, next].into_iter().flatten().min();
    }
    Ok(least)
}

fn giver(sender: SyncSender<Step>) -> Give {
    let gone = |_| Error::Cluster("nobody compares what is replayed any more".to_string());
    Box::new(move |step| sender.send(step).map_err(gone))
}

/// The error, with the replay that it belongs to.
fn within(name: &str, error: &Error) -> Error {
    let text = format!("the replay by {name} failed: {error}");
    match error {
        Error::Panic(_) | Error::SetAside { .. } => Error::Panic(text),
        Error::Data(_) => Error::Data(text),
        Error::Usage(_) => Error::Usage(text),
        _ => Error::Cluster(text),
    }
}
