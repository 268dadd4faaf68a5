//! A segment: its name, its header, and the folder it is in.
//!
//! Invariant: a header says all that a reader must know to go on from there, and how much of the
//! segment before it counts. What an older generation writes after that is therefore no part of
//! the journal.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::frame::{Fields, FrameHead, POSITION_MAX};
use super::refused;
use crate::failpoint::hit;
use crate::{Error, Result, Time};

const MAGIC: [u8; 8] = *b"ANABJRNL";
/// The version of the format.
const VERSION: u32 = 1;
/// The bytes of a header before the name of its source.
const FIXED: usize = 96;
/// The longest name of a source, in bytes.
pub(super) const SOURCE_MAX: usize = 1 << 10;
/// The longest header.
const HEADER_MAX: usize = FIXED + SOURCE_MAX + POSITION_MAX + 4;

/// One partition of one source: what has a log of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneName {
    /// The source's name.
    pub(crate) source: String,
    /// Its partition.
    pub(crate) partition: u32,
}

impl LaneName {
    /// The lane's folder, under the journal's.
    pub(super) fn folder(&self, root: &Path) -> PathBuf {
        root.join(encoded(&self.source)).join(self.partition.to_string())
    }
}

/// Where a lane is after a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LanePosition {
    /// The offset of the next record.
    pub(crate) next: u64,
    /// The latest time of all frames.
    pub(crate) last_time: Option<Time>,
    /// The connector's own idea of where it is, as it last gave it.
    pub(crate) position: Vec<u8>,
    /// The epoch of the last frame.
    pub(crate) last_epoch: Option<u64>,
}

impl LanePosition {
    /// Goes on past a frame.
    pub(super) fn pass(&mut self, head: &FrameHead, position: Option<&[u8]>) {
        self.next = head.next;
        self.last_time = self.last_time.max(Some(head.time));
        self.last_epoch = Some(head.epoch);
        if let Some(position) = position {
            self.position.clear();
            self.position.extend_from_slice(position);
        }
    }

    /// Why that frame cannot be the next one.
    pub(super) fn refuses(&self, head: &FrameHead) -> Option<String> {
        if head.first != self.next {
            return Some(format!(
                "the offsets go from {} to {}: records are missing or repeated",
                self.next, head.first
            ));
        }
        if head.next < head.first {
            return Some(format!("the offsets go back from {} to {}", head.first, head.next));
        }
        let last = self.last_epoch.filter(|last| head.epoch < *last)?;
        Some(format!("the epochs go back from {last} to {}", head.epoch))
    }
}

/// What a segment is called: in the order of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub(super) generation: u64,
    /// No frame in it has an earlier epoch.
    pub(super) first_epoch: u64,
}

impl SegmentName {
    pub(super) fn file(&self) -> String {
        format!("{:020}-{:010}.seg", self.first_epoch, self.generation)
    }

    fn parse(file: &str) -> Option<Self> {
        let (epoch, generation) = file.strip_suffix(".seg")?.split_once('-')?;
        let name = Self { generation: generation.parse().ok()?, first_epoch: epoch.parse().ok()? };
        (name.file() == file).then_some(name)
    }
}

/// The segment before another, and how many of its bytes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prior {
    pub(super) name: SegmentName,
    pub(super) length: u64,
}

/// The header of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) lane: LaneName,
    pub(super) name: SegmentName,
    /// None if nothing of the lane was before it.
    pub(super) prior: Option<Prior>,
    /// Where the lane is at its beginning.
    pub(super) position: LanePosition,
}

/// What a file begins with.
pub(super) enum Begins {
    /// A header, with its length and checksum.
    Header(Box<Header>, u64, u32),
    /// Less than a header, or zeros: it was being made when the machine went down.
    Torn,
}

impl Header {
    /// From this epoch on everything is in this segment and later ones.
    pub(super) fn whole_from(&self) -> u64 {
        let before = self.prior.and(self.position.last_epoch);
        before.map_or(0, |last| last.saturating_add(1))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let position = &self.position;
        let flags = u32::from(position.last_time.is_some())
            | u32::from(position.last_epoch.is_some()) << 1
            | u32::from(self.prior.is_some()) << 2;
        let none = Prior { name: SegmentName { generation: 0, first_epoch: 0 }, length: 0 };
        let prior = self.prior.unwrap_or(none);
        let length = FIXED + self.lane.source.len() + position.position.len() + 4;
        let mut to = Vec::with_capacity(length);
        to.extend_from_slice(&MAGIC);
        to.extend_from_slice(&VERSION.to_le_bytes());
        to.extend_from_slice(&short(length));
        for number in [self.name.generation, self.name.first_epoch] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        to.extend_from_slice(&flags.to_le_bytes());
        to.extend_from_slice(&self.lane.partition.to_le_bytes());
        to.extend_from_slice(&position.next.to_le_bytes());
        to.extend_from_slice(&position.last_time.map_or(0, Time::as_nanos).to_le_bytes());
        for number in [
            position.last_epoch.unwrap_or(0),
            prior.name.first_epoch,
            prior.name.generation,
            prior.length,
        ] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        to.extend_from_slice(&short(self.lane.source.len()));
        to.extend_from_slice(&short(position.position.len()));
        to.extend_from_slice(self.lane.source.as_bytes());
        to.extend_from_slice(&position.position);
        let sum = crc32fast::hash(&to);
        to.extend_from_slice(&sum.to_le_bytes());
        to
    }

