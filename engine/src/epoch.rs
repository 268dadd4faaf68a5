//! Epochs: when they close, and how many are in flight.
//!
//! Invariant: recorded input is cut by a pure function of it. Every partition proposes a fence
//! after each chunk of its own records (a number and size fixed in advance); the fences of all
//! partitions, in order, are the ends of epochs 0, 1, 2, ... Live input is stamped by a hybrid
//! logical clock: never behind what peers have announced.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use timely::dataflow::ProbeHandle;

use crate::ingest::Volume;
use crate::origin::Entry;
use crate::{Error, Result};

/// How far ahead of this machine's clock a peer's may be, in nanoseconds.
const SKEW_MAX_NANOS: u64 = 1_000_000_000;

/// What workers with sources tell each other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Signal {
    /// Live: everything before this tick is closed here.
    Tick(u64),
    /// Recorded: a partition ends a chunk after this entry.
    Fence { lane: usize, entry: Entry },
    /// Recorded: a partition has nothing more.
    End { lane: usize },
    /// A worker was told to stop, and has closed everything before this epoch.
    Stop { worker: usize, epoch: u64 },
    /// A worker has handed on all that it reads, before this epoch.
    Done { worker: usize, epoch: u64 },
    /// Live: something is due on a worker at that tick, by engine time; nothing is, if there is none.
    Due { worker: usize, at: Option<u64> },
    /// A source is read no further, or again.
    Pause { source: usize, paused: bool },
    /// A checkpoint is complete; none before the boundary `keep_from` is kept.
    Checkpoint { keep_from: u64 },
    /// No checkpoint came of the last mark.
    NoCheckpoint,
}

/// The fences of all partitions, and from them the ends of epochs.
pub(crate) struct Fences {
    lanes: Vec<Published>,
    pending: BTreeSet<Entry>,
    next_epoch: u64,
}

#[derive(Clone, Copy)]
enum Published {
    Nothing,
    Upto(Entry),
    All,
}

impl Fences {
    pub(crate) fn new(lanes: usize) -> Self {
        Self { lanes: vec![Published::Nothing; lanes], pending: BTreeSet::new(), next_epoch: 0 }
    }

    /// The first epoch is not 0 but `epoch`: those before it were applied by an earlier run.
    pub(crate) fn begin(&mut self, epoch: u64) {
        self.next_epoch = epoch;
    }

    pub(crate) fn publish(&mut self, signal: Signal) {
        let (lane, published) = match signal {
            Signal::Fence { lane, entry } => {
                self.pending.insert(entry);
                (lane, Published::Upto(entry))
            }
            Signal::End { lane } => (lane, Published::All),
            _ => return,
        };
        if let Some(known) = self.lanes.get_mut(lane) {
            *known = published;
        }
    }

    /// The next epoch and its last entry, once no partition can still propose an earlier fence; it ends at `limit`, if
    /// it would end after that.
    pub(crate) fn next(&mut self, limit: Option<Entry>) -> Option<(u64, Entry)> {
        let first = *self.pending.first()?;
        let final_ = self.lanes.iter().all(|lane| match lane {
            Published::Nothing => false,
            Published::Upto(entry) => first <= *entry,
            Published::All => true,
        });
        if !final_ {
            return None;
        }
        let end = limit.filter(|limit| *limit < first).unwrap_or(first);
        if end == first {
            self.pending.pop_first();
        }
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        Some((epoch, end))
    }

    /// An epoch after the last, once all partitions of all workers have ended: for what there is to do
    /// when nothing follows.
    pub(crate) fn last(&mut self) -> Option<u64> {
        self.have_ended().then(|| {
            self.next_epoch += 1;
            self.next_epoch - 1
        })
    }

    /// Whether all partitions of all workers have ended, and every epoch of theirs was given out.
    pub(crate) fn have_ended(&self) -> bool {
        let ended = self.lanes.iter().all(|lane| matches!(lane, Published::All));
        ended && self.pending.is_empty()
    }
}

/// The tick of live input.
#[derive(Default)]
pub(crate) struct Ticks {
    /// The highest tick that a peer has announced.
    seen: u64,
}

impl Ticks {
    /// A peer has closed everything before `tick`.
    ///
    /// # Errors
    /// When the peer's clock is too far ahead.
    pub(crate) fn see(&mut self, tick: u64, now: u64) -> Result<()> {
        if tick > now.saturating_add(SKEW_MAX_NANOS) {
            return Err(Error::Cluster(format!(
                "the clock of another machine is {} ms ahead of this one's; synchronise the \
                 clocks (for example by NTP) and start again",
                (tick - now) / 1_000_000
            )));
        }
        self.seen = self.seen.max(tick);
        Ok(())
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }
}

