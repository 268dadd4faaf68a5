//! Segments: their files, and a walk over the blocks of one.
//!
//! Invariant: a walk believes nothing beyond the bytes it is told of, and holds one block at a time. What
//! is not as it was written is named by file, byte and offset.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anabranch::{Error, Result, Time};

use super::BATCH_BYTES_MAX;
use super::format::{BLOCK_HEADER_BYTES, Block, SEGMENT_HEADER_BYTES, SegmentHeader};

const SUFFIX: &str = ".frames";
const DIGITS: usize = 20;

/// The segment whose first frame has that offset.
pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:0DIGITS$}{SUFFIX}"))
}

/// The first offsets of all segments, in order.
pub(super) fn list(folder: &Path) -> Result<Vec<u64>> {
    let failed = |e| Error::io(format!("cannot read the folder {}", folder.display()), e);
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        let digits = digits.filter(|digits| digits.len() == DIGITS);
        firsts.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// That of `segments` which has the frame at `offset`, or would.
pub(super) fn holding(segments: &[u64], offset: u64) -> Option<u64> {
    segments.iter().rfind(|first| **first <= offset).copied()
}

/// What is at the beginning of a segment's file.
pub(super) enum Opened {
    /// There is no such file.
    Missing,
    /// No whole header, in a file of so many bytes.
    Headless(u64),
    Walk(Walk),
}

/// What comes next in a segment.
pub(super) enum Found {
    /// The end of what is to be believed.
    End,
    Block(Block),
    /// No block, and why.
    Bad(&'static str),
}

/// Goes over the blocks of one segment.
pub(super) struct Walk {
    pub(super) path: PathBuf,
    file: BufReader<File>,
    id: u64,
    pub(super) header: SegmentHeader,
    /// The byte at which the next block begins,
    pub(super) at: u64,
    /// and the offset of its first frame.
    pub(super) next: u64,
    /// Up to where the file was believed when it was last read.
    limit: u64,
}

impl Walk {
    pub(super) fn open(folder: &Path, first: u64, id: u64) -> Result<Opened> {
        let path = path(folder, first);
        let failed = |e| Error::io(format!("cannot read {}", path.display()), e);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Missing),
            Err(error) => return Err(failed(error)),
        };
        let length = file.metadata().map_err(failed)?.len();
        let mut file = BufReader::with_capacity(64 << 10, file);
        let mut header = [0; SEGMENT_HEADER_BYTES as usize];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(failed(error));
            }
            _ => {}
        }
        let header = SegmentHeader::decode(&header, id).filter(|header| header.first == first);
        let Some(header) = header else { return Ok(Opened::Headless(length)) };
        let at = SEGMENT_HEADER_BYTES;
        Ok(Opened::Walk(Self { path, file, id, header, at, next: first, limit: 0 }))
    }

    /// The identity of the stream.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// How long the file is now.
    pub(super) fn length(&self) -> Result<u64> {
        let length = self.file.get_ref().metadata().map(|metadata| metadata.len());
        length.map_err(|e| self.failed(e))
    }

    /// The header of the next block, which lies within the first `limit` bytes. It is read once: then
    /// [`skip`](Self::skip) the block or read its [`payload`](Self::payload).
    pub(super) fn find(&mut self, limit: u64) -> Result<Found> {
        if self.at == limit {
            return Ok(Found::End);
        }
        if limit.saturating_sub(self.at) < BLOCK_HEADER_BYTES as u64 {
            return Ok(Found::Bad("a block is cut off"));
        }
        if std::mem::replace(&mut self.limit, limit) != limit {
            // What was read ahead beyond the former limit may have been torn, and written anew.
            self.file.seek(SeekFrom::Start(self.at)).map_err(|e| self.failed(e))?;
        }
        let mut header = [0; BLOCK_HEADER_BYTES];
        if let Err(error) = self.file.read_exact(&mut header) {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => Ok(Found::Bad("the file ends too early")),
                _ => Err(self.failed(error)),
            };
        }
        Ok(match Block::decode(&header, self.id) {
            None => Found::Bad("no block begins there"),
            Some(block) if block.first != self.next => Found::Bad("another block begins there"),
            Some(block) if block.bytes as usize > BATCH_BYTES_MAX => {
                Found::Bad("a block there is too long")
            }
            Some(block) if self.at + block.size() > limit => Found::Bad("a block is cut off"),
            Some(block) => Found::Block(block),
        })
    }

    /// As [`find`](Self::find), where all before `limit` must be good.
    pub(super) fn block(&mut self, limit: u64) -> Result<Option<Block>> {
        match self.find(limit)? {
            Found::End => Ok(None),
            Found::Block(block) => Ok(Some(block)),
            Found::Bad(why) => Err(self.damaged(why)),
        }
    }

    /// Leaves out the frames of `block`, whose header was read.
    pub(super) fn skip(&mut self, block: &Block) -> Result<()> {
        self.file.seek_relative(i64::from(block.bytes)).map_err(|e| self.failed(e))?;
        self.pass(block);
        Ok(())
    }

    /// Reads the frames of `block`, whose header was read; false if they are not those that were written.
    pub(super) fn payload(&mut self, block: &Block, into: &mut Vec<u8>) -> Result<bool> {
        into.clear();
        let read = (&mut self.file).take(u64::from(block.bytes)).read_to_end(into);
        read.map_err(|e| self.failed(e))?;
        let is_good = block.has(into, self.id);
        if is_good {
            self.pass(block);
        }
        Ok(is_good)
    }

    fn pass(&mut self, block: &Block) {
        self.at += block.size();
        self.next = block.end();
    }

    /// Everything from the next block's second byte on.
    pub(super) fn rest(&mut self) -> Result<Vec<u8>> {
        let mut rest = Vec::new();
        let read = self.file.seek(SeekFrom::Start(self.at + 1));
        read.and_then(|_| self.file.read_to_end(&mut rest)).map_err(|e| self.failed(e))?;
        Ok(rest)
    }

    /// Makes durable what the file has.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.get_ref().sync_all().map_err(|e| self.failed(e))
    }

    pub(super) fn damaged(&self, why: &str) -> Error {
        damaged(&self.path, self.at, self.next, why)
    }

    pub(super) fn failed(&self, error: io::Error) -> Error {
        Error::io(format!("cannot read {}", self.path.display()), error)
    }
}

/// What was durable is not there any more.
pub(super) fn damaged(path: &Path, byte: u64, offset: u64, why: &str) -> Error {
    Error::Data(format!(
        "{} is damaged at byte {byte}, where frame {offset} of the stream was: {why}. Nothing was changed: \
         bring the file back from a copy, or read from a later offset",
        path.display()
    ))
}

/// A time that no frame of the stream before the end of `walk` exceeds.
pub(super) fn time_after(block: Option<&Block>, walk: &Walk) -> Time {
    block.map_or(walk.header.floor, |block| block.time)
}
