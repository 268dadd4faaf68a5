//! [`Input`]: the bytes of a file, decompressed, in a window that moves over them.
//!
//! Invariant: the window grows only while its user asks for more of one line or row, so memory is
//! bounded by the longest that the user accepts.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use anabranch::{Error, Result};
use flate2::read::MultiGzDecoder;

use super::Compression;

/// What the window holds unless a line is longer.
const WINDOW_BYTES: usize = 256 << 10;

/// A window over what is read.
pub(super) struct Input {
    /// What is read, for messages.
    what: String,
    from: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    is_over: bool,
    /// How many bytes were consumed, from the file's beginning.
    consumed: u64,
    /// Why it is over, if not because everything was read.
    failed: Option<Error>,
}

impl Input {
    /// Reads from `from`, called `what` in messages.
    pub(super) fn new(what: impl Into<String>, from: impl Read + Send + 'static) -> Self {
        let (buffer, what) = (vec![0; WINDOW_BYTES], what.into());
        Self {
            what,
            from: Box::new(from),
            buffer,
            start: 0,
            end: 0,
            is_over: false,
            consumed: 0,
            failed: None,
        }
    }

    /// Opens a file, and decompresses it if its name ends in `.gz` or `.zst`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let what = path.display().to_string();
        let failed = |e| Error::io(format!("cannot open {what}"), e);
        let file = File::open(path).map_err(failed)?;
        Ok(match Compression::of(path) {
            Compression::None => Self::new(what, file),
            Compression::Gzip => Self::new(what, MultiGzDecoder::new(file)),
            Compression::Zstd => {
                let decoder = zstd::Decoder::new(file).map_err(failed)?;
                Self::new(what, decoder)
            }
        })
    }

    /// Opens a file that is not compressed where a line begins, `consumed` bytes after its
    /// beginning; `None` if none begins there.
    pub(super) fn open_at(path: &Path, consumed: u64) -> Result<Option<Self>> {
        let what = path.display().to_string();
        let failed = |e| Error::io(format!("cannot read {what} from byte {consumed} on"), e);
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut before = [b'\n'];
        if let Some(last) = consumed.checked_sub(1).filter(|_| consumed <= length) {
            file.seek(SeekFrom::Start(last)).map_err(failed)?;
            file.read_exact(&mut before).map_err(failed)?;
        }
        // The last line may have no end.
        let fits = matches!(before, [b'\n' | b'\r']) || consumed == length;
        let input = Self { consumed, ..Self::new(what.clone(), file) };
        Ok((consumed <= length && fits).then_some(input))
    }

    /// How many bytes were consumed, from the file's beginning.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// What is read, for messages.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// What was read and not yet consumed.
    pub(super) fn window(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// A part of what was consumed last, before anything else is read.
    pub(super) fn behind(&self, from: usize, length: usize) -> &[u8] {
        let from = self.start.saturating_sub(from);
        self.buffer.get(from..from + length).unwrap_or_default()
    }

    /// Moves the window's beginning on.
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.consumed += count as u64;
    }

    /// Whether nothing more can be read: at the end, or after an error.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The end is reached and every whole line before it was given.
    ///
    /// # Errors
    /// Why it is not the end of the file, if reading failed.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Reads once, growing the window if it is full; false when it is over.
    pub(super) fn fill(&mut self) -> bool {
        if self.is_over {
            return false;
        }
        if self.start > 0 && self.end == self.buffer.len() || self.start == self.end {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
        loop {
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.from.read(room) {
                Ok(count) => {
                    self.end += count;
                    self.is_over = count == 0;
                    return count > 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let hint = "truncated, or not what its name says?";
                    let what = format!("cannot read {} any further: {hint}", self.what);
                    self.failed = Some(Error::io(what, error));
                    self.is_over = true;
                    return false;
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}
