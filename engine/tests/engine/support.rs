//! What the tests share: a recorded source in memory and a sink that keeps lines, for the engine
//! as it really runs. No test driver here, so readers, epochs and sinks are the real ones.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anabranch::config::Config;
use anabranch::sink::{Outgoing, Sink, Taken, Writer};
use anabranch::source::{Intake, Nature, OpenContext, Progress, Reader, Source, Waker};
use anabranch::{App, Record, Result, Time, run};

/// How a program with that many workers is started.
pub(crate) fn workers(workers: usize) -> Config {
    Config::from_flags(["-w", &workers.to_string()]).unwrap()
}

/// One record of a recording, and its stamp if it has one.
pub(crate) type Stamped<T> = (Option<i64>, T);

/// Partitions in memory, read in pieces of odd sizes.
pub(crate) struct Memory<T> {
    pub(crate) partitions: Arc<Vec<Vec<Stamped<T>>>>,
    /// How many records a call of `read` gives, changed at every call.
    pub(crate) piece: usize,
    pub(crate) nature: Nature,
    /// The bytes that each record is said to have.
    pub(crate) bytes: usize,
    /// How many records were read so far, over all partitions.
    pub(crate) read: Arc<AtomicUsize>,
    /// When the last record of a partition may come; at once without it.
    pub(crate) last_when: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
    /// The first record of a partition that may come only then, if it is not the last.
    pub(crate) held_from: Option<usize>,
}

impl<T> Memory<T> {
    pub(crate) fn new(partitions: Vec<Vec<Stamped<T>>>) -> Self {
        Self {
            partitions: Arc::new(partitions),
            piece: 97,
            nature: Nature::Recorded,
            bytes: 8,
            read: Arc::default(),
            last_when: None,
            held_from: None,
        }
    }
}

impl<T> Clone for Memory<T> {
    fn clone(&self) -> Self {
        Self {
            partitions: Arc::clone(&self.partitions),
            read: Arc::clone(&self.read),
            last_when: self.last_when.clone(),
            ..*self
        }
    }
}

impl<T: Record + Sync> Source for Memory<T> {
    type Item = T;

    fn describe(&self) -> String {
        "memory".to_string()
    }

    fn nature(&self) -> Nature {
        self.nature
    }

    fn partitions(&self) -> Result<usize> {
        Ok(self.partitions.len())
    }

    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn Reader<T>>> {
        let waker = context.waker.clone();
        Ok(Box::new(MemoryReader { of: self.clone(), partition, next: 0, calls: partition, waker }))
    }
}

struct MemoryReader<T> {
    of: Memory<T>,
    partition: usize,
    next: usize,
    calls: usize,
    waker: Waker,
}

impl<T: Record + Sync> Reader<T> for MemoryReader<T> {
    fn read(&mut self, intake: &mut Intake<T>) -> Result<Progress> {
        self.calls += 1;
        let records = &self.of.partitions[self.partition];
        for _ in 0..1 + self.calls * self.of.piece % 1009 {
            let Some((stamp, record)) = records.get(self.next) else { return Ok(Progress::End) };
            let held_from = self.of.held_from.unwrap_or(records.len().saturating_sub(1));
            let waits =
                self.next >= held_from && self.of.last_when.as_ref().is_some_and(|when| !when());
            if waits || intake.is_full() {
                return Ok(Progress::Ready);
            }
            intake.frame(self.next as u64, stamp.map(Time::from_nanos), self.of.bytes);
            intake.accept(record.clone());
            self.next += 1;
            self.of.read.fetch_add(1, Ordering::SeqCst);
        }
        if self.calls.is_multiple_of(3) {
            // As a device that has nothing yet, and calls a moment later.
            self.waker.wake();
            return Ok(Progress::Idle);
        }
        Ok(Progress::Ready)
    }
}

/// What a sink has received: a line a record, its id and its `Debug` form.
#[derive(Clone, Default)]
pub(crate) struct Lines(pub(crate) Arc<Mutex<String>>);

impl Lines {
    pub(crate) fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub(crate) fn sink<T>(&self) -> LinesSink<T> {
        LinesSink { lines: self.clone(), of: std::marker::PhantomData }
    }
}

pub(crate) struct LinesSink<T> {
    lines: Lines,
    of: std::marker::PhantomData<fn(T)>,
}

impl<T: Record + std::fmt::Debug> Sink for LinesSink<T> {
    type Item = T;

    fn describe(&self) -> String {
        "lines".to_string()
    }

    fn open(&self, _: &OpenContext) -> Result<Box<dyn Writer<T>>> {
        Ok(Box::new(LinesWriter(self.lines.clone())))
    }
}

struct LinesWriter(Lines);

impl<T: Record + std::fmt::Debug> Writer<T> for LinesWriter {
    fn write(&mut self, batch: &mut Outgoing<T>) -> Result<Taken> {
        let mut lines = self.0.0.lock().unwrap();
        while let Some((id, record)) = batch.peek() {
            writeln!(lines, "{id} {record:?}").unwrap();
            batch.pop();
        }
        Ok(Taken::All)
    }
}

/// What the application that `build` draws releases on so many workers, a line a record.
pub(crate) fn uninterrupted<T: Record + std::fmt::Debug>(
    count: usize,
    build: impl Fn(&App, LinesSink<T>) -> Result<()> + Send + Sync + 'static,
) -> Vec<String> {
    let lines = Lines::default();
    let of = lines.clone();
    bounded(move || run(&workers(count), move |app| build(app, of.sink())).unwrap());
    lines.take().lines().map(str::to_string).collect()
}

/// A sequence that is the same in every run (PCG's step; the high bits).
pub(crate) struct Sequence(pub(crate) u64);

impl Sequence {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }
}

/// Runs `run` on a thread of its own; a run that hangs fails the test, not the time of everybody.
pub(crate) fn bounded<R: Send + 'static>(run: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(run()));
    receiver.recv_timeout(std::time::Duration::from_secs(60)).expect("the run ends")
}
