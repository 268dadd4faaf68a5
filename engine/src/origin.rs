//! Where a record came from, and so its place in the one order that all workers agree on.
//!
//! Invariant: origins are totally ordered by (ingest time, source as declared, source partition,
//! offset, path of places among the outputs of its parents), and nothing in them depends on
//! workers, processes or arrival. 24 bytes, `Copy`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Time, timer};

const PARTITION_BITS: u32 = 12;
const OFFSET_BITS: u32 = 40;
const PLACE_MASK: u64 = (1 << (OFFSET_BITS + PARTITION_BITS)) - 1;

/// The most sources an application can declare, and the most partitions of one source.
pub const LANES_MAX: usize = 1 << PARTITION_BITS;

/// The source number of what views tell: behind all that can be declared, since it follows from their
/// records, and before those of timers.
const VIEW_SOURCE: usize = LANES_MAX - 3;

/// The source number of corrections of what an earlier program has told.
const CORRECTION_SOURCE: usize = LANES_MAX - 4;
/// Of the place of a correction, what is its number within the partition.
const CORRECTION_BITS: u32 = 36;

/// The origin of a record: the total order inside an epoch.
///
/// ```
/// use anabranch::{Origin, Time};
/// let first = Origin::new(Time::from_nanos(5), 0, 1, 7);
/// assert_eq!((first.source(), first.partition(), first.offset()), (0, 1, 7));
/// assert!(first < Origin::new(Time::from_nanos(5), 1, 0, 0), "sources in declared order");
/// assert!(first.child(0) < first.child(1), "outputs in the order they were emitted");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    time: Time,
    /// Source (12 bits), partition (12), offset (40): compared as one integer.
    position: u64,
    path: Path,
}

impl Origin {
    /// The origin of a record as it enters: `source` and `partition` by their index (below
    /// [`LANES_MAX`]), `offset` as the record's index within its partition (below 2^40).
    pub fn new(time: Time, source: usize, partition: usize, offset: u64) -> Self {
        debug_assert!(source < LANES_MAX && partition < LANES_MAX && offset < 1 << OFFSET_BITS);
        let lane = (source as u64) << PARTITION_BITS | partition as u64;
        Self { time, position: lane << OFFSET_BITS | offset, path: Path::ROOT }
    }

    /// The origin of the record at `offset` of the same partition, entering at `time`.
    #[inline]
    pub(crate) fn at(self, time: Time, offset: u64) -> Self {
        let lane = self.position >> OFFSET_BITS << OFFSET_BITS;
        Self { time, position: lane | offset & ((1 << OFFSET_BITS) - 1), path: Path::ROOT }
    }

    /// The origin of what timers emit: `place` orders what has the same time, below 2^52.
    pub(crate) fn of_timers(time: Time, source: usize, place: u64) -> Self {
        let position = (source as u64) << (OFFSET_BITS + PARTITION_BITS) | place & PLACE_MASK;
        Self { time, position, path: Path::ROOT }
    }

    /// The origin of what a view tells of an epoch of that logical time; `number` tells it from others of
    /// the same time.
    pub(crate) fn of_view(time: Time, view: usize, number: u64, place: u32) -> Self {
        Self::new(time, VIEW_SOURCE, view, number & ((1 << OFFSET_BITS) - 1)).child(place)
    }

    /// Whether a view has told it.
    pub(crate) fn is_of_view(&self) -> bool {
        self.source() == VIEW_SOURCE
    }

    /// The origin of the correction number `number` of that partition of tables.
    pub(crate) fn of_correction(time: Time, partition: u32, number: u64) -> Self {
        let place = u64::from(partition) << CORRECTION_BITS | number & ((1 << CORRECTION_BITS) - 1);
        Self::of_timers(time, CORRECTION_SOURCE, place)
    }

    /// The place of what timers emit.
    pub(crate) fn timers(&self) -> u64 {
        self.position & PLACE_MASK
    }

    /// The record's ingest time.
    pub fn time(&self) -> Time {
        self.time
    }

    /// The index of its source, as declared.
    pub fn source(&self) -> usize {
        (self.position >> (OFFSET_BITS + PARTITION_BITS)) as usize
    }

