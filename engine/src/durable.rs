//! What a process that runs on a data directory has for all its workers: which start this is, the
//! checkpoint that it goes on from, where journals are, and the thread that writes checkpoints.
//!
//! Invariant: all workers of all processes go on from the same boundary; what follows it comes from
//! the journals (live input) or from the sources themselves (recorded input).

mod anew;
mod remembered;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::anew::anew;
pub(crate) use self::remembered::applied;
pub(crate) use self::remembered::{Applied, Extra};
use self::remembered::{applied_of, at_boundary};
use crate::aside::{self, Aside};
use crate::checkpoint::{
    Checkpointer, Manifest, Restored, Retention, SourcePosition, Store, Writer, newest,
};
use crate::cluster::Progress;
use crate::config::{Config, Durability, LettersBound};
use crate::data_dir::DataDir;
use crate::failpoint::hit;
use crate::ingest::{Begin, Kept, Point};
use crate::journal::{Access, Journal, LaneEnd, LaneName, LaneReader};
use crate::letters;
use crate::metrics::{Counter, Counters};
use crate::pipeline::Placement;
use crate::released::Released;
use crate::scribe::{Desk, Scribe};
use crate::source::{Nature, Resume};
use crate::state::{Fate, Stores};
use crate::watermark::EventTimes;
use crate::{Error, Result, Time};

/// What a process has for what survives it.
pub(crate) struct Durable {
    dir: DataDir,
    generation: u64,
    durability: Durability,
    interval: Duration,
    restored: Option<Restored>,
    /// What an earlier program had, if what it has computed is computed anew.
    former: Option<Restored>,
    /// None if this only looks at what an earlier start has left.
    desk: Option<Desk>,
    span: Span,
    counters: Counters,
    aside: Vec<Aside>,
    letters: LettersBound,
    progress: Progress,
}

/// Epochs of recorded input are counted from 0; those of live input are times, and far above this.
pub(crate) const RECORDED_EPOCHS: u64 = 1 << 56;

/// A span of ingest time, from its begin to before its end; all of time without them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub from: Option<Time>,
    /// Where it ends.
    pub to: Option<Time>,
}

impl Span {
    /// Whether a manifest's boundary is not after the begin of this span.
    fn may_begin_at(self, manifest: &Manifest) -> bool {
        let Some(from) = self.from else { return false };
        match applied(manifest) {
            Some(applied) => applied.time < from,
            None => i64::try_from(manifest.epoch).is_ok_and(|epoch| epoch <= from.as_nanos()),
        }
    }
}

/// A partition as a start finds it.
pub(crate) struct Found {
    pub(crate) begin: Begin,
    pub(crate) lane: LaneName,
    pub(crate) end: LaneEnd,
    /// Live: what is to be replayed.
    pub(crate) past: Option<LaneReader>,
}

