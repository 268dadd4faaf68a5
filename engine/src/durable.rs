//! What a process that runs on a data directory has for all its workers: which start this is, the
//! checkpoint that it goes on from, where journals are, and the thread that writes checkpoints.
//!
//! Invariant: all workers of all processes go on from the same boundary; what follows it comes from
//! the journals (live input) or from the sources themselves (recorded input).

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpointer, Manifest, Restored, SourcePosition, Store, Writer, newest};
use crate::cluster::Progress;
use crate::config::{Config, Durability, KeepJournal};
use crate::data_dir::DataDir;
use crate::ingest::{Begin, Point};
use crate::journal::{self, Access, Journal, Keep, LaneEnd, LaneName, LaneReader};
use crate::metrics::{Counter, Counters};
use crate::origin::Entry;
use crate::pipeline::Placement;
use crate::scribe::{Desk, Scribe};
use crate::source::{Nature, Resume};
use crate::state::{Fate, Stores};
use crate::{Error, Result};

/// What a process has for what survives it.
pub(crate) struct Durable {
    dir: DataDir,
    generation: u64,
    durability: Durability,
    interval: Duration,
    keep: Keep,
    restored: Option<Restored>,
    desk: Desk,
    counters: Counters,
}

/// Who hears of checkpoints.
pub(crate) struct Told {
    /// Wakes the workers of this process.
    pub(crate) wake: Box<dyn Fn() + Send>,
    /// The supervisor, which does not count failures before a checkpoint against those after it.
    pub(crate) progress: Progress,
}

/// What checkpoints remember of a program's input as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InputKind {
    /// Whether all sources brought their times.
    recorded: bool,
}

/// What checkpoints remember of a partition, beside its offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// Recorded: everything up to here was applied.
    pub(crate) applied: Option<Entry>,
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
    /// Opens what an earlier start has left in `dir`.
    ///
    /// # Errors
    /// When it is damaged, or nothing can be made there.
    pub(crate) fn open(
        config: &Config,
        dir: DataDir,
        generation: u64,
        workers: usize,
        stores: &Stores,
        counters: &Counters,
        told: Told,
    ) -> Result<Arc<Self>> {
        let store = match config.store() {
            Some(url) => Store::open(url)?,
            None => Store::directory(&dir.checkpoints()),
        };
        let restored = newest(&store, |manifest: &Manifest| manifest.generation <= generation)?;
        if let Some(restored) = &restored {
            let manifest = &restored.manifest;
            tracing::info!("generation {generation} goes on from {}", manifest.id());
        } else {
            tracing::info!("generation {generation} begins, there is no checkpoint yet");
        }
        let partitions = config.partitions();
        let writer = Writer { generation, program: config.program().to_string(), partitions };
        let fence = dir.clone();
        let last =
            restored.as_ref().map(|restored| renamed(&restored.manifest, stores)).transpose()?;
        let checkpointer = Checkpointer::new(&store, writer, last)
            .fenced_by(move || lost_place(&fence, generation));
        let owned = move |worker| Placement::owned(partitions as usize, workers, worker);
        let scribe = Scribe {
            store,
            checkpointer,
            generation,
            workers,
            owned: Box::new(owned),
            wake: told.wake,
            progress: told.progress,
        };
        Ok(Arc::new(Self {
            dir,
            generation,
            durability: config.durability(),
            interval: config.checkpoint_interval(),
            keep: match config.keep_journal() {
                KeepJournal::Needed => Keep::Needed,
                KeepJournal::Age(age) => Keep::For(age),
                KeepJournal::Size(bytes) => Keep::Bytes(bytes),
                KeepJournal::Forever => Keep::Forever,
            },
            restored,
            desk: scribe.start()?,
            counters: counters.scoped("checkpoints"),
        }))
    }

    /// The boundary that this start goes on from.
    pub(crate) fn from(&self) -> u64 {
        self.restored.as_ref().map_or(0, |restored| restored.manifest.epoch)
    }

    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    pub(crate) fn desk(&self) -> Desk {
        self.desk.clone()
    }

    pub(crate) fn restored(&self) -> Option<&Restored> {
        self.restored.as_ref()
    }

    /// The longest time for which encoding rows has kept a worker from its records, in microseconds.
    pub(crate) fn pause_counter(&self) -> Counter {
        self.counters.counter("longest_pause_us")
    }

    /// The journal of a worker's partitions.
    pub(crate) fn journal(
        &self,
        lanes: Vec<(LaneName, LaneEnd)>,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Journal> {
        let durability = match self.durability {
            Durability::Sync => journal::Durability::Sync,
            Durability::Async | Durability::Off => journal::Durability::Async,
        };
        Journal::start(&self.dir.journal(), self.generation, durability, wake, lanes)
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
        let mut rewritten = BTreeSet::new();
        let Some(restored) = &self.restored else { return Ok(rewritten) };
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
            restored.rows(&schema.name, owned.clone(), |row| restoring.load(row))?;
            if restoring.rewrites {
                restoring.table.all();
                rewritten.insert(restoring.table.schema().name);
            }
        }
        Ok(rewritten)
    }

    /// What is kept of the journal though no checkpoint needs it.
    pub(crate) fn keep(&self) -> Keep {
        self.keep
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
        let journal = self.dir.journal();
        let past = LaneReader::open(&journal, &lane, self.from(), reached, Access::Recover)?;
        let end = past.end().clone();
        let at_boundary = known.map_or_else(Point::default, |known| Point {
            next: known.next_offset,
            last_time: known.last_time,
            position: known.state.clone(),
        });
        let point = match nature {
            // Its frames are in the journal: new ones come after them.
            Nature::Live => Point {
                next: end.position().next,
                last_time: end.position().last_time,
                position: end.position().position.clone(),
            },
            Nature::Recorded => at_boundary,
        };
        let applied = known
            .and_then(|known| serde_json::from_value::<Applied>(known.resume.clone()).ok())
            .and_then(|applied| applied.applied);
        let begin = Begin { point, applied, journaled: true };
        Ok(Found { begin, lane, end, past: (!recorded).then_some(past) })
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
            folder: Some(folder),
            generation: self.generation,
        })
    }

    /// What a sink's connector is told when it is opened.
    pub(crate) fn sink_resume(&self, sink: &str) -> Result<Resume> {
        let known = self
            .restored
            .as_ref()
            .and_then(|restored| restored.manifest.sinks.iter().find(|known| known.name == sink));
        let position = known.map(|known| known.position.clone()).unwrap_or_default();
        let folder = Some(self.folder(sink, "sink")?);
        Ok(Resume { from: 0, position, folder, generation: self.generation })
    }

    fn folder(&self, name: &str, part: &str) -> Result<PathBuf> {
        let folder = self.dir.connectors(name).join(part);
        std::fs::create_dir_all(&folder)
            .map_err(|e| Error::io(format!("making {}", folder.display()), e))?;
        Ok(folder)
    }
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

fn lost_place(dir: &DataDir, generation: u64) -> Result<()> {
    if dir.is_current(generation)? {
        return Ok(());
    }
    Err(Error::Cluster(format!(
        "generation {generation} has lost its place in {}: a later one has begun",
        dir.path().display()
    )))
}

/// The partitions that a worker owns.
impl Placement {
    pub(crate) fn owned(partitions: usize, workers: usize, worker: usize) -> Range<u32> {
        let first = |worker: usize| (worker * partitions).div_ceil(workers) as u32;
        first(worker)..first(worker + 1)
    }
}
