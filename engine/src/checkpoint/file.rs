//! Table files: rows of one table, as a checkpoint keeps them.
//!
//! Invariant: a file is written once and whole, and every byte of it is under a checksum, its own
//! and the manifest's; what is read was written so, or an error names the file and the offset. A
//! file has about [`FILE_BYTES`], so that one can be held in memory, and none is ever appended to.
//!
//! ```text
//! file    = "ANABROWS" u32 version (1)  u32 length  header, as JSON  u64 xxh3 of all before
//!           block*
//!           "END." u32 blocks  u64 rows  u64 bytes of blocks  u64 xxh3 of the 24 bytes before
//! block   = "ROWS" u32 rows  u64 length  u64 xxh3 of the 16 bytes before and the rows  rows
//! rows    = as `Rows` has them: partition, three lengths, key, sub-key, value
//! ```
//!
//! Numbers are little-endian. xxh3 is the one of 64 bits, without a seed.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{RowBytes, Rows, Store, TableSchema};
use crate::failpoint::hit;
use crate::{Error, Result};

/// About how many bytes of rows a block has: who collects rows gives them on then.
pub const BLOCK_BYTES: usize = 256 << 10;
/// About how many bytes a file has at most. A larger block makes a larger file.
pub const FILE_BYTES: usize = 64 << 20;

/// The range of partitions of no row.
const NO_PARTITION: Range<u32> = Range { start: u32::MAX, end: 0 };

const MAGIC: &[u8; 8] = b"ANABROWS";
const VERSION: u32 = 1;
const BLOCK: &[u8; 4] = b"ROWS";
const END: &[u8; 4] = b"END.";

/// How a file stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// Where a table begins.
    Base,
    /// What changed after that, and what is gone.
    Delta,
}

/// A table file, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// Where it is in the store.
    pub path: String,
    /// How it stands to those before it.
    pub kind: FileKind,
    /// How large it is.
    pub bytes: u64,
    /// How many rows it has, those that are gone among them.
    pub rows: u64,
    /// The least range of partitions that has all its rows.
    pub partitions: Range<u32>,
    /// xxh3 of the whole file, in hexadecimal digits.
    pub xxh3: String,
}

/// What a file says of itself: for people, and for when its manifest is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHeader {
    /// The table, as it was when the file was written.
    pub schema: TableSchema,
    /// The boundary of the checkpoint that the file was made for.
    pub epoch: u64,
    /// The partitions that its rows may be of.
    pub partitions: Range<u32>,
}

/// Writes rows of one table into files.
#[derive(Debug)]
pub struct TableWriter {
    store: Store,
    stem: String,
    kind: FileKind,
    header: FileHeader,
    file: Vec<u8>,
    blocks: u32,
    rows: u64,
    block_bytes: u64,
    seen: Range<u32>,
    file_bytes: usize,
    done: Vec<FileMeta>,
}

impl TableWriter {
    /// For what worker `worker` of generation `generation` has to tell of a table at the boundary
    /// `epoch`: rows of `partitions` that changed since the checkpoint before, all of them in the
    /// first.
    ///
    /// # Errors
    /// [`Error::Application`] when the table's name cannot be part of a file's.
    pub fn new(
        store: &Store,
        schema: &TableSchema,
        epoch: u64,
        generation: u64,
        worker: usize,
        partitions: Range<u32>,
    ) -> Result<Self> {
        let header = FileHeader { schema: schema.clone(), epoch, partitions };
        Self::with_stem(store, header, generation, &format!("w{worker:05}"), FileKind::Delta)
    }

    pub(super) fn with_stem(
        store: &Store,
        header: FileHeader,
        generation: u64,
        who: &str,
        kind: FileKind,
    ) -> Result<Self> {
        let name = &header.schema.name;
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 128 || !name.chars().all(good) {
            return Err(Error::Application(format!(
                "the table's name `{name}` cannot be part of a file's: use 1 to 128 letters, \
                 digits, `-`, `_` and `.`"
            )));
        }
        let stem = format!("{FOLDER}/{:020}-{generation:010}-{who}-{name}", header.epoch);
        let store = store.clone();
        let (file, blocks, rows, block_bytes, seen) = (Vec::new(), 0, 0, 0, NO_PARTITION);
        let (file_bytes, done) = (FILE_BYTES, Vec::new());
        Ok(Self {
            store,
            stem,
            kind,
            header,
            file,
            blocks,
            rows,
            block_bytes,
            seen,
            file_bytes,
            done,
        })
    }

    /// Files of about `bytes`, so that a test has many.
    #[cfg(test)]
    pub(super) fn cut_at(mut self, bytes: usize) -> Self {
        self.file_bytes = bytes;
        self
    }