impl Durable {
    /// Opens what an earlier start has left in `dir`. `wake` wakes the workers of this process.
    ///
    /// # Errors
    /// When it is damaged, or nothing can be made there.
    pub(crate) fn open(
        config: &Config,
        dir: DataDir,
        (generation, workers): (u64, usize),
        stores: &Stores,
        counters: &Counters,
        progress: Progress,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Arc<Self>> {
        let store = store(config, &dir)?;
        let restored = newest(&store, |manifest: &Manifest| manifest.generation <= generation)?;
        let (restored, former) = anew(&store, &dir, restored)?;
        if let Some(restored) = &restored {
            let manifest = &restored.manifest;
            tracing::info!("generation {generation} goes on from {}", manifest.id());
            hit("restore::chosen").map_err(|e| Error::io(store.name(""), e))?;
        } else if former.is_some() {
            tracing::info!("generation {generation} begins where its input has begun");
        } else {
            tracing::info!("generation {generation} begins, there is no checkpoint yet");
        }
        let partitions = config.partitions();
        let writer = Writer { generation, program: config.program().to_string(), partitions };
        // The thread that writes may outlast the run that it writes for.
        let fence = dir.unheld();
        let last =
            restored.as_ref().map(|restored| renamed(&restored.manifest, stores)).transpose()?;
        let checkpointer = Checkpointer::new(&store, writer, last)
            .fenced_by(move || fence.check_place(generation))
            .keeping(Retention::new(config.keep_journal(), &dir.journal())?);
        let owned = move |worker| Placement::owned(partitions as usize, workers, worker);
        let scribe = Scribe {
            store,
            checkpointer,
            generation,
            workers,
            owned: Box::new(owned),
            wake: Box::new(wake),
            made: counters.scoped("checkpoints").counter("made"),
            took: counters.scoped("checkpoints").gauge("last_us"),
        };
        Ok(Arc::new(Self {
            aside: aside::read(&dir.aside())?,
            letters: config.dead_letters(),
            progress,
            dir,
            generation,
            durability: config.durability(),
            span: Span::default(),
            interval: config.checkpoint_interval(),
            restored,
            former,
            desk: Some(scribe.start()?),
            counters: counters.scoped("checkpoints"),
        }))
    }

    /// Looks at what an earlier start has left in `dir`, which may be running: nothing is changed there.
    /// Goes on from the checkpoint `restored`.
    ///
    /// # Errors
    /// When it is damaged.
    pub(crate) fn look(
        config: &Config,
        dir: DataDir,
        (restored, span): (Option<Restored>, Span),
        counters: &Counters,
    ) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            aside: aside::read(&dir.aside())?,
            letters: config.dead_letters(),
            progress: Progress::default(),
            generation: dir.current()?,
            dir,
            durability: config.durability(),
            interval: config.checkpoint_interval(),
            restored,
            former: None,
            desk: None,
            span,
            counters: counters.scoped("checkpoints"),
        }))
    }

    /// Whether this start keeps what enters; else it only looks at what an earlier one has kept.
    pub(crate) fn keeps(&self) -> bool {
        self.desk.is_some()
    }

    /// How dead letters are kept.
    pub(crate) fn letters(&self) -> letters::Keeping {
        let folder = letters::folder(self.dir.path());
        let closes_from = self.former.as_ref().map(|_| {
            let sinks = self.restored.iter().flat_map(|restored| &restored.manifest.sinks);
            let log = sinks.into_iter().find(|sink| sink.name == letters::LETTERS);
            log.map_or(0, |log| letters::number(&log.position))
        });
        letters::Keeping { folder, bound: self.letters, anew: self.keeps(), closes_from }
    }

    /// Of what is replayed, what is released.
    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// The boundary that this start goes on from.
    pub(crate) fn from(&self) -> u64 {
        self.restored.as_ref().map_or(0, |restored| restored.manifest.epoch)
    }

    /// How far event time had come.
    pub(crate) fn event_times(&self) -> EventTimes {
        let extra = self.restored.as_ref().map(|restored| &restored.manifest.extra);
        extra.and_then(Extra::of).and_then(|extra| extra.event_times).unwrap_or_default()
    }

    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    pub(crate) fn desk(&self) -> Option<Desk> {
        self.desk.clone()
    }

    /// This start has got further than the ones before: the supervisor counts failures anew.
    pub(crate) fn made_progress(&self) {
        self.progress.made();
    }

    /// Sets a record aside, before the program ends with the panic that it caused.
    pub(crate) fn set_aside(&self, aside: &Aside) -> Result<()> {
        aside.write(&self.dir.aside())
    }

    /// The longest time for which encoding rows has kept a worker from its records, in microseconds.
    pub(crate) fn pause_counter(&self) -> Counter {
        self.counters.gauge("longest_pause_us")
    }

    /// Where the journal is.
    pub(crate) fn journal_folder(&self) -> PathBuf {
        self.dir.journal()
    }

    /// The journal of a worker's partitions.
    pub(crate) fn journal(
        &self,
        lanes: Vec<(LaneName, LaneEnd)>,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Option<Journal>> {
        if !self.keeps() {
            return Ok(None);
        }
        let (folder, generation) = (self.dir.journal(), self.generation);
        Journal::start(&folder, generation, self.durability, wake, lanes).map(Some)
    }

    /// Loads the rows that a worker owns; gives the tables of which the next checkpoint must have all.
    ///
    /// # Errors
    /// When rows cannot be read, or are none of this program's.
    pub(crate) fn restore(
        &self,
        stores: &Stores,
        partitions: u32,
        owned: Range<u32>,
        tells: bool,
    ) -> Result<BTreeSet<String>> {
        for (_, table) in stores.snapshots() {
            table.track(partitions);
        }
        let Some(restored) = &self.restored else { return Ok(BTreeSet::new()) };
        load(restored, stores, owned, tells)
    }

    /// What a sink was given before this start, if that is known.
    pub(crate) fn released(&self, sink: &str) -> Option<Released> {
        released(self.told(), sink)
    }

    /// Where a partition goes on.
    ///
    /// # Errors
    /// When its journal is damaged, or does not fit the checkpoint.
    pub(crate) fn find(
        &self,
        source: &str,
        partition: u32,
        nature: Nature,
        recorded: bool,
    ) -> Result<Found> {
        let known = self.position(source, partition);
        let reached = known.map(|known| known.next_offset);
        let lane = LaneName { source: source.to_string(), partition };
        if recorded && !self.keeps() {
            // It is read again.
            let begin = self.begin(known, at_boundary(known), source, partition);
            return Ok(Found { begin, lane, end: LaneEnd::default(), past: None });
        }
        let access = if self.keeps() { Access::Recover } else { Access::Look };
        let past = LaneReader::open(&self.dir.journal(), &lane, self.from(), reached, access)?;
        let end = past.end().clone();
        if end.position().last_epoch.is_some_and(|last| (last < RECORDED_EPOCHS) != recorded) {
            return Err(other_kind(source, recorded));
        }
        let point = match nature {
            // Its frames are in the journal: new ones come after them.
            Nature::Live => Point {
                next: end.position().next,
                last_time: end.position().last_time,
                position: end.position().position.clone(),
            },
            Nature::Recorded => at_boundary(known),
        };
        let begin = self.begin(known, point, source, partition);
        Ok(Found { begin, lane, end, past: (!recorded).then_some(past) })
    }

    fn begin(
        &self,
        known: Option<&SourcePosition>,
        point: Point,
        source: &str,
        partition: u32,
    ) -> Begin {
        let applied = known.and_then(applied_of);
        let of_this = |aside: &&Aside| aside.source == source && aside.partition == partition;
        let aside = self.aside.iter().filter(of_this);
        let aside = aside.map(|aside| (aside.offset, aside.reason.clone())).collect();
        let kept = if self.keeps() { Kept::Anew } else { Kept::Already };
        Begin { point, applied, aside, kept }
    }

    fn position(&self, source: &str, partition: u32) -> Option<&SourcePosition> {
        let manifest = &self.restored.as_ref()?.manifest;
        manifest.sources.iter().find(|p| p.source == source && p.partition == partition)
    }

    /// What a source's connector is told when a partition is opened.
    pub(crate) fn source_resume(
        &self,
        source: &str,
        partition: u32,
        point: &Point,
    ) -> Result<Resume> {
        let folder = self.folder(source, &partition.to_string())?;
        Ok(Resume {
            from: point.next,
            position: point.position.clone(),
            folder,
            generation: self.generation,
        })
    }

    /// What a sink's connector is told when it is opened.
    pub(crate) fn sink_resume(&self, sink: &str) -> Result<Resume> {
        if !self.keeps() {
            return Ok(Resume::default());
        }
        let known = self
            .told()
            .and_then(|restored| restored.manifest.sinks.iter().find(|known| known.name == sink));
        let position = known.map(|known| known.position.clone()).unwrap_or_default();
        let folder = self.folder(sink, "sink")?;
        Ok(Resume { from: 0, position, folder, generation: self.generation })
    }

    fn folder(&self, name: &str, part: &str) -> Result<Option<PathBuf>> {
        // What is the engine's own has its place.
        if !self.keeps() || matches!(name, letters::LETTERS | letters::RETRIES) {
            return Ok(None);
        }
        let folder = self.dir.connectors(name).join(part);
        std::fs::create_dir_all(&folder)
            .map_err(|e| Error::io(format!("making {}", folder.display()), e))?;
        Ok(Some(folder))
    }
}