    /// The index of its partition within the source.
    pub fn partition(&self) -> usize {
        (self.position >> OFFSET_BITS) as usize & (LANES_MAX - 1)
    }

    /// Its index within the partition, from 0.
    pub fn offset(&self) -> u64 {
        self.position & ((1 << OFFSET_BITS) - 1)
    }

    /// Its places among the outputs of its parents.
    pub fn path(&self) -> Path {
        self.path
    }

    /// The origin of this record's output number `place`.
    ///
    /// # Panics
    /// When the path is longer than an origin can hold (see [`Path::child`]).
    #[inline]
    #[must_use]
    pub fn child(mut self, place: u32) -> Self {
        self.path = self.path.child(place);
        self
    }

    /// What orders records before the input and the path do.
    #[inline]
    pub(crate) fn entry(&self) -> Entry {
        Entry { time: self.time, position: self.position }
    }

    /// A well-mixed number that depends on the origin alone, to seed randomness.
    pub fn seed(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.to_bytes())
    }

    /// As it is kept: time, position and path, little-endian.
    pub(crate) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.time.as_nanos().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.to_le_bytes());
        bytes[16..].copy_from_slice(&self.path.0.to_le_bytes());
        bytes
    }

    /// The one that is kept so.
    pub(crate) fn of_bytes(bytes: &[u8; 24]) -> Option<Self> {
        let (time, rest) = bytes.split_first_chunk()?;
        let (position, path) = rest.split_first_chunk()?;
        Some(Self {
            time: Time::from_nanos(i64::from_le_bytes(*time)),
            position: u64::from_le_bytes(*position),
            path: Path(u64::from_le_bytes(*path.first_chunk()?)),
        })
    }
}

/// A place in the merged input: ingest time, source, partition and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) time: Time,
    pub(crate) position: u64,
}

impl Entry {
    /// The next place, which may be nobody's.
    pub(crate) fn after(self) -> Self {
        match self.position.checked_add(1) {
            Some(position) => Self { position, ..self },
            None => Self { time: Time::from_nanos(self.time.as_nanos() + 1), position: 0 },
        }
    }
}

/// Places among the outputs of parents, outermost first, in 64 bits.
///
/// Each place takes one byte below 128, two below 16,384, three below 2,097,152, and so on up to
/// five; the first byte says how many follow, so that comparing the integers compares the places.
/// The lowest byte counts the bytes in use: seven are available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Path(u64);

/// The most levels of fan-out a record can pass on its way: its frame, which may hold several
/// records, then computations, `flat_map`s and merges.
pub const PATH_LEVELS_MAX: usize = 7;

impl Path {
    /// The path of a record that just entered.
    pub const ROOT: Self = Self(0);

    /// This path, one level deeper.
    ///
    /// # Panics
    /// When seven bytes are not enough: a record would need billions of siblings, or more than
    /// [`PATH_LEVELS_MAX`] levels, which is refused when the application is built.
    #[inline]
    #[must_use]
    pub fn child(self, place: u32) -> Self {
        let used = (self.0 & 0xff) as u32;
        if place < 0x80 && used < 7 {
            return Self((self.0 | u64::from(place) << (56 - 8 * used)) + 1);
        }
        self.long_child(used, place)
    }

    #[cold]
    fn long_child(self, used: u32, place: u32) -> Self {
        let length: u32 = match place {
            0..0x80 => 1,
            0x80..0x4000 => 2,
            0x4000..0x20_0000 => 3,
            0x20_0000..0x1000_0000 => 4,
            _ => 5,
        };
        assert!(
            used + length <= 7,
            "a record's path of places does not fit: output {place} of a record that is already \
             {used} bytes deep; emit fewer outputs a record or shorten the pipeline"
        );
        // A prefix of `length - 1` one bits and a zero, then the place in what is left.
        let prefix = (0xff_u64 << (9 - length) & 0xff) << (8 * (length - 1));
        let code = prefix | u64::from(place);
        Self((self.0 | code << (64 - 8 * (used + length))) + u64::from(length))
    }

