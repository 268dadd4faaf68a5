//! [`Writer::retain`] and [`Writer::trim`]: which frames are dropped.
//!
//! Invariant: what some group has not consumed (and what nobody has, as there is no group) is dropped only
//! if the caller says so, and is then counted for good and logged. What is dropped is said on the disk
//! before anything is removed; a reader that asks for it is told.

use std::time::Duration;

use anabranch::{Result, Time};

use super::end::End;
use super::folder::{Dropped, LOCK_WITHIN, own};
use super::format::SEGMENT_HEADER_BYTES;
use super::segment::{self, Opened, Walk, damaged};
use super::{Stream, Writer};

/// What of a stream is kept. The default is all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Frames that are as old or older are dropped.
    pub max_age: Option<Duration>,
    /// The oldest are dropped until the blocks that are left have so many bytes at most.
    pub max_bytes: Option<u64>,
    /// Also what some group has not consumed is dropped; otherwise it stays.
    pub drop_unread: bool,
}

/// What became of a call that drops frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    /// The first offset that is there now.
    pub first: u64,
    /// How many frames were dropped.
    pub dropped: u64,
    /// Of those, how many some group had not consumed.
    pub dropped_unread: u64,
    /// How many were to be dropped and stay, since some group has not consumed them.
    pub retained_unread: u64,
}

impl Writer {
    /// Drops what is too old at the time `now`, and what is too much, by whole appends. What some group has
    /// not consumed stays, and is counted in [`retained_unread`](Retained::retained_unread), unless
    /// [`drop_unread`](Retention::drop_unread) says otherwise. Without any group everything is unread.
    ///
    /// Room on the disk is freed by whole segments, and at once if everything was dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// use anabranch_connectors::stream::{Retention, Streams};
    /// # let mut random = [0; 8];
    /// # anabranch::clock::entropy(&mut random)?;
    /// # let dir = std::env::temp_dir().join(format!("anabranch-doc-{:x}", u64::from_le_bytes(random)));
    /// let orders = Streams::open(&dir)?.create("orders")?;
    /// let writer = orders.writer()?;
    /// writer.append(b"one")?;
    /// let old = Retention { max_age: Some(Duration::ZERO), ..Retention::default() };
    /// assert_eq!(writer.retain(&old, anabranch::clock::now())?.retained_unread, 1);
    /// let old = Retention { drop_unread: true, ..old };
    /// assert_eq!(writer.retain(&old, anabranch::clock::now())?.dropped_unread, 1);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    ///
    /// # Errors
    /// When what was consumed cannot be read, or files cannot be written or removed.
    pub fn retain(&self, keep: &Retention, now: Time) -> Result<Retained> {
        self.drop_frames(keep.drop_unread, |shape| {
            let old = keep.max_age.map(|age| shape.until_time(now.before(age))).transpose()?;
            let much = keep.max_bytes.map(|bytes| shape.beyond_bytes(bytes)).transpose()?;
            Ok(old.max(much).unwrap_or(0))
        })
    }

    /// Drops what all groups have consumed; without any group nothing.
    ///
    /// ```
    /// use std::time::Duration;
    /// use anabranch_connectors::stream::{From, Streams};
    /// # let mut random = [0; 8];
    /// # anabranch::clock::entropy(&mut random)?;
    /// # let dir = std::env::temp_dir().join(format!("anabranch-doc-{:x}", u64::from_le_bytes(random)));
    /// let orders = Streams::open(&dir)?.create("orders")?;
    /// let writer = orders.writer()?;
    /// writer.append_batch(&["one", "two"])?;
    /// let mut billing = orders.consume("billing", From::Beginning, Duration::ZERO)?;
    /// billing.next_entry()?;
    /// billing.commit()?;
    /// assert_eq!(writer.trim()?.first, 1);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`retain`](Self::retain).
    pub fn trim(&self) -> Result<Retained> {
        self.drop_frames(false, |shape| Ok(shape.consumed))
    }

