//! [`Horizon`]: how far a reader may read.
//!
//! Invariant: nothing is seen that is not durable. What a writer has told is. What a crash left untold is
//! looked at, synced and believed only while nobody writes; so it is not invisible until somebody does.

use std::fs::File;
use std::io;
use std::path::Path;

use anabranch::{Error, Result};

use super::Stream;
use super::end::{self, End};
use super::{segment, tail};

pub(super) struct Horizon {
    stream: Stream,
    known: End,
    /// What was there when it was looked at without a writer.
    looked_at: Option<Seen>,
}

/// What tells whether there may be more than is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    segment: u64,
    /// How long its file is, and that of the segment that would follow.
    bytes: u64,
    following: u64,
    /// How many segments there are, if nothing is known.
    segments: usize,
}

impl Horizon {
    pub(super) fn new(stream: &Stream) -> Self {
        Self { stream: stream.clone(), known: End::NONE, looked_at: None }
    }

    /// As far as is known.
    pub(super) fn known(&self) -> End {
        self.known
    }

    /// Looks again.
    pub(super) fn refresh(&mut self) -> Result<End> {
        let path = self.stream.path("end");
        let read = || {
            end::read(&path, self.stream.id)
                .map_err(|e| Error::io(format!("cannot read {}", path.display()), e))
        };
        let told = read()?;
        self.known = self.known.max(told.unwrap_or(End::NONE));
        // Most often there is nothing untold, and lengths say so.
        let seen = self.seen()?;
        let is_told = seen.bytes == self.known.bytes && seen.following == 0;
        let is_known = self.known != End::NONE && is_told;
        if is_known || self.looked_at == Some(seen) {
            return Ok(self.known);
        }
        let Some(_nobody_writes) = self.lock()? else { return Ok(self.known) };
        // A writer may have told more, and ended.
        let told = read()?.max(Some(self.known).filter(|known| *known != End::NONE));
        let mut segments = segment::list(&self.stream.folder)?;
        let (folder, id) = (self.stream.folder.clone(), self.stream.id);
        if let Some(tail) = tail::find(&folder, id, &mut segments, told, self.stream.first()?)? {
            tail.walk.sync()?;
            self.known = self.known.max(tail.end);
        }
        self.looked_at = Some(self.seen()?);
        Ok(self.known)
    }

    fn seen(&self) -> Result<Seen> {
        let End { segment, next, .. } = self.known;
        let folder = &self.stream.folder;
        let following = if next == segment { 0 } else { length(folder, next)? };
        let segments = match self.known {
            End::NONE => segment::list(folder)?.len(),
            _ => 1,
        };
        Ok(Seen { segment, bytes: length(folder, segment)?, following, segments })
    }

    /// Keeps writers away for a moment; none if there is one.
    fn lock(&self) -> Result<Option<File>> {
        let path = self.stream.path("writer.lock");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("cannot open {}", path.display()), error)),
        };
        Ok(file.try_lock_shared().is_ok().then_some(file))
    }
}

/// How long the file of a segment is; 0 if it is gone, as nothing was told of it or it was dropped.
fn length(folder: &Path, first: u64) -> Result<u64> {
    let path = segment::path(folder, first);
    match std::fs::metadata(&path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io(format!("cannot read {}", path.display()), error)),
    }
}
