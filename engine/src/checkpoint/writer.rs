//! [`Checkpointer`]: from the parts of all workers to a checkpoint, and the old ones away.
//!
//! Invariant: the files first, then the manifest, then what is old: its manifest before its files.
//! So at any moment there is a checkpoint that can be loaded once there was one, and no manifest
//! names a file that was removed. This one and the one it was made from are kept, and those that
//! [`Retention`] keeps. Nothing of a later generation is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compact::{self, Compacted, Compaction};
use super::manifest::{HASH, VERSION};
use super::retention::{Old, Retention};
use super::{
    CheckpointId, FileHeader, FileKind, FileMeta, Manifest, SinkPosition, SourcePosition, Store,
    TableEntry, TableSchema, file,
};
use crate::failpoint::hit;
use crate::{Error, Result, background, clock};

/// What one worker brings to a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerPart {
    /// Every table that the worker has partitions of, changed or not: what no worker names is
    /// no longer in the checkpoint.
    pub tables: Vec<TablePart>,
    /// Where the source partitions were that it reads.
    pub sources: Vec<SourcePosition>,
    /// Where the sinks were that it writes.
    pub sinks: Vec<SinkPosition>,
}

/// What one worker brings of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePart {
    /// What it is.
    pub schema: TableSchema,
    /// What changed since the checkpoint before, as [`TableWriter`](super::TableWriter) gave it.
    pub files: Vec<FileMeta>,
    /// Whether `files` are all rows, so that those of the checkpoint before do not count; of all
    /// workers or none. After a table was migrated.
    pub replaces: bool,
}

/// Who writes checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The start of the program that this is.
    pub generation: u64,
    /// The program.
    pub program: String,
    /// Slices of each table's keys.
    pub partitions: u32,
}

type Fence = Box<dyn Fn() -> Result<()> + Send>;

/// Makes the checkpoints of one generation: one of these in the whole cluster.
pub struct Checkpointer {
    store: Store,
    writer: Writer,
    last: Option<Manifest>,
    /// The one that this generation went on from: later ones of earlier generations are none of ours.
    began_from: Option<CheckpointId>,
    fence: Fence,
    retention: Retention,
    journal_from: u64,
    /// Manifests that were read and do not change, so that they are read once.
    known: BTreeMap<CheckpointId, Manifest>,
    /// What the next checkpoint has to say beside its own parts.
    carried: BTreeMap<String, TablePart>,
    compactions: u64,
    /// In the names of the files of the compaction that is under way.
    mark: Option<String>,
    running: Option<JoinHandle<Result<Compacted>>>,
    finished: Vec<Compacted>,
}

impl Checkpointer {
    /// Goes on from `last`, the checkpoint that was restored; tables that have another name since
    /// then have it there.
    pub fn new(store: &Store, writer: Writer, last: Option<Manifest>) -> Self {
        Self {
            store: store.clone(),
            writer,
            began_from: last.as_ref().map(Manifest::id),
            last,
            fence: Box::new(|| Ok(())),
            retention: Retention::needed(),
            journal_from: 0,
            known: BTreeMap::new(),
            carried: BTreeMap::new(),
            compactions: 0,
            mark: None,
            running: None,
            finished: Vec::new(),
        }
    }

    /// Asks `fence` before anything that counts whether this generation still has its place. Its
    /// error is that of [`commit`](Self::commit).
    #[must_use]
    pub fn fenced_by(mut self, fence: impl Fn() -> Result<()> + Send + 'static) -> Self {
        self.fence = Box::new(fence);
        self
    }

    /// Keeps, beside the two newest, the old checkpoints that `retention` says.
    #[must_use]
    pub(crate) fn keeping(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// The journal is needed from this boundary on: no checkpoint before it is there any more.
    pub(crate) fn journal_from(&self) -> u64 {
        self.journal_from
    }

    /// The newest checkpoint: restored or made.
    pub fn last(&self) -> Option<&Manifest> {
        self.last.as_ref()
    }

    /// Makes the checkpoint at the boundary `epoch` from the parts of all workers, whose files are
    /// written. Takes in what compaction has finished, and removes old checkpoints afterwards; what
    /// cannot be removed is reported to the log, and tried again after the next.
    ///
    /// # Errors
    /// When the parts do not fit together, the manifest cannot be written or the generation has
    /// lost its place. The checkpoint before is as it was, and what the parts say is
    /// [carried](Self::carry) into the next.
    pub fn commit(
        &mut self,
        epoch: u64,
        parts: Vec<WorkerPart>,
        extra: Value,
    ) -> Result<&Manifest> {
        self.collect(false);
        let (mut sources, mut sinks, mut tables) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            sources.extend(part.sources);
            sinks.extend(part.sinks);
            tables.extend(part.tables);
        }
        let named: BTreeSet<String> = tables.iter().map(|part| part.schema.name.clone()).collect();
        self.carry(tables)?;
        // What nobody names any more is dropped, and so is what is left of it.
        self.carried.retain(|name, _| named.contains(name));
        let manifest = self.assemble(epoch, sources, sinks, extra)?;
        self.check_place()?;
        self.write(&manifest)?;
        let id = manifest.id();
        let before = self.last.replace(manifest).map(|last| last.id());
        self.carried.clear();
        self.finished.clear();
        if let Err(error) = self.clean(id, before) {
            tracing::warn!("old checkpoints are not removed: {error}; trying again later");
        }
        self.last.as_ref().ok_or_else(|| Error::Data(format!("{id} is forgotten")))
    }

