//! [`newest`]: from the files of a checkpoint back to rows.
//!
//! Invariant: no row is given from a file that is not what was written; what cannot be loaded is
//! named, and skipped only for an older checkpoint that can. An older one is as right as the newest:
//! more of the journal is replayed after it.

use std::ops::Range;

use super::{CheckpointId, FileKind, FileMeta, Manifest, RowBytes, Store, TableFile};
use crate::{Error, Result};

/// A checkpoint to go on from.
#[derive(Clone, Debug)]
pub struct Restored {
    store: Store,
    /// What it is made of.
    pub manifest: Manifest,
}

/// The newest checkpoint that `accept` takes and that is whole; none if `accept` takes none.
/// One that is not whole is reported to the log, and the one before is tried.
///
/// # Errors
/// When the store cannot be read, or there are checkpoints and none of them is whole.
pub fn newest(store: &Store, accept: impl Fn(&Manifest) -> bool) -> Result<Option<Restored>> {
    let mut broken: Option<(CheckpointId, Error)> = None;
    for id in Manifest::list(store)? {
        let verified = Manifest::load(store, id).and_then(|manifest| {
            if !accept(&manifest) {
                tracing::info!("{id} is not taken: its generation had lost its place");
                return Ok(None);
            }
            verify(store, &manifest)?;
            Ok(Some(manifest))
        });
        match verified {
            Ok(Some(manifest)) => {
                if broken.is_some() {
                    tracing::error!("going on from {id} instead; more of the journal is replayed");
                }
                return Ok(Some(Restored { store: store.clone(), manifest }));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!("{id} cannot be loaded: {error}");
                broken.get_or_insert((id, error));
            }
        }
    }
    match broken {
        None => Ok(None),
        Some((id, error)) => Err(Error::Data(format!(
            "no checkpoint in {} can be loaded; the newest is {id}: {error}. Bring back a copy of \
             these files, or start anew with another --data-dir",
            store.name("")
        ))),
    }
}

/// Reads everything that `manifest` names and compares it with what was written.
///
/// # Errors
/// The first difference.
pub fn verify(store: &Store, manifest: &Manifest) -> Result<()> {
    for file in manifest.files() {
        let mut rows = 0_u64;
        let read = TableFile::read(store, file)?;
        read.each(|row| {
            rows += u64::from(file.partitions.contains(&row.partition));
            Ok(())
        })?;
        if rows != file.rows {
            return Err(Error::Data(format!(
                "{} has {rows} rows of its partitions, but its manifest names {}",
                store.name(&file.path),
                file.rows
            )));
        }
    }
    Ok(())
}

impl Restored {
    /// A checkpoint that others have chosen. It is not verified as a whole; what is read of it is.
    ///
    /// # Errors
    /// When its manifest cannot be read.
    pub fn open(store: &Store, id: CheckpointId) -> Result<Self> {
        Ok(Self { store: store.clone(), manifest: Manifest::load(store, id)? })
    }

    /// About how many rows of `partitions` a table has: as many as in the files that it begins with.
    pub(crate) fn about_rows(&self, table: &str, partitions: &Range<u32>) -> usize {
        let files = self.manifest.table(table).map_or(&[][..], |table| &table.files);
        let base = files.iter().filter(|file| file.kind == FileKind::Base);
        let share = |file: &FileMeta| {
            let (start, end) = (file.partitions.start, file.partitions.end);
            let shared = end.min(partitions.end).saturating_sub(start.max(partitions.start));
            let all = u64::from(end.saturating_sub(start)).max(1);
            // A row has 16 bytes at least.
            let rows = u128::from(file.rows.min(file.bytes / 16));
            u64::try_from(rows * u128::from(shared) / u128::from(all)).unwrap_or(0)
        };
        usize::try_from(base.map(share).sum::<u64>()).unwrap_or(0)
    }

    /// Gives each row of `partitions` of a table to `each`, in the order of the files: the last one
    /// of a key is what the row is, and a row without a value is gone. A table that the checkpoint
    /// does not have has no rows. Reads only files that have rows of `partitions`, and holds one at a
    /// time.
    ///
    /// # Errors
    /// The first of `each`, or when a file cannot be read or is not what was written.
    pub fn rows(
        &self,
        table: &str,
        partitions: Range<u32>,
        mut each: impl FnMut(RowBytes<'_>) -> Result<()>,
    ) -> Result<()> {
        let files = self.manifest.table(table).map_or(&[][..], |table| &table.files);
        for file in files {
            if file.partitions.start >= partitions.end || partitions.start >= file.partitions.end {
                continue;
            }
            TableFile::read(&self.store, file)?
                .each(|row| if partitions.contains(&row.partition) { each(row) } else { Ok(()) })?;
        }
        Ok(())
    }
}
