//! The bytes of segments: headers, blocks, frames.
//!
//! Invariant: a block is the frames of one append, whole or not there: its header has checksums of itself
//! and of its frames, seeded by the stream, so that what another stream wrote is never taken for it.
//! A header also says what was durable before it was written; so whoever finds a bad block can tell
//! damage from an end that a crash tore.

use anabranch::Time;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const SEGMENT_MAGIC: &[u8; 8] = b"abstream";
pub(super) const BLOCK_MAGIC: &[u8; 8] = b"absblock";

/// The bytes of a segment before its first block.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 40;
/// The bytes of a block before its frames.
pub(super) const BLOCK_HEADER_BYTES: usize = 64;
/// The bytes before a frame, which say its length.
pub(super) const FRAME_HEADER_BYTES: usize = 4;

/// What a segment begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The offset of its first frame.
    pub(super) first: u64,
    /// No frame before it has a later time.
    pub(super) floor: Time,
}

impl SegmentHeader {
    pub(super) fn encode(self, id: u64) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        let (content, sum) = bytes.split_at_mut(32);
        let numbers = [
            *SEGMENT_MAGIC,
            id.to_le_bytes(),
            self.first.to_le_bytes(),
            self.floor.as_nanos().to_le_bytes(),
        ];
        content.copy_from_slice(numbers.as_flattened());
        sum.copy_from_slice(&xxh3_64_with_seed(content, id).to_le_bytes());
        bytes
    }

    /// `None` if it is not whole, or not of that stream.
    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES as usize], id: u64) -> Option<Self> {
        let (content, sum) = bytes.split_at(32);
        let (words, _) = content.as_chunks::<8>();
        let [magic, of, first, floor] = words else { return None };
        let is_good = magic == SEGMENT_MAGIC
            && *of == id.to_le_bytes()
            && sum == xxh3_64_with_seed(content, id).to_le_bytes();
        let floor = Time::from_nanos(i64::from_le_bytes(*floor));
        is_good.then_some(Self { first: u64::from_le_bytes(*first), floor })
    }
}

/// What a block begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// How many frames it has.
    pub(super) count: u32,
    /// How many bytes they take, with their lengths.
    pub(super) bytes: u32,
    /// The offset of its first frame.
    pub(super) first: u64,
    /// When it was appended.
    pub(super) time: Time,
    /// Every frame before this offset was durable before the block was written.
    pub(super) synced: u64,
    /// Which sink wrote it; 0 if none did.
    pub(super) by: u64,
    /// Of the frames.
    sum: u64,
}

impl Block {
    /// The block of `count` frames whose bytes, with their lengths, are `payload`.
    pub(super) fn of(id: u64, count: u32, payload: &[u8], first: u64, time: Time, by: u64) -> Self {
        let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let sum = xxh3_64_with_seed(payload, id ^ first);
        Self { count, bytes, first, time, synced: 0, by, sum }
    }

    /// The block as it is written when everything before offset `synced` is durable.
    pub(super) fn after(self, synced: u64) -> Self {
        Self { synced, ..self }
    }

    /// The offset after its last frame.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Its bytes, header and all.
    pub(super) fn size(&self) -> u64 {
        BLOCK_HEADER_BYTES as u64 + u64::from(self.bytes)
    }

    pub(super) fn encode(&self, id: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(BLOCK_MAGIC);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.time.as_nanos().to_le_bytes());
        out.extend_from_slice(&self.synced.to_le_bytes());
        out.extend_from_slice(&self.by.to_le_bytes());
        out.extend_from_slice(&self.sum.to_le_bytes());
        let sum = xxh3_64_with_seed(out.get(start..).unwrap_or_default(), id);
        out.extend_from_slice(&sum.to_le_bytes());
    }

    /// `None` if it is not whole, or not of that stream.
    pub(super) fn decode(bytes: &[u8], id: u64) -> Option<Self> {
        let bytes = bytes.first_chunk::<BLOCK_HEADER_BYTES>()?;
        let (content, sum) = bytes.split_at(BLOCK_HEADER_BYTES - 8);
        if sum != xxh3_64_with_seed(content, id).to_le_bytes() {
            return None;
        }
        let (words, _) = content.as_chunks::<8>();
        let [magic, sizes, first, time, synced, by, sum] = words else { return None };
        let ([count, bytes], []) = sizes.as_chunks::<4>() else { return None };
        let block = Self {
            count: u32::from_le_bytes(*count),
            bytes: u32::from_le_bytes(*bytes),
            first: u64::from_le_bytes(*first),
            time: Time::from_nanos(i64::from_le_bytes(*time)),
            synced: u64::from_le_bytes(*synced),
            by: u64::from_le_bytes(*by),
            sum: u64::from_le_bytes(*sum),
        };
        let is_good = magic == BLOCK_MAGIC && block.count > 0;
        (is_good && block.first.checked_add(u64::from(block.count)).is_some()).then_some(block)
    }

    /// Whether these are its frames.
    pub(super) fn has(&self, payload: &[u8], id: u64) -> bool {
        xxh3_64_with_seed(payload, id ^ self.first) == self.sum
    }
}

/// Appends a frame to the payload of a block.
pub(super) fn push_frame(payload: &mut Vec<u8>, frame: &[u8]) {
    // Frames are bounded far below 4 GiB by who appends them.
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    payload.extend_from_slice(&length.to_le_bytes());
    payload.extend_from_slice(frame);
}

/// Where in a payload the frame lies whose length is at `at`.
pub(super) fn frame_at(payload: &[u8], at: usize) -> Option<std::ops::Range<usize>> {
    let length = payload.get(at..)?.first_chunk::<FRAME_HEADER_BYTES>()?;
    let begin = at + FRAME_HEADER_BYTES;
    let end = begin.checked_add(u32::from_le_bytes(*length) as usize)?;
    (end <= payload.len()).then_some(begin..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_no_bit_of_them_can_change() {
        let header = SegmentHeader { first: 7, floor: Time::from_nanos(-5) };
        let bytes = header.encode(99);
        assert_eq!(SegmentHeader::decode(&bytes, 99), Some(header));
        assert_eq!(SegmentHeader::decode(&bytes, 98), None, "of another stream");
        let mut payload = Vec::new();
        push_frame(&mut payload, b"one");
        push_frame(&mut payload, b"");
        let block = Block::of(99, 2, &payload, 7, Time::from_nanos(8), 1).after(3);
        let mut encoded = Vec::new();
        block.encode(99, &mut encoded);
        assert_eq!(encoded.len(), BLOCK_HEADER_BYTES);
        assert_eq!(Block::decode(&encoded, 99), Some(block));
        assert_eq!(Block::decode(&encoded, 98), None, "of another stream");
        assert!(block.has(&payload, 99) && !block.has(&payload, 98));
        for bit in 0..8 * encoded.len() {
            let mut changed = encoded.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Block::decode(&changed, 99), None, "bit {bit}");
        }
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&changed, 99), None, "bit {bit}");
        }
        for bit in 0..8 * payload.len() {
            let mut changed = payload.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!block.has(&changed, 99), "bit {bit}");
        }
    }

    #[test]
    fn frames_lie_where_they_were_put_and_a_wrong_length_finds_none() {
        let mut payload = Vec::new();
        push_frame(&mut payload, b"one");
        push_frame(&mut payload, b"");
        let one = frame_at(&payload, 0).unwrap();
        assert_eq!(&payload[one.clone()], b"one");
        assert_eq!(frame_at(&payload, one.end), Some(11..11));
        assert_eq!(frame_at(&payload, 11), None);
        assert_eq!(frame_at(&payload, 1), None);
    }
}
