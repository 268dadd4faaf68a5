//! [`LaneReader`]: what a lane holds, checked, from an epoch on.
//!
//! Invariant: it gives the frames that were written, in order, all of them, or it refuses and names the file
//! and the offset. Only a tail that was never known to be on the disk is cut, and that is said. Memory
//! is bounded by one frame.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::frame::{self, FrameHead, HEAD, Place};
use super::refused;
use super::segment::{
    self, Begins, Header, LaneName, LanePosition, Prior, SegmentName, damaged, sync_folder,
};
use super::tail::{self, Tail};
use crate::failpoint::hit;
use crate::{Error, Result};

/// What a reader may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is the start of a new generation: a torn tail is cut, so that it can go on there.
    Recover,
    /// It only looks, also while another process writes: a torn tail is the end.
    Look,
}

/// Where a lane ends, and what a journal needs to go on with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LaneEnd {
    pub(super) position: LanePosition,
    pub(super) prior: Option<Prior>,
    pub(super) segments: Vec<Kept>,
}

impl LaneEnd {
    /// Where the lane is after its last frame.
    pub(crate) fn position(&self) -> &LanePosition {
        &self.position
    }
}

/// A segment that is there, for those who drop some.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    pub(super) name: SegmentName,
    /// No frame in it has a later epoch.
    pub(super) last_epoch: u64,
    /// From this epoch on everything is in this segment and later ones.
    pub(super) whole_from: u64,
}

/// A frame, as it is in the reader.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry<'a> {
    /// What it is.
    pub(crate) head: FrameHead,
    /// The connector's position after it, if it gave one.
    pub(crate) position: Option<&'a [u8]>,
    /// What came in.
    pub(crate) payload: &'a [u8],
}

/// Reads a lane.
pub(crate) struct LaneReader {
    links: VecDeque<Link>,
    open: Option<Open>,
    from_epoch: u64,
    position: LanePosition,
    end: LaneEnd,
}

/// A segment to read, and up to where.
#[derive(Clone)]
struct Link {
    path: PathBuf,
    header: Header,
    header_length: u64,
    sum: u32,
    /// The bytes that count; of the last segment, all that it has.
    limit: u64,
    last: bool,
}

impl LaneReader {
    /// Opens a lane of the journal in that folder, to read its frames of `from_epoch` and later ones.
    /// All of it from there on is checked at once. A lane that has no folder is empty.
    ///
    /// `reached` is an offset that the lane is known to have reached, from a checkpoint or a sink.
    ///
    /// # Errors
    /// When a segment is damaged or missing, was written by a newer version, or when less is left
    /// than what was reached. Nothing is changed then.
    pub(crate) fn open(
        root: &Path,
        lane: &LaneName,
        from_epoch: u64,
        reached: Option<u64>,
        access: Access,
    ) -> Result<Self> {
        let folder = lane.folder(root);
        let mut found = segment::list(&folder)?;
        let mut torn = None;
        if let Some((name, _)) = found.last() {
            let path = folder.join(name.file());
            if let Begins::Torn = Header::read(&path, lane, *name)? {
                torn = Some(path);
                found.pop();
            }
        }
        let links = chain(&folder, lane, &found, from_epoch)?;
        let end = LaneEnd { segments: kept(&folder, lane, &found, &links), ..LaneEnd::default() };
        let start = links.first().map(|link| link.header.position.clone()).unwrap_or_default();
        let mut reader = Self {
            links: links.clone().into(),
            open: None,
            from_epoch: u64::MAX,
            position: start.clone(),
            end,
        };
        let cut = reader.check()?;
        let left = reader.position.next;
        if let Some(reached) = reached.filter(|reached| *reached > left) {
            let last = links.last().map_or(folder, |link| link.path.clone());
            let at = cut.as_ref().map_or(0, |cut| cut.at);
            return Err(damaged(
                &last,
                at,
                &format!(
                    "partition {} of source `{}` is known to have come to offset {reached}, and only \
                     what is before offset {left} is left",
                    lane.partition, lane.source
                ),
            ));
        }
        if access == Access::Recover {
            recover(&folder, torn.as_deref(), cut.as_ref())?;
        }
        let mut links: VecDeque<_> = links.into();
        if let (Some(last), Some(cut)) = (links.back_mut(), &cut) {
            last.limit = cut.at;
        }
        reader.end.prior =
            links.back().map(|link| Prior { name: link.header.name, length: link.limit });
        reader.end.position = std::mem::replace(&mut reader.position, start);
        Ok(Self { links, open: None, from_epoch, ..reader })
    }

