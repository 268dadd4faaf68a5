//! The sink `file:` of a program with a data directory: each line is there once, whatever dies.
//!
//! Invariant: at any moment the file (decompressed) is a prefix of the output of a run without
//! faults. What is given again is compared with what the file has and never written twice; a
//! difference ends the program by name. One process writes: the file is locked.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch::failpoint::hit;
use anabranch::sink::{FrameWriter, Taken};
use anabranch::source::OpenContext;
use anabranch::{Error, RecordId, Result};

use super::Compression;
use super::kept::{Compressor, Kept, Position, recover};
use crate::durable::{LOCK_WITHIN, Patience, Patient, lock, sync_parent, write_whole};
use crate::queue::{Batch, Bounds, Outbound, OutboundReceiver, outbound};

/// In the sink's folder: tells that the file is this sink's, and which it is.
const MARKER: &str = "file.json";
/// What is shown of a line that differs.
const SHOWN_BYTES: usize = 120;

/// Opens the file at `path`, of a sink whose folder is `folder`.
pub(super) fn open(
    path: &Path,
    bounds: Bounds,
    folder: &Path,
    context: &OpenContext,
) -> Result<Box<dyn FrameWriter>> {
    let what = path.display().to_string();
    let Some(position) = Position::decode(&context.resume.position) else {
        return Err(Error::Connector(format!(
            "the position of sink `{}` in the data directory is not that of a file: give the sink \
             its former URL, or start with a new data directory",
            context.name
        )));
    };
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::Usage(format!(
            "`{what}` is no regular file, so nothing can be taken up in it after a restart; with a \
             data directory write to a regular file, or to `-`"
        )));
    }
    let file = claim(path, folder, position, context)?;
    let Kept { file, known } = recover(file, path, position)?;
    let (queue, frames) = outbound(bounds, context.waker.clone());
    let output = Output {
        path: path.to_owned(),
        compression: Compression::of(path),
        file: Arc::new(file),
        position,
        synced: position.stored,
        known: Some(known),
        read: Vec::new(),
        member: None,
        patience: frames.patience(),
    };
    std::thread::Builder::new()
        .name(format!("sink {}", context.name))
        .spawn(move || {
            let written = output.write_all(&frames);
            frames.finish(written);
        })
        .map_err(|e| Error::io("cannot start the thread of a sink", e))?;
    Ok(Box::new(DurableWriter { queue }))
}

/// Locks the file. At the first start it is emptied; later it must be the same.
fn claim(path: &Path, folder: &Path, position: Position, context: &OpenContext) -> Result<File> {
    let failed = |e| Error::io(format!("cannot write {}", path.display()), e);
    let (marker, absolute) = (folder.join(MARKER), std::path::absolute(path).map_err(failed)?);
    let wanted = serde_json::json!({ "path": absolute.to_string_lossy() });
    let found = match std::fs::read(&marker) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io(format!("cannot read {}", marker.display()), error)),
    };
    let file = lock(path, &context.name, LOCK_WITHIN)?;
    match found {
        Some(found) => {
            let found: serde_json::Value = serde_json::from_slice(&found).map_err(|e| {
                Error::Connector(format!(
                    "{} is damaged ({e}): it says which file sink `{}` writes; put `{wanted}` into \
                     it if that is the file",
                    marker.display(),
                    context.name
                ))
            })?;
            if found != wanted {
                return Err(Error::Usage(format!(
                    "with this data directory sink `{}` writes {}, and now it is to write {}: name \
                     the former file, or start with a new data directory; if the file was moved, \
                     put `{wanted}` into {}",
                    context.name,
                    found.get("path").unwrap_or(&found),
                    absolute.display(),
                    marker.display()
                )));
            }
        }
        None if position != Position::default() => {
            return Err(Error::Connector(format!(
                "{} is missing, although sink `{}` has written before: nothing is written over. \
                 Bring the data directory back as it was, or start with a new one",
                marker.display(),
                context.name
            )));
        }
        None => {
            hit("file-sink::claim").map_err(failed)?;
            file.set_len(0).map_err(failed)?;
            file.sync_all().and_then(|()| sync_parent(path)).map_err(failed)?;
            write_whole(&marker, wanted.to_string().as_bytes())
                .and_then(|()| hit("file-sink::claimed"))
                .map_err(|e| Error::io(format!("cannot write {}", marker.display()), e))?;
        }
    }
    Ok(file)
}

struct DurableWriter {
    queue: Outbound,
}

impl FrameWriter for DurableWriter {
    fn write(&mut self, _: RecordId<'_>, frame: &[u8]) -> Result<Taken> {
        self.queue.offer(&[frame, b"\n"])
    }

    fn position(&mut self) -> Result<Option<Vec<u8>>> {
        self.queue.position()
    }

    fn close(&mut self) -> Result<Taken> {
        self.queue.close()
    }
}

struct Output {
    path: PathBuf,
    compression: Compression,
    file: Arc<File>,
    /// How far the output is, and where the present member begins.
    position: Position,
    /// How much of the file the disk has for certain.
    synced: u64,
    /// What the file has from there on, until all of it was given again.
    known: Option<Box<dyn Read + Send>>,
    read: Vec<u8>,
    /// The member that is being written.
    member: Option<Compressor<Patient<Arc<File>>>>,
    patience: Patience,
}

