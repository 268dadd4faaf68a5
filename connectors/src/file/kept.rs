//! What an earlier run left in the file of a sink: checked, repaired, and read again.
//!
//! Invariant: what a position says is never changed, and a file that lacks any of it is refused by
//! name. Beyond it, complete lines stay; of what a crash or a power cut tore, nothing else does. A
//! compressed file is made of members (gzip) or frames (zstd) that each can be decoded; a torn one
//! at the end is replaced, in a new file that takes the name, by one of its complete lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anabranch::failpoint::hit;
use anabranch::{Error, Result};
use flate2::bufread::GzDecoder;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::Compression;
use crate::durable::{lock_file, sync_parent};

/// Read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Where a sink was: how much of its output the file had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Bytes of output, before compression.
    pub(super) bytes: u64,
    /// At or before that, where a member begins: after how much output,
    pub(super) member: u64,
    /// and at which byte of the file.
    pub(super) stored: u64,
}

impl Position {
    pub(super) fn encode(self) -> Vec<u8> {
        [self.bytes, self.member, self.stored].map(u64::to_le_bytes).concat()
    }

    /// Of a position as the sink gave it; the beginning if it is empty.
    pub(super) fn decode(position: &[u8]) -> Option<Self> {
        if position.is_empty() {
            return Some(Self::default());
        }
        let (numbers, rest) = position.as_chunks::<8>();
        let [bytes, member, stored] = numbers else { return None };
        let [bytes, member, stored] = [bytes, member, stored].map(|n| u64::from_le_bytes(*n));
        let fits = rest.is_empty() && member <= bytes;
        fits.then_some(Self { bytes, member, stored })
    }
}

/// A file that ends where writing goes on.
pub(super) struct Kept {
    pub(super) file: File,
    /// What it holds after the position.
    pub(super) known: Box<dyn Read + Send>,
}

/// Checks and repairs the locked `file` at `path`.
pub(super) fn recover(file: File, path: &Path, position: Position) -> Result<Kept> {
    let what = path.display();
    let failed = |e| Error::io(format!("cannot read and repair {what}"), e);
    let length = file.metadata().map_err(failed)?.len();
    if length < position.stored {
        return Err(shorter(path, position, &format!("has {length} bytes")));
    }
    let compression = Compression::of(path);
    let mut file = match compression {
        Compression::None => repair_plain(file, path, position)?,
        Compression::Gzip | Compression::Zstd => repair_members(file, path, position)?,
    };
    let end = file.seek(SeekFrom::End(0)).map_err(failed)?;
    // With a place of its own to read at.
    let mut known = File::open(path).map_err(failed)?;
    known.seek(SeekFrom::Start(position.stored)).map_err(failed)?;
    let mut known: Box<dyn Read + Send> = match compression {
        _ if end == position.stored => Box::new(io::empty()),
        Compression::None => Box::new(BufReader::with_capacity(PIECE_BYTES, known)),
        Compression::Gzip => Box::new(MultiGzDecoder::new(known)),
        Compression::Zstd => Box::new(zstd::Decoder::new(known).map_err(failed)?),
    };
    let before = position.bytes - position.member;
    let skipped = io::copy(&mut (&mut known).take(before), &mut io::sink()).map_err(failed)?;
    if skipped < before {
        let has = format!("holds {} bytes of output", position.member + skipped);
        return Err(shorter(path, position, &has));
    }
    Ok(Kept { file, known })
}

fn shorter(path: &Path, position: Position, has: &str) -> Error {
    Error::Connector(format!(
        "{} {has}, and a checkpoint knows of {} bytes of output up to byte {} of it: what was \
         released is lost. Bring the file back as it was, or start with a new data directory",
        path.display(),
        position.bytes,
        position.stored
    ))
}

/// Where, at `floor` or later, the file begins to be all zero: a power cut can leave a length
/// without the bytes.
fn end_of_content(file: &mut File, floor: u64) -> io::Result<u64> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut end = file.metadata()?.len();
    while end > floor {
        let count = (end - floor).min(PIECE_BYTES as u64);
        file.seek(SeekFrom::Start(end - count))?;
        let read = piece.get_mut(..count as usize).unwrap_or_default();
        file.read_exact(read)?;
        if let Some(last) = read.iter().rposition(|byte| *byte != 0) {
            return Ok(end - count + last as u64 + 1);
        }
        end -= count;
    }
    Ok(floor)
}

