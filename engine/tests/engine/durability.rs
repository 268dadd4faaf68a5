//! A program on a data directory goes on where it was, on any number of workers: what it releases is
//! what one run without an end would have, each record once; and no panic is met twice.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use anabranch::checkpoint::{CheckpointId, Manifest, Store};
use anabranch::config::Config;
use anabranch::data_dir::DataDir;
use anabranch::prelude::*;
use anabranch::sink::{Guarantee, Outgoing, Sink, Taken, Writer};
use anabranch::source::{Intake, Nature, OpenContext, Progress, Reader, Source, Waker};
use anabranch::{Drain, Error, Record, Span, replay, run, run_until};

use crate::support::{Lines, Memory, Sequence, bounded};

const HASHES: Table<u8, u64> = Table::new("hashes");
const SEEN: MapTable<u8, u64, u64> = MapTable::new("seen");

fn mix(hash: u64, value: u64) -> u64 {
    hash.wrapping_mul(31).wrapping_add(value)
}

/// A folder for one test, removed when it ends, and what is kept of its journal.
pub(crate) struct Folder(pub(crate) std::path::PathBuf, pub(crate) &'static str);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("anabranch-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path, "needed")
    }

    pub(crate) fn config(&self, workers: usize) -> Config {
        let (folder, workers) = (self.0.to_str().unwrap(), workers.to_string());
        let flags = ["-w", &workers, "--data-dir", folder, "--checkpoint-interval", "10ms"];
        Config::from_flags(flags.into_iter().chain(["--keep-journal", self.1])).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a transactional sink has, over all runs. Asks for a drain when it has `full` lines.
#[derive(Clone)]
struct Released<T> {
    lines: Arc<Mutex<Vec<String>>>,
    full: usize,
    /// It fails when it has so many.
    breaks: usize,
    drain: Drain,
    of: std::marker::PhantomData<fn(T)>,
}

impl<T> Released<T> {
    fn new() -> Self {
        let (lines, drain) = (Arc::default(), Drain::default());
        Self { lines, full: usize::MAX, breaks: usize::MAX, drain, of: std::marker::PhantomData }
    }

    fn len(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl<T: Record + Debug> Sink for Released<T> {
    type Item = T;

    fn describe(&self) -> String {
        "released".to_string()
    }

    fn open(&self, context: &OpenContext) -> Result<Box<dyn Writer<T>>> {
        assert!(context.resume.folder.as_ref().is_some_and(|folder| folder.is_dir()));
        let position = <[u8; 8]>::try_from(context.resume.position.as_slice());
        let at = position.map_or(0, u64::from_le_bytes) as usize;
        let of = Self { lines: Arc::clone(&self.lines), drain: self.drain.clone(), ..*self };
        assert!(at <= of.len(), "a checkpoint is ahead of the sink");
        Ok(Box::new(Releasing { of, at }))
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Transactional
    }
}

struct Releasing<T> {
    of: Released<T>,
    at: usize,
}

impl<T: Record + Debug> Writer<T> for Releasing<T> {
    fn write(&mut self, batch: &mut Outgoing<T>) -> Result<Taken> {
        let mut lines = self.of.lines.lock().unwrap();
        while let Some((id, record)) = batch.peek() {
            if self.at >= self.of.breaks {
                return Err(Error::Connector("the sink is broken".to_string()));
            }
            let line = format!("{id} {record:?}");
            match lines.get(self.at) {
                Some(known) => assert_eq!(&line, known, "line {} was another one", self.at),
                None => lines.push(line),
            }
            self.at += 1;
            batch.pop();
        }
        if lines.len() >= self.of.full {
            self.of.drain.request();
        }
        Ok(Taken::All)
    }

    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(Some((self.at as u64).to_le_bytes().to_vec()))
    }
}

type Observed = (i64, u64, u64, usize);

/// Two sources whose pipelines share two tables.
fn observe(app: &App, inputs: &[Memory<u64>], released: impl Sink<Item = Observed>) {
    let stream = |index: usize, name: &str| {
        app.source(&format!("source-{index}"), inputs[index].clone())
            .key_by(|value| (value % 13) as u8)
            .compute(
                name,
                (HASHES, SEEN),
                |value, (mut hash, mut seen), out: &mut Context<'_, Observed>| {
                    *hash = mix(*hash, value);
                    *seen.entry(value % 7) += 1;
                    if value % 5 == 0 {
                        seen.remove(&(value % 3));
                    }
                    out.emit((out.now().as_nanos(), value, *hash, seen.len()));
                },
            )
            .share()
    };
    stream(0, "observe-0").merge(stream(1, "observe-1")).sink("released", released);
}

fn inputs(seed: u64, nature: Nature) -> Vec<Memory<u64>> {
    let mut sequence = Sequence(seed);
    let mut input = |partitions: usize, records: usize| {
        let partitions = (0..partitions).map(|_| {
            let mut time = 0;
            let mut record = || {
                time += (sequence.below(40)) as i64;
                (Some(time), sequence.below(1_000_000))
            };
            (0..records).map(|_| record()).collect()
        });
        Memory { nature, ..Memory::new(partitions.collect()) }
    };
    vec![input(2, 30_000), input(1, 9_000)]
}

/// Runs on and on, each time until some more was released, and then to the end.
fn in_pieces(folder: &Folder, inputs: Vec<Memory<u64>>, steps: &[(usize, usize)]) -> Vec<String> {
    let mut released = Released::new();
    for (workers, more) in steps {
        released.full = released.len().saturating_add(*more);
        released.drain = Drain::default();
        let (drain, of, inputs) = (released.drain.clone(), released.clone(), inputs.clone());
        let config = folder.config(*workers);
        bounded(move || {
            let build = move |app: &App| {
                observe(app, &inputs, of.clone());
                Ok(())
            };
            run_until(&config, build, &drain).unwrap();
        });
    }
    released.lines()
}

const STEPS: [(usize, usize); 7] =
    [(1, 5_000), (2, 1), (4, 20_000), (3, 9_000), (1, 100), (2, 15_000), (3, usize::MAX)];

#[test]
fn recorded_input_goes_on_where_it_was_on_other_numbers_of_workers() {
    let inputs = inputs(7, Nature::Recorded);
    let once = in_pieces(&Folder::new("once"), inputs.clone(), &[(1, usize::MAX)]);
    assert_eq!(once.len(), 69_000);
    let folder = Folder::new("pieces");
    let pieces = in_pieces(&folder, inputs, &STEPS);
    let differs = pieces.iter().zip(&once).position(|(piece, once)| piece != once);
    assert_eq!((differs, pieces.len()), (None, once.len()));
    let manifests = std::fs::read_dir(folder.0.join("checkpoints/manifests")).unwrap().count();
    assert!((1..=2).contains(&manifests), "{manifests} checkpoints are kept");
}

/// The order of live input is its own; but all of it is there, once, and applied in that order.
#[test]
fn live_input_is_replayed_from_its_journal() {
    let lines = in_pieces(&Folder::new("live"), inputs(8, Nature::Live), &STEPS);
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let mut hashes: BTreeMap<u64, u64> = BTreeMap::new();
    let mut last_time = 0;
    for line in &lines {
        let (id, rest) = line.split_once(' ').unwrap();
        // The places after the offset tell the two legs of the merge apart.
        let (lane, offset) = id.rsplit_once('-').unwrap();
        let offset: u64 = offset.split('.').next().unwrap().parse().unwrap();
        let next = next.entry(lane.to_string()).or_default();
        assert_eq!(offset, *next, "{lane}");
        *next += 1;
        let numbers: Vec<u64> =
            rest.trim_matches(['(', ')']).split(", ").map(|n| n.parse().unwrap()).collect();
        let hash = hashes.entry(numbers[1] % 13).or_default();
        *hash = mix(*hash, numbers[1]);
        assert_eq!(numbers[2], *hash, "{line}");
        assert!(last_time <= numbers[0], "{line}");
        last_time = numbers[0];
    }
    assert_eq!(next.into_values().collect::<Vec<_>>(), [30_000, 30_000, 9_000]);
}

/// What a replay of that span releases, line by line.
fn replayed(
    folder: &Folder,
    inputs: &[Memory<u64>],
    workers: usize,
    span: Span,
) -> (Vec<String>, [u64; 2]) {
    let (config, inputs, lines) = (folder.config(workers), inputs.to_vec(), Lines::default());
    let of = lines.clone();
    let counters = bounded(move || {
        let build = move |app: &App| {
            observe(app, &inputs, of.sink::<Observed>());
            Ok(())
        };
        replay(&config, span, build).unwrap().snapshot()
    });
    let lines = lines.take().lines().map(str::to_string).collect();
    (lines, ["digest.hashes", "digest.seen"].map(|name| counters[name]))
}

fn time(line: &str) -> i64 {
    let (_, rest) = line.split_once(" (").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn a_replay_releases_what_was_released_on_any_number_of_workers() {
    for nature in [Nature::Recorded, Nature::Live] {
        let (mut folder, inputs) = (Folder::new("replay"), inputs(11, nature));
        folder.1 = "forever";
        let lines =
            in_pieces(&folder, inputs.clone(), &[(2, 10_000), (1, 30_000), (3, usize::MAX)]);
        let mut times: Vec<i64> = lines.iter().map(|line| time(line)).collect();
        times.dedup();
        let at = |part: usize| Some(times[times.len() * part / 4]);
        let spans = [(None, None), (at(1), at(3)), (at(2), None), (None, at(1))];
        let mut known = BTreeMap::new();
        for (workers, (from, to)) in [1, 3, 2].into_iter().flat_map(|w| spans.map(|span| (w, span)))
        {
            let span = Span { from: from.map(Time::from_nanos), to: to.map(Time::from_nanos) };
            let (again, digests) = replayed(&folder, &inputs, workers, span);
            assert_eq!(&digests, known.entry((from, to)).or_insert(digests), "{span:?}");
            let within = |line: &&String| {
                from.is_none_or(|from| time(line) >= from) && to.is_none_or(|to| time(line) < to)
            };
            let wanted: Vec<&String> = lines.iter().filter(within).collect();
            let differs = again.iter().zip(&wanted).find(|(again, wanted)| again != *wanted);
            let context = format!("{nature:?} {span:?} on {workers} workers");
            assert_eq!((differs, again.len()), (None, wanted.len()), "{context}");
            assert_eq!(again.is_empty(), wanted.is_empty(), "{context}");
        }
    }
}

/// Brings long texts, some for each checkpoint, until the journal has lost its beginning and there are
/// checkpoints that only a replay of it needs.
#[derive(Clone)]
struct UntilDropped {
    folder: std::path::PathBuf,
}

impl UntilDropped {
    fn kept(&self) -> Vec<CheckpointId> {
        Manifest::list(&Store::directory(&self.folder.join("checkpoints"))).unwrap()
    }

    fn is_dropped(&self) -> bool {
        let segments = std::fs::read_dir(self.folder.join("journal/texts/0")).unwrap();
        let oldest = segments.map(|segment| segment.unwrap().file_name()).min();
        let at_0 = |name: std::ffi::OsString| name.to_str().unwrap().starts_with(&"0".repeat(20));
        oldest.is_some_and(|oldest| !at_0(oldest))
    }
}

impl Source for UntilDropped {
    type Item = String;

    fn describe(&self) -> String {
        "texts".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn Reader<String>>> {
        let waker = context.waker.clone();
        Ok(Box::new(Texts { of: self.clone(), next: 0, may: 0, last: None, waker }))
    }
}

struct Texts {
    of: UntilDropped,
    next: u64,
    /// Before that many there must be another checkpoint.
    may: u64,
    last: Option<CheckpointId>,
    waker: Waker,
}

impl Reader<String> for Texts {
    fn read(&mut self, intake: &mut Intake<String>) -> Result<Progress> {
        if self.next == self.may {
            let kept = self.of.kept();
            if kept.len() > 3 && self.of.is_dropped() {
                return Ok(Progress::End);
            }
            if self.next > 0 && kept.first() == self.last.as_ref() {
                std::thread::yield_now();
                self.waker.wake();
                return Ok(Progress::Idle);
            }
            assert!(self.next < 100_000, "it is never dropped: {kept:?}");
            self.last = kept.first().copied();
            self.may += 512;
        }
        while self.next < self.may && !intake.is_full() {
            intake.frame(self.next, None, 1024);
            intake.accept(format!("{:01024}", self.next));
            self.next += 1;
        }
        Ok(Progress::Ready)
    }
}

/// Counts long texts.
fn counted(app: &App, texts: &UntilDropped, released: impl Sink<Item = (i64, u64)>) -> Result<()> {
    app.source("texts", texts.clone())
        .key_by(|text: &String| text.len() as u8)
        .compute("count", HASHES, |_, mut count, out: &mut Context<'_, (i64, u64)>| {
            *count += 1;
            out.emit((out.now().as_nanos(), *count));
        })
        .sink("released", released);
    Ok(())
}

/// A journal that lost its beginning can be replayed from where it begins now.
#[test]
fn a_journal_is_kept_with_the_checkpoint_to_replay_it_from() {
    let mut folder = Folder::new("middle");
    folder.1 = "4MiB";
    let texts = UntilDropped { folder: folder.0.clone() };
    let released = Released::<(i64, u64)>::new();
    let (config, of, from) = (folder.config(2), released.clone(), texts.clone());
    bounded(move || {
        let build = move |app: &App| counted(app, &from, of.clone());
        run(&config, build).map(drop).unwrap();
    });
    // The thread that writes checkpoints may have one to finish; it holds the directory as long.
    std::fs::File::open(folder.0.join("lock")).unwrap().lock().unwrap();
    let (lines, kept) = (released.lines(), texts.kept());
    assert!(kept.len() > 2 && texts.is_dropped(), "{kept:?}");
    let oldest = i64::try_from(kept[kept.len() - 1].epoch).unwrap();
    assert!(time(&lines[0]) < oldest, "{oldest} is not in the middle");
    let replayed = |from: i64| {
        let span = Span { from: Some(Time::from_nanos(from)), to: None };
        let (config, lines, texts) = (folder.config(3), Lines::default(), texts.clone());
        let of = lines.clone();
        bounded(move || {
            let build = move |app: &App| counted(app, &texts, of.sink());
            replay(&config, span, build).map(drop)
        })
        .map(|()| lines.take())
    };
    let again = replayed(oldest).unwrap();
    let wanted: Vec<_> = lines.iter().filter(|line| time(line) >= oldest).collect();
    assert!(wanted.len() > 512, "{}", wanted.len());
    assert!(again.lines().eq(wanted), "{} lines", again.lines().count());
    let refused = replayed(oldest - 1).unwrap_err().to_string();
    assert!(refused.contains("does not go back to"), "{refused}");
}

#[test]
fn a_record_that_user_code_panics_on_is_met_once() {
    for (nature, workers) in [(Nature::Recorded, 1), (Nature::Recorded, 3), (Nature::Live, 2)] {
        let folder = Folder::new("panic");
        let (released, letters) = (Released::<(u64, u64)>::new(), Released::<DeadLetter>::new());
        let records = (0..20_000).map(|i| (Some(i), i as u64)).collect();
        let input = Memory { nature, ..Memory::new(vec![records]) };
        let attempt = || {
            let (released, letters, input) = (released.clone(), letters.clone(), input.clone());
            let config = folder.config(workers);
            bounded(move || {
                let build = move |app: &App| {
                    app.dead_letters(letters.clone());
                    app.source("numbers", input.clone())
                        .key_by(|value| (value % 5) as u8)
                        .compute("count", HASHES, |value, mut count, out| {
                            assert!(![7_001, 15_004].contains(&value), "no {value}");
                            *count += 1;
                            out.emit((value, *count));
                        })
                        .sink("released", released.clone());
                    Ok(())
                };
                run(&config, build).map(drop)
            })
        };
        // Two workers may panic in one run, each on its record.
        let mut met = Vec::new();
        while let Err(error) = attempt() {
            let error = error.to_string();
            let panicked = |value: &u64| {
                error.contains(&format!(
                    "computation `count`, at record numbers-0-{value}, panicked"
                ))
            };
            met.push([7_001, 15_004].into_iter().find(panicked).expect(&error));
            assert!(error.contains("set aside"), "{error}");
            assert!(met.len() <= 2 && met[0] != *met.last().unwrap() || met.len() == 1, "{met:?}");
        }
        assert!(!met.is_empty());
        let values: Vec<u64> = (0..20_000).filter(|v| ![7_001, 15_004].contains(v)).collect();
        let mut counts = [0; 5];
        let expected: Vec<String> = values
            .iter()
            .map(|value| {
                counts[(value % 5) as usize] += 1;
                format!("numbers-0-{value} {:?}", (value, counts[(value % 5) as usize]))
            })
            .collect();
        let lines = released.lines();
        let differs = lines.iter().zip(&expected).find(|(line, expected)| line != expected);
        assert_eq!((differs, lines.len()), (None, expected.len()));
        let letters = letters.lines();
        assert_eq!(letters.len(), 2, "{letters:?}");
        assert!(letters[0].contains("no 7001") && letters[1].contains("no 15004"), "{letters:?}");
    }
}

/// Who is asked to end while it completes what an earlier run has accepted completes it.
#[test]
fn a_run_that_is_to_end_at_once_completes_what_was_journaled() {
    let mut folder = Folder::new("at-once");
    folder.1 = "forever";
    let inputs = inputs(12, Nature::Live);
    let mut released = Released::new();
    released.breaks = 5_000;
    let (config, of, from) = (folder.config(2), released.clone(), inputs.clone());
    let build = move |app: &App| {
        observe(app, &from, of.clone());
        Ok(())
    };
    let error = bounded(move || run(&config, build).unwrap_err());
    assert!(error.to_string().contains("the sink is broken"), "{error}");
    let before = released.len();
    released.breaks = usize::MAX;
    released.drain.request();
    let (config, of, from) = (folder.config(3), released.clone(), inputs.clone());
    let drain = released.drain.clone();
    bounded(move || {
        let build = move |app: &App| {
            observe(app, &from, of.clone());
            Ok(())
        };
        run_until(&config, build, &drain).unwrap();
    });
    let lines = released.lines();
    let (journaled, _) = replayed(&folder, &inputs, 1, Span { from: None, to: None });
    assert!(lines.len() > before, "{} after {before}", lines.len());
    assert!(lines == journaled, "{} of {}", lines.len(), journaled.len());
}

/// A live source that brings something now and then, or nothing, and never ends.
#[derive(Clone)]
struct Endless {
    busy: bool,
    opened: std::sync::mpsc::SyncSender<()>,
}

impl Source for Endless {
    type Item = u64;

    fn describe(&self) -> String {
        "endless".to_string()
    }

    fn nature(&self) -> Nature {
        Nature::Live
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn open(&self, _: usize, context: &OpenContext) -> Result<Box<dyn Reader<u64>>> {
        Ok(Box::new(EndlessReader { of: self.clone(), next: context.resume.from }))
    }
}

struct EndlessReader {
    of: Endless,
    next: u64,
}

impl Reader<u64> for EndlessReader {
    fn read(&mut self, intake: &mut Intake<u64>) -> Result<Progress> {
        let _ = self.of.opened.try_send(());
        if !self.of.busy {
            return Ok(Progress::Idle);
        }
        intake.frame(self.next, None, 8);
        intake.accept(self.next);
        self.next += 1;
        Ok(Progress::Ready)
    }
}

#[test]
fn a_generation_that_was_replaced_ends_by_itself() {
    for (busy, workers) in [(false, 1), (true, 2)] {
        let folder = Folder::new("replaced");
        let (opened, is_open) = std::sync::mpsc::sync_channel(1);
        let (config, source) = (folder.config(workers), Endless { busy, opened });
        let run = std::thread::spawn(move || {
            bounded(move || {
                let build = move |app: &App| {
                    app.source("numbers", source.clone())
                        .key_by(|value| (value % 5) as u8)
                        .compute("count", HASHES, |_, mut count, _: &mut Context<'_, ()>| {
                            *count += 1;
                        });
                    Ok(())
                };
                run(&config, build).unwrap_err()
            })
        });
        is_open.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        let data = DataDir::open(&folder.0, "anabranch", 1024).unwrap();
        assert_eq!(data.claim().unwrap(), 2);
        let error = run.join().unwrap();
        assert!(matches!(error, Error::Replaced(_)), "{error:?}");
        assert_eq!(error.exit_code(), 1);
        let error = error.to_string();
        assert!(error.starts_with("generation 1 has lost its place in "), "{error}");
        let named = format!("generation 2 has begun (`anabranch`, pid {} on ", std::process::id());
        assert!(error.contains(&named), "{error}");
    }
}

/// What is logged, for the one test here that reads it.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn with_a_data_directory_records_are_applied_in_order_whatever_the_application_asks_for() {
    let logged = Logged::default();
    let to = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || to.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let inputs = inputs(13, Nature::Recorded);
    let once = in_pieces(&Folder::new("in-order"), inputs.clone(), &[(1, usize::MAX)]);
    let said = || {
        let logged = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
        logged.matches("though the application asks for the order of arrival").count()
    };
    assert_eq!(said(), 0);
    let (folder, released) = (Folder::new("by-arrival"), Released::new());
    let (config, of, from) = (folder.config(3), released.clone(), inputs.clone());
    bounded(move || {
        let build = move |app: &App| {
            app.order(Order::Arrival);
            observe(app, &from, of.clone());
            Ok(())
        };
        run(&config, build).map(drop).unwrap();
    });
    assert_eq!(said(), 1);
    assert!(released.lines() == once);
    let (config, lines) = (folder.config(2), Lines::default());
    let of = lines.clone();
    bounded(move || {
        let build = move |app: &App| {
            app.order(Order::Arrival);
            observe(app, &inputs, of.sink::<Observed>());
            Ok(())
        };
        replay(&config, Span::default(), build).map(drop).unwrap();
    });
    assert!(lines.take().lines().eq(once.iter()));
}

#[test]
fn a_data_directory_has_one_kind_of_input() {
    let folder = Folder::new("kind");
    let lines = in_pieces(&folder, inputs(9, Nature::Live), &[(1, 100)]);
    let (inputs, config) = (inputs(9, Nature::Recorded), folder.config(1));
    let error = bounded(move || {
        let build = move |app: &App| {
            let released =
                Released { lines: Arc::new(Mutex::new(lines.clone())), ..Released::new() };
            observe(app, &inputs, released);
            Ok(())
        };
        run(&config, build).unwrap_err()
    });
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("start the program with sources as they were"), "{error}");
}