impl Output {
    fn write_all(mut self, frames: &OutboundReceiver) -> Result<()> {
        let mut batch = Batch::default();
        while frames.take_blocking(&mut batch) {
            let mark = batch.mark();
            let asked = mark.unwrap_or(0);
            self.take(&batch, 0, asked)?;
            if mark.is_some() {
                self.sync()?;
                frames.reached(self.position.encode());
            }
            self.take(&batch, asked, batch.len())?;
        }
        self.sync()
    }

    /// Takes the frames `from..to`, line ends included.
    fn take(&mut self, batch: &Batch, from: usize, to: usize) -> Result<()> {
        let mut from = from;
        while from < to && self.known.is_some() {
            let line = batch.get(from).unwrap_or_default();
            let new = self.compare(line)?;
            self.append(line.get(new..).unwrap_or_default())?;
            from += 1;
        }
        self.append(batch.bytes_of(from, to))
    }

    /// How much of a line the file has; that part must be the same.
    fn compare(&mut self, line: &[u8]) -> Result<usize> {
        let Some(known) = &mut self.known else { return Ok(0) };
        self.read.clear();
        let had = known.take(line.len() as u64).read_to_end(&mut self.read);
        let had = had.map_err(|e| self.failed("read", e))?;
        if had < line.len() {
            self.known = None;
        }
        if !line.starts_with(&self.read) {
            return Err(self.differs(line));
        }
        self.position.bytes += had as u64;
        if self.known.is_none() {
            // What is written from here on begins a member of its own.
            let stored = self.file.metadata().map_err(|e| self.failed("read", e))?.len();
            self.position = Position { member: self.position.bytes, stored, ..self.position };
        }
        Ok(had)
    }

    fn differs(&self, line: &[u8]) -> Error {
        let same = line.iter().zip(&self.read).take_while(|(a, b)| a == b).count();
        let shown = |line: &[u8]| {
            let end = memchr::memchr(b'\n', line).unwrap_or(line.len()).min(SHOWN_BYTES);
            String::from_utf8_lossy(line.get(..end).unwrap_or_default()).into_owned()
        };
        let of = if self.compression == Compression::None { "" } else { " (decompressed)" };
        Error::Connector(format!(
            "{}: after the restart the output differs at byte {}{of}. The file has `{}`, and now \
             there is `{}`. A computation is probably not deterministic (it reads a clock, or \
             depends on what is not in its rows): `verify` finds it. Or the file was changed, or \
             the program is another one than before: then start with a new data directory",
            self.path.display(),
            self.position.bytes + same as u64,
            shown(&self.read),
            shown(line)
        ))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        hit("file-sink::write").map_err(|e| self.failed("write", e))?;
        let appended = match self.compression {
            Compression::None => self.append_plain(bytes),
            _ => self.open_member().and_then(|member| member.write_all(bytes)),
        };
        appended.map_err(|e| self.failed("write", e))?;
        self.position.bytes += bytes.len() as u64;
        Ok(())
    }

    fn append_plain(&self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = hit("file-sink::short-write") {
            self.patient().write_all(bytes.split_at(bytes.len() / 2).0)?;
            hit("file-sink::half-written")?;
            return Err(error);
        }
        self.patient().write_all(bytes)
    }

    fn patient(&self) -> Patient<Arc<File>> {
        let what = self.path.display().to_string();
        Patient::new(Arc::clone(&self.file), what, Arc::clone(&self.patience))
    }

    fn open_member(&mut self) -> io::Result<&mut Compressor<Patient<Arc<File>>>> {
        if self.member.is_none() {
            self.member = Some(Compressor::new(self.compression, self.patient())?);
        }
        self.member.as_mut().ok_or_else(|| io::Error::other("no member is open"))
    }

    /// Makes durable what was taken, and ends the present member there.
    fn sync(&mut self) -> Result<()> {
        if let Some(member) = self.member.take() {
            member.finish().map_err(|e| self.failed("write", e))?;
        }
        if let Err(error) = hit("file-sink::sync").and_then(|()| self.file.sync_data()) {
            // What the disk may not have must not be taken for what the file has.
            let _ = self.file.set_len(self.synced);
            return Err(self.failed("write", error));
        }
        hit("file-sink::synced").map_err(|e| self.failed("write", e))?;
        self.synced = self.file.metadata().map_err(|e| self.failed("read", e))?.len();
        if self.known.is_none() {
            let (member, stored) = (self.position.bytes, self.synced);
            self.position = Position { member, stored, ..self.position };
        }
        if self.compression == Compression::None {
            let bytes = self.position.bytes;
            self.position = Position { bytes, member: bytes, stored: bytes };
        }
        Ok(())
    }

    fn failed(&self, doing: &str, error: io::Error) -> Error {
        let what = self.path.display();
        Error::io(format!("cannot {doing} {what} (what was written before is there)"), error)
    }
}
