//! [`Alignment`]: which partitions are too far ahead of the others to be read on.
//!
//! Invariant: it decides when live input is read, and nothing else: what was read is stamped and journaled,
//! and a replay reads that. A partition that has brought nothing, or is idle, or has ended, holds no other
//! one back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::LaneTime;
use crate::Time;

/// How far the event times of all partitions have come, and how far apart they may be; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Alignment(Rc<RefCell<Known>>);

#[derive(Default)]
struct Known {
    /// After which silence partitions of a source are idle, and how far ahead they may be; by index.
    sources: BTreeMap<usize, (Option<Duration>, Option<Duration>)>,
    lanes: BTreeMap<(usize, usize), LaneTime>,
}

impl Alignment {
    /// A source with event times.
    pub(crate) fn add(
        &self,
        source: usize,
        idle_after: Option<Duration>,
        within: Option<Duration>,
    ) {
        self.0.borrow_mut().sources.insert(source, (idle_after, within));
    }

    /// How far a partition has come.
    pub(super) fn told(&self, source: usize, partition: usize, lane: LaneTime) {
        self.0.borrow_mut().lanes.insert((source, partition), lane);
    }

    /// Whether a partition, whose watermark is `own`, is to wait for others at that ingest time.
    pub(crate) fn is_ahead(&self, source: usize, partition: usize, own: Time, now: Time) -> bool {
        let known = self.0.borrow();
        let Some((_, Some(within))) = known.sources.get(&source) else { return false };
        let others = known.lanes.iter().filter(|(place, _)| **place != (source, partition));
        let holding = others.filter(|((source, _), lane)| {
            let idle_after = known.sources.get(source).and_then(|(idle_after, _)| *idle_after);
            let idle = idle_after.is_some_and(|silence| lane.last.after(silence) <= now);
            !idle && lane.watermark > Time::BEGIN && lane.watermark < Time::END
        });
        let least = holding.map(|(_, lane)| lane.watermark).min();
        least.is_some_and(|least| own > least.after(*within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_far_ahead_waits_for_who_brings_something() {
        let at = Time::from_millis;
        let lane = |watermark, last| LaneTime { watermark, first: at(0), last };
        let alignment = Alignment::default();
        alignment.add(0, None, Some(Duration::from_millis(10)));
        alignment.add(1, Some(Duration::from_millis(100)), None);
        assert!(!alignment.is_ahead(0, 0, at(50), at(0)), "alone");
        alignment.told(0, 0, lane(at(50), at(1)));
        alignment.told(1, 0, lane(Time::BEGIN, at(1)));
        assert!(!alignment.is_ahead(0, 0, at(50), at(0)), "nothing is known of the other");
        alignment.told(1, 0, lane(at(40), at(1)));
        assert!(!alignment.is_ahead(0, 0, at(50), at(2)));
        assert!(alignment.is_ahead(0, 0, at(51), at(2)));
        assert!(!alignment.is_ahead(1, 0, at(90), at(2)), "it was not told to wait");
        assert!(!alignment.is_ahead(0, 0, at(51), at(101)), "the other is idle");
        alignment.told(1, 0, lane(Time::END, at(1)));
        assert!(!alignment.is_ahead(0, 0, at(51), at(2)), "the other has ended");
    }
}