/// Loads the rows of a checkpoint that belong to the partitions `owned`; gives the tables of which the
/// next checkpoint must have all. `tells` in the log what becomes of them.
///
/// # Errors
/// When rows cannot be read, or are none of this program's.
pub(crate) fn load(
    restored: &Restored,
    stores: &Stores,
    owned: Range<u32>,
    tells: bool,
) -> Result<BTreeSet<String>> {
    let mut rewritten = BTreeSet::new();
    let tables = &restored.manifest.tables;
    let schemas: Vec<_> = tables.iter().map(|table| table.schema.clone()).collect();
    for (schema, fate) in schemas.iter().zip(stores.restore(&schemas)?) {
        let Fate::Restored(restoring) = fate else {
            if tells {
                tracing::info!("table `{}` is dropped, as the program declares", schema.name);
            }
            continue;
        };
        if tells {
            for change in &restoring.changes {
                tracing::info!("{change}");
            }
        }
        restoring.load(restored, &schema.name, owned.clone())?;
        hit("restore::rows")
            .map_err(|e| Error::io(format!("restoring the table `{}`", schema.name), e))?;
        if restoring.rewrites {
            restoring.table.all();
            rewritten.insert(restoring.table.schema().name);
        }
    }
    Ok(rewritten)
}

/// What a sink was given before a boundary, if that is known.
pub(crate) fn released(restored: Option<&Restored>, sink: &str) -> Option<Released> {
    let Some(restored) = restored else { return Some(Released::default()) };
    let known = restored.manifest.sinks.iter().find(|known| known.name == sink);
    known.map_or(Some(Released::default()), |known| known.released)
}

