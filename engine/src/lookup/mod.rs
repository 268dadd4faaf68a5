//! [`Lookups`]: asking an outside service about each record, many at a time, and what a worker has of it.
//!
//! Invariant: answers leave in the order of the records; each is journaled before it leaves, so that what
//! was answered once is answered so for ever, on any number of workers, and nobody is asked again.

mod calls;
mod kept;
mod log;
mod refused;
mod typed;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::calls::runtime;
pub(crate) use self::kept::{Kept, lane_of};
pub(crate) use self::refused::{Refused, refusal};
pub(crate) use self::typed::{Drawn, TypedLookup};
use crate::metrics::Counters;
use crate::pipeline::Body;
use crate::source::Waker;
use crate::{Result, Retry};

/// The most calls of one look-up that are under way on one worker.
const CONCURRENCY_MAX: usize = 16_384;

/// How [`Stream::map_async`](crate::Stream::map_async) asks: how many calls are under way at a time, how long each may
/// take, and how often one that fails is tried again.
///
/// ```
/// use std::time::Duration;
///
/// use anabranch::{Lookups, Retry};
///
/// let lookups = Lookups::new().concurrency(8).timeout(Duration::from_secs(2)).retry(Retry::tries(3));
/// # drop(lookups);
/// ```
#[derive(Clone, Debug)]
pub struct Lookups {
    concurrency: usize,
    timeout: Duration,
    retry: Retry,
}

impl Default for Lookups {
    fn default() -> Self {
        let (concurrency, timeout) = (64, Duration::from_secs(30));
        Self { concurrency, timeout, retry: Retry::default() }
    }
}

impl Lookups {
    /// 64 calls at a time, 30 seconds each, and the default [`Retry`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// At most so many calls are under way at a time on each worker; at least one.
    #[must_use]
    pub fn concurrency(self, concurrency: usize) -> Self {
        Self { concurrency: concurrency.clamp(1, CONCURRENCY_MAX), ..self }
    }

    /// A call that takes longer has failed, and may be tried again.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How often a call that fails is tried again.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }
}

/// A look-up whose record types only its own code knows, on one worker.
pub(crate) trait AnyLookup {
    /// Its name.
    fn name(&self) -> &str;
    /// Prepares it to run.
    fn open(&mut self, opening: Opening) -> Result<()>;
    /// Keeps `body` until its epoch is complete.
    fn stash(&mut self, epoch: u64, body: Body);
    /// All records of `epoch` are there, and of all epochs before it: asks about them.
    fn complete(&mut self, epoch: u64) -> Result<()>;
    /// Takes what was answered. Gives the next epoch of which all is answered, and durable, once its
    /// answers are in the outboxes.
    fn advance(&mut self) -> Result<Option<u64>>;
}

/// What a look-up needs to know before it runs.
pub(crate) struct Opening {
    pub(crate) waker: Waker,
    pub(crate) counters: Counters,
    /// The names of the sources.
    pub(crate) sources: Arc<[String]>,
    /// What tells its dead letters from those of other computations.
    pub(crate) number: u32,
    /// With a data directory.
    pub(crate) kept: Option<Kept>,
    /// Under a test driver, which is to see the same in every run: a worker waits for its answers.
    pub(crate) waits: bool,
}
