//! [`Reader`]: the frames of a stream, in order.
//!
//! Invariant: it holds one block at a time, gives every frame from where it began, and nothing that is not
//! durable. Where frames are gone, it says so and gives no others instead.

use anabranch::{Error, Result, Time};

use super::end::End;
use super::format::{Block, frame_at};
use super::horizon::Horizon;
use super::segment::{self, Opened, Walk, damaged, holding};
use super::{From, Stream};

/// The memory that a reader keeps between two blocks, in bytes.
const KEPT_BYTES: usize = 1 << 20;

/// A frame of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its place: the first one ever has 0, the next one 1.
    pub offset: u64,
    /// When it was appended; never before the one before it.
    pub time: Time,
    /// The frame.
    pub bytes: &'a [u8],
}

/// Reads a stream from some place on; made by [`Stream::read`].
pub struct Reader {
    stream: Stream,
    horizon: Horizon,
    /// The segment that is being read.
    walk: Option<Walk>,
    /// The block that is being given, its frames, and where the next one lies in them.
    block: Option<Block>,
    payload: Vec<u8>,
    cursor: usize,
    /// The offset of the next frame.
    at: u64,
    /// Frames before this time are left out.
    since: Time,
}

impl Reader {
    pub(super) fn open(stream: &Stream, from: From) -> Result<Self> {
        let mut horizon = Horizon::new(stream);
        let end = horizon.refresh()?;
        let dropped = stream.dropped()?;
        let mut reader = Self {
            stream: stream.clone(),
            horizon,
            walk: None,
            block: None,
            payload: Vec::new(),
            cursor: 0,
            at: dropped.first,
            since: Time::BEGIN,
        };
        match from {
            From::Beginning => {}
            From::End => reader.at = end.next,
            From::Offset(offset) if offset < dropped.first => {
                return Err(reader.gone(offset, dropped.first));
            }
            From::Offset(offset) if offset > end.next => {
                return Err(Error::Usage(format!(
                    "stream `{}` has frames up to {} (excluded), and is to be read from {offset}: is it \
                     the right stream?",
                    stream.name(),
                    end.next
                )));
            }
            From::Offset(offset) => reader.at = offset,
            From::Time(time) if dropped.first > 0 && time <= dropped.until => {
                return Err(Error::Data(format!(
                    "frames of stream `{}` up to {} were dropped, and it is to be read from {time}: the \
                     first that is there is {}; read from there (`beginning`)",
                    stream.name(),
                    dropped.until,
                    dropped.first
                )));
            }
            From::Time(time) => reader.find(time, end)?,
        }
        Ok(reader)
    }

    /// The next frame, if it is durable by now; none otherwise, and again later there may be. Frames of the
    /// segment that is being read may still be given although they were dropped meanwhile.
    ///
    /// # Errors
    /// [`Error::Data`] when frames that were not read yet were dropped meanwhile, or are damaged: it says
    /// which. The next call says so again.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>> {
        while self.block.is_none_or(|block| block.end() <= self.at) {
            self.block = None;
            if !self.next_block()? {
                return Ok(None);
            }
        }
        let (Some(block), Some(range)) = (self.block, frame_at(&self.payload, self.cursor)) else {
            return Err(self.malformed());
        };
        let offset = self.at;
        self.at += 1;
        self.cursor = range.end;
        let bytes = self.payload.get(range).unwrap_or_default();
        Ok(Some(Entry { offset, time: block.time, bytes }))
    }

    /// The offset of the frame that comes next.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Which sink wrote the frame that was given last; 0 if none did.
    pub(super) fn by(&self) -> u64 {
        self.block.map_or(0, |block| block.by)
    }

    /// How far the stream was durable when this last looked.
    pub(super) fn known(&self) -> u64 {
        self.horizon.known().next
    }

    /// Takes the next block that has a frame to give; false if there is none.
    fn next_block(&mut self) -> Result<bool> {
        loop {
            if self.at >= self.horizon.known().next && self.at >= self.horizon.refresh()?.next {
                return Ok(false);
            }
            let end = self.horizon.known();
            let (at, since) = (self.at, self.since);
            let mut walk = match self.walk.take() {
                Some(walk) => walk,
                None => {
                    let segments = segment::list(&self.stream.folder)?;
                    self.segment(holding(&segments, at).unwrap_or(at), at)?
                }
            };
            let is_last = walk.header.first == end.segment;
            let limit = if is_last { end.bytes } else { walk.length()? };
            match walk.block(limit)? {
                // The next segment begins where this one ends, or frames are missing.
                None if !is_last && walk.next > walk.header.first => {
                    self.walk = Some(self.segment(walk.next, at)?);
                }
                None => return Err(walk.damaged("frames after it were durable, and are missing")),
                Some(block) if block.end() <= at || block.time < since => {
                    walk.skip(&block)?;
                    self.at = at.max(block.end());
                    self.walk = Some(walk);
                }
                Some(block) => {
                    self.payload.clear();
                    self.payload.shrink_to(KEPT_BYTES);
                    if !walk.payload(&block, &mut self.payload)? {
                        return Err(walk.damaged("its frames are not those that were written"));
                    }
                    self.walk = Some(walk);
                    self.enter(block)?;
                    return Ok(true);
                }
            }
        }
    }

    /// Goes to the next frame in a block that was just read.
    fn enter(&mut self, block: Block) -> Result<()> {
        self.cursor = 0;
        for _ in block.first..self.at {
            let range = frame_at(&self.payload, self.cursor).ok_or_else(|| self.malformed())?;
            self.cursor = range.end;
        }
        self.block = Some(block);
        Ok(())
    }

    /// The segment that begins with `first`, to read the durable frame at `offset`.
    fn segment(&self, first: u64, offset: u64) -> Result<Walk> {
        let folder = &self.stream.folder;
        let opened = Walk::open(folder, first, self.stream.id)?;
        let dropped = self.stream.first()?;
        if offset < dropped {
            return Err(self.gone(offset, dropped));
        }
        let path = segment::path(folder, first);
        match opened {
            Opened::Walk(walk) => Ok(walk),
            Opened::Headless(_) => Err(damaged(&path, 0, offset, "it has no header")),
            Opened::Missing => Err(damaged(&path, 0, offset, "it is gone")),
        }
    }

    /// Goes to the first frame of `time` or later.
    fn find(&mut self, time: Time, end: End) -> Result<()> {
        let folder = self.stream.folder.clone();
        for first in segment::list(&folder)?.into_iter().rev().filter(|first| *first < end.next) {
            if let Opened::Walk(walk) = Walk::open(&folder, first, self.stream.id)?
                && walk.header.floor < time
            {
                self.at = self.at.max(first);
                break;
            }
        }
        self.since = time;
        self.next_block()?;
        Ok(())
    }

    fn gone(&self, offset: u64, first: u64) -> Error {
        Error::Data(format!(
            "frame {offset} of stream `{}` was dropped: the first that is there is {first}. Read from there \
             (`beginning`), or keep more of the stream",
            self.stream.name()
        ))
    }

    fn malformed(&self) -> Error {
        let first = self.walk.as_ref().map_or(self.at, |walk| walk.header.first);
        let byte = self.walk.as_ref().map_or(0, |walk| walk.at);
        let path = segment::path(&self.stream.folder, first);
        damaged(&path, byte, self.at, "the block before has not the frames that it counts")
    }
}
