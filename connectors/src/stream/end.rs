//! How far a stream is durable, as its writer tells all readers: the file `end`.
//!
//! Invariant: what it says was synced before it was said; so a reader may believe it, and whatever is
//! wrong before it is damage. It has two places, written in turn, so one of them is always whole. It is
//! not synced itself: after a power cut it may say too little, never too much.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anabranch::Time;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Of one place.
const SLOT_BYTES: usize = 40;

/// An end of what is durable; ordered by how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    /// The offset of the next frame.
    pub(super) next: u64,
    /// The first offset of the last segment.
    pub(super) segment: u64,
    /// How many bytes of that are durable.
    pub(super) bytes: u64,
    /// No frame before has a later time.
    pub(super) time: Time,
}

impl End {
    /// Of a stream that has no segment.
    pub(super) const NONE: Self = Self { next: 0, segment: 0, bytes: 0, time: Time::BEGIN };

    fn encode(self, id: u64) -> [u8; SLOT_BYTES] {
        let time = self.time.as_nanos().to_le_bytes();
        let [next, segment, bytes] = [self.next, self.segment, self.bytes].map(u64::to_le_bytes);
        let mut slot = [0; SLOT_BYTES];
        let (content, sum) = slot.split_at_mut(SLOT_BYTES - 8);
        content.copy_from_slice([next, segment, bytes, time].as_flattened());
        sum.copy_from_slice(&xxh3_64_with_seed(content, !id).to_le_bytes());
        slot
    }

    fn decode(slot: &[u8; SLOT_BYTES], id: u64) -> Option<Self> {
        let (content, sum) = slot.split_at(SLOT_BYTES - 8);
        let (words, _) = content.as_chunks::<8>();
        let [next, segment, bytes, time] = words else { return None };
        let [next, segment, bytes] = [next, segment, bytes].map(|word| u64::from_le_bytes(*word));
        let time = Time::from_nanos(i64::from_le_bytes(*time));
        let is_good = sum == xxh3_64_with_seed(content, !id).to_le_bytes();
        is_good.then_some(Self { next, segment, bytes, time })
    }
}

/// The furthest end that was told; none if that is not known.
pub(super) fn read(path: &Path, id: u64) -> io::Result<Option<End>> {
    let mut bytes = Vec::with_capacity(2 * SLOT_BYTES);
    match File::open(path) {
        Ok(file) => file.take(2 * SLOT_BYTES as u64).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (slots, _) = bytes.as_chunks::<SLOT_BYTES>();
    Ok(slots.iter().filter_map(|slot| End::decode(slot, id)).max())
}

/// Tells how far a stream is durable.
pub(super) struct Publisher {
    file: File,
    id: u64,
    /// Which place is next.
    turn: u64,
}

impl Publisher {
    /// To the file at `path`, which is made if it is not there.
    pub(super) fn open(path: &Path, id: u64) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() < 2 * SLOT_BYTES as u64 {
            // Later it takes no more room, so a full disk does not keep it from being told.
            (&file).write_all(&[0; 2 * SLOT_BYTES])?;
        }
        let whole = [0, 1].map(|turn| {
            let mut slot = [0; SLOT_BYTES];
            let at = SeekFrom::Start(turn * SLOT_BYTES as u64);
            let read = (&file).seek(at).and_then(|_| (&file).read_exact(&mut slot));
            read.ok().and_then(|()| End::decode(&slot, id))
        });
        // The one that says more stays until the other is whole.
        let turn = u64::from(whole[0] > whole[1]);
        Ok(Self { file, id, turn })
    }

    pub(super) fn publish(&mut self, end: End) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.turn * SLOT_BYTES as u64))?;
        self.file.write_all(&end.encode(self.id))?;
        self.turn = 1 - self.turn;
        Ok(())
    }
}
