//! [`SourceClock`]: the event time of a source's partitions, on the worker that reads them.
//!
//! Invariant: it has seen exactly the records that were handed on, in their order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::LaneTime;
use crate::pipeline::{Chain, timers_of_chain};
use crate::timer::{DueKey, Round};
use crate::{Origin, Time};

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

/// How far partitions have come by the end of an epoch, for one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) to: usize,
    /// The epoch's logical time.
    pub(crate) time: Time,
    /// Source, partition, and how far it has come.
    pub(crate) lanes: Vec<(u16, u16, LaneTime)>,
}

/// What the sources of this worker have to tell of an epoch.
#[derive(Clone, Default)]
pub(crate) struct Board {
    /// Those that have event times, by their index.
    pub(crate) clocks: Rc<RefCell<BTreeMap<usize, Rc<SourceClock>>>>,
    /// The logical time of the epoch that is being handed on.
    time: Rc<std::cell::Cell<Time>>,
}

impl Board {
    /// Whether no source has event times.
    pub(crate) fn is_empty(&self) -> bool {
        self.clocks.borrow().is_empty()
    }

    /// What is handed on now belongs to an epoch of that logical time.
    pub(crate) fn begin(&self, time: Time) {
        self.time.set(time);
    }

    /// What is to be told of the epoch, to each of so many workers.
    pub(crate) fn notes(&self, workers: usize) -> Vec<Note> {
        let time = self.time.get();
        let mut lanes = Vec::new();
        for (source, clock) in &*self.clocks.borrow() {
            let source = u16::try_from(*source).unwrap_or(u16::MAX);
            let told = clock.ended(time).into_iter();
            lanes.extend(told.map(|(partition, lane)| (source, partition, lane)));
        }
        if lanes.is_empty() {
            return Vec::new();
        }
        (0..workers).map(|to| Note { to, time, lanes: lanes.clone() }).collect()
    }
}

/// A chain whose outputs say how far the event time of their partition has come.
pub(crate) struct Timed<C, F> {
    pub(crate) chain: C,
    pub(crate) after: F,
    pub(crate) clock: Rc<SourceClock>,
}

impl<C: Chain, F: Fn(&C::Out, Time) -> Option<Time> + 'static> Chain for Timed<C, F> {
    type Key = C::Key;
    type In = C::In;
    type Out = C::Out;
    const FANS_OUT: bool = C::FANS_OUT;

    #[inline(always)]
    fn feed(&mut self, origin: Origin, key: &C::Key, record: C::In, next: &mut impl FnMut(C::Out)) {
        let Self { chain, after, clock } = self;
        chain.feed(origin, key, record, &mut |record| {
            clock.see(origin.partition(), after(&record, origin.time()));
            next(record);
        });
    }

    fn fire(&mut self, origin: Origin, next: &mut impl FnMut(&C::Key, C::Out)) {
        self.chain.fire(origin, next);
    }

    timers_of_chain!();
}
