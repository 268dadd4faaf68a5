//! [`Compaction`]: several files of a table become as few as their rows need.
//!
//! Invariant: the new files say of every key what the old ones said together, and nothing that is
//! named by a manifest is changed. The rows go through memory a range of partitions at a time,
//! so that about [`PASS_BYTES`] of files are held (at least one partition, and the maps around
//! the rows come on top); an old file is read once for every range that it has rows of.

use std::collections::BTreeMap;
use std::ops::Range;

use super::file::TableWriter;
use super::{
    BLOCK_BYTES, FileHeader, FileKind, FileMeta, RowBytes, Rows, Store, TableEntry, TableFile,
};
use crate::Result;

/// About how many bytes of files go through memory at once.
pub(super) const PASS_BYTES: u64 = 128 << 20;
/// Fewer changes than these are left alone.
const DELTAS_MIN: usize = 8;
/// More than these are merged, however small they are.
const DELTAS_MAX: usize = 128;

/// Files to merge. [`run`](Compaction::run) it on any thread.
#[derive(Debug)]
pub(super) struct Compaction {
    store: Store,
    header: FileHeader,
    generation: u64,
    who: String,
    kind: FileKind,
    old: Vec<FileMeta>,
    pass_bytes: u64,
}

/// What came of a [`Compaction`].
#[derive(Debug)]
pub(super) struct Compacted {
    pub(super) table: String,
    pub(super) old: Vec<FileMeta>,
    pub(super) new: Vec<FileMeta>,
}

/// Which files of `table` are due: all of them once the changes are as large as what they change;
/// only the changes when there are many and they are small beside it.
pub(super) fn due(table: &TableEntry) -> Option<(FileKind, Vec<FileMeta>)> {
    let is_base = |file: &&FileMeta| file.kind == FileKind::Base;
    let bases = table.files.iter().take_while(is_base).count();
    let deltas = table.files.get(bases..).unwrap_or_default();
    let bytes = |files: &[FileMeta]| files.iter().map(|file| file.bytes).sum::<u64>();
    let base_bytes = bytes(table.files.get(..bases).unwrap_or_default());
    if deltas.len() < DELTAS_MIN {
        return None;
    }
    if bytes(deltas) >= base_bytes {
        return Some((FileKind::Base, table.files.clone()));
    }
    if deltas.len() < DELTAS_MAX {
        return None;
    }
    if bytes(deltas) >= base_bytes / 4 {
        return Some((FileKind::Base, table.files.clone()));
    }
    Some((FileKind::Delta, deltas.to_vec()))
}

impl Compaction {
    pub(super) fn new(
        store: &Store,
        header: FileHeader,
        generation: u64,
        count: u64,
        (kind, old): (FileKind, Vec<FileMeta>),
    ) -> Self {
        let (store, who) = (store.clone(), format!("c{count:05}"));
        Self { store, header, generation, who, kind, old, pass_bytes: PASS_BYTES }
    }

    /// With about `bytes` in memory at once, so that a test has many passes.
    #[cfg(test)]
    pub(super) fn pass_of(mut self, bytes: u64) -> Self {
        self.pass_bytes = bytes;
        self
    }

    /// What is in the names of its files and of no others.
    pub(super) fn mark(&self) -> String {
        let (epoch, generation) = (self.header.epoch, self.generation);
        format!("{epoch:020}-{generation:010}-{}-", self.who)
    }

    /// Writes the new files.
    ///
    /// # Errors
    /// When a file cannot be read or written. The checkpoint is as it was.
    pub(super) fn run(self) -> Result<Compacted> {
        let (header, who) = (self.header.clone(), &self.who);
        let mut writer =
            TableWriter::with_stem(&self.store, header, self.generation, who, self.kind)?;
        let mut block = Rows::default();
        for partitions in passes(&self.old, self.header.partitions.clone(), self.pass_bytes) {
            for (key, value) in merged(&self.store, &self.old, &partitions)? {
                let (partition, key, sub_key) = &key;
                if value.is_none() && self.kind == FileKind::Base {
                    continue;
                }
                let (sub_key, value) = (sub_key.as_deref(), value.as_deref());
                block.push(RowBytes { partition: *partition, key, sub_key, value });
                if block.bytes().len() >= BLOCK_BYTES {
                    writer.block(&block)?;
                    block.take();
                }
            }
        }
        writer.block(&block)?;
        let new = writer.finish()?;
        Ok(Compacted { table: self.header.schema.name, old: self.old, new })
    }
}

/// Ranges of partitions, of about `pass_bytes` of `files` each if keys are spread evenly.
pub(super) fn passes(
    files: &[FileMeta],
    partitions: Range<u32>,
    pass_bytes: u64,
) -> impl Iterator<Item = Range<u32>> {
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let count = u32::try_from(bytes.div_ceil(pass_bytes)).unwrap_or(u32::MAX).max(1);
    let step = partitions.end.saturating_sub(partitions.start).div_ceil(count).max(1);
    let end = partitions.end;
    partitions.step_by(step as usize).map(move |from| from..from.saturating_add(step).min(end))
}

/// What `files` say of each key of `partitions`.
pub(super) fn merged(store: &Store, files: &[FileMeta], partitions: &Range<u32>) -> Result<Merged> {
    let mut rows = Merged::new();
    for file in files {
        if file.partitions.start >= partitions.end || partitions.start >= file.partitions.end {
            continue;
        }
        TableFile::read(store, file)?.each(|row| {
            if partitions.contains(&row.partition) {
                let key = (row.partition, row.key.to_vec(), row.sub_key.map(<[u8]>::to_vec));
                rows.insert(key, row.value.map(<[u8]>::to_vec));
            }
            Ok(())
        })?;
    }
    Ok(rows)
}

/// Partition, key and sub-key; and the value, none if the row is gone.
pub(super) type Merged = BTreeMap<(u32, Vec<u8>, Option<Vec<u8>>), Option<Vec<u8>>>;