    /// Remembers what workers brought to a checkpoint that did not come about: the next one says
    /// it. The parts of one boundary are carried before those of a later one.
    ///
    /// # Errors
    /// When the parts do not fit together.
    pub fn carry(&mut self, parts: Vec<TablePart>) -> Result<()> {
        let mut tables: BTreeMap<String, TablePart> = BTreeMap::new();
        for part in parts {
            let name = part.schema.name.clone();
            match tables.get_mut(&name) {
                None => {
                    tables.insert(name, part);
                }
                Some(known) if (&known.schema, known.replaces) == (&part.schema, part.replaces) => {
                    known.files.extend(part.files);
                }
                Some(_) => {
                    return Err(Error::Data(format!(
                        "the workers do not agree on what the table `{name}` is; this is a mistake \
                         of the engine"
                    )));
                }
            }
        }
        for (name, part) in tables {
            match self.carried.get_mut(&name) {
                Some(known) if !part.replaces => {
                    known.schema = part.schema;
                    known.files.extend(part.files);
                }
                _ => {
                    self.carried.insert(name, part);
                }
            }
        }
        Ok(())
    }

    fn write(&self, manifest: &Manifest) -> Result<()> {
        let path = manifest.id().path();
        let name = self.store.name(&path);
        let failed = |e| Error::io(&*name, e);
        hit("checkpoint::manifest").map_err(failed)?;
        if !self.store.put_if_absent(&path, &manifest.encode()?)? {
            return Err(Error::Data(format!(
                "{name} is there already, but was not written by this process: another one runs as \
                 generation {}; stop one of them",
                self.writer.generation
            )));
        }
        hit("checkpoint::manifest-written").map_err(failed)
    }

    /// What is worth compacting now, if nothing is being compacted. What comes of it goes to
    /// [`took`](Self::took).
    pub(super) fn due(&mut self) -> Option<Compaction> {
        let last = self.last.as_ref().filter(|_| self.mark.is_none())?;
        let waiting = |table: &&TableEntry| {
            !self.finished.iter().any(|finished| finished.table == table.schema.name)
        };
        let mut tables = last.tables.iter().filter(waiting);
        let (table, files) = tables.find_map(|table| Some((table, compact::due(table)?)))?;
        self.compactions += 1;
        let (schema, partitions) = (table.schema.clone(), 0..last.partitions);
        let header = FileHeader { schema, epoch: last.epoch, partitions };
        let (generation, count) = (self.writer.generation, self.compactions);
        let compaction = Compaction::new(&self.store, header, generation, count, files);
        self.mark = Some(compaction.mark());
        Some(compaction)
    }

    /// Takes what came of a compaction into the next checkpoint.
    pub(super) fn took(&mut self, compacted: Result<Compacted>) {
        self.mark = None;
        match compacted {
            Ok(compacted) => self.finished.push(compacted),
            Err(error) => tracing::warn!("a table was not compacted: {error}"),
        }
    }

    /// Begins to compact what is due, on a thread of its own, unless one runs already.
    pub fn compact_in_background(&mut self) {
        self.collect(false);
        let Some(compaction) = self.due() else { return };
        match background::spawn("compaction", move || compaction.run()) {
            Ok(handle) => self.running = Some(handle),
            Err(error) => self.took(Err(error)),
        }
    }

    /// Waits for the compaction that runs, if one does; the next checkpoint has what came of it.
    pub fn wait(&mut self) {
        self.collect(true);
    }

    fn collect(&mut self, wait: bool) {
        let Some(handle) = self.running.take_if(|handle| wait || handle.is_finished()) else {
            return;
        };
        let panicked = |_| Err(Error::Data("the thread panicked".into()));
        self.took(handle.join().unwrap_or_else(panicked));
    }

