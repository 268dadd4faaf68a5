//! [`Log`]: what a broadcast has released, so that a subscriber that comes back misses nothing.
//!
//! Invariant: a record is released when it is in the log and synced, never before; it is in the log
//! once, whatever was given again. The log is bounded: its oldest segments go, and who asks for
//! what is gone is told so. A torn end is cut, damage before it is named.

mod reader;
mod segment;

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch::failpoint::hit;
use anabranch::{Error, Result};
use xxhash_rust::xxh3::xxh3_64;

pub(super) use self::reader::{Chunk, LogReader};
pub(super) use self::segment::parts;
use self::segment::{HEADER, encode, id_of};
use crate::durable::{LOCK_WITHIN, Patience, Patient, lock, sync_parent};

/// The log is made of about so many segments.
const SEGMENTS: u64 = 8;

/// The segments there are, oldest first; shared with who reads them.
#[derive(Debug, Default)]
pub(super) struct Segments(Mutex<VecDeque<Segment>>);

#[derive(Clone, Debug)]
struct Segment {
    /// The number of its first record.
    first: u64,
    path: PathBuf,
    bytes: u64,
}

impl Segments {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that is written.
pub(super) struct Log {
    folder: PathBuf,
    bytes_max: u64,
    segments: Arc<Segments>,
    file: Arc<File>,
    patience: Patience,
    /// The number of the next record.
    next: u64,
    /// How many records were given, those that were given again counted once.
    given: u64,
    /// The hashed names of the last records of the log, which will be given again.
    known: VecDeque<u64>,
    encoded: Vec<u8>,
    /// Held for as long as this is.
    _lock: File,
}

impl Log {
    /// Opens the log in `folder`, of `bytes_max` bytes. The sink's position was after `position`
    /// records.
    ///
    /// # Errors
    /// When it cannot be read and written, or lacks what the position knows of.
    pub(super) fn open(
        folder: &Path,
        bytes_max: u64,
        position: u64,
        name: &str,
        patience: Patience,
    ) -> Result<Self> {
        let failed = |e| Error::io(format!("cannot open the log in {}", folder.display()), e);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let lock = lock(&folder.join("lock"), name, LOCK_WITHIN)?;
        let mut found = find(folder)?;
        let mut known = VecDeque::new();
        let mut segments = VecDeque::new();
        let mut next = position;
        while let Some((first, path)) = found.pop_front() {
            let mut note = |number: u64, payload: &[u8]| {
                if number >= position {
                    known.push_back(xxh3_64(id_of(payload)));
                }
            };
            let scanned = segment::scan(&path, first, &mut note)?;
            let follows = found.front().is_none_or(|(after, _)| *after == scanned.next);
            let is_good = found.is_empty() || scanned.is_whole && follows;
            if !is_good {
                let aside = path.with_extension("damaged");
                tracing::error!(
                    sink = name,
                    "{} is damaged at byte {}: it is put aside as {}, and the log begins after \
                     it; subscribers that ask for what was before are told of the gap",
                    path.display(),
                    scanned.good,
                    aside.display()
                );
                std::fs::rename(&path, &aside).map_err(failed)?;
                segments.clear();
                known.clear();
                continue;
            }
            let bytes = match scanned.is_whole {
                true => scanned.good,
                false => segment::cut(&path, scanned.good, name)?,
            };
            next = scanned.next;
            segments.push_back(Segment { first, path, bytes });
        }
        if next < position {
            return Err(Error::Connector(format!(
                "the log in {} ends with record {next}, and a checkpoint knows of {position}: \
                 bring the folder back as it was, or remove it; then subscribers are told of the \
                 gap",
                folder.display()
            )));
        }
        let file = match segments.back() {
            Some(last) => {
                let file = File::options().append(true).open(&last.path).map_err(failed)?;
                file.sync_all().map_err(failed)?;
                file
            }
            None => begin(folder, next, &mut segments)?,
        };
        Ok(Self {
            folder: folder.to_owned(),
            bytes_max,
            segments: Arc::new(Segments(Mutex::new(segments))),
            file: Arc::new(file),
            patience,
            next,
            given: position,
            known,
            encoded: Vec::new(),
            _lock: lock,
        })
    }

    /// How many records there are, those that are gone included.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// How many records were given.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    pub(super) fn segments(&self) -> Arc<Segments> {
        Arc::clone(&self.segments)
    }