    /// Where the lane ends.
    pub(crate) fn end(&self) -> &LaneEnd {
        &self.end
    }

    /// Where the lane is after the frame that was given last; before the first one, where it is at
    /// the epoch it was opened from.
    #[cfg(test)]
    pub(crate) fn position(&self) -> &LanePosition {
        &self.position
    }

    /// The next frame; none at the end.
    ///
    /// # Errors
    /// When the files changed since they were checked, or cannot be read.
    pub(crate) fn next(&mut self) -> Result<Option<Entry<'_>>> {
        match self.step()? {
            Step::End => Ok(None),
            Step::Cut(cut) => Err(damaged(&cut.path, cut.at, "it changed while it was read")),
            Step::Frame(head, position) => {
                let body = self.open.as_ref().map(Open::body).unwrap_or_default();
                let (taken, payload) =
                    body.split_at_checked(position.unwrap_or(0)).unwrap_or_default();
                Ok(Some(Entry { head, position: position.map(|_| taken), payload }))
            }
        }
    }

    /// Reads everything, and finds the tail that is to be cut.
    fn check(&mut self) -> Result<Option<Cut>> {
        loop {
            match self.step()? {
                Step::Cut(cut) => return Ok(Some(cut)),
                Step::End => return Ok(None),
                Step::Frame(..) => {}
            }
        }
    }

    fn step(&mut self) -> Result<Step> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(link) = self.links.pop_front() else { return Ok(Step::End) };
                if link.header.position != self.position {
                    let what = "it does not go on where the segment before it ends";
                    return Err(damaged(&link.path, 0, what));
                }
                self.open = Some(Open::new(link)?);
                continue;
            };
            let at = open.at;
            let read = open.frame().map_err(|e| {
                Error::io(format!("reading {} at offset {at}", open.link.path.display()), e)
            })?;
            let path = &open.link.path;
            let read = match read {
                Found::Frame(read) => read,
                Found::End => {
                    self.open = None;
                    continue;
                }
                Found::Bad if open.link.last => return open.tail(),
                Found::Bad => return Err(damaged(path, at, "a frame is damaged")),
            };
            let head = read.head.map_err(|kind| {
                let what = format!("a frame has kind {kind}, which this program does not know");
                refused(path, at, &what, "start the version of the program that wrote it")
            })?;
            if let Some(why) = self.position.refuses(&head) {
                return Err(damaged(path, at, &why));
            }
            let position = read.position.and_then(|length| open.body().get(..length));
            self.position.pass(&head, position);
            if head.epoch >= self.from_epoch {
                return Ok(Step::Frame(head, read.position));
            }
        }
    }
}

enum Step {
    /// A frame, and the length of its position.
    Frame(FrameHead, Option<usize>),
    Cut(Cut),
    End,
}

/// A tail that is torn.
struct Cut {
    path: PathBuf,
    at: u64,
    bytes: u64,
}

/// A segment that is being read.
struct Open {
    link: Link,
    file: BufReader<File>,
    at: u64,
    body: Vec<u8>,
    body_length: usize,
}

enum Found {
    Frame(frame::Read),
    Bad,
    End,
}

impl Open {
    fn new(link: Link) -> Result<Self> {
        let path = &link.path;
        let failed = |e| Error::io(format!("reading the journal segment {}", path.display()), e);
        let mut file = File::open(path).map_err(failed)?;
        file.seek(SeekFrom::Start(link.header_length)).map_err(failed)?;
        let file = BufReader::with_capacity(128 << 10, file);
        Ok(Self { at: link.header_length, file, link, body: Vec::new(), body_length: 0 })
    }

    fn body(&self) -> &[u8] {
        self.body.get(..self.body_length).unwrap_or_default()
    }

    fn frame(&mut self) -> io::Result<Found> {
        let left = self.link.limit.saturating_sub(self.at);
        if left == 0 {
            return Ok(Found::End);
        }
        if left < HEAD as u64 {
            return Ok(Found::Bad);
        }
        let mut head = [0; HEAD];
        self.file.read_exact(&mut head)?;
        let place = Place { segment: self.link.sum, at: self.at };
        let Some(read) = frame::read(&head, place) else { return Ok(Found::Bad) };
        let length = HEAD as u64 + read.body() as u64;
        if length > left {
            return Ok(Found::Bad);
        }
        self.body_length = read.body();
        if self.body.len() < self.body_length {
            self.body.resize(self.body_length, 0);
        }
        self.file.read_exact(self.body.get_mut(..self.body_length).unwrap_or_default())?;
        if !read.fits(self.body()) {
            return Ok(Found::Bad);
        }
        self.at += length;
        Ok(Found::Frame(read))
    }

