//! What a worker reads of live input, and when; and how time passes while there is none.
//!
//! Invariant: input is stamped when it is read. That time passes is input, too: when something is due by
//! engine time and nothing comes, one worker closes an epoch without records, a *tick*, which is journaled.
//! None is closed while nothing is due.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Mode, OwnLane, Reading, now, time};
use crate::epoch::Signal;
use crate::ingest::Volume;
use crate::keeper::Keeper;
use crate::source::Progress;
use crate::watermark::{Board, Moment};
use crate::{Result, Time, clock};

/// How long a worker waits at most for a time to come: meanwhile its clock may have been set.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// When something is due next by engine time, on each worker.
#[derive(Default)]
pub(super) struct Dues(BTreeMap<usize, u64>);

impl Dues {
    /// Gives whether that is news.
    pub(super) fn set(&mut self, worker: usize, at: Option<u64>) -> bool {
        match at {
            Some(at) => self.0.insert(worker, at) != Some(at),
            None => self.0.remove(&worker).is_some(),
        }
    }

    /// The next at `open` or later: an epoch before that is closed, and what was due then is being fired.
    fn next(&self, open: u64) -> Option<u64> {
        self.0.values().copied().filter(|at| *at >= open).min()
    }
}

impl Reading {
    pub(super) fn advance_live(
        &mut self,
        epoch_max: Duration,
        mut ship: impl FnMut(u64, u64),
    ) -> Result<()> {
        self.end_attending();
        if self.stopping || self.lanes.iter().all(|lane| lane.ended) {
            // Another one makes the ticks then.
            self.tell_done();
            if !self.follows() {
                self.end(&mut ship)?;
            } else if self.ticks.seen() > self.at {
                self.follow(self.ticks.seen(), &mut ship)?;
            }
            return Ok(());
        }
        if !self.flow.admits() {
            self.stall();
            return Ok(());
        }
        let tick = now().max(self.at).max(self.ticks.seen());
        let began = clock::instant();
        let mut total = Volume::default();
        let more = loop {
            let (more, volume) = self.read_lanes(tick)?;
            total.records += volume.records;
            total.bytes += volume.bytes;
            if !more || !self.flow.has_room(total) || began.elapsed() >= epoch_max {
                break more;
            }
        };
        let brought = self.keep_live(tick)?;
        let something = total.records > 0 || brought;
        if something || self.next_tick().is_some_and(|due| due <= tick) {
            if !something && let Some(keeper) = &mut self.keeper {
                keeper.keep_tick(tick)?;
            }
            self.board.begin(Moment::whole(time(tick)));
            ship(tick, tick + 1);
            self.at = tick + 1;
            self.flow.enter(tick, total.records, total.bytes);
            self.close(None)?;
            self.tell(Signal::Tick(self.at));
        } else if self.ticks.seen() > self.at {
            self.follow(self.ticks.seen(), &mut ship)?;
        }
        if more || self.lanes.iter().all(|lane| lane.ended || lane.attends) {
            self.activate();
        }
        Ok(())
    }

    /// Ends the partitions that nobody waits for, when all others have ended, of all workers.
    fn end_attending(&mut self) {
        let mut others = self.stops.iter().filter(|(worker, _)| **worker != self.worker);
        let ended = self.lanes.iter().filter(|own| !own.attends).all(|own| own.ended);
        if ended && others.all(|(_, stop)| stop.is_some()) {
            self.lanes.iter_mut().for_each(|own| own.ended |= own.attends);
        }
    }

    /// Journals what was read for `tick`; gives whether there was anything.
    fn keep_live(&mut self, tick: u64) -> Result<bool> {
        self.keeper.as_mut().map_or(Ok(false), |keeper| keeper.keep_live(tick, &mut self.lanes))
    }

    /// Reads every partition once; gives whether there is more to read at once.
    fn read_lanes(&mut self, tick: u64) -> Result<(bool, Volume)> {
        let time = time(tick);
        let mut more = false;
        let mut total = Volume::default();
        let paused = &self.paused;
        let read = |own: &OwnLane| !own.ended && !paused.contains(&own.of);
        for (index, own) in self.lanes.iter_mut().enumerate().filter(|(_, own)| read(own)) {
            own.held = is_ahead(&self.board, own, time);
            if own.held {
                continue;
            }
            self.current = Some(index);
            let (progress, volume) = own.lane.read(time)?;
            total.records += volume.records;
            total.bytes += volume.bytes;
            more |= progress == Progress::Ready;
            own.ended = progress == Progress::End;
        }
        Ok((more, total))
    }

    /// Reads on if a partition waited for others and is not far ahead any more.
    pub(super) fn resume_held(&mut self) {
        let held = self.lanes.iter().filter(|own| own.held && !own.ended);
        let mut held = held.peekable();
        if held.peek().is_some() {
            let now = time(now());
            if held.any(|own| !is_ahead(&self.board, own, now)) {
                self.activate();
            }
        }
    }

    /// Something that waits on this worker is due at `at` next.
    pub(crate) fn due_here(&mut self, at: Option<Time>) {
        let at = at.map(|at| u64::try_from(at.as_nanos()).unwrap_or(0));
        if self.dues.set(self.worker, at) {
            self.tell(Signal::Due { worker: self.worker, at });
        }
    }

    /// When this worker makes the next tick, if it is the one that does.
    fn next_tick(&self) -> Option<u64> {
        let ticker = self.stops.iter().find(|(_, stop)| stop.is_none());
        if ticker.map(|(worker, _)| *worker) != Some(self.worker) {
            return None;
        }
        self.dues.next(self.at.max(self.ticks.seen()))
    }

    /// How long this worker may sleep before it makes the next tick; none if it makes none. When it is
    /// time, it is told to read.
    pub(crate) fn tick_in(&self) -> Option<Duration> {
        let replays = self.keeper.as_ref().is_some_and(Keeper::replays);
        let live = matches!(self.mode, Mode::Live { .. });
        if !live || self.done || self.stopping || self.stalled || replays {
            return None;
        }
        let left = self.next_tick()?.saturating_sub(now());
        if left == 0 {
            self.activate();
        }
        Some(Duration::from_nanos(left).min(WAIT_MAX))
    }

    /// When a replay ends before the journal does: tells how far time has come by then, as it did.
    pub(super) fn end_of_span(&mut self, ship: &mut impl FnMut(u64, u64)) {
        let left_out = self.keeper.as_ref().is_some_and(Keeper::left_out);
        let Some(until) = self.until.filter(|_| left_out) else { return };
        let before = Time::from_nanos(until.as_nanos().saturating_sub(1));
        self.board.begin(Moment { cut: true, ..Moment::whole(before) });
        let epoch = u64::try_from(until.as_nanos()).unwrap_or(0).max(self.at);
        ship(epoch, epoch + 1);
        self.at = epoch + 1;
    }
}

/// Whether a partition is to wait for others at that ingest time.
fn is_ahead(board: &Board, own: &OwnLane, time: Time) -> bool {
    board.is_ahead(own.of, own.partition as usize, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_in_a_closed_epoch_asks_for_no_other() {
        let mut dues = Dues::default();
        assert!(dues.set(0, Some(7)) && dues.set(1, Some(5)) && !dues.set(1, Some(5)));
        assert_eq!(dues.next(0), Some(5));
        assert_eq!(dues.next(6), Some(7), "epoch 5 is closed, and fires what was due then");
        assert!(dues.set(1, Some(6)), "it sets the next");
        assert_eq!(dues.next(6), Some(6));
        assert!(dues.set(0, None) && !dues.set(0, None));
        assert_eq!(dues.next(7), None);
    }
}