    /// Takes the next record; true if it is new.
    ///
    /// # Errors
    /// When it is given again and is another one, or cannot be written.
    pub(super) fn take(&mut self, payload: &[u8]) -> Result<bool> {
        let number = self.given;
        self.given += 1;
        if number >= self.next {
            self.append(payload)?;
            return Ok(true);
        }
        // What was before the oldest segment is not known by name.
        let unknown = self.next - self.known.len() as u64;
        if number >= unknown && self.known.pop_front() != Some(xxh3_64(id_of(payload))) {
            return Err(Error::Connector(format!(
                "the log in {} has another record number {number} than `{}`, which came after the \
                 restart: a computation is probably not deterministic (it reads a clock, or \
                 depends on what is not in its rows): `verify` finds it. Or the program is another \
                 one than before: then start with a new data directory",
                self.folder.display(),
                String::from_utf8_lossy(id_of(payload))
            )));
        }
        Ok(false)
    }

    fn append(&mut self, payload: &[u8]) -> Result<()> {
        self.encoded.clear();
        encode(payload, &mut self.encoded)?;
        self.make_room()?;
        let failed = |e| Error::io(format!("cannot write the log in {}", self.folder.display()), e);
        let what = format!("the log in {}", self.folder.display());
        let mut to = Patient::new(Arc::clone(&self.file), what, Arc::clone(&self.patience));
        hit("broadcast::append").map_err(failed)?;
        if let Err(error) = hit("broadcast::short-write") {
            let half = self.encoded.split_at(self.encoded.len() / 2).0;
            to.write_all(half).map_err(failed)?;
            hit("broadcast::half-written").map_err(failed)?;
            return Err(failed(error));
        }
        to.write_all(&self.encoded).map_err(failed)?;
        self.next += 1;
        if let Some(last) = self.segments.lock().back_mut() {
            last.bytes += self.encoded.len() as u64;
        }
        Ok(())
    }

    /// Begins another segment if the last one is full, and removes the oldest ones.
    fn make_room(&mut self) -> Result<()> {
        let is_full = |last: &Segment| {
            last.bytes > HEADER.len() as u64
                && last.bytes + self.encoded.len() as u64 > self.bytes_max / SEGMENTS
        };
        if !self.segments.lock().back().is_some_and(is_full) {
            return Ok(());
        }
        self.sync()?;
        let failed = |e| Error::io(format!("cannot write the log in {}", self.folder.display()), e);
        let mut segments = self.segments.lock();
        self.file = Arc::new(begin(&self.folder, self.next, &mut segments)?);
        let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        while bytes + self.bytes_max / SEGMENTS > self.bytes_max && segments.len() > 1 {
            let Some(oldest) = segments.pop_front() else { break };
            bytes -= oldest.bytes;
            hit("broadcast::drop").map_err(failed)?;
            std::fs::remove_file(&oldest.path).map_err(failed)?;
        }
        Ok(())
    }

    /// Makes durable what was taken.
    ///
    /// # Errors
    /// When the disk failed.
    pub(super) fn sync(&mut self) -> Result<()> {
        hit("broadcast::sync")
            .and_then(|()| self.file.sync_data())
            .and_then(|()| hit("broadcast::synced"))
            .map_err(|e| Error::io(format!("cannot write the log in {}", self.folder.display()), e))
    }
}

/// The segments of a folder by their first record.
fn find(folder: &Path) -> Result<VecDeque<(u64, PathBuf)>> {
    let failed = |e| Error::io(format!("cannot list the log in {}", folder.display()), e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let first = stem.and_then(|stem| stem.parse().ok());
        if let Some(first) = first.filter(|_| path.extension().is_some_and(|end| end == "seg")) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found.into())
}

/// Begins a segment with the record of that number.
fn begin(folder: &Path, first: u64, segments: &mut VecDeque<Segment>) -> Result<File> {
    let path = folder.join(format!("{first:020}.seg"));
    let failed = |e| Error::io(format!("cannot write {}", path.display()), e);
    hit("broadcast::begin").map_err(failed)?;
    let file = File::options().append(true).create(true).open(&path).map_err(failed)?;
    file.set_len(0).map_err(failed)?;
    (&file).write_all(HEADER).map_err(failed)?;
    hit("broadcast::begun").map_err(failed)?;
    file.sync_all().and_then(|()| sync_parent(&path)).map_err(failed)?;
    segments.push_back(Segment { first, path, bytes: HEADER.len() as u64 });
    Ok(file)
}

#[cfg(test)]
mod tests;