    /// The checkpoint that what is carried makes on top of the last.
    fn assemble(
        &self,
        epoch: u64,
        mut sources: Vec<SourcePosition>,
        mut sinks: Vec<SinkPosition>,
        extra: Value,
    ) -> Result<Manifest> {
        let (generation, partitions) = (self.writer.generation, self.writer.partitions);
        if let Some(last) = &self.last {
            let is_next =
                last.generation < generation || last.generation == generation && last.epoch < epoch;
            if !is_next || last.partitions != partitions {
                let id = CheckpointId { generation, epoch };
                return Err(Error::Data(format!(
                    "{id} with {partitions} partitions cannot follow {} with {}",
                    last.id(),
                    last.partitions
                )));
            }
        }
        sources.sort_by(|a, b| (&a.source, a.partition).cmp(&(&b.source, b.partition)));
        sinks.sort_by(|a, b| a.name.cmp(&b.name));
        let twice = sources.windows(2).any(
            |pair| matches!(pair, [a, b] if (&a.source, a.partition) == (&b.source, b.partition)),
        ) || sinks.windows(2).any(|pair| matches!(pair, [a, b] if a.name == b.name));
        if twice {
            return Err(Error::Data(format!(
                "two workers tell the position of one source partition or sink at epoch {epoch}"
            )));
        }
        let tables = self.carried.values().map(|part| {
            let before = self.last.as_ref().filter(|_| !part.replaces);
            let before = before.and_then(|last| last.table(&part.schema.name));
            let mut files = before.map(|table| table.files.clone()).unwrap_or_default();
            for finished in self.finished.iter().filter(|one| one.table == part.schema.name) {
                replace(&mut files, finished);
            }
            let is_first = files.is_empty();
            files.extend(part.files.iter().cloned());
            if is_first {
                files.iter_mut().for_each(|file| file.kind = FileKind::Base);
            }
            TableEntry { schema: part.schema.clone(), files }
        });
        Ok(Manifest {
            version: VERSION,
            epoch,
            generation,
            parent: self.last.as_ref().map(Manifest::id),
            time: clock::now(),
            program: self.writer.program.clone(),
            engine: env!("CARGO_PKG_VERSION").into(),
            partitions,
            hash: HASH.into(),
            tables: tables.collect(),
            sources,
            sinks,
            extra,
        })
    }

    /// Asks whether this generation still has its place.
    pub(crate) fn check_fence(&self) -> Result<()> {
        (self.fence)()
    }

    /// Whether this generation may still write.
    fn check_place(&self) -> Result<()> {
        self.check_fence()?;
        match Manifest::list(&self.store)?.first() {
            Some(newest) if newest.generation > self.writer.generation => {
                Err(Error::Replaced(format!(
                    "generation {} has lost its place: there is {newest}; this one ends",
                    self.writer.generation
                )))
            }
            _ => Ok(()),
        }
    }

    /// Removes what neither `this` checkpoint, nor the one `before`, nor one that is to be kept
    /// needs.
    fn clean(&mut self, this: CheckpointId, before: Option<CheckpointId>) -> Result<()> {
        let mut known = BTreeMap::new();
        let (mut old, mut ours) = (Vec::new(), Vec::new());
        for id in Manifest::list(&self.store)? {
            let manifest = match self.known.remove(&id) {
                Some(manifest) => Ok(manifest),
                None => Manifest::load(&self.store, id),
            };
            match manifest {
                Ok(manifest) => {
                    if id <= this && self.is_ours(id, ours.last()) {
                        ours.push(Old { id, time: manifest.time });
                    } else if id < this {
                        old.push(id);
                    }
                    known.insert(id, manifest);
                }
                // Damaged, and not one of those that count.
                Err(Error::Data(_)) if id < this && Some(id) != before => old.push(id),
                Err(error) => return Err(error),
            }
        }
        ours.reverse();
        let decided = self.retention.decide(&ours, clock::now())?;
        let ours = ours.into_iter().map(|it| it.id);
        old.extend(ours.filter(|id| *id < this && !decided.checkpoints.contains(id)));
        known.retain(|id, _| !old.contains(id));
        let files = known.values().flat_map(Manifest::files);
        let kept: BTreeSet<String> = files.map(|file| file.path.clone()).collect();
        self.known = known;
        for id in old {
            self.delete(&id.path())?;
        }
        self.journal_from = decided.journal_from;
        for entry in self.store.list(file::FOLDER)? {
            // What is being written for the next checkpoint has a later epoch.
            let is_old = file::made_for(&entry.path)
                .is_some_and(|made| made <= (this.generation, this.epoch));
            let is_running = self.mark.as_ref().is_some_and(|mark| entry.path.contains(mark));
            if is_old && !is_running && !kept.contains(&entry.path) {
                self.delete(&entry.path)?;
            }
        }
        Ok(())
    }

    /// Whether a checkpoint is one of those that led to the present one, of which `next` is the oldest
    /// that was found yet. An earlier generation that wrote after it had lost its place wrote another
    /// history.
    fn is_ours(&self, id: CheckpointId, next: Option<&Old>) -> bool {
        (id.generation == self.writer.generation || Some(id) <= self.began_from)
            && next.is_none_or(|next| id.epoch < next.id.epoch)
    }

    fn delete(&self, path: &str) -> Result<()> {
        (self.fence)()?;
        let failed = |e| Error::io(self.store.name(path), e);
        hit("checkpoint::delete").map_err(failed)?;
        self.store.delete(path)?;
        hit("checkpoint::deleted").map_err(failed)
    }
}

/// Puts the new files of a compaction in the place of the old, if those are still there as they
/// were.
fn replace(files: &mut Vec<FileMeta>, compacted: &Compacted) {
    let length = compacted.old.len();
    let place = files.windows(length.max(1)).position(|window| window == compacted.old);
    if let Some(place) = place {
        files.splice(place..place + length, compacted.new.iter().cloned());
    }
}
