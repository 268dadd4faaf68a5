//! [`TestDriver`]: an application in memory, without sleeping.
//!
//! Invariant: what runs is the engine itself, with real workers on real threads; only connectors
//! are replaced, and only one worker steps at a time, chosen by a seed. So a run can be repeated
//! exactly, for any number of workers.

mod baton;
mod harness;

pub(crate) use baton::Baton;
pub(crate) use harness::{Capture, Feed, Harness};

use std::any::Any;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use timely::communication::Hooks;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};

use crate::epoch::FlowLimits;
use crate::metrics::Counters;
use crate::state::{MapTable, Stores, SubKey, Table, Value};
use crate::worker::{Control, Setup, run};
use crate::{App, DeadLetter, Error, Key, Record, Result, Time, ViewData, Views};

/// Runs an application in memory: send records, advance time, read outputs and tables.
///
/// ```
/// use anabranch::prelude::*;
/// use anabranch::{TestDriver, sink, source};
///
/// const COUNTS: Table<String, u64> = Table::new("counts");
///
/// fn word_count(app: &App) -> Result<()> {
///     app.source("words", source::empty::<String>())
///         .key_by(|word| word.clone())
///         .compute("count", COUNTS, |word, mut count, out| {
///             *count += 1;
///             out.emit(format!("{word} {}", *count));
///         })
///         .sink("counts", sink::null());
///     Ok(())
/// }
///
/// let mut driver = TestDriver::new(word_count).workers(3).start()?;
/// for word in ["a", "b", "a"] {
///     driver.send("words", word.to_string())?;
/// }
/// driver.run()?;
/// assert_eq!(driver.outputs::<String>("counts"), ["a 1", "b 1", "a 2"]);
/// assert_eq!(driver.get(COUNTS, &"a".to_string())?, Some(2));
/// # Ok::<(), anabranch::Error>(())
/// ```
pub struct TestDriver {
    harness: Harness,
    baton: Arc<Baton>,
    time: Time,
    counters: Counters,
    views: Views,
    control: Arc<Control>,
    process: Option<JoinHandle<Result<()>>>,
}

/// A test driver before it starts; see [`TestDriver::new`].
pub struct TestDriverBuilder {
    build: crate::worker::Build,
    workers: usize,
    seed: u64,
    partitions: usize,
    time: Time,
}

impl TestDriverBuilder {
    /// How many workers run; 1 if it is not called.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Chooses in which order workers take steps: equal seeds, equal schedules.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many partitions tables have; 1024 if it is not called.
    #[must_use]
    pub fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = partitions.max(1);
        self
    }

    /// The time at the start; the Unix epoch if it is not called.
    #[must_use]
    pub fn time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// Builds the application and starts its workers.
    ///
    /// # Errors
    /// What the builder function or the check of the application says.
    pub fn start(self) -> Result<TestDriver> {
        let build = crate::program::with_dead_letters(self.build);
        crate::program::check(&build, self.workers, self.partitions)?;
        let harness = Harness::default();
        let baton = Arc::new(Baton::new(self.seed, self.workers));
        let (counters, views) = (Counters::default(), Views::default());
        let control = Arc::new(Control::default());
        let setup = Setup {
            build,
            partitions: self.partitions,
            workers_per_process: self.workers,
            epoch_max: Duration::from_millis(1),
            limits: FlowLimits { records: 1 << 16, bytes: 1 << 26, epochs: 64 },
            counters: counters.clone(),
            views: views.clone(),
            board: None,
            rescaled_at: None,
            durable: None,
            trace: None,
            control: Arc::clone(&control),
            test: Some((harness.clone(), Arc::clone(&baton))),
        };
        let process = spawn(self.workers, setup)?;
        let mut driver = TestDriver {
            harness,
            baton,
            time: self.time,
            counters,
            views,
            control,
            process: Some(process),
        };
        // An answer means that the worker has built the application.
        driver.baton.ask(|_| None);
        if driver.baton.failed() { Err(driver.failure()) } else { Ok(driver) }
    }
}

/// Runs `workers` workers on threads of their own; the result is the first error.
fn spawn(workers: usize, setup: Setup) -> Result<JoinHandle<Result<()>>> {
    let thread = std::thread::Builder::new().name("test-driver".to_string());
    let process = move || {
        let hooks = Hooks::default();
        let builders = ProcessBuilder::new_typed_vector(workers, hooks.refill, hooks.spill)
            .into_iter()
            .map(AllocatorBuilder::Process)
            .collect();
        let config = timely::WorkerConfig::default().idle_spin(Duration::ZERO);
        let guards = timely::execute::execute_from(builders, Box::new(()), config, move |worker| {
            run(worker, &setup)
        })
        .map_err(Error::Cluster)?;
        let mut results = guards.join().into_iter();
        results.try_for_each(|result| result.unwrap_or_else(|e| Err(Error::Panic(e))))
    };
    thread.spawn(process).map_err(|e| Error::io("starting the test driver's thread", e))
}