    /// Writes a block, of about [`BLOCK_BYTES`].
    ///
    /// # Errors
    /// When a file cannot be written, or a row is of another partition.
    pub fn block(&mut self, rows: &Rows) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let (mut count, mut seen) = (0_u32, self.seen.clone());
        for row in Rows::read(rows.bytes()) {
            match row {
                Ok(row) if self.header.partitions.contains(&row.partition) => {
                    seen = seen.start.min(row.partition)..seen.end.max(row.partition + 1);
                    count += 1;
                }
                row => {
                    let (of, name) = (&self.header.partitions, &self.header.schema.name);
                    return Err(Error::Data(format!(
                        "a row of the table `{name}` is not of the partitions {of:?}: {row:?}; \
                         this is a mistake of the engine"
                    )));
                }
            }
        }
        if self.file.is_empty() {
            self.start();
        }
        self.seen = seen;
        let start = self.file.len();
        self.file.extend_from_slice(BLOCK);
        self.file.extend_from_slice(&count.to_le_bytes());
        self.file.extend_from_slice(&(rows.bytes().len() as u64).to_le_bytes());
        let mut hash = Xxh3::new();
        hash.update(self.file.get(start..).unwrap_or_default());
        hash.update(rows.bytes());
        self.file.extend_from_slice(&hash.digest().to_le_bytes());
        self.file.extend_from_slice(rows.bytes());
        self.blocks += 1;
        self.rows += u64::from(count);
        self.block_bytes += (self.file.len() - start) as u64;
        if self.file.len() >= self.file_bytes {
            self.finish_file()?;
        }
        Ok(())
    }

    /// Writes what is left, and gives the files that were written: none if there was no row.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(mut self) -> Result<Vec<FileMeta>> {
        self.finish_file()?;
        Ok(self.done)
    }

    fn start(&mut self) {
        let header = serde_json::to_vec(&self.header).unwrap_or_default();
        self.file.extend_from_slice(MAGIC);
        self.file.extend_from_slice(&VERSION.to_le_bytes());
        self.file.extend_from_slice(&u32::try_from(header.len()).unwrap_or(0).to_le_bytes());
        self.file.extend_from_slice(&header);
        let hash = xxh3_64(&self.file);
        self.file.extend_from_slice(&hash.to_le_bytes());
    }

    fn finish_file(&mut self) -> Result<()> {
        if self.file.is_empty() {
            return Ok(());
        }
        let start = self.file.len();
        self.file.extend_from_slice(END);
        self.file.extend_from_slice(&self.blocks.to_le_bytes());
        self.file.extend_from_slice(&self.rows.to_le_bytes());
        self.file.extend_from_slice(&self.block_bytes.to_le_bytes());
        let hash = xxh3_64(self.file.get(start..).unwrap_or_default());
        self.file.extend_from_slice(&hash.to_le_bytes());
        let path = format!("{}-{:05}.{ENDING}", self.stem, self.done.len());
        let failed = |e| Error::io(self.store.name(&path), e);
        hit("checkpoint::file").map_err(failed)?;
        self.store.put(&path, &self.file)?;
        hit("checkpoint::file-written").map_err(failed)?;
        self.done.push(FileMeta {
            path,
            kind: self.kind,
            bytes: self.file.len() as u64,
            rows: self.rows,
            partitions: self.seen.clone(),
            xxh3: digest(&self.file),
        });
        self.file.clear();
        (self.blocks, self.rows, self.block_bytes, self.seen) = (0, 0, 0, NO_PARTITION);
        Ok(())
    }
}

/// The folder of table files.
pub(super) const FOLDER: &str = "tables";
/// Ends their names.
const ENDING: &str = "rows";

/// The checksum of a whole file, as a manifest has it.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

/// The generation and the epoch in the name of a table file, whole or partial.
pub(super) fn made_for(path: &str) -> Option<(u64, u64)> {
    let mut parts = path.strip_prefix(FOLDER)?.strip_prefix('/')?.splitn(3, '-');
    let epoch = parts.next()?.parse().ok()?;
    Some((parts.next()?.parse().ok()?, epoch))
}

/// A table file that was read.
#[derive(Debug)]
pub struct TableFile {
    name: String,
    header: FileHeader,
    bytes: Vec<u8>,
    /// Where the blocks begin.
    blocks: usize,
}