    /// The places, outermost first.
    pub fn places(self) -> impl Iterator<Item = u32> {
        let used = (self.0 & 0xff) as usize;
        let bytes = self.0.to_be_bytes();
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = *bytes.get(at).filter(|_| at < used)?;
            let length = first.leading_ones() as usize + 1;
            let mut place = u64::from(first & (0xff_u16 >> length.min(8)) as u8);
            for byte in bytes.iter().skip(at + 1).take(length - 1) {
                place = place << 8 | u64::from(*byte);
            }
            at += length;
            u32::try_from(place).ok()
        })
    }
}

/// The name of a record to the outside: `<source>-<partition>-<offset>`, then `.<place>` for each
/// place other than the first. What a timer emits is called `timer-<time>-<number>` instead: by the
/// time of the epoch after which it was due, and its place among what was due then; of engine time
/// `engine-timer-<time>-<number>`, by when it was due, and where its key and its pipeline are. What a view
/// tells is called `view-<view>-<time>-<epoch>`, by the index of the view, the logical time of the epoch and,
/// if input is recorded, its number, else 0.
///
/// It is stable over replays and worker counts, so a receiver can drop repeats by it.
#[derive(Clone, Copy)]
pub struct RecordId<'a> {
    pub(crate) source: &'a str,
    pub(crate) origin: Origin,
}

impl<'a> RecordId<'a> {
    /// The name of the record with that origin, of the source called `source`; for a connector's
    /// own tests, as the engine names records itself.
    pub fn new(source: &'a str, origin: Origin) -> Self {
        Self { source, origin }
    }

    /// The origin that this is the name of.
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

impl fmt::Display for RecordId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((due, partition)) = timer::engine_name(self.origin) {
            write!(f, "engine-timer-{due}-{partition}")?;
        } else if timer::is_timed(self.origin) {
            let (round, place) = timer::name(self.origin);
            write!(f, "timer-{round}-{place}")?;
        } else if self.origin.is_of_view() {
            let (view, epoch) = (self.origin.partition(), self.origin.offset());
            write!(f, "view-{view}-{}-{epoch}", self.origin.time().as_nanos())?;
        } else if self.origin.source() == CORRECTION_SOURCE {
            let place = self.origin.timers();
            let number = place & ((1 << CORRECTION_BITS) - 1);
            let time = self.origin.time().as_nanos();
            write!(f, "correction-{time}-{}-{number}", place >> CORRECTION_BITS)?;
        } else {
            let (partition, offset) = (self.origin.partition(), self.origin.offset());
            write!(f, "{}-{partition}-{offset}", self.source)?;
        }
        let mut zeros = 0;
        for place in self.origin.path.places() {
            if place == 0 {
                zeros += 1;
            } else {
                for _ in 0..std::mem::take(&mut zeros) {
                    f.write_str(".0")?;
                }
                write!(f, ".{place}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(places: &[u32]) -> Path {
        places.iter().fold(Path::ROOT, |path, place| path.child(*place))
    }

    proptest! {
        #[test]
        fn paths_compare_as_their_places(a in path_places(), b in path_places()) {
            prop_assert_eq!(path(&a).places().collect::<Vec<_>>(), a.as_slice());
            if a.len() == b.len() {
                prop_assert_eq!(path(&a).cmp(&path(&b)), a.cmp(&b));
            }
        }
    }

    fn path_places() -> impl Strategy<Value = Vec<u32>> {
        let place = prop_oneof![0..200_u32, 16_000..17_000_u32, 0..2_000_000_u32];
        proptest::collection::vec(place, 0..=2)
    }

    #[test]
    fn the_largest_places_fit() {
        for places in [vec![u32::MAX, 0, 0], vec![1 << 28, 3, 127], vec![0; 7]] {
            assert_eq!(path(&places).places().collect::<Vec<_>>(), places);
        }
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn a_path_that_does_not_fit_says_so() {
        let _ = path(&[0; 8]);
    }

    #[test]
    fn a_record_id_names_places_only_where_they_distinguish() {
        let origin = Origin::new(Time::ZERO, 0, 2, 17);
        let name = |origin| RecordId { source: "prices", origin }.to_string();
        assert_eq!(name(origin), "prices-2-17");
        assert_eq!(name(origin.child(0).child(0)), "prices-2-17");
        assert_eq!(name(origin.child(0).child(3).child(0)), "prices-2-17.0.3");
    }
}
