//! Whatever goes wrong ends the run, on all workers, with the first cause, which names the record
//! or the source; and what a sink cannot take holds back the sources, by records and by bytes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch::config::Config;
use anabranch::prelude::*;
use anabranch::sink::{self, Outgoing, Sink, Taken, Writer};
use anabranch::source::{
    self, Decoded, Frame, Intake, Nature, OpenContext, Progress, Reader, Source, Waker,
};
use anabranch::{Drain, Error, TestDriver, run, run_until};

use crate::support::{Lines, Memory, bounded, workers};

const SUMS: Table<u64, u64> = Table::new("sums");

/// A recording of two partitions, all records at the same time.
fn input(records: u64) -> Memory<u64> {
    let partition = |first: u64| (first..first + records).map(|i| (Some(1), i)).collect();
    Memory::new(vec![partition(0), partition(1_000_000)])
}

/// The error that an application ends with, the same on any number of workers.
fn fault(build: impl Fn(&App) -> Result<()> + Clone + Send + Sync + 'static) -> String {
    let mut errors: Vec<String> = (1..=4)
        .map(|count| {
            let build = build.clone();
            bounded(move || run(&workers(count), build).map(drop)).unwrap_err().to_string()
        })
        .collect();
    errors.dedup();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

#[test]
fn a_panic_in_a_computation_names_it_and_its_record() {
    let error = fault(|app: &App| {
        app.source("prices", input(9000))
            .key_by(|value| value % 50)
            .compute("sum", SUMS, |value, mut sum, out| {
                assert!(value != 1_006_017, "no such price");
                *sum += value;
                out.emit(*sum);
            })
            .sink("sums", sink::null());
        Ok(())
    });
    assert!(error.starts_with("computation `sum`, at record prices-1-6017,"), "{error}");
    assert!(error.contains("no such price"), "{error}");
}

#[test]
fn the_first_of_several_panics_is_the_cause() {
    let error = fault(|app: &App| {
        app.source("prices", input(5000)).key_by(|value| value % 50).compute(
            "sum",
            SUMS,
            |value, _, _: &mut Context<'_, ()>| assert!(value % 50 != 17),
        );
        Ok(())
    });
    assert!(error.starts_with("computation `sum`, at record prices-0-17,"), "{error}");
}

#[test]
fn a_panic_in_a_step_of_a_source_names_the_partition() {
    let error = fault(|app: &App| {
        app.source("prices", input(900))
            .map(|value| 1000 / (1_000_800 - value))
            .sink("out", sink::null());
        Ok(())
    });
    assert!(error.starts_with("partition 1 of source `prices` panicked"), "{error}");
}

#[test]
fn a_panic_in_a_step_after_a_computation_names_the_computation() {
    let error = fault(|app: &App| {
        app.source("prices", input(900))
            .key_by(|value| value % 5)
            .compute("pass", (), |value, (), out| out.emit(value))
            .share()
            .inspect(|value| assert_ne!(*value, 1_000_800))
            .sink("out", sink::null());
        Ok(())
    });
    assert!(error.starts_with("a step after computation `pass` panicked"), "{error}");
}

#[test]
fn a_panic_after_a_merge_says_so() {
    let error = fault(|app: &App| {
        let (even, odd) = app.source("prices", input(900)).branch(|value| value % 2 == 0);
        even.merge(odd).map(|value| 1000 / (1_000_800 - value)).sink("out", sink::null());
        Ok(())
    });
    assert!(error.starts_with("a step after a merge panicked"), "{error}");
}

#[test]
fn a_panic_in_a_decoder_names_the_partition() {
    struct Lines;
    impl source::Inlet for Lines {
        fn describe(&self) -> String {
            "lines".to_string()
        }
        fn nature(&self) -> Nature {
            Nature::Recorded
        }
        fn partitions(&self) -> Result<usize> {
            Ok(1)
        }
        fn open(&self, _: usize, _: &OpenContext) -> Result<Box<dyn source::FrameReader>> {
            Ok(Box::new(Lines))
        }
    }
    impl source::FrameReader for Lines {
        fn read(&mut self, each: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Progress> {
            each(Frame::new(0, b"x"));
            Ok(Progress::End)
        }
    }
    fn decode(frame: Frame<'_>, _: &mut Decoded<'_, u64>) -> Result<()> {
        panic!("cannot decode {:?}", frame.bytes);
    }
    let error = fault(|app: &App| {
        app.source("idle", input(3));
        app.source("lines", source::frames(Lines, || decode));
        Ok(())
    });
    assert!(error.starts_with("partition 0 of source `lines` panicked: cannot decode"), "{error}");
}

#[test]
fn a_test_driver_reports_panics_and_does_not_hang() {
    let build = |app: &App| {
        let (even, odd) = app.source("numbers", source::empty::<u64>()).branch(|n| n % 2 == 0);
        even.merge(odd)
            .map(|n| 100 / (n - 3))
            .key_by(|n| *n)
            .compute("pass", (), |n, (), out| out.emit(100 / (n - 50)))
            .sink("out", sink::null());
        Ok(())
    };
    for (number, expected) in [(3_u64, "a step after a merge"), (5, "computation `pass`")] {
        for count in 1..=4 {
            let error = bounded(move || {
                let mut driver = TestDriver::new(build).workers(count).start().unwrap();
                driver.send("numbers", number).unwrap();
                driver.run().unwrap_err().to_string()
            });
            assert!(error.starts_with(expected), "{error}");
        }
    }
}

#[test]
fn a_sink_that_panics_or_fails_is_named() {
    #[derive(Clone)]
    struct Bad {
        panics: bool,
    }
    impl Sink for Bad {
        type Item = u64;
        fn describe(&self) -> String {
            "bad".to_string()
        }
        fn open(&self, _: &OpenContext) -> Result<Box<dyn Writer<u64>>> {
            Ok(Box::new(self.clone()))
        }
    }
    impl Writer<u64> for Bad {
        fn write(&mut self, batch: &mut Outgoing<u64>) -> Result<Taken> {
            assert!(!self.panics, "no sink");
            batch.pop();
            Err(Error::Connector("the disk is full".to_string()))
        }
    }
    for panics in [false, true] {
        let error = fault(move |app: &App| {
            app.source("prices", input(50_000))
                .sink("other", sink::null())
                .sink("out", Bad { panics });
            Ok(())
        });
        let expected =
            if panics { "sink `out` panicked: no sink" } else { "sink `out`: the disk is full" };
        assert!(error.starts_with(expected), "{error}");
    }
}

/// Fails in one place, in one partition of several.
#[derive(Clone, Copy, PartialEq)]
enum Failing {
    Partitions,
    Open,
    OpenPanics,
    Read,
}

impl Source for Failing {
    type Item = u64;
    fn describe(&self) -> String {
        "failing".to_string()
    }
    fn nature(&self) -> Nature {
        Nature::Recorded
    }
    fn partitions(&self) -> Result<usize> {
        if *self == Self::Partitions { Err(broken("partitions")) } else { Ok(3) }
    }
    fn open(&self, partition: usize, context: &OpenContext) -> Result<Box<dyn Reader<u64>>> {
        assert!(*self != Self::OpenPanics || partition != 2, "open panics");
        if *self == Self::Open && partition == 2 {
            return Err(broken("open"));
        }
        Ok(Box::new(FailingReader(*self, partition, context.waker.clone())))
    }
}

fn broken(what: &str) -> Error {
    Error::Connector(format!("{what} is broken; repair it"))
}

struct FailingReader(Failing, usize, #[allow(dead_code)] Waker);

impl Reader<u64> for FailingReader {
    fn read(&mut self, _: &mut Intake<u64>) -> Result<Progress> {
        // The other partitions wait for ever.
        if self.0 == Failing::Read && self.1 == 2 {
            Err(broken("read"))
        } else {
            Ok(Progress::Idle)
        }
    }
}

#[test]
fn a_source_that_fails_ends_the_run() {
    let places = [
        (Failing::Partitions, "partitions is broken; repair it"),
        (Failing::Open, "open is broken; repair it"),
        (Failing::OpenPanics, "a worker panicked: open panics"),
        (Failing::Read, "read is broken; repair it"),
    ];
    for (failing, expected) in places {
        let error = fault(move |app: &App| {
            app.source("prices", failing).sink("out", sink::null());
            Ok(())
        });
        assert!(error.contains(expected), "{error}");
    }
}

/// Takes nothing until it is opened, then a few records at a time, each time after a wake.
#[derive(Clone, Default)]
struct Gate {
    opened: Arc<AtomicBool>,
    asked: Arc<AtomicBool>,
    waker: Arc<Mutex<Option<Waker>>>,
    taken: Arc<Mutex<Vec<u64>>>,
}

impl Sink for Gate {
    type Item = u64;
    fn describe(&self) -> String {
        "gate".to_string()
    }
    fn open(&self, context: &OpenContext) -> Result<Box<dyn Writer<u64>>> {
        *self.waker.lock().unwrap() = Some(context.waker.clone());
        Ok(Box::new(self.clone()))
    }
}

impl Writer<u64> for Gate {
    fn write(&mut self, batch: &mut Outgoing<u64>) -> Result<Taken> {
        self.asked.store(true, Ordering::SeqCst);
        if !self.opened.load(Ordering::SeqCst) {
            return Ok(Taken::Partly);
        }
        let mut taken = self.taken.lock().unwrap();
        for _ in 0..777 {
            match batch.pop() {
                Some(record) => taken.push(record),
                None => return Ok(Taken::All),
            }
        }
        // Woken at once, from another thread, as by a device.
        let waker = self.waker.lock().unwrap().clone().unwrap();
        std::thread::spawn(move || waker.wake());
        Ok(Taken::Partly)
    }
}

/// How many records are read while the sink refuses, once that number no longer changes.
fn read_while_refused(config: &Config, input: Memory<u64>) -> usize {
    let gate = Gate::default();
    let (source, sink) = (input.clone(), gate.clone());
    let config = config.clone();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let build = move |app: &App| {
            app.source("prices", source.clone())
                .key_by(|value| value % 50)
                .compute("pass", (), |value, (), out| out.emit(value))
                .sink("out", sink.clone());
            Ok(())
        };
        done.send(run(&config, build).map(drop)).unwrap();
    });
    let mut read = 0;
    let mut still = 0;
    while still < 20 {
        assert!(ended.try_recv().is_err(), "the sink holds everything back");
        std::thread::sleep(Duration::from_millis(10));
        let now = input.read.load(Ordering::SeqCst);
        still = if now == read && gate.asked.load(Ordering::SeqCst) { still + 1 } else { 0 };
        read = now;
    }
    gate.opened.store(true, Ordering::SeqCst);
    gate.waker.lock().unwrap().clone().unwrap().wake();
    ended.recv_timeout(Duration::from_secs(60)).expect("the run ends").unwrap();
    let mut expected: Vec<u64> =
        input.partitions.iter().flatten().map(|(_, value)| *value).collect();
    if input.nature == Nature::Live {
        // Two partitions are stamped as they are read.
        gate.taken.lock().unwrap().sort_unstable();
        expected.sort_unstable();
    }
    assert_eq!(*gate.taken.lock().unwrap(), expected);
    read
}

/// The records of a chunk, its bytes, and how many chunks are read ahead of what enters.
const CHUNK: usize = 1024;
const CHUNK_BYTES: usize = 1 << 18;
const AHEAD: usize = 4;

#[test]
fn records_in_flight_are_bounded() {
    for (count, nature) in
        [(1, Nature::Recorded), (3, Nature::Recorded), (1, Nature::Live), (3, Nature::Live)]
    {
        let flags =
            ["-w".to_string(), count.to_string(), "--in-flight-records".into(), "5000".into()];
        let config = Config::from_flags(flags).unwrap();
        let input = Memory { nature, ..input(60_000) };
        let read = read_while_refused(&config, input);
        // By each of two partitions: what may be in flight, what it may exceed that by, and what
        // is read ahead.
        let bound = 2 * (5000 + CHUNK + AHEAD * CHUNK);
        assert!(read <= bound, "{read} records were read on {count} workers, {nature:?}");
        assert!(read >= 5000, "the bound is used: {read}");
    }
}

#[test]
fn bytes_in_flight_are_bounded() {
    for nature in [Nature::Recorded, Nature::Live] {
        let config = Config::from_flags(["--in-flight-bytes", "4MiB"]).unwrap();
        let input = Memory { bytes: 10_000, nature, ..input(4000) };
        let read = read_while_refused(&config, input);
        let chunk = CHUNK_BYTES / 10_000 + 1;
        let bound = (4 << 20) / 10_000 + 1 + 2 * (1 + AHEAD) * chunk;
        assert!(read <= bound, "{read} records were read, {bound} expected, {nature:?}");
        assert!(read >= (4 << 20) / 10_000, "the bound is used: {read}");
    }
}

/// Gives records for ever, as fast as they are taken; one partition ends early.
#[derive(Clone, Default)]
struct Endless(Arc<AtomicBool>);

impl Source for Endless {
    type Item = u64;
    fn describe(&self) -> String {
        "endless".to_string()
    }
    fn nature(&self) -> Nature {
        Nature::Recorded
    }
    fn partitions(&self) -> Result<usize> {
        Ok(3)
    }
    fn open(&self, partition: usize, _: &OpenContext) -> Result<Box<dyn Reader<u64>>> {
        Ok(Box::new(EndlessReader { partition, next: 0, far: Arc::clone(&self.0) }))
    }
}

struct EndlessReader {
    partition: usize,
    next: u64,
    far: Arc<AtomicBool>,
}

impl Reader<u64> for EndlessReader {
    fn read(&mut self, intake: &mut Intake<u64>) -> Result<Progress> {
        while !intake.is_full() {
            if self.partition == 1 && self.next == 5000 {
                return Ok(Progress::End);
            }
            intake.frame(self.next, Some(Time::from_nanos(self.next as i64)), 8);
            intake.accept(self.next);
            self.next += 1;
        }
        self.far.fetch_or(self.next > 50_000, Ordering::SeqCst);
        Ok(Progress::Ready)
    }
}

/// A drain stops recorded input between two epochs, the same on all workers: what left is a
/// prefix of what would have left.
#[test]
fn a_drain_cuts_no_epoch_in_two() {
    for round in 0..12 {
        let count = 1 + round % 4;
        let (source, lines, drain) = (Endless::default(), Lines::default(), Drain::default());
        let (far, output, asked) = (Arc::clone(&source.0), lines.clone(), drain.clone());
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let build = move |app: &App| {
                app.source("numbers", source.clone()).sink("out", lines.sink());
                Ok(())
            };
            done.send(run_until(&workers(count), build, &drain).map(drop)).unwrap();
        });
        while !far.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_micros(100));
        }
        asked.request();
        ended.recv_timeout(Duration::from_secs(30)).expect("the drain ends").unwrap();
        let output = output.take();
        // Every partition counts from 0 at the same pace, partition 1 to 5,000.
        let mut expected = (0_u64..).flat_map(|n| {
            let partitions = if n < 5000 { &[0, 1, 2][..] } else { &[0, 2] };
            partitions.iter().map(move |p| format!("numbers-{p}-{n} {n}"))
        });
        let differs = output.lines().find(|line| expected.next().as_deref() != Some(line));
        assert_eq!(differs, None, "round {round} on {count} workers");
    }
}