impl TableFile {
    /// Reads the file that `meta` names, and compares it with what `meta` says.
    ///
    /// # Errors
    /// When it cannot be read, is missing, or is not what was written.
    pub fn read(store: &Store, meta: &FileMeta) -> Result<Self> {
        let name = store.name(&meta.path);
        let bytes = store.get(&meta.path, meta.bytes)?.ok_or_else(|| {
            Error::Data(format!("{name} is missing; the checkpoint that names it cannot be loaded"))
        })?;
        if bytes.len() as u64 != meta.bytes {
            let (is, was) = (bytes.len(), meta.bytes);
            return Err(damaged(&name, is, &format!("it ends here, but had {was} bytes")));
        }
        if digest(&bytes) != meta.xxh3 {
            // The blocks' own checksums know the place.
            let at = Self::of_bytes(name.clone(), bytes).and_then(|file| file.each(|_| Ok(())));
            return Err(at.err().unwrap_or_else(|| damaged(&name, 0, "its checksum is another")));
        }
        Self::of_bytes(name, bytes)
    }

    /// Takes `bytes` for the file `name`.
    ///
    /// # Errors
    /// When its head is not one.
    pub fn of_bytes(name: String, bytes: Vec<u8>) -> Result<Self> {
        let mut at = Cursor { name: &name, bytes: &bytes, at: 0 };
        if at.take(MAGIC.len())? != MAGIC {
            return Err(damaged(&name, 0, "it does not begin as a table file"));
        }
        let version = at.u32()?;
        if version != VERSION {
            return Err(Error::Data(format!(
                "{name} has version {version}, but this program reads version {VERSION}: start the \
                 program that wrote it, or a newer one"
            )));
        }
        let length = at.u32()? as usize;
        let json = at.take(length)?;
        let hashed = at.so_far();
        if at.u64()? != xxh3_64(hashed) {
            return Err(damaged(&name, 0, "the checksum of its head is another"));
        }
        let header = serde_json::from_slice(json)
            .map_err(|e| damaged(&name, MAGIC.len() + 8, &format!("its head: {e}")))?;
        let blocks = at.at;
        Ok(Self { name, header, bytes, blocks })
    }

    /// What the file says of itself.
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// Gives each row to `each`, those that are gone among them, in the order of writing.
    ///
    /// # Errors
    /// The first of `each`, or when the file is not what was written: then the rows of the blocks
    /// before were given.
    pub fn each(&self, mut each: impl FnMut(RowBytes<'_>) -> Result<()>) -> Result<()> {
        let mut at = Cursor { name: &self.name, bytes: &self.bytes, at: self.blocks };
        let (mut blocks, mut rows) = (0_u32, 0_u64);
        loop {
            let (start, tag) = (at.at, at.take(4)?);
            if tag == END {
                let totals = (at.u32()?, at.u64()?, at.u64()?);
                let bytes = (start - self.blocks) as u64;
                let hash = xxh3_64(self.bytes.get(start..at.at).unwrap_or_default());
                if at.u64()? != hash || totals != (blocks, rows, bytes) {
                    return Err(damaged(&self.name, start, "its end does not fit its blocks"));
                }
                if at.at != self.bytes.len() {
                    return Err(damaged(&self.name, at.at, "something follows its end"));
                }
                return Ok(());
            }
            if tag != BLOCK {
                return Err(damaged(&self.name, start, "no block begins here"));
            }
            let (count, length) = (at.u32()?, at.u64()?);
            let mut hash = Xxh3::new();
            hash.update(self.bytes.get(start..at.at).unwrap_or_default());
            let written = at.u64()?;
            let block = at.take(usize::try_from(length).unwrap_or(usize::MAX))?;
            hash.update(block);
            if hash.digest() != written {
                return Err(damaged(&self.name, start, "the checksum of this block is another"));
            }
            let mut read = 0;
            for row in Rows::read(block) {
                let row = row.map_err(|_| damaged(&self.name, start, "its rows are cut short"))?;
                if !self.header.partitions.contains(&row.partition) {
                    return Err(damaged(&self.name, start, "a row is of another partition"));
                }
                each(row)?;
                read += 1;
            }
            if read != count {
                return Err(damaged(&self.name, start, "this block has another number of rows"));
            }
            blocks += 1;
            rows += u64::from(count);
        }
    }
}

fn damaged(name: &str, at: usize, what: &str) -> Error {
    Error::Data(format!("{name} is damaged at byte {at}: {what}"))
}

/// A place in a file.
struct Cursor<'a> {
    name: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..length);
        let taken =
            taken.ok_or_else(|| damaged(self.name, self.bytes.len(), "it ends too early"))?;
        self.at += length;
        Ok(taken)
    }

    fn so_far(&self) -> &'a [u8] {
        self.bytes.get(..self.at).unwrap_or_default()
    }

    fn u32(&mut self) -> Result<u32> {
        self.take(4).map(|bytes| bytes.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte)))
    }

    fn u64(&mut self) -> Result<u64> {
        self.take(8).map(|bytes| bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }
}
