//! [`Intake`]: what a reader reads into.
//!
//! Invariant: every record has the origin of its frame, and times of a partition never go back; of a frame
//! that an earlier run has handled nothing is kept.

use super::{Decoded, Decoder, Frame};
use crate::frame_log::FrameLog;
use crate::letters::Again;
use crate::pipeline::Tagged;
use crate::{Failure, Origin, Result, Time};

/// What a reader reads into: frames, each with an offset, and the records found in them.
///
/// For each frame (a line, a message, a row) a reader calls [`frame`](Intake::frame) and then any
/// number of [`accept`](Intake::accept), or one [`reject`](Intake::reject), or
/// [`ignore`](Intake::ignore).
pub struct Intake<T> {
    pub(crate) records: Vec<Tagged<T>>,
    pub(crate) refused: Vec<(Origin, Refusal)>,
    pub(crate) ignored: u64,
    pub(crate) bytes: usize,
    pub(super) bytes_max: usize,
    pub(super) items_max: usize,
    /// The origin of the current frame.
    pub(super) frame: Origin,
    /// How many records were found in the current frame.
    place: u32,
    /// The running maximum of times; [`UNKNOWN`] before the first.
    pub(super) last_time: Time,
    /// Whether the frame's time stands in for one that is not known: no frame came before.
    pub(super) time_unknown: bool,
    /// Live input: the time of everything that is read now.
    pub(crate) now: Option<Time>,
    /// Frames before this offset were handled by an earlier run: they are dropped.
    pub(crate) from: u64,
    /// Whether the current frame is one of them.
    dropping: bool,
    /// How many frames were read, and how many may be.
    pub(crate) frames: u64,
    pub(crate) frames_max: u64,
    /// Live input that is journaled: the frames as they come.
    pub(crate) log: Option<FrameLog>,
    /// A test driver ends an epoch here.
    pub(crate) cut: Option<Time>,
}

/// No time: before all others. Not an `Option`, which costs several nanoseconds per record, as its
/// two halves are written apart and read together.
const UNKNOWN: Time = Time::from_nanos(i64::MIN);

/// Why a frame was not decoded, and the frame.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) failure: Failure,
    pub(crate) bytes: Vec<u8>,
    pub(crate) again: Again,
}

impl<T> Intake<T> {
    pub(crate) fn new(source: usize, partition: usize, items_max: usize, bytes_max: usize) -> Self {
        Self {
            records: Vec::new(),
            refused: Vec::new(),
            ignored: 0,
            bytes: 0,
            bytes_max,
            items_max,
            frame: Origin::new(Time::ZERO, source, partition, 0),
            place: 0,
            last_time: UNKNOWN,
            time_unknown: false,
            now: None,
            from: 0,
            dropping: false,
            frames: 0,
            frames_max: u64::MAX,
            log: None,
            cut: None,
        }
    }

    /// An empty intake of the same partition.
    pub(super) fn like<U>(&self) -> Intake<U> {
        Intake::new(self.frame.source(), self.frame.partition(), 0, 0)
    }