    /// Drops the frames before the offset that `wanted` gives, of which unread ones only if `drop_unread`.
    fn drop_frames(
        &self,
        drop_unread: bool,
        wanted: impl FnOnce(&Shape<'_>) -> Result<u64>,
    ) -> Result<Retained> {
        self.with_disk(|disk| {
            let stream = self.stream();
            // No group may begin meanwhile at what is dropped.
            let _groups = own(&stream.path("groups.lock"), stream.name(), LOCK_WITHIN)?;
            let (before, end) = (stream.dropped()?, disk.end());
            let shape = Shape::of(stream, before.first, end)?;
            let wanted = wanted(&shape)?.clamp(before.first, end.next);
            let first = if drop_unread { wanted } else { wanted.min(shape.consumed) };
            let dropped_unread = first.saturating_sub(shape.consumed);
            let retained_unread = wanted - first;
            if first > before.first {
                let unread = before.unread + dropped_unread;
                disk.drop_before(&Dropped { first, unread, until: shape.time_before(first)? })?;
            }
            if dropped_unread > 0 {
                tracing::warn!(
                    stream = stream.name(),
                    "{dropped_unread} frames before offset {first} were dropped that some group has not \
                     consumed"
                );
            }
            if retained_unread > 0 {
                tracing::warn!(
                    stream = stream.name(),
                    "{retained_unread} frames from offset {first} on are due to be dropped and stay, since \
                     some group, or every one if there is none, has not consumed them: the stream grows until all have, or \
                     `drop_unread` is chosen"
                );
            }
            let dropped = first - before.first;
            Ok(Retained { first, dropped, dropped_unread, retained_unread })
        })
    }
}

/// What a stream is made of while nobody appends.
struct Shape<'a> {
    stream: &'a Stream,
    end: End,
    /// Every segment: its first offset, the latest time before it, its bytes.
    segments: Vec<(u64, Time, u64)>,
    /// Everything before this offset every group has consumed; at least what was dropped.
    consumed: u64,
}

impl<'a> Shape<'a> {
    fn of(stream: &'a Stream, dropped: u64, end: End) -> Result<Self> {
        let groups = stream.groups()?;
        let consumed = groups.iter().map(|(_, next)| *next).min().unwrap_or(dropped);
        let consumed = consumed.clamp(dropped, end.next.max(dropped));
        let mut this = Self { stream, end, segments: Vec::new(), consumed };
        for first in segment::list(&stream.folder)? {
            let walk = this.walk(first)?;
            let bytes = if first == end.segment { end.bytes } else { walk.length()? };
            this.segments.push((first, walk.header.floor, bytes));
        }
        Ok(this)
    }

    /// The offset after the last frame of `time` or earlier.
    fn until_time(&self, time: Time) -> Result<u64> {
        let Some(last) = self.segments.iter().rfind(|(_, floor, _)| *floor <= time) else {
            return Ok(0);
        };
        let mut walk = self.walk(last.0)?;
        while let Some(block) = walk.block(last.2)?.filter(|block| block.time <= time) {
            walk.skip(&block)?;
        }
        Ok(walk.next)
    }

    /// The first offset after which the blocks have `bytes` bytes at most.
    fn beyond_bytes(&self, bytes: u64) -> Result<u64> {
        let size = |segment: &(u64, Time, u64)| segment.2.saturating_sub(SEGMENT_HEADER_BYTES);
        let mut total: u64 = self.segments.iter().map(size).sum();
        for segment in &self.segments {
            if total <= bytes {
                return Ok(segment.0);
            }
            if total - size(segment) >= bytes && segment.0 != self.end.segment {
                total -= size(segment);
                continue;
            }
            let mut walk = self.walk(segment.0)?;
            while let Some(block) = walk.block(segment.2)?.filter(|_| total > bytes) {
                total -= block.size();
                walk.skip(&block)?;
            }
            return Ok(walk.next);
        }
        Ok(self.end.next)
    }

    /// The time of the last frame before `offset`.
    fn time_before(&self, offset: u64) -> Result<Time> {
        let Some(last) = self.segments.iter().rfind(|(first, ..)| *first < offset) else {
            return Ok(Time::BEGIN);
        };
        let mut walk = self.walk(last.0)?;
        let mut time = last.1;
        while let Some(block) = walk.block(last.2)?.filter(|block| block.first < offset) {
            time = block.time;
            walk.skip(&block)?;
        }
        Ok(time)
    }

    fn walk(&self, first: u64) -> Result<Walk> {
        match Walk::open(&self.stream.folder, first, self.stream.id)? {
            Opened::Walk(walk) => Ok(walk),
            Opened::Headless(_) | Opened::Missing => {
                let path = segment::path(&self.stream.folder, first);
                Err(damaged(&path, 0, first, "it has no header"))
            }
        }
    }
}
