//! [`SourceClock`]: the event time of a source's partitions, on the worker that reads them.
//!
//! Invariant: it has seen exactly the records that were handed on, in their order.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::{Alignment, LaneTime};
use crate::letters::Retried;
use crate::pipeline::{Chain, Entering, of_chain};
use crate::timer::{DueKey, Round};
use crate::{Clock, Origin, Time};

/// The event time of a source's partitions on this worker.
#[derive(Default)]
pub(crate) struct SourceClock {
    /// By partition.
    lanes: RefCell<Vec<Lane>>,
}

#[derive(Clone, Default)]
struct Lane {
    known: Option<LaneTime>,
    /// What the records since then say.
    watermark: Option<Time>,
    /// Whether there were any.
    brought: bool,
}

impl SourceClock {
    /// A record of a partition was handed on.
    #[inline]
    fn see(&self, partition: usize, watermark: Option<Time>) {
        self.change(partition, |lane| {
            lane.brought = true;
            lane.watermark = lane.watermark.max(watermark);
        });
    }

    /// A partition has brought its last record.
    pub(crate) fn end(&self, partition: usize) {
        self.change(partition, |lane| {
            if lane.known.is_none_or(|known| known.watermark < Time::END) {
                lane.brought = true;
                lane.watermark = Some(Time::END);
            }
        });
    }

    /// How far a partition has come with all that was handed on.
    fn watermark(&self, partition: usize) -> Time {
        let lanes = self.lanes.borrow();
        let Some(lane) = lanes.get(partition) else { return Time::BEGIN };
        let known = lane.known.map(|known| known.watermark);
        known.max(lane.watermark).unwrap_or(Time::BEGIN)
    }

    /// How far the partitions have come that were read here, at that ingest time.
    fn lanes(&self, now: Time) -> Vec<(usize, LaneTime)> {
        let lanes = self.lanes.borrow();
        let read =
            lanes.iter().enumerate().filter(|(_, lane)| lane.brought || lane.known.is_some());
        let lanes = read.map(|(partition, lane)| {
            let known =
                lane.known.unwrap_or(LaneTime { watermark: Time::BEGIN, first: now, last: now });
            let watermark = lane.watermark.map_or(known.watermark, |new| new.max(known.watermark));
            let last = if lane.brought { now } else { known.last };
            (partition, LaneTime { watermark, last, ..known })
        });
        lanes.collect()
    }

    /// A partition goes on from where an earlier run had come.
    pub(crate) fn restore(&self, partition: usize, known: LaneTime) {
        self.change(partition, |lane| lane.known = Some(known));
    }

    #[inline]
    fn change(&self, partition: usize, change: impl FnOnce(&mut Lane)) {
        let mut lanes = self.lanes.borrow_mut();
        if lanes.len() <= partition {
            lanes.resize(partition + 1, Lane::default());
        }
        if let Some(lane) = lanes.get_mut(partition) {
            change(lane);
        }
    }

    /// An epoch of that logical time has ended: how far each partition has come that brought something.
    fn ended(&self, time: Time) -> Vec<(u16, LaneTime)> {
        let mut lanes = self.lanes.borrow_mut();
        let brought = lanes.iter_mut().zip(0_u16..).filter(|(lane, _)| lane.brought);
        let told = brought.map(|(lane, partition)| {
            let first = lane.known.map_or(time, |known| known.first);
            let before = lane.known.map_or(Time::BEGIN, |known| known.watermark);
            let watermark = lane.watermark.take().map_or(before, |new| new.max(before));
            lane.brought = false;
            (partition, *lane.known.insert(LaneTime { watermark, first, last: time }))
        });
        told.collect()
    }
}

/// How far time has come by the end of an epoch, for one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) to: usize,
    pub(crate) moment: Moment,
    /// Source, partition, and how far it has come.
    pub(crate) lanes: Vec<(u16, u16, LaneTime)>,
}

/// What an epoch is by engine time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// Its logical time.
    pub(crate) time: Time,
    /// No record of a later epoch has that ingest time or an earlier one.
    pub(crate) passed: Time,
    /// What remains of it is left out, and so is what there is to do after it by event time.
    pub(crate) cut: bool,
    /// All input has ended.
    pub(crate) end: bool,
}

impl Moment {
    /// Of an epoch that all records of its time belong to.
    pub(crate) fn whole(time: Time) -> Self {
        Self { time, passed: time, cut: false, end: false }
    }