/// Cuts what is all zero at the end.
fn repair_plain(mut file: File, path: &Path, position: Position) -> Result<File> {
    let failed = |e| Error::io(format!("cannot read and repair {}", path.display()), e);
    let length = file.metadata().map_err(failed)?.len();
    let end = end_of_content(&mut file, position.bytes).map_err(failed)?;
    if end < length {
        file.set_len(end).map_err(failed)?;
        tracing::warn!(
            "{}: from byte {end} on it was all zero, after a power cut; written again",
            path.display()
        );
    }
    if let Some(last) = position.bytes.checked_sub(1) {
        let mut byte = [0];
        file.seek(SeekFrom::Start(last)).map_err(failed)?;
        file.read_exact(&mut byte).map_err(failed)?;
        if byte != [b'\n'] {
            return Err(Error::Connector(format!(
                "{}: no line ends at byte {}, where a checkpoint says that one does: the file was \
                 changed. Bring it back as it was, or start with a new data directory",
                path.display(),
                position.bytes
            )));
        }
    }
    Ok(file)
}

/// Counts what is consumed.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(to)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.count += count as u64;
        self.inner.consume(count);
    }
}

/// What one member holds, as far as it can be decoded.
fn member<'a>(
    from: &'a mut (impl BufRead + 'a),
    compression: Compression,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Zstd => {
            Box::new(zstd::stream::read::Decoder::with_buffer(from)?.single_frame())
        }
        Compression::Gzip | Compression::None => Box::new(GzDecoder::new(from)),
    })
}

/// How many bytes of complete lines a member has, and whether it ends as it should.
fn lines_of(mut member: impl Read) -> (u64, bool) {
    let mut piece = vec![0; PIECE_BYTES];
    let (mut read, mut lines) = (0, 0);
    loop {
        match member.read(&mut piece) {
            Ok(0) => return (lines, true),
            Ok(count) => {
                let piece = piece.get(..count).unwrap_or_default();
                if let Some(end) = memchr::memrchr(b'\n', piece) {
                    lines = read + end as u64 + 1;
                }
                read += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return (lines, false),
        }
    }
}

/// Replaces a member at the end that cannot be decoded.
fn repair_members(mut file: File, path: &Path, position: Position) -> Result<File> {
    let failed = |e| Error::io(format!("cannot read and repair {}", path.display()), e);
    let compression = Compression::of(path);
    file.seek(SeekFrom::Start(position.stored)).map_err(failed)?;
    let inner = BufReader::with_capacity(PIECE_BYTES, &mut file);
    let mut from = Counted { inner, count: position.stored };
    let whole = loop {
        let whole = from.count;
        if from.fill_buf().map_err(failed)?.is_empty() {
            return Ok(file);
        }
        let (_, ends) = member(&mut from, compression).map_or((0, false), lines_of);
        if !ends {
            break whole;
        }
    };
    // Zeros that stand for bytes that never came would be decoded to something that never was.
    let end = end_of_content(&mut file, whole).map_err(failed)?;
    let torn = |file: &mut File| {
        file.seek(SeekFrom::Start(whole))?;
        Ok(BufReader::with_capacity(PIECE_BYTES, file.try_clone()?.take(end - whole)))
    };
    let mut from = torn(&mut file).map_err(failed)?;
    let (torn_lines, _) = member(&mut from, compression).map_or((0, false), lines_of);
    tracing::warn!(
        "{}: from byte {whole} on it cannot be decoded; {torn_lines} bytes of complete lines there \
         are kept, the rest is written again",
        path.display()
    );
    if torn_lines == 0 {
        file.set_len(whole).map_err(failed)?;
        return Ok(file);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".repair");
    let repaired = path.with_file_name(name);
    let mut to = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&repaired)
        .map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    io::copy(&mut (&mut file).take(whole), &mut to).map_err(failed)?;
    let mut from = torn(&mut file).map_err(failed)?;
    let lines = member(&mut from, compression).map_err(failed)?.take(torn_lines);
    rewrite(lines, &mut to, compression).map_err(failed)?;
    to.sync_all().map_err(failed)?;
    // Before it has the name, so that nobody else can have it.
    lock_file(&to, &repaired)?;
    hit("file-sink::repaired").map_err(failed)?;
    std::fs::rename(&repaired, path).map_err(failed)?;
    hit("file-sink::renamed").map_err(failed)?;
    sync_parent(path).map_err(failed)?;
    Ok(to)
}

fn rewrite(mut lines: impl Read, to: &mut File, compression: Compression) -> io::Result<()> {
    let mut encoder = Compressor::new(compression, to)?;
    io::copy(&mut lines, &mut encoder)?;
    encoder.finish().map(drop)
}

/// Writes one member.
pub(super) enum Compressor<W: Write> {
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    pub(super) fn new(compression: Compression, to: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(to, 0)?;
                // As gzip has one: what is torn must not look whole.
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
            Compression::Gzip | Compression::None => {
                Self::Gzip(GzEncoder::new(to, flate2::Compression::default()))
            }
        })
    }

    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}