    /// How long a header is by the lengths of what it ends with.
    fn length(fixed: &[u8]) -> Option<usize> {
        let mut fields = Fields(fixed.get(FIXED - 8..)?);
        let (source, position) = (fields.u32()? as usize, fields.u32()? as usize);
        FIXED.checked_add(source)?.checked_add(position)?.checked_add(4)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        fields.take::<16>()?;
        let name = SegmentName { generation: fields.u64()?, first_epoch: fields.u64()? };
        let (flags, partition) = (fields.u32()?, fields.u32()?);
        let given = |bit: u32| flags & bit != 0;
        let (next, time, epoch) = (fields.u64()?, fields.i64()?, fields.u64()?);
        let (first_epoch, generation) = (fields.u64()?, fields.u64()?);
        let prior = Prior { name: SegmentName { generation, first_epoch }, length: fields.u64()? };
        let (source, position) = (fields.u32()? as usize, fields.u32()? as usize);
        let source = String::from_utf8(fields.bytes(source)?.to_vec()).ok()?;
        let position = fields.bytes(position)?.to_vec();
        Some(Self {
            lane: LaneName { source, partition },
            name,
            prior: given(4).then_some(prior),
            position: LanePosition {
                next,
                last_time: given(1).then_some(Time::from_nanos(time)),
                position,
                last_epoch: given(2).then_some(epoch),
            },
        })
    }

    /// Reads the header of a file, which must be the one of that lane and name.
    pub(super) fn read(path: &Path, lane: &LaneName, name: SegmentName) -> Result<Begins> {
        let failed = |e| Error::io(format!("reading the journal segment {}", path.display()), e);
        let mut file = File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        (&file).take(FIXED as u64).read_to_end(&mut bytes).map_err(failed)?;
        let mut fields = Fields(&bytes);
        let (magic, version, length) = (fields.take::<8>(), fields.u32(), fields.u32());
        if bytes.len() == FIXED && magic == Some(MAGIC) && version != Some(VERSION) {
            return Err(refused(
                path,
                8,
                &format!(
                    "its format has version {}, and this program knows version {VERSION}",
                    version.unwrap_or(0)
                ),
                "start the version of the program that wrote it, or a newer one",
            ));
        }
        let length = length.unwrap_or(0) as usize;
        let broken = || damaged(path, 0, "its header is damaged");
        if bytes.len() == FIXED && magic == Some(MAGIC) {
            // Told twice, so that a length which was damaged does not make a whole file look as if it
            // had been cut off while it was made.
            if !(FIXED + 4..=HEADER_MAX).contains(&length) || Self::length(&bytes) != Some(length) {
                return Err(broken());
            }
            let rest = (length - FIXED) as u64;
            (&file).take(rest).read_to_end(&mut bytes).map_err(failed)?;
        } else if bytes.iter().all(|byte| *byte == 0) {
            // Of a file that was never synced some file systems keep the length and no bytes.
            return match all_zero(&mut file).map_err(failed)? {
                true => Ok(Begins::Torn),
                false => Err(broken()),
            };
        } else if bytes.len() == FIXED {
            return Err(broken());
        }
        if bytes.len() < length.max(FIXED) {
            return Ok(Begins::Torn);
        }
        let (checked, sum) = bytes.split_last_chunk::<4>().ok_or_else(broken)?;
        let sum = u32::from_le_bytes(*sum);
        let header = Self::decode(checked).filter(|_| crc32fast::hash(checked) == sum);
        let header = header.ok_or_else(broken)?;
        if header.lane != *lane || header.name != name {
            let what = format!(
                "it is a segment of partition {} of source `{}` that was named {}",
                header.lane.partition,
                header.lane.source,
                header.name.file()
            );
            return Err(damaged(path, 0, &what));
        }
        Ok(Begins::Header(Box::new(header), length as u64, sum))
    }
}