/// Whether what a checkpoint has is within a replay that ends where `span` does.
pub(crate) fn ends_before(manifest: &Manifest, span: Span) -> bool {
    span.to.is_none_or(|to| Span { from: Some(to), to: None }.may_begin_at(manifest))
}

/// Where the checkpoints are.
pub(crate) fn store(config: &Config, dir: &DataDir) -> Result<Store> {
    Ok(Store::of_config(config)?.unwrap_or_else(|| Store::directory(&dir.checkpoints())))
}

/// A checkpoint with the names that its tables have in this program.
///
/// # Errors
/// When a table of it is none of this program's.
fn renamed(manifest: &Manifest, stores: &Stores) -> Result<Manifest> {
    let mut manifest = manifest.clone();
    let schemas: Vec<_> = manifest.tables.iter().map(|table| table.schema.clone()).collect();
    for (table, fate) in manifest.tables.iter_mut().zip(stores.restore(&schemas)?) {
        if let Fate::Restored(restoring) = fate {
            table.schema.name = restoring.table.schema().name;
        }
    }
    Ok(manifest)
}

pub(crate) fn other_kind(source: &str, recorded: bool) -> Error {
    let [now, then] = ["brings its times (files, generators)", "is stamped when it is read"];
    let (now, then) = if recorded { (now, then) } else { (then, now) };
    Error::Data(format!(
        "the program's input {now}, but source `{source}` of the data directory has input that \
         {then}: start the program with sources as they were, or with another --data-dir"
    ))
}

/// The partitions that a worker owns.
impl Placement {
    pub(crate) fn owned(partitions: usize, workers: usize, worker: usize) -> Range<u32> {
        let first = |worker: usize| (worker * partitions).div_ceil(workers) as u32;
        first(worker)..first(worker + 1)
    }
}
