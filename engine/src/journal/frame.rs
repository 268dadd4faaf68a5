//! [`FrameHead`] and the frame: what one partition of a source brought to one epoch, as bytes.
//!
//! Invariant: a frame is valid only at the place where it was written (its checksum covers its segment
//! and its offset in it), so that bytes of a journal within a payload, or blocks that a disk put in
//! a wrong place, are never taken for frames.

use crate::Time;

/// What every frame begins with.
pub(super) const MAGIC: [u8; 4] = *b"ANBF";
/// The bytes of a frame before its position and payload.
pub(super) const HEAD: usize = 76;
/// The longest payload of a frame: what is longer is split into several frames of one epoch.
pub(crate) const PAYLOAD_MAX: usize = 64 << 20;
/// The longest position of a connector.
pub(crate) const POSITION_MAX: usize = 1 << 20;

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The records' bytes, of a source that cannot be read again.
    Bytes,
    /// Nothing: the offsets say what is to be read again.
    Range,
}

/// What one partition of a source brought to one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// The epoch; several frames may belong to one.
    pub(crate) epoch: u64,
    /// The ingest time; of recorded input, the time of its last record.
    pub(crate) time: Time,
    /// The offset of its first record: where the frame before it in its lane ended.
    pub(crate) first: u64,
    /// The offset after its last record.
    pub(crate) next: u64,
    /// How many of the source's frames its payload holds.
    pub(crate) frames: u32,
    /// What the payload is.
    pub(crate) kind: Kind,
    /// Free for the engine: where the fence of recorded input is.
    pub(crate) fence: u64,
}

/// Where a frame is: its segment, by the checksum of its header, and its offset in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) at: u64,
}

/// A frame's head as it was read: the rest of it has still to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    /// None if its kind is not known to this version; it holds the number.
    pub(super) head: Result<FrameHead, u8>,
    /// How many bytes of its segment were known to be on the disk when it was written.
    pub(super) synced: u64,
    pub(super) position: Option<usize>,
    pub(super) payload: usize,
    body_sum: u32,
}

/// Appends a frame to `to`.
pub(super) fn push(
    to: &mut Vec<u8>,
    place: Place,
    head: &FrameHead,
    synced: u64,
    position: Option<&[u8]>,
    payload: &[u8],
) {
    let mut body = crc32fast::Hasher::new();
    body.update(position.unwrap_or_default());
    body.update(payload);
    let kind: u8 = match head.kind {
        Kind::Bytes => 0,
        Kind::Range => 1,
    };
    let start = to.len();
    to.extend_from_slice(&MAGIC);
    to.extend_from_slice(&[kind, u8::from(position.is_some()), 0, 0]);
    to.extend_from_slice(&head.epoch.to_le_bytes());
    to.extend_from_slice(&head.time.as_nanos().to_le_bytes());
    for number in [head.first, head.next, head.fence, synced] {
        to.extend_from_slice(&number.to_le_bytes());
    }
    let lengths = [position.map_or(0, <[u8]>::len), payload.len()];
    to.extend_from_slice(&head.frames.to_le_bytes());
    for length in lengths {
        // The caller has kept the caps.
        to.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }
    to.extend_from_slice(&body.finalize().to_le_bytes());
    let sum = head_sum(place, to.get(start..).unwrap_or_default());
    to.extend_from_slice(&sum.to_le_bytes());
    to.extend_from_slice(position.unwrap_or_default());
    to.extend_from_slice(payload);
}

fn head_sum(place: Place, bytes: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&place.segment.to_le_bytes());
    sum.update(&place.at.to_le_bytes());
    sum.update(bytes);
    sum.finalize()
}

/// The head of the frame at that place; none if there is no valid one.
pub(super) fn read(bytes: &[u8; HEAD], place: Place) -> Option<Read> {
    let (checked, sum) = bytes.split_last_chunk::<4>()?;
    if !checked.starts_with(&MAGIC) || head_sum(place, checked) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut fields = Fields(checked);
    let [.., kind, flags, _, _] = fields.take::<8>()?;
    let epoch = fields.u64()?;
    let time = Time::from_nanos(fields.i64()?);
    let (first, next, fence, synced) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
    let frames = fields.u32()?;
    let position = fields.u32()? as usize;
    let payload = fields.u32()? as usize;
    let body_sum = fields.u32()?;
    if position > POSITION_MAX || payload > PAYLOAD_MAX {
        return None;
    }
    let head = match kind {
        0 => Ok(Kind::Bytes),
        1 => Ok(Kind::Range),
        unknown => Err(unknown),
    };
    Some(Read {
        head: head.map(|kind| FrameHead { epoch, time, first, next, frames, kind, fence }),
        synced,
        position: (flags & 1 == 1).then_some(position),
        payload,
        body_sum,
    })
}

impl Read {
    /// The bytes of its position and payload.
    pub(super) fn body(&self) -> usize {
        self.position.unwrap_or(0) + self.payload
    }

    /// Whether `body` is its position and payload.
    pub(super) fn fits(&self, body: &[u8]) -> bool {
        crc32fast::hash(body) == self.body_sum
    }
}

/// Takes little-endian numbers off the front of bytes; none once they are used up.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_valid_only_where_it_was_written() {
        let head = FrameHead {
            epoch: 7,
            time: Time::from_nanos(-3),
            first: 10,
            next: 12,
            frames: 2,
            kind: Kind::Range,
            fence: u64::MAX,
        };
        let place = Place { segment: 0xabcd, at: 500 };
        let mut bytes = Vec::new();
        push(&mut bytes, place, &head, 99, Some(b"position"), b"payload");
        let (first, body) = bytes.split_first_chunk::<HEAD>().unwrap();
        let got = read(first, place).unwrap();
        assert_eq!((got.head, got.synced), (Ok(head), 99));
        assert_eq!((got.position, got.payload), (Some(8), 7));
        assert!(got.body() == body.len() && got.fits(body) && !got.fits(&body[1..]));
        assert!(read(first, Place { at: 501, ..place }).is_none());
        assert!(read(first, Place { segment: 0xabce, ..place }).is_none());
        for at in 0..HEAD {
            let mut changed = *first;
            changed[at] ^= 1;
            assert!(read(&changed, place).is_none(), "byte {at}");
        }
    }
}