impl TestDriver {
    /// A driver of the application that `build` draws.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(build: impl Fn(&App) -> Result<()> + Send + Sync + 'static) -> TestDriverBuilder {
        TestDriverBuilder {
            build: Arc::new(build),
            workers: 1,
            seed: 0,
            partitions: 1024,
            time: Time::ZERO,
        }
    }

    /// Sends a record by the source of that name, stamped with the driver's time. It is applied at
    /// the next [`run`](TestDriver::run).
    ///
    /// # Errors
    /// When there is no such source, or its records are of another type.
    pub fn send<T: Record>(&mut self, source: &str, record: T) -> Result<()> {
        self.harness.send(source, self.time, record)
    }

    /// Sends a frame by the source of that name, to be decoded by the source's own decoder.
    ///
    /// # Errors
    /// When there is no such source, or it has no decoder.
    pub fn send_bytes(&mut self, source: &str, bytes: impl Into<Vec<u8>>) -> Result<()> {
        self.harness.send_bytes(source, self.time, bytes.into())
    }

    /// Moves the driver's time.
    pub fn advance(&mut self, duration: Duration) {
        self.time = self.time.after(duration);
    }

    /// The driver's time.
    pub fn now(&self) -> Time {
        self.time
    }

    /// Applies everything that was sent, until nothing is in flight. Time moves by one nanosecond.
    ///
    /// # Errors
    /// What ended the application.
    pub fn run(&mut self) -> Result<()> {
        self.harness.cut(self.time);
        let result = self.baton.run_until_cut(self.time);
        self.time = self.time.after(Duration::from_nanos(1));
        if result { Ok(()) } else { Err(self.failure()) }
    }

    /// Ends all sources, runs to the end, and gives the error that the application ended with.
    ///
    /// # Errors
    /// What ended the application.
    pub fn finish(&mut self) -> Result<()> {
        self.harness.end();
        self.baton.run_to_end();
        let ended = self.process.take().map_or(Ok(()), join);
        self.control.first_fault().map_or(ended, Err)
    }

    /// What a sink has received since the last call, in order.
    pub fn outputs<T: Record>(&mut self, sink: &str) -> Vec<T> {
        self.harness
            .take(sink)
            .into_iter()
            .filter_map(|c| c.record.downcast().ok().map(|r| *r))
            .collect()
    }

    /// Sends one record to a source, runs, and gives what a sink receives of it.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`run`](Self::run).
    pub fn eval<I: Record, O: Record>(
        &mut self,
        source: &str,
        record: I,
        sink: &str,
    ) -> Result<Vec<O>> {
        self.send(source, record)?;
        self.run()?;
        Ok(self.outputs(sink))
    }

    /// What a sink has received since the last call, as the text that its encoder makes.
    pub fn lines(&mut self, sink: &str) -> Vec<String> {
        let lines = self.harness.take(sink).into_iter();
        lines.map(|captured| String::from_utf8_lossy(&captured.frame).into_owned()).collect()
    }

    /// The names (`<source>-<partition>-<offset>`) of what a sink has received since the last call.
    pub fn ids(&mut self, sink: &str) -> Vec<String> {
        self.harness.take(sink).into_iter().map(|captured| captured.id).collect()
    }

    /// The dead letters since the last call.
    pub fn dead_letters(&mut self) -> Vec<DeadLetter> {
        self.outputs("dead-letters")
    }

    /// The row of `key`, if it exists.
    ///
    /// # Errors
    /// What ended the application.
    pub fn get<K: Key + Sync, V: Value>(
        &mut self,
        table: Table<K, V>,
        key: &K,
    ) -> Result<Option<V>> {
        let key = key.clone();
        self.ask(move |stores| stores.get(table, &key))
    }

    /// The entries of `key`'s row in a map table, in order.
    ///
    /// # Errors
    /// What ended the application.
    pub fn entries<K: Key + Sync, S: SubKey, V: Value>(
        &mut self,
        table: MapTable<K, S, V>,
        key: &K,
    ) -> Result<Vec<(S, V)>> {
        let key = key.clone();
        let row = self.ask(move |stores| stores.entries(table, &key))?.unwrap_or_default();
        Ok(row.iter().map(|(sub_key, value)| (sub_key.clone(), value.clone())).collect())
    }

    /// The rows of the view of that name, in order, each with how often it is there.
    ///
    /// # Errors
    /// When there is no such view, or its records are of another type.
    pub fn view<D: ViewData>(&self, name: &str) -> Result<Vec<(D, i64)>> {
        self.views.rows(name)
    }

    /// The rows of all views, as an application shows them.
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// What the first worker that knows an answer says.
    fn ask<T: Send + 'static>(
        &mut self,
        question: impl Fn(&Stores) -> Option<T> + Send + Sync + 'static,
    ) -> Result<Option<T>> {
        let found = self.baton.ask(move |stores| {
            question(stores).map(|answer| Box::new(answer) as Box<dyn Any + Send>)
        });
        if let Some(found) = found {
            return Ok(found.downcast().ok().map(|answer| *answer));
        }
        if self.baton.failed() { Err(self.failure()) } else { Ok(None) }
    }

    /// Counters of sources and sinks, by name.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn failure(&mut self) -> Error {
        self.baton.run_to_end();
        let ended = self.process.take().map_or(Ok(()), join);
        let fault = self.control.first_fault().or(ended.err());
        fault.unwrap_or_else(|| Error::Cluster("the application has ended".to_string()))
    }
}

fn join(process: JoinHandle<Result<()>>) -> Result<()> {
    process.join().unwrap_or_else(|_| Err(Error::Panic("the test driver's thread".to_string())))
}

impl Drop for TestDriver {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            self.control.abort();
            self.baton.run_to_end();
            drop(join(process));
        }
    }
}
