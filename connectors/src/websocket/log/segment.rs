//! The bytes of a segment: a header, then records.
//!
//! Invariant: a record is read as it was written or not at all: each has its length and a checksum.
//!
//! ```text
//! "anabranch output log 1\n"
//! then for each record:
//!   u32 LE   length of the payload
//!   u64 LE   xxh3 of the payload
//!   payload: u16 LE length of the id, the id, the frame
//! ```

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use anabranch::{Error, Result};
use xxhash_rust::xxh3::xxh3_64;

pub(super) const HEADER: &[u8] = b"anabranch output log 1\n";
const RECORD_HEADER_BYTES: usize = 12;

/// Appends a record.
pub(super) fn encode(payload: &[u8], to: &mut Vec<u8>) -> Result<()> {
    let length = u32::try_from(payload.len()).map_err(|_| {
        Error::Connector(format!(
            "a record of {} bytes is too large for the log of a broadcast; emit smaller records",
            payload.len()
        ))
    })?;
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&xxh3_64(payload).to_le_bytes());
    to.extend_from_slice(payload);
    Ok(())
}

/// The name of a record, and its frame.
pub(in crate::websocket) fn parts(payload: &[u8]) -> (&[u8], &[u8]) {
    let split = payload
        .split_first_chunk::<2>()
        .and_then(|(length, rest)| rest.split_at_checked(usize::from(u16::from_le_bytes(*length))));
    split.unwrap_or((b"", payload))
}

pub(super) fn id_of(payload: &[u8]) -> &[u8] {
    parts(payload).0
}

/// Reads a segment's records one after another.
pub(super) struct Scanner {
    from: BufReader<File>,
    /// Of the file.
    length: u64,
    /// After the last whole record.
    good: u64,
    payload: Vec<u8>,
}

impl Scanner {
    /// `None` if the file has no whole header.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut from = BufReader::with_capacity(64 << 10, file);
        let mut header = Vec::new();
        (&mut from).take(HEADER.len() as u64).read_to_end(&mut header)?;
        let good = HEADER.len() as u64;
        Ok((header == HEADER).then_some(Self { from, length, good, payload: Vec::new() }))
    }

    /// The next record, if there is a whole one.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut header = [0; RECORD_HEADER_BYTES];
        // A file that is being written grows; what was not there yet is not read.
        let left = self.length.saturating_sub(self.good);
        if left < RECORD_HEADER_BYTES as u64 {
            return Ok(None);
        }
        self.from.read_exact(&mut header)?;
        let [a, b, c, d, sum @ ..] = header;
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        if left - (RECORD_HEADER_BYTES as u64) < length {
            return Ok(None);
        }
        self.payload.clear();
        (&mut self.from).take(length).read_to_end(&mut self.payload)?;
        if self.payload.len() as u64 != length || xxh3_64(&self.payload) != u64::from_le_bytes(sum)
        {
            return Ok(None);
        }
        self.good += RECORD_HEADER_BYTES as u64 + length;
        Ok(Some(&self.payload))
    }
}

/// What a whole reading found.
pub(super) struct Scanned {
    /// The number of the record after the last whole one.
    pub(super) next: u64,
    /// Where that would begin.
    pub(super) good: u64,
    /// Whether nothing follows.
    pub(super) is_whole: bool,
}

/// Reads all records of the segment that begins with record `first`.
pub(super) fn scan(path: &Path, first: u64, each: &mut dyn FnMut(u64, &[u8])) -> Result<Scanned> {
    let failed = |e| Error::io(format!("cannot read {}", path.display()), e);
    let Some(mut scanner) = Scanner::open(path).map_err(failed)? else {
        return Ok(Scanned { next: first, good: 0, is_whole: false });
    };
    let mut next = first;
    while let Some(payload) = scanner.next().map_err(failed)? {
        each(next, payload);
        next += 1;
    }
    let good = scanner.good;
    Ok(Scanned { next, good, is_whole: good == scanner.length })
}

/// Cuts a torn end; gives the length of what is left.
pub(super) fn cut(path: &Path, good: u64, name: &str) -> Result<u64> {
    let failed = |e| Error::io(format!("cannot repair {}", path.display()), e);
    tracing::warn!(
        sink = name,
        "{}: torn at byte {good}; what follows is cut and comes again",
        path.display()
    );
    let file = File::options().write(true).open(path).map_err(failed)?;
    file.set_len(good).map_err(failed)?;
    if good == 0 {
        (&file).write_all(HEADER).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    Ok(good.max(HEADER.len() as u64))
}
