//! Files that only grow: a header, then frames, each with its length and a checksum.
//!
//! Invariant: a frame is read as it was written or not at all. An end that is torn is cut by who writes and
//! left out by who reads; damage before a frame that is good is named, and refused.
//!
//! ```text
//! "anabranch dead letters 1\n"
//! then for each frame:
//!   u32 LE   length of the payload
//!   u32 LE   CRC-32 of the length and the payload
//!   payload  MessagePack
//! ```

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

pub(super) const HEADER: &[u8] = b"anabranch dead letters 1\n";
/// The bytes before a payload.
const HEAD: usize = 8;
/// The longest payload; frames of sources are far below.
pub(super) const PAYLOAD_MAX: usize = 1 << 30;

/// Appends a frame to `to`.
///
/// # Errors
/// When it has no form, or is too long.
pub(super) fn encode(entry: &impl Serialize, to: &mut Vec<u8>) -> Result<()> {
    let payload = rmp_serde::to_vec_named(entry)
        .map_err(|e| Error::Connector(format!("a dead letter has no form: {e}")))?;
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_MAX);
    let Some(length) = length else {
        let bytes = payload.len();
        return Err(Error::Connector(format!("a dead letter of {bytes} bytes is too large")));
    };
    let length = length.to_le_bytes();
    to.extend_from_slice(&length);
    to.extend_from_slice(&sum(length, &payload).to_le_bytes());
    to.extend_from_slice(&payload);
    Ok(())
}

fn sum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// The entry of a payload.
pub(super) fn decode<T: DeserializeOwned>(path: &Path, at: u64, payload: &[u8]) -> Result<T> {
    rmp_serde::from_slice(payload).map_err(|e| {
        Error::Data(format!(
            "{} has a frame at byte {at} that this program does not know ({e}): start the program \
             that wrote it",
            path.display()
        ))
    })
}

/// Reads a file frame by frame.
pub(super) struct Frames {
    path: PathBuf,
    from: BufReader<File>,
    /// After the last whole frame.
    good: u64,
    payload: Vec<u8>,
}

impl Frames {
    /// None if there is no such file, or it has no whole header.
    ///
    /// # Errors
    /// When it cannot be read, or is another file.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        let failed = |e| Error::io(format!("reading {}", path.display()), e);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let mut from = BufReader::with_capacity(64 << 10, file);
        let mut header = Vec::new();
        (&mut from).take(HEADER.len() as u64).read_to_end(&mut header).map_err(failed)?;
        if !HEADER.starts_with(&header) {
            return Err(Error::Data(format!(
                "{} does not begin as a file of dead letters does: start the program that wrote \
                 it, or bring it back as it was",
                path.display()
            )));
        }
        let good = header.len() as u64;
        let (path, payload) = (path.to_owned(), Vec::new());
        Ok((header == HEADER).then_some(Self { path, from, good, payload }))
    }

    /// Where the next frame begins.
    pub(super) fn at(&self) -> u64 {
        self.good
    }

    /// The next payload; none where there is no whole one. More may come, while another writes.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>> {
        let read = self.read();
        match read.map_err(|e| Error::io(format!("reading {}", self.path.display()), e))? {
            true => Ok(Some(&self.payload)),
            false => self.ended().map(|()| None),
        }
    }

    /// Reads one whole frame, or stays where it is.
    fn read(&mut self) -> std::io::Result<bool> {
        let mut head = [0; HEAD];
        let whole = self.fill(&mut head)?;
        let [a, b, c, d, checked @ ..] = head;
        let length = [a, b, c, d];
        let size = u32::from_le_bytes(length) as usize;
        if whole && size <= PAYLOAD_MAX {
            self.payload.clear();
            (&mut self.from).take(size as u64).read_to_end(&mut self.payload)?;
            if self.payload.len() == size
                && sum(length, &self.payload) == u32::from_le_bytes(checked)
            {
                self.good += (HEAD + size) as u64;
                return Ok(true);
            }
        }
        self.from.seek(SeekFrom::Start(self.good))?;
        Ok(false)
    }

    fn fill(&mut self, to: &mut [u8]) -> std::io::Result<bool> {
        match self.from.read_exact(to) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// What follows the last whole frame is a torn end, unless a whole frame follows it.
    fn ended(&mut self) -> Result<()> {
        let path = self.path.clone();
        let failed = |e| Error::io(format!("reading {}", path.display()), e);
        let mut rest = Vec::new();
        (&mut self.from).take(PAYLOAD_MAX as u64).read_to_end(&mut rest).map_err(failed)?;
        self.from.seek(SeekFrom::Start(self.good)).map_err(failed)?;
        let found = (1..rest.len()).find(|at| is_frame(rest.get(*at..).unwrap_or_default()));
        match found {
            None => Ok(()),
            Some(_) if self.read().map_err(failed)? => {
                // It was being written meanwhile.
                self.good -= (HEAD + self.payload.len()) as u64;
                self.from.seek(SeekFrom::Start(self.good)).map_err(failed).map(|_| ())
            }
            Some(after) => Err(Error::Data(format!(
                "{} is damaged at byte {}: a frame at byte {} is whole again. Bring it back as it \
                 was; without it nothing is known of the dead letters before",
                self.path.display(),
                self.good,
                self.good + after as u64
            ))),
        }
    }
}

/// Whether bytes begin with a whole frame that is not empty.
fn is_frame(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return false };
    let Some((checked, rest)) = rest.split_first_chunk::<4>() else { return false };
    let size = u32::from_le_bytes(*length) as usize;
    size > 0 && rest.get(..size).is_some_and(|it| sum(*length, it) == u32::from_le_bytes(*checked))
}
