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
/// Of more than these some are merged first that it does not take long for. A program that is started
/// again and again never comes to the end of a long merge, and would have more files at every start.
const DELTAS_MANY: usize = 32;
/// About how many bytes that are: a fraction of a second.
const QUICK_BYTES: u64 = 8 << 20;

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

/// Which files of `table` are due: a row of small changes when there are many; all of them once the changes are as large as what they change;
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
    if deltas.len() > DELTAS_MANY
        && let Some(row) = longest_row(deltas, QUICK_BYTES)
    {
        return Some((FileKind::Delta, row.to_vec()));
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

/// The longest row of neighbours that have at most so many bytes together; none if it is not worth it.
fn longest_row(files: &[FileMeta], limit: u64) -> Option<&[FileMeta]> {
    let (mut begin, mut bytes) = (0, 0);
    let mut longest = 0..0;
    for (end, file) in files.iter().enumerate() {
        bytes += file.bytes;
        while bytes > limit
            && let Some(first) = files.get(begin)
        {
            bytes -= first.bytes;
            begin += 1;
        }
        if end + 1 - begin > longest.len() {
            longest = begin..end + 1;
        }
    }
    files.get(longest).filter(|row| row.len() >= DELTAS_MIN)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::TableSchema;

    fn file(kind: FileKind, bytes: u64) -> FileMeta {
        FileMeta {
            path: String::new(),
            kind,
            bytes,
            rows: 1,
            partitions: 0..1,
            xxh3: String::new(),
        }
    }

    fn merged(kind: FileKind, old: &[FileMeta]) -> FileMeta {
        file(kind, old.iter().map(|file| file.bytes).sum())
    }

    /// A program that never has the time for more than some megabytes has a bounded number of files.
    #[test]
    fn files_stay_few_when_no_long_merge_comes_to_its_end() {
        let schema = TableSchema {
            name: "table".into(),
            key: "u64".into(),
            sub_key: None,
            value: "u64".into(),
            codec: crate::checkpoint::Codec::MessagePack,
        };
        let mut table = TableEntry { schema, files: vec![file(FileKind::Base, 1 << 30)] };
        let mut most = 0;
        for checkpoint in 0..20_000_u64 {
            table.files.push(file(FileKind::Delta, 1_000 + checkpoint % 7 * 50_000));
            most = most.max(table.files.len());
            let Some((kind, old)) = due(&table) else { continue };
            if old.iter().map(|file| file.bytes).sum::<u64>() > 2 * QUICK_BYTES {
                continue;
            }
            let at = table.files.windows(old.len()).position(|row| row == old).unwrap();
            table.files.splice(at..at + old.len(), [merged(kind, &old)]);
        }
        let bytes: u64 = table.files.iter().skip(1).map(|file| file.bytes).sum();
        // Two neighbours of full files have more than the limit together.
        let bound = DELTAS_MANY as u64 + 2 * (bytes / QUICK_BYTES + 1) + DELTAS_MIN as u64;
        assert!(most as u64 <= bound, "{most} files, at most {bound} were expected");
        assert!(bytes > 1 << 31, "{bytes}");
    }

    #[test]
    fn the_longest_row_is_of_neighbours_within_the_limit() {
        let files =
            |bytes: &[u64]| bytes.iter().map(|b| file(FileKind::Delta, *b)).collect::<Vec<_>>();
        let row = |bytes: &[u64]| longest_row(&files(bytes), 10).map(<[_]>::to_vec);
        assert_eq!(row(&[1; 7]), None, "it is not worth it");
        assert_eq!(row(&[1; 30]), Some(files(&[1; 10])));
        assert_eq!(row(&[2, 9, 1, 1, 1, 1, 1, 1, 1, 1, 11, 4]), Some(files(&[1; 8])));
        assert_eq!(row(&[11; 40]), None);
    }
}