    /// Of an epoch that others may follow with records of the same time.
    pub(crate) fn part(time: Time) -> Self {
        let passed = Time::from_nanos(time.as_nanos().saturating_sub(1));
        Self { passed, ..Self::whole(time) }
    }

    /// Both of one epoch.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            time: self.time.max(other.time),
            passed: self.passed.max(other.passed),
            cut: self.cut || other.cut,
            end: self.end || other.end,
        }
    }
}

/// What the sources of this worker have to tell of an epoch.
#[derive(Clone, Default)]
pub(crate) struct Board {
    /// Those that have event times, by their index.
    pub(crate) clocks: Rc<RefCell<BTreeMap<usize, Rc<SourceClock>>>>,
    /// Every epoch is to be told of, as something may be due by engine time; else those are to which a
    /// source with event times has brought something.
    pub(crate) tells_all: Rc<Cell<bool>>,
    pub(crate) alignment: Alignment,
    /// Views are to be told the logical time of every epoch.
    pub(crate) tells_times: Rc<Cell<bool>>,
    /// Of the epoch that is being handed on.
    moment: Rc<Cell<Option<Moment>>>,
}

impl Board {
    /// Whether nothing is ever told.
    pub(crate) fn is_empty(&self) -> bool {
        self.clocks.borrow().is_empty() && !self.tells_all.get()
    }

    /// What is handed on now belongs to that epoch.
    pub(crate) fn begin(&self, moment: Moment) {
        self.moment.set(Some(moment));
    }

    /// Whether a partition is to wait for others, at that ingest time.
    pub(crate) fn is_ahead(&self, source: usize, partition: usize, now: Time) -> bool {
        let clocks = self.clocks.borrow();
        let Some(clock) = clocks.get(&source) else { return false };
        let here = || {
            let lanes = clocks.iter().flat_map(|(source, clock)| {
                let lanes = clock.lanes(now);
                lanes.into_iter().map(|(partition, lane)| ((*source, partition), lane))
            });
            lanes.collect()
        };
        self.alignment.is_ahead((source, partition), clock.watermark(partition), now, here)
    }

    /// The logical time of the epoch that was begun, for each of so many workers, if views are to be told it;
    /// not of one of which something is left out, as what they would tell of it is another thing.
    pub(crate) fn times(&self, workers: usize) -> Vec<(usize, Time)> {
        let whole = self.moment.get().filter(|moment| self.tells_times.get() && !moment.cut);
        whole.map_or_else(Vec::new, |moment| (0..workers).map(|to| (to, moment.time)).collect())
    }

    /// What is to be told of the epoch that was begun, to each of so many workers.
    pub(crate) fn notes(&self, workers: usize) -> Vec<Note> {
        let Some(moment) = self.moment.take() else { return Vec::new() };
        let mut lanes = Vec::new();
        for (source, clock) in &*self.clocks.borrow() {
            let source = u16::try_from(*source).unwrap_or(u16::MAX);
            let told = clock.ended(moment.time).into_iter();
            lanes.extend(told.map(|(partition, lane)| (source, partition, lane)));
        }
        if lanes.is_empty() && !self.tells_all.get() {
            return Vec::new();
        }
        (0..workers).map(|to| Note { to, moment, lanes: lanes.clone() }).collect()
    }
}

/// A chain whose outputs say how far the event time of their partition has come.
pub(crate) struct Timed<C, F> {
    pub(crate) chain: C,
    pub(crate) after: F,
    pub(crate) clock: Rc<SourceClock>,
    /// The index of the source: what enters by another one says nothing.
    pub(crate) source: usize,
}

impl<C: Chain, F: Fn(&C::Out, Time) -> Option<Time> + 'static> Chain for Timed<C, F> {
    type Key = C::Key;
    type In = C::In;
    type Out = C::Out;
    const FANS_OUT: bool = C::FANS_OUT;

    #[inline(always)]
    fn feed(&mut self, origin: Origin, key: &C::Key, record: C::In, next: &mut impl FnMut(C::Out)) {
        let Self { chain, after, clock, source } = self;
        chain.feed(origin, key, record, &mut |record| {
            if origin.source() == *source {
                clock.see(origin.partition(), after(&record, origin.time()));
            }
            next(record);
        });
    }

    #[allow(private_interfaces)]
    fn resume(
        &mut self,
        entering: Entering<'_>,
        origin: Origin,
        next: &mut impl FnMut(&C::Key, C::Out),
    ) -> Option<Retried> {
        self.chain.resume(entering, origin, next)
    }

    of_chain!();
}
