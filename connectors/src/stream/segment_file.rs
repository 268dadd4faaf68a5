//! [`SegmentFile`]: the end of a stream, in the hands of its writer.
//!
//! Invariant: it is told that frames are durable after they were synced. A segment gets blocks when its
//! header, its name and everything before it are durable. What a crash tore off is cut before anything is
//! appended. What is dropped is said before it is removed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use anabranch::{Error, Result, Time};

use super::end::{self, End, Publisher};
use super::folder::{Dropped, own};
use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::writer::Waiting;
use super::{SEGMENTS_MAX, Stream, segment, tail};
use crate::durable::{Patience, Patient, sync_parent, write_whole};

/// The memory that is kept between two writes, in bytes.
const KEPT_BYTES: usize = 1 << 20;

pub(super) struct SegmentFile {
    stream: Stream,
    file: Arc<File>,
    end: End,
    publisher: Publisher,
    segment_bytes: u64,
    /// How many segments there are.
    segments: usize,
    encoded: Vec<u8>,
    patience: Patience,
    /// Held for as long as this is.
    _lock: File,
}

impl SegmentFile {
    pub(super) fn open(
        stream: &Stream,
        segment_bytes: u64,
        patience: Patience,
        within: Duration,
    ) -> Result<Self> {
        let failed = |e| Error::io(format!("cannot open stream `{}` to write", stream.name()), e);
        let lock = own(&stream.path("writer.lock"), stream.name(), within)?;
        let dropped = stream.dropped()?;
        let told = end::read(&stream.path("end"), stream.id).map_err(failed)?;
        let all = segment::list(&stream.folder)?;
        let mut segments = all.clone();
        let found = tail::find(&stream.folder, stream.id, &mut segments, told, dropped.first)?;
        for torn in all.get(segments.len()..).unwrap_or_default() {
            std::fs::remove_file(segment::path(&stream.folder, *torn)).map_err(failed)?;
        }
        let (file, end) = match found {
            Some(tail) => {
                let file = File::options().append(true).open(&tail.walk.path).map_err(failed)?;
                if tail.length > tail.end.bytes {
                    tracing::warn!(
                        stream = stream.name(),
                        "{}: {} bytes at its end were torn by a crash and never acknowledged; they are cut",
                        tail.walk.path.display(),
                        tail.length - tail.end.bytes
                    );
                    file.set_len(tail.end.bytes).map_err(failed)?;
                }
                file.sync_all().map_err(failed)?;
                (file, tail.end)
            }
            None => {
                segments.push(0);
                begin(stream, 0, Time::BEGIN).map_err(failed)?
            }
        };
        let mut publisher = Publisher::open(&stream.path("end"), stream.id).map_err(failed)?;
        publisher.publish(end).map_err(failed)?;
        let mut this = Self {
            stream: stream.clone(),
            file: Arc::new(file),
            end,
            publisher,
            segment_bytes,
            segments: segments.len(),
            encoded: Vec::new(),
            patience,
            _lock: lock,
        };
        // A crash may have left some of what was dropped.
        this.remove_before(dropped.first)?;
        Ok(this)
    }

    /// What is durable.
    pub(super) fn end(&self) -> End {
        self.end
    }

    /// Appends blocks and makes them durable.
    pub(super) fn append(&mut self, waiting: &VecDeque<Waiting>) -> Result<()> {
        let appended = self.try_append(waiting);
        if appended.is_err() {
            // What the disk may not have must not be taken for what the file has.
            let _ = self.file.set_len(self.end.bytes);
        }
        appended.map_err(|e| {
            Error::io(format!("cannot write {} (what was acknowledged is there)", self.what()), e)
        })
    }

    fn try_append(&mut self, waiting: &VecDeque<Waiting>) -> io::Result<()> {
        if self.end.bytes >= self.segment_bytes {
            self.begin_next()?;
        }
        let mut end = self.end;
        self.encoded.clear();
        self.encoded.shrink_to(KEPT_BYTES);
        for Waiting { block, payload } in waiting {
            block.after(self.end.next).encode(self.stream.id, &mut self.encoded);
            self.encoded.extend_from_slice(payload);
            end = End { next: block.end(), time: block.time, ..end };
        }
        end.bytes += self.encoded.len() as u64;
        let patience = Arc::clone(&self.patience);
        Patient::new(Arc::clone(&self.file), self.what(), patience).write_all(&self.encoded)?;
        self.file.sync_data()?;
        self.end = end;
        self.publisher.publish(end)
    }

    fn begin_next(&mut self) -> io::Result<()> {
        if self.segments >= SEGMENTS_MAX {
            return Err(io::Error::other(format!(
                "it has {SEGMENTS_MAX} segments, the most that a stream can have: drop old frames \
                 (`Writer::retain`, `Writer::trim`), or choose larger `segment_bytes`"
            )));
        }
        let (file, end) = begin(&self.stream, self.end.next, self.end.time)?;
        self.file = Arc::new(file);
        self.end = end;
        self.segments += 1;
        Ok(())
    }

    /// Drops everything before `dropped.first`, and says so first.
    pub(super) fn drop_before(&mut self, dropped: &Dropped) -> Result<()> {
        let path = self.stream.path("first.json");
        let failed = |e| Error::io(format!("cannot write {}", path.display()), e);
        let text = serde_json::to_vec(dropped).map_err(|e| failed(io::Error::other(e)))?;
        write_whole(&path, &text).map_err(failed)?;
        if dropped.first == self.end.next && self.end.bytes > SEGMENT_HEADER_BYTES {
            self.begin_next().and_then(|()| self.publisher.publish(self.end)).map_err(failed)?;
        }
        self.remove_before(dropped.first)
    }

    /// Removes the segments that have nothing from `first` on.
    fn remove_before(&mut self, first: u64) -> Result<()> {
        let segments = segment::list(&self.stream.folder)?;
        for pair in segments.windows(2) {
            let [this, next] = pair else { continue };
            if *next <= first {
                let path = segment::path(&self.stream.folder, *this);
                std::fs::remove_file(&path)
                    .map_err(|e| Error::io(format!("cannot remove {}", path.display()), e))?;
                self.segments = self.segments.saturating_sub(1);
            }
        }
        Ok(())
    }

    fn what(&self) -> String {
        segment::path(&self.stream.folder, self.end.segment).display().to_string()
    }
}

/// Makes a segment whose first frame will be `first`, and makes it durable.
fn begin(stream: &Stream, first: u64, floor: Time) -> io::Result<(File, End)> {
    let path = segment::path(&stream.folder, first);
    let mut file = File::options().append(true).create_new(true).open(&path)?;
    file.write_all(&SegmentHeader { first, floor }.encode(stream.id))?;
    file.sync_all()?;
    sync_parent(&path)?;
    let end = End { next: first, segment: first, bytes: SEGMENT_HEADER_BYTES, time: floor };
    Ok((file, end))
}