    /// What to do about a bad frame of the last segment.
    fn tail(&self) -> Result<Step> {
        let (path, at) = (&self.link.path, self.at);
        let judged = tail::judge(self.file.get_ref(), self.link.sum, at, self.link.limit)
            .map_err(|e| Error::io(format!("reading {} at offset {at}", path.display()), e))?;
        match judged {
            Tail::Torn => {
                Ok(Step::Cut(Cut { path: path.clone(), at, bytes: self.link.limit - at }))
            }
            Tail::Damaged { by } => {
                let what =
                    format!("a frame is damaged, and the one at offset {by} after it is not");
                Err(damaged(path, at, &what))
            }
        }
    }
}

/// Finds, from the newest segment back, those that are needed.
fn chain(
    folder: &Path,
    lane: &LaneName,
    found: &[(SegmentName, u64)],
    from_epoch: u64,
) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    let mut next = found.last().copied().map(|(name, length)| (name, length, true));
    while let Some((name, limit, last)) = next {
        let path = folder.join(name.file());
        let Begins::Header(header, header_length, sum) = Header::read(&path, lane, name)? else {
            return Err(damaged(&path, 0, "it ends within its header"));
        };
        if limit < header_length {
            return Err(damaged(&path, limit, "it should end there, which is within its header"));
        }
        let link = Link { path, header: *header, header_length, sum, limit, last };
        let before = link.header.position.last_epoch;
        let prior = link.header.prior;
        next = match prior.filter(|_| before.is_some_and(|before| before >= from_epoch)) {
            None => None,
            Some(prior) => {
                let path = folder.join(prior.name.file());
                let there = found.iter().find(|(name, _)| *name == prior.name);
                let Some((name, length)) = there else {
                    let what = format!(
                        "it is missing, and epoch {from_epoch} needs it; it was dropped or removed"
                    );
                    return Err(damaged(&path, 0, &what));
                };
                if *name >= link.header.name {
                    return Err(damaged(&link.path, 0, "it says that it follows a later segment"));
                }
                if *length < prior.length {
                    let what = format!(
                        "it ends there, and had {} bytes when the next one was begun",
                        prior.length
                    );
                    return Err(damaged(&path, *length, &what));
                }
                Some((*name, prior.length, false))
            }
        };
        links.push(link);
    }
    links.reverse();
    Ok(links)
}

/// All segments, for those who drop some. Of those that are not read only the names are known.
fn kept(folder: &Path, lane: &LaneName, found: &[(SegmentName, u64)], links: &[Link]) -> Vec<Kept> {
    let mut kept = Vec::with_capacity(found.len());
    for (index, (name, _)) in found.iter().enumerate() {
        let path = folder.join(name.file());
        let link = links.iter().find(|link| link.header.name == *name);
        let whole_from = match link {
            Some(link) => link.header.whole_from(),
            // What is left of the beginning is worth a look; damage there is not yet in the way.
            None if index == 0 => match Header::read(&path, lane, *name) {
                Ok(Begins::Header(header, ..)) => header.whole_from(),
                _ => name.first_epoch.saturating_add(1),
            },
            None => name.first_epoch.saturating_add(1),
        };
        kept.push(Kept {
            name: *name,
            last_epoch: found.get(index + 1).map_or(u64::MAX, |(next, _)| next.first_epoch),
            whole_from,
        });
    }
    kept
}

/// Cuts what is torn.
fn recover(folder: &Path, torn: Option<&Path>, cut: Option<&Cut>) -> Result<()> {
    if let Some(path) = torn {
        let failed = |e| Error::io(format!("removing the torn segment {}", path.display()), e);
        tracing::warn!(
            file = %path.display(),
            "a segment of the journal was being made when the program went down: removed"
        );
        hit("journal::remove-torn").map_err(failed)?;
        fs::remove_file(path).and_then(|()| sync_folder(folder)).map_err(failed)?;
    }
    if let Some(cut) = cut {
        let path = &cut.path;
        let failed = |e| Error::io(format!("cutting {} at {}", path.display(), cut.at), e);
        tracing::warn!(
            file = %path.display(),
            offset = cut.at,
            bytes = cut.bytes,
            "the journal ends in what was being written when the program went down: cut"
        );
        hit("journal::cut").map_err(failed)?;
        let file = fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
        file.set_len(cut.at).and_then(|()| file.sync_all()).map_err(failed)?;
        hit("journal::cut-done").map_err(failed)?;
    }
    Ok(())
}
