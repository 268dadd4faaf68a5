//! What one worker keeps of its input so that it survives: the journal of its partitions, and where
//! each of them was after each epoch.
//!
//! Invariant: an epoch is in the journal before it counts as durable, and a sink releases it only
//! after that; where a partition was at an epoch boundary is known until no checkpoint can ask for
//! that boundary any more.

use std::collections::VecDeque;

use crate::checkpoint::SourcePosition;
use crate::durable::Applied;
use crate::failpoint::hit;
use crate::ingest::{Brought, Past, Point, Volume};
use crate::journal::{FrameHead, Journal, Kind, LaneReader};
use crate::origin::Entry;
use crate::reading::OwnLane;
use crate::{Error, Result, Time};

/// Keeps the input of one worker.
pub(crate) struct Keeper {
    /// None if this only looks at what an earlier start has kept.
    journal: Option<Journal>,
    lanes: Vec<KeptLane>,
    /// What was journaled and is to be replayed first.
    past: Vec<Option<PastLane>>,
    /// Where the partitions were at a boundary, for each that a checkpoint may ask for.
    places: VecDeque<Places>,
    /// What was told to the partitions of their durability.
    told: u64,
    /// No earlier run had read anything at this epoch or after it.
    known: u64,
    /// Some of what was journaled is not replayed.
    left_out: bool,
}

/// What the journal has of one partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptLane {
    /// The next offset.
    pub(crate) next: u64,
    /// The last epoch.
    pub(crate) last_epoch: Option<u64>,
}

/// Where the partitions were at a boundary.
pub(crate) struct Places {
    pub(crate) boundary: u64,
    /// Recorded: where the last epoch before the boundary ended.
    pub(crate) applied: Option<Entry>,
    pub(crate) points: Vec<Point>,
}

/// What an earlier run has journaled of a partition, a frame at a time.
pub(crate) struct PastLane {
    reader: LaneReader,
    head: Option<FrameHead>,
    payload: Vec<u8>,
}

impl PastLane {
    /// The frames of `reader`; none if there are none.
    pub(crate) fn new(reader: LaneReader) -> Result<Option<Self>> {
        let mut past = Self { reader, head: None, payload: Vec::new() };
        past.advance()?;
        Ok(past.head.is_some().then_some(past))
    }

    pub(crate) fn advance(&mut self) -> Result<()> {
        self.payload.clear();
        hit("restore::frame").map_err(|e| Error::io("replaying the journal", e))?;
        self.head = self.reader.next()?.map(|entry| {
            self.payload.extend_from_slice(entry.payload);
            entry.head
        });
        Ok(())
    }

    /// The epoch of the present frame; none at the end.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.head.map(|head| head.epoch)
    }

    /// The present frame, if it is of `epoch`.
    pub(crate) fn of(&self, epoch: u64) -> Option<Past<'_>> {
        let head = self.head.filter(|head| head.epoch == epoch)?;
        let payload = (head.kind == Kind::Bytes).then_some(self.payload.as_slice());
        Some(Past { time: head.time, frames: u64::from(head.frames), payload })
    }
}

impl Keeper {
    /// `lanes` and `past` are those of this worker, in the order in which it reads them; `places` where
    /// they are now.
    pub(crate) fn new(
        mut journal: Option<Journal>,
        lanes: Vec<KeptLane>,
        past: Vec<Option<PastLane>>,
        places: Places,
    ) -> Self {
        // What came before is durable, or it would not be gone on from.
        if let Some(journal) = &mut journal {
            journal.commit(places.boundary);
        }
        let known = lanes.iter().filter_map(|lane| lane.last_epoch).max();
        let known = known.map_or(places.boundary, |last| last + 1);
        let places = VecDeque::from([places]);
        Self { journal, lanes, past, places, told: 0, known, left_out: false }
    }

    /// Recorded: where the last epoch ended that an earlier run has applied.
    pub(crate) fn applied(&self) -> Option<Entry> {
        self.places.back()?.applied
    }

    /// No earlier run had read anything here at this epoch or after it.
    pub(crate) fn known(&self) -> u64 {
        self.known
    }

    /// Live: journals what the partitions have brought to `epoch`; gives whether there was anything.
    pub(crate) fn keep_live(&mut self, epoch: u64, lanes: &mut [OwnLane]) -> Result<bool> {
        let mut any = false;
        let Some(journal) = &mut self.journal else { return Ok(false) };
        let time = Time::from_nanos(i64::try_from(epoch).unwrap_or(i64::MAX));
        for (index, (kept, own)) in self.lanes.iter_mut().zip(lanes.iter_mut()).enumerate() {
            let Some(Brought { next, frames, payload, position }) = own.lane.brought() else {
                continue;
            };
            let kind = if payload.is_some() { Kind::Bytes } else { Kind::Range };
            let frames = u32::try_from(frames).unwrap_or(u32::MAX);
            let head = FrameHead { epoch, time, first: kept.next, next, frames, kind, fence: 0 };
            journal.append(index, head, position.as_deref(), payload.unwrap_or_default())?;
            *kept = KeptLane { next, last_epoch: Some(epoch) };
            own.lane.taken_down();
            any = true;
        }
        Ok(any)
    }