    /// True when no further frame should be read for now.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.records.len() + self.refused.len() >= self.items_max
            || self.bytes >= self.bytes_max
            || self.frames >= self.frames_max
            || self.cut.is_some()
    }

    /// The offset after the last frame that was read; `from` if none was.
    pub(crate) fn next_offset(&self, from: u64) -> u64 {
        let last = |offset: u64| offset + 1;
        let single = self.records.last().map(|tagged| last(tagged.origin.offset()));
        let framed = (self.frames > 0).then(|| last(self.frame.offset()));
        single.max(framed).unwrap_or(from).max(from)
    }

    /// The running maximum of times; none before the first frame whose time is known.
    pub(crate) fn last_time(&self) -> Option<Time> {
        (self.last_time != UNKNOWN).then_some(self.last_time)
    }

    /// Goes on behind `time`.
    pub(crate) fn set_last_time(&mut self, time: Option<Time>) {
        self.last_time = time.unwrap_or(UNKNOWN);
    }

    /// How many records of `bytes` bytes each it takes until it is full.
    pub(super) fn room(&self, bytes: usize) -> usize {
        if self.is_full() {
            return 0;
        }
        let items = self.items_max - self.records.len() - self.refused.len();
        let frames = usize::try_from(self.frames_max - self.frames).unwrap_or(usize::MAX);
        items.min(frames).min((self.bytes_max - self.bytes).div_ceil(bytes.max(1)))
    }

    /// Begins the frame at `offset` (its index within the partition, from 0) of `bytes` bytes,
    /// recorded at `stamp` if the recording says so.
    #[inline]
    pub fn frame(&mut self, offset: u64, stamp: Option<Time>, bytes: usize) {
        self.dropping = offset < self.from;
        if !self.dropping {
            self.frame = self.enter(offset, stamp, bytes);
            self.place = 0;
        }
    }

    /// A frame as for [`frame`](Intake::frame) that is one record: costs less than to
    /// [`accept`](Intake::accept) it.
    #[inline(always)]
    pub fn single(&mut self, offset: u64, stamp: Option<Time>, bytes: usize, record: T) {
        if offset >= self.from {
            let origin = self.enter(offset, stamp, bytes);
            self.records.push(Tagged { origin, record });
        }
    }

    #[inline(always)]
    fn enter(&mut self, offset: u64, stamp: Option<Time>, bytes: usize) -> Origin {
        self.frames += 1;
        self.bytes += bytes;
        let known = self.now.or(stamp).unwrap_or(UNKNOWN).max(self.last_time);
        self.time_unknown = known == UNKNOWN;
        let time = if self.time_unknown { Time::ZERO } else { known };
        self.last_time = time;
        self.frame.at(time, offset)
    }

    /// The time that the frame itself names, for a recording whose lines have no stamp. Call it
    /// before [`accept`](Intake::accept).
    #[inline]
    pub fn frame_time(&mut self, time: Time) {
        if self.now.is_none() && !self.dropping {
            let unknown = std::mem::take(&mut self.time_unknown);
            let time = if unknown { time } else { time.max(self.frame.time()) };
            self.last_time = time;
            self.frame = self.frame.at(time, self.frame.offset());
        }
    }

    /// A record found in the current frame.
    #[inline]
    pub fn accept(&mut self, record: T) {
        if self.dropping {
            return;
        }
        let origin = if self.place == 0 { self.frame } else { self.next_of_several() };
        self.records.push(Tagged { origin, record });
        self.place += 1;
    }

    /// The origin of a further record of one frame: places tell them apart.
    #[cold]
    fn next_of_several(&mut self) -> Origin {
        if self.place == 1
            && let Some(first) = self.records.last_mut()
        {
            first.origin = first.origin.child(0);
        }
        self.frame.child(self.place)
    }

    /// The current frame, `bytes`, is refused for `reason`: it becomes a dead letter.
    pub fn reject(&mut self, reason: impl Into<String>, bytes: &[u8]) {
        if self.dropping {
            return;
        }
        self.refuse(reason, bytes, Again::Frame);
    }

    fn refuse(&mut self, reason: impl Into<String>, bytes: &[u8], again: Again) {
        let failure = Failure::refused(reason.into());
        let refusal = Refusal { failure, bytes: bytes.to_vec(), again };
        self.refused.push((self.frame, refusal));
    }

    /// The current frame is well-formed and of no interest (a heartbeat): only counted.
    pub fn ignore(&mut self) {
        self.ignored += u64::from(!self.dropping);
    }

    /// Decodes `frame` with `decoder` and accepts, rejects or ignores it; one that its transport
    /// refused is rejected unseen.
    pub fn decode(&mut self, frame: Frame<'_>, decoder: &mut (impl Decoder<T> + ?Sized)) {
        self.frame(frame.offset, frame.stamp, frame.bytes.len());
        if self.dropping {
            return;
        }
        if let Some(log) = &mut self.log {
            log.frame(&frame);
        }
        if let Some(reason) = frame.refusal {
            return self.refuse(reason, frame.bytes, Again::Cut);
        }
        let before = self.records.len();
        let stamped = frame.stamp.is_some();
        match decoder.decode(frame, &mut Decoded { intake: self, stamped }) {
            Ok(()) if self.records.len() == before => self.ignore(),
            Ok(()) => {}
            Err(error) => {
                self.records.truncate(before);
                self.reject(error.to_string(), frame.bytes);
            }
        }
    }
}

/// For a reader's own tests, where no engine reads.
impl<T> Intake<T> {
    /// An intake that is full with `items_max` items or `bytes_max` bytes.
    pub fn detached(items_max: usize, bytes_max: usize) -> Self {
        Self::new(0, 0, items_max, bytes_max)
    }

    /// Takes out what was read, in order: records, and refused frames with the reason.
    pub fn take(&mut self) -> Vec<Result<T, (String, Vec<u8>)>> {
        self.bytes = 0;
        let mut items: Vec<_> =
            self.records.drain(..).map(|tagged| (tagged.origin, Ok(tagged.record))).collect();
        for (origin, refusal) in self.refused.drain(..) {
            items.push((origin, Err((refusal.failure.reason(), refusal.bytes))));
        }
        items.sort_by_key(|(origin, _)| *origin);
        items.into_iter().map(|(_, item)| item).collect()
    }
}
