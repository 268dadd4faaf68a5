//! [`Calls`]: what is being asked on behalf of one worker, and what was answered.
//!
//! Invariant: no more is under way than was allowed; a worker never waits for a call. What is under way when
//! the worker ends is let go of.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use super::Lookups;
use crate::cluster::catch_all;
use crate::metrics::Counter;
use crate::source::Waker;
use crate::{Error, Failure, Record, Result, Undo};

/// Threads that run the calls of all workers.
const THREADS: usize = 2;

/// The runtime of all look-ups of the process, started by the first.
///
/// # Errors
/// When the operating system gives no threads.
pub(crate) fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let started = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name("lookups").enable_all();
        builder.build().map_err(|e| e.to_string())
    });
    started.as_ref().map_err(|e| {
        Error::Connector(format!(
            "the threads that run look-ups could not be started: {e}; raise the limit of processes \
             (`ulimit -u`) or of open files (`ulimit -n`)"
        ))
    })
}

/// What came of asking about a record.
#[derive(Debug)]
pub(super) enum Outcome<O> {
    Answer(O),
    /// The record counts for nothing.
    Nothing,
    Failed(Box<Failure>),
}

/// Where a record is among those that are asked about: its epoch, and its index in it.
pub(super) type Ticket = (u64, usize);

/// The calls of one look-up on one worker.
pub(super) struct Calls<O> {
    options: Lookups,
    waker: Waker,
    retries: Counter,
    sender: Sender<(Ticket, Outcome<O>)>,
    answered: Receiver<(Ticket, Outcome<O>)>,
    running: BTreeMap<Ticket, AbortHandle>,
}

impl<O: Send + 'static> Calls<O> {
    pub(super) fn new(options: Lookups, waker: Waker, retries: Counter) -> Self {
        let (sender, answered) = channel();
        Self { options, waker, retries, sender, answered, running: BTreeMap::new() }
    }

    /// Whether one more may be under way.
    pub(super) fn has_room(&self) -> bool {
        self.running.len() < self.options.concurrency
    }

    /// Asks about `record`, by `ask`; `seed` decides about pauses.
    ///
    /// # Errors
    /// When there are no threads for it.
    pub(super) fn start<T, F, A>(
        &mut self,
        ticket: Ticket,
        ask: &Arc<F>,
        record: T,
        seed: u64,
    ) -> Result<()>
    where
        T: Record,
        F: Fn(T) -> A + Send + Sync + 'static,
        A: Future<Output = Result<O, Undo>> + Send + 'static,
    {
        let (options, retries) = (self.options.clone(), self.retries.clone());
        let (sender, waker, ask) = (self.sender.clone(), self.waker.clone(), Arc::clone(ask));
        let call = async move {
            let outcome = call(&*ask, record, seed, &options, &retries).await;
            // Nobody takes it any more if the worker has ended.
            let _ = sender.send((ticket, outcome));
            waker.wake();
        };
        self.running.insert(ticket, runtime()?.spawn(call).abort_handle());
        Ok(())
    }

    /// The next answer that has come.
    pub(super) fn take(&mut self) -> Option<(Ticket, Outcome<O>)> {
        let (ticket, outcome) = self.answered.try_recv().ok()?;
        self.running.remove(&ticket);
        Some((ticket, outcome))
    }

    /// The next answer, waited for; none if nothing is under way.
    pub(super) fn wait(&mut self) -> Option<(Ticket, Outcome<O>)> {
        if self.running.is_empty() {
            return None;
        }
        let (ticket, outcome) = self.answered.recv().ok()?;
        self.running.remove(&ticket);
        Some((ticket, outcome))
    }
}

impl<O> Drop for Calls<O> {
    fn drop(&mut self) {
        self.running.values().for_each(AbortHandle::abort);
    }
}

/// Asks until there is an answer, or no further try.
async fn call<T, O, F, A>(
    ask: &F,
    record: T,
    seed: u64,
    options: &Lookups,
    retries: &Counter,
) -> Outcome<O>
where
    T: Record,
    F: Fn(T) -> A,
    A: Future<Output = Result<O, Undo>>,
{
    for tried in 1_u32.. {
        let copy = record.clone();
        let failure = match attempt(ask, copy, options.timeout).await {
            Ok(Ok(answer)) => return Outcome::Answer(answer),
            Ok(Err(Undo::Ignore | Undo::Break)) => return Outcome::Nothing,
            // It would panic again, or says itself that it is of no use.
            Ok(Err(Undo::Abort(failure))) | Err(failure) => return Outcome::Failed(failure),
            Ok(Err(Undo::Fail(failure))) => failure,
        };
        let Some(pause) = options.retry.pause(tried, seed) else { return Outcome::Failed(failure) };
        retries.add(1);
        tokio::time::sleep(pause).await;
    }
    Outcome::Nothing
}

/// Asks once; the error is a panic of user code.
async fn attempt<T, O, F, A>(
    ask: &F,
    record: T,
    timeout: Duration,
) -> Result<Result<O, Undo>, Box<Failure>>
where
    F: Fn(T) -> A,
    A: Future<Output = Result<O, Undo>>,
{
    let panicked = |caught: crate::cluster::Caught| Box::new(Failure::panic(caught.text));
    let mut asked: Pin<Box<A>> = catch_all(|| Box::pin(ask(record))).map_err(panicked)?;
    let guarded =
        std::future::poll_fn(|context| match catch_all(|| asked.as_mut().poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(answer)) => Poll::Ready(Ok(answer)),
            Err(caught) => Poll::Ready(Err(panicked(caught))),
        });
    tokio::time::timeout(timeout, guarded).await.unwrap_or_else(|_| {
        let chain = vec![format!("no answer within {timeout:?}")];
        let failure = Failure { kind: "timeout".to_string(), chain, place: None };
        Ok(Err(Undo::Fail(Box::new(failure))))
    })
}
