//! A program on a data directory goes on where it was, on any number of workers: what it releases is
//! what one run without an end would have, each record once; and no panic is met twice.

mod ends;
mod going_on;
mod lookups;
mod refusals;
mod replays;
mod reprocessing;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
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

impl Folder {
    /// Whether there is a checkpoint in it.
    pub(crate) fn checkpointed(&self) -> When {
        let manifests = self.0.join("checkpoints/manifests");
        let is_manifest = |name: &std::path::Path| name.extension().is_some_and(|it| it == "json");
        Arc::new(move || {
            let found = std::fs::read_dir(&manifests).into_iter().flatten();
            found.flatten().any(|entry| is_manifest(&entry.path()))
        })
    }

    /// Whether there is a checkpoint in it of a later boundary than now.
    fn checkpointed_again(&self) -> When {
        let checkpoints = self.0.join("checkpoints");
        let newest = move || {
            let ids = Manifest::list(&Store::directory(&checkpoints)).unwrap_or_default();
            ids.first().map(|id| id.epoch)
        };
        let (before, known) = (newest(), AtomicBool::new(false));
        Arc::new(move || {
            let is = known.load(Ordering::SeqCst) || newest() > before;
            known.store(is, Ordering::SeqCst);
            is
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether something is so by now.
pub(crate) type When = Arc<dyn Fn() -> bool + Send + Sync>;

/// Whether a line cannot be taken.
type Refuses = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What a transactional sink has, over all runs. Asks for a drain when it has `full` lines.
#[derive(Clone)]
pub(crate) struct Released<T> {
    lines: Arc<Mutex<Vec<String>>>,
    full: usize,
    /// It fails when it has so many.
    breaks: usize,
    /// It fails when this is so; and the number of the start.
    breaks_when: Option<(usize, When)>,
    /// The lines that it cannot take.
    refuses: Option<Refuses>,
    /// How many lines the checkpoint had that a start has gone on from, start by start.
    resumed: Arc<Mutex<Vec<usize>>>,
    drain: Drain,
    of: std::marker::PhantomData<fn(T)>,
}

impl<T> Released<T> {
    fn new() -> Self {
        let (lines, resumed, drain) = Default::default();
        let (full, breaks, breaks_when, refuses) = (usize::MAX, usize::MAX, None, None);
        let of = std::marker::PhantomData;
        Self { lines, full, breaks, breaks_when, refuses, resumed, drain, of }
    }

    fn len(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// `input`, of which in each start `more` records of a partition come than in the one before, and others only
    /// when the start has made a checkpoint.
    pub(crate) fn hold<I>(&self, input: &Memory<I>, more: usize) -> Memory<I> {
        let Some((start, when)) = &self.breaks_when else { return input.clone() };
        let (held_from, last_when) = (Some((start + 1) * more), Some(Arc::clone(when)));
        Memory { held_from, last_when, ..input.clone() }
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
        assert!(at <= self.len(), "a checkpoint is ahead of the sink");
        self.resumed.lock().unwrap().push(at);
        let of = self.clone();
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
        let breaks = self.of.breaks_when.as_ref().is_some_and(|(_, when)| when());
        while let Some((id, record)) = batch.peek() {
            if self.at >= self.of.breaks || breaks {
                return Err(Error::Data("the sink is broken".to_string()));
            }
            let line = format!("{id} {record:?}");
            // What it has it has.
            let is_new = self.at == lines.len();
            if is_new && self.of.refuses.as_ref().is_some_and(|refuses| refuses(&line)) {
                return Err(Error::Connector(format!("there is no place for {line}")));
            }
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

/// Runs again and again on so many workers, each time until there is a new checkpoint, after which the sink fails;
/// and then to the end. What `draw` reads must be held, see [`Released::hold`]. Says also how many lines the
/// checkpoint had that each start has gone on from.
pub(crate) fn in_pieces_from_checkpoints<T: Record + Debug>(
    folder: &Folder,
    workers: &[usize],
    draw: impl Fn(&App, Released<T>) + Send + Sync + 'static,
) -> (Vec<String>, Vec<usize>) {
    let (mut released, draw) = (Released::new(), Arc::new(draw));
    for (start, count) in workers.iter().enumerate() {
        let is_last = start + 1 == workers.len();
        released.breaks_when = (!is_last).then(|| (start, folder.checkpointed_again()));
        let (config, of, draw) = (folder.config(*count), released.clone(), Arc::clone(&draw));
        let ended = bounded(move || {
            let build = move |app: &App| {
                draw(app, of.clone());
                Ok(())
            };
            run(&config, build).map(drop)
        });
        assert_eq!(ended.is_ok(), is_last, "{ended:?}");
    }
    let resumed = released.resumed.lock().unwrap().clone();
    (released.lines(), resumed)
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
    in_pieces_of(folder, steps, move |app, released| observe(app, &inputs, released))
}

/// The same of any application.
pub(crate) fn in_pieces_of<T: Record + Debug>(
    folder: &Folder,
    steps: &[(usize, usize)],
    draw: impl Fn(&App, Released<T>) + Send + Sync + 'static,
) -> Vec<String> {
    in_pieces_up_to(usize::MAX, folder, steps, draw)
}

/// The same of one whose input does not end, until so many were released in all. Of two runs one is drained,
/// and leaves a checkpoint at its end, and one is cut off by a sink that breaks, and leaves a journal.
pub(crate) fn in_pieces_up_to<T: Record + Debug>(
    most: usize,
    folder: &Folder,
    steps: &[(usize, usize)],
    draw: impl Fn(&App, Released<T>) + Send + Sync + 'static,
) -> Vec<String> {
    let (mut released, draw) = (Released::new(), Arc::new(draw));
    for (index, (workers, more)) in steps.iter().enumerate() {
        if released.len() >= most {
            break;
        }
        let full = released.len().saturating_add(*more).min(most);
        let is_cut_off = index % 2 == 1 && full < most;
        (released.full, released.breaks) =
            if is_cut_off { (usize::MAX, full) } else { (full, usize::MAX) };
        released.drain = Drain::default();
        let (drain, of, draw) = (released.drain.clone(), released.clone(), Arc::clone(&draw));
        let config = folder.config(*workers);
        bounded(move || {
            let build = move |app: &App| {
                draw(app, of.clone());
                Ok(())
            };
            let ended = run_until(&config, build, &drain).map(drop).map_err(|e| e.to_string());
            assert!(
                ended.is_ok() || is_cut_off && ended.clone().unwrap_err().contains("broken"),
                "{ended:?}"
            );
        });
    }
    released.lines()
}

const STEPS: [(usize, usize); 7] =
    [(1, 5_000), (2, 1), (4, 20_000), (3, 9_000), (1, 100), (2, 15_000), (3, usize::MAX)];

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