/// How much may be in flight between sources and sinks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowLimits {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) epochs: usize,
}

/// What this worker's sources have in flight: epochs that not every sink and group has finished.
pub(crate) struct Flow {
    limits: FlowLimits,
    finished: ProbeHandle<u64>,
    in_flight: VecDeque<(u64, usize, usize)>,
    records: usize,
    bytes: usize,
}

/// Every epoch before the one that is given is finished, on all workers.
pub(crate) fn finished_before(finished: &ProbeHandle<u64>) -> u64 {
    finished.with_frontier(|frontier| frontier.first().copied()).unwrap_or(u64::MAX)
}

impl Flow {
    pub(crate) fn new(limits: FlowLimits, finished: ProbeHandle<u64>) -> Self {
        Self { limits, finished, in_flight: VecDeque::new(), records: 0, bytes: 0 }
    }

    /// Whether another epoch may enter.
    pub(crate) fn admits(&mut self) -> bool {
        while let Some((epoch, records, bytes)) = self.in_flight.front().copied() {
            if self.finished.less_equal(&epoch) {
                break;
            }
            self.in_flight.pop_front();
            self.records -= records;
            self.bytes -= bytes;
        }
        self.records < self.limits.records
            && self.bytes < self.limits.bytes
            && self.in_flight.len() < self.limits.epochs
    }

    /// Every epoch before the one that is given is finished, on all workers.
    pub(crate) fn finished_before(&self) -> u64 {
        finished_before(&self.finished)
    }

    /// Whether an epoch of `volume` may grow further.
    pub(crate) fn has_room(&self, volume: Volume) -> bool {
        self.records + volume.records < self.limits.records
            && self.bytes + volume.bytes < self.limits.bytes
    }

    pub(crate) fn enter(&mut self, epoch: u64, records: usize, bytes: usize) {
        if records > 0 {
            self.in_flight.push_back((epoch, records, bytes));
            self.records += records;
            self.bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Origin, Time};

    fn entry(time: i64, lane: usize) -> Entry {
        Origin::new(Time::from_nanos(time), 0, lane, 0).entry()
    }

    #[test]
    fn a_fence_waits_for_every_partition() {
        let mut fences = Fences::new(2);
        fences.publish(Signal::Fence { lane: 0, entry: entry(5, 0) });
        assert_eq!(fences.next(None), None, "partition 1 may still propose an earlier one");
        fences.publish(Signal::Fence { lane: 1, entry: entry(3, 1) });
        assert_eq!(fences.next(None), Some((0, entry(3, 1))));
        assert_eq!(fences.next(None), None);
        fences.publish(Signal::End { lane: 1 });
        assert_eq!(fences.next(None), Some((1, entry(5, 0))));
    }

    proptest! {
        #[test]
        fn epochs_do_not_depend_on_the_order_of_arrival(
            times in proptest::collection::vec(proptest::collection::btree_set(0..99_i64, 0..9), 1..4),
            seed in any::<u64>(),
        ) {
            let mut queues: Vec<Vec<Signal>> = times.iter().enumerate().map(|(lane, times)| {
                let fences = times.iter().map(|t| Signal::Fence { lane, entry: entry(*t, lane) });
                fences.chain([Signal::End { lane }]).rev().collect()
            }).collect();
            let mut expected: Vec<Entry> = times.iter().enumerate()
                .flat_map(|(lane, times)| times.iter().map(move |t| entry(*t, lane))).collect();
            expected.sort();
            let (mut fences, mut ends, mut random) = (Fences::new(times.len()), Vec::new(), seed);
            while queues.iter().any(|q| !q.is_empty()) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let lane = (random >> 33) as usize % queues.len();
                if let Some(signal) = queues[lane].pop() { fences.publish(signal); }
                while let Some((epoch, end)) = fences.next(None) {
                    prop_assert_eq!(epoch as usize, ends.len());
                    ends.push(end);
                }
            }
            prop_assert_eq!(ends, expected);
        }
    }

    #[test]
    fn a_clock_too_far_ahead_is_refused() {
        let mut ticks = Ticks::default();
        assert!(ticks.see(1_500_000_000, 1_000_000_000).is_ok());
        assert_eq!(ticks.seen(), 1_500_000_000);
        let refused = ticks.see(2_500_000_001, 1_000_000_000).unwrap_err();
        assert!(refused.to_string().contains("1500 ms ahead"), "{refused}");
    }
}