/// A refusal of a damaged file, with what can be done.
pub(super) fn damaged(path: &Path, at: u64, what: &str) -> Error {
    refused(
        path,
        at,
        what,
        "restore the file from a copy, or start from an older checkpoint that does not need it, or \
         with a new --data-dir",
    )
}

fn short(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

fn all_zero(file: &mut File) -> io::Result<bool> {
    let mut bytes = [0; 4096];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(true),
            n if bytes.iter().take(n).any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

/// The segments in a lane's folder, in order, with their lengths; none if there is no folder.
pub(super) fn list(folder: &Path) -> Result<Vec<(SegmentName, u64)>> {
    let failed = |e| Error::io(format!("reading the journal's folder {}", folder.display()), e);
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if Path::new(&entry.file_name()).extension() != Some(OsStr::new("seg")) {
            continue;
        }
        let name = entry.file_name().to_str().and_then(SegmentName::parse);
        let name = name.ok_or_else(|| {
            damaged(&entry.path(), 0, "this is not the name of a segment; it was renamed")
        })?;
        match entry.metadata() {
            // One that is dropped in this moment is as good as gone.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            metadata => found.push((name, metadata.map_err(failed)?.len())),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes a segment that did not exist, with its header, so that it will be there after a power cut.
pub(super) fn create(folder: &Path, name: SegmentName, header: &[u8]) -> io::Result<File> {
    hit("journal::create")?;
    let path = folder.join(name.file());
    let mut file = fs::OpenOptions::new().append(true).create_new(true).open(&path)?;
    let made = (|| {
        hit("journal::created")?;
        file.write_all(header)?;
        hit("journal::header")?;
        file.sync_all()?;
        sync_folder(folder)?;
        hit("journal::folder-synced")
    })();
    if made.is_err() {
        // So that it can be tried again; a header that stayed would be the one of an empty segment.
        let _ = fs::remove_file(&path);
    }
    made.map(|()| file)
}

/// Makes the names in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder and those above it last, from below `root` on.
pub(super) fn create_folder(root: &Path, folder: &Path) -> Result<()> {
    let failed = |e| Error::io(format!("making the journal's folder {}", folder.display()), e);
    fs::create_dir_all(folder).map_err(failed)?;
    for made in folder.ancestors().take_while(|made| made.starts_with(root)) {
        sync_folder(made).map_err(failed)?;
    }
    root.parent().map_or(Ok(()), |parent| match parent.as_os_str().is_empty() {
        true => sync_folder(Path::new(".")).map_err(failed),
        false => sync_folder(parent).map_err(failed),
    })
}

/// The lanes that have a folder under the journal's.
pub(crate) fn lanes(root: &Path) -> Result<Vec<LaneName>> {
    let failed = |e| Error::io(format!("reading the journal's folder {}", root.display()), e);
    let mut found = Vec::new();
    let sources = match fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        sources => sources.map_err(failed)?,
    };
    for source in sources {
        let source = source.map_err(failed)?;
        let Some(name) = source.file_name().to_str().and_then(decoded) else { continue };
        for partition in fs::read_dir(source.path()).map_err(failed)? {
            let partition = partition.map_err(failed)?.file_name();
            if let Some(partition) = partition.to_str().and_then(|text| text.parse().ok()) {
                found.push(LaneName { source: name.clone(), partition });
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A source's name as the name of a folder: what is not plain becomes `%` and two digits.
fn encoded(name: &str) -> String {
    let mut to = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_')
            || byte == b'.' && !to.is_empty()
        {
            to.push(char::from(byte));
        } else {
            to.push_str(&format!("%{byte:02x}"));
        }
    }
    to
}

fn decoded(folder: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = folder.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|name| encoded(name) == folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_plain_and_give_the_name_back() {
        for name in ["prices", "prices.eu", "a/../b", "", "ä b", "%41", "."] {
            let folder = encoded(name);
            assert!(!folder.contains('/') && !folder.starts_with('.'), "{folder}");
            assert_eq!(decoded(&folder).as_deref(), Some(name));
        }
        assert_eq!((decoded("%4"), decoded("%zz"), decoded("%41")), (None, None, None));
    }

    #[test]
    fn names_are_read_only_as_they_are_written() {
        let name = SegmentName { generation: 12_345_678_901, first_epoch: u64::MAX };
        assert_eq!(SegmentName::parse(&name.file()), Some(name));
        for wrong in ["1-1.seg", "+0000000000000000001-0000000001.seg", "x.seg", "a-b.seg"] {
            assert_eq!(SegmentName::parse(wrong), None, "{wrong}");
        }
    }
}