    /// Live: journals that time has come to `epoch`, to which no partition has brought anything.
    pub(crate) fn keep_tick(&mut self, epoch: u64) -> Result<()> {
        let (Some(journal), Some(kept)) = (&mut self.journal, self.lanes.first_mut()) else {
            return Ok(());
        };
        let time = Time::from_nanos(i64::try_from(epoch).unwrap_or(i64::MAX));
        let (first, next, kind) = (kept.next, kept.next, Kind::Range);
        let head = FrameHead { epoch, time, first, next, frames: 0, kind, fence: 0 };
        journal.append(0, head, None, &[])?;
        kept.last_epoch = Some(epoch);
        Ok(())
    }

    /// No input before epoch `at` follows on this worker. Recorded input of the last epoch ended at
    /// `applied`, which is journaled with how far each partition was handed on. Every sink and group, of
    /// all workers, has finished what is before `finished`.
    pub(crate) fn close(
        &mut self,
        at: u64,
        applied: Option<Entry>,
        finished: u64,
        lanes: &[OwnLane],
    ) -> Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let points: Vec<_> = lanes.iter().map(|own| own.lane.point()).collect();
        if let Some(fence) = applied {
            let epoch = at.saturating_sub(1);
            for (index, (kept, point)) in self.lanes.iter_mut().zip(&points).enumerate() {
                // An earlier run may have got further than its last checkpoint.
                if kept.last_epoch.is_none_or(|last| last < epoch) {
                    let next = point.next.max(kept.next);
                    let (first, time, fence) = (kept.next, fence.time, fence.position);
                    let kind = Kind::Range;
                    let head = FrameHead { epoch, time, first, next, frames: 0, kind, fence };
                    journal.append(index, head, Some(&point.position), &[])?;
                    *kept = KeptLane { next, last_epoch: Some(epoch) };
                }
            }
        }
        journal.commit(at);
        self.places.push_back(Places { boundary: at, applied, points });
        while self.places.get(1).is_some_and(|next| next.boundary <= finished) {
            self.places.pop_front();
        }
        Ok(())
    }

    /// Where the partitions were when every epoch before `boundary` and none after it had been read.
    pub(crate) fn positions_at(&self, boundary: u64, lanes: &[OwnLane]) -> Vec<SourcePosition> {
        let known = self.places.iter().rev().find(|places| places.boundary <= boundary);
        let Some(places) = known.or(self.places.front()) else { return Vec::new() };
        let resume = serde_json::to_value(Applied { applied: places.applied }).unwrap_or_default();
        let of = |(own, point): (&OwnLane, &Point)| SourcePosition {
            source: own.source.clone(),
            partition: own.partition,
            next_offset: point.next,
            last_time: point.last_time,
            state: point.position.clone(),
            journaled: None,
            resume: resume.clone(),
        };
        lanes.iter().zip(&places.points).map(of).collect()
    }

    /// Everything of this worker before this epoch is durable.
    ///
    /// # Errors
    /// When the journal could not be written.
    pub(crate) fn durable(&mut self, lanes: &mut [OwnLane]) -> Result<u64> {
        let Some(journal) = &mut self.journal else { return Ok(u64::MAX) };
        journal.health()?;
        let durable = journal.durable();
        if durable > self.told {
            self.told = durable;
            for (index, own) in lanes.iter_mut().enumerate() {
                own.lane.durable(journal.durable_next(index));
            }
        }
        Ok(durable)
    }

    /// Whether there is something to replay.
    pub(crate) fn replays(&self) -> bool {
        self.past.iter().any(Option::is_some)
    }

    /// The epoch that is replayed next, if there is one.
    pub(crate) fn next_epoch(&self) -> Option<u64> {
        let heads = self.past.iter().flatten().filter_map(|past| past.head);
        heads.map(|head| head.epoch).min()
    }

    /// Whether this start keeps what is read; else it only looks at what an earlier one has kept.
    pub(crate) fn keeps(&self) -> bool {
        self.journal.is_some()
    }

    /// Leaves out what was journaled at or after `end`.
    pub(crate) fn leave_out_after(&mut self, end: u64) {
        for past in &mut self.past {
            if past.as_ref().and_then(|past| past.head).is_some_and(|head| head.epoch >= end) {
                *past = None;
                self.left_out = true;
            }
        }
    }

    /// Whether something was left out.
    pub(crate) fn left_out(&self) -> bool {
        self.left_out
    }

    /// Hands on the next journaled epoch; gives it and what it was. None: not all of it can be read
    /// yet, or nothing is left.
    pub(crate) fn replay(&mut self, lanes: &mut [OwnLane]) -> Result<Option<(u64, Volume)>> {
        let Some(epoch) = self.next_epoch() else { return Ok(None) };
        let mut total = Volume::default();
        for (past, own) in self.past.iter_mut().zip(lanes) {
            let Some(lane) = past else { continue };
            while let Some(frame) = lane.of(epoch) {
                let Some(volume) = own.lane.replay(&frame)? else { return Ok(None) };
                lane.advance()?;
                total.records += volume.records;
                total.bytes += volume.bytes;
            }
            if lane.head.is_none() {
                *past = None;
            }
        }
        Ok(Some((epoch, total)))
    }

    /// Everything of this worker before this epoch is on the disk, whatever the durability is.
    pub(crate) fn synced(&self) -> u64 {
        self.journal.as_ref().map_or(u64::MAX, Journal::synced)
    }

    /// A checkpoint is being made: brings the journal to the disk, and begins new segments, so that those
    /// before can go once no checkpoint needs them.
    pub(crate) fn roll(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.roll();
        }
    }

    /// The journal is needed from the boundary `epoch` on.
    pub(crate) fn forget_before(&mut self, epoch: u64) {
        if let Some(journal) = &mut self.journal {
            journal.drop_before(epoch);
        }
    }
}
