//! [`OpenContext`]: what a connector is told when it opens, and what it finds of an earlier run.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::metrics::Counters;

/// What a connector needs to know of its surroundings when it opens.
#[derive(Clone)]
pub struct OpenContext {
    /// The name the application gave the source or sink.
    pub name: Arc<str>,
    /// Wakes the worker: call it when a reader that said [`Progress::Idle`](super::Progress::Idle)
    /// has something to read, or a writer that said [`Taken::Partly`](crate::sink::Taken::Partly)
    /// has room.
    pub waker: Waker,
    /// Counts what the connector wants people to know, by name (`reconnects`, `gaps`).
    pub counters: Counters,
    /// Where an earlier run stopped; the beginning, if there was none.
    pub resume: Resume,
}

impl OpenContext {
    /// A context in which everything begins: what the engine gives without a data directory, and
    /// for a connector's own tests.
    ///
    /// ```
    /// use anabranch::source::{OpenContext, Waker};
    /// let context = OpenContext::new("prices", Waker::new(|| ()), Default::default());
    /// assert_eq!(context.resume.from, 0);
    /// ```
    pub fn new(name: &str, waker: Waker, counters: Counters) -> Self {
        Self { name: Arc::from(name), waker, counters, resume: Resume::default() }
    }
}

/// Where an earlier run of the same program, over the same data directory, stopped.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// A source's first offset that is wanted. Frames before it may be given again; the engine
    /// drops them. A live source numbers its frames from here.
    pub from: u64,
    /// What the reader's or the writer's own `position` said there; empty if it said nothing, and
    /// at the first start.
    pub position: Vec<u8>,
    /// A folder where the connector may keep what must survive. It is there, and the connector's
    /// alone. None without a data directory: then nothing need survive.
    pub folder: Option<PathBuf>,
    /// Which start of the program this is, from 1; 0 without a data directory.
    pub generation: u64,
}

/// Wakes the worker that owns a reader or a writer; cheap, and callable from any thread.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Wakes the worker.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}
