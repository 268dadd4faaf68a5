//! What a worker reads of recorded input, and when.
//!
//! Invariant: it goes on by whole epochs, which end at the fences that all partitions of all workers have
//! proposed; so where it stops is a boundary for all workers.

use super::{EPOCHS_A_TURN, LastMark, Reading};
use crate::epoch::Signal;
use crate::ingest::{Filled, Volume};
use crate::origin::Entry;
use crate::watermark::Moment;
use crate::{Result, Time};

impl Reading {
    pub(super) fn advance_recorded(&mut self, mut ship: impl FnMut(u64, u64)) -> Result<()> {
        let mut more = if self.stopping { false } else { self.fill_lanes()? };
        for turn in 0.. {
            if self.stopping {
                // Until all have said where they stopped, to go on could be to go too far.
                let Some(last) = self.furthest_stop() else { break };
                if last <= self.at {
                    return self.end(&mut ship);
                }
            }
            if !self.flow.admits() {
                self.stall();
                break;
            }
            if turn == EPOCHS_A_TURN {
                break;
            }
            if !self.is_anew() && !self.settle(&mut ship)? {
                return Ok(());
            }
            let Some((epoch, end)) = self.fences.next(self.anew_up_to()) else {
                if self.end_of_time(&mut ship)? {
                    continue;
                }
                break;
            };
            self.end_lanes();
            self.applied = Some(end);
            if let Some(until) = self.until.filter(|until| end.time >= *until) {
                let before = Time::from_nanos(until.as_nanos().saturating_sub(1));
                self.board.begin(Moment { cut: true, ..Moment::whole(before) });
                self.emit_lanes(Entry { time: before, position: u64::MAX });
                ship(epoch, epoch + 1);
                self.done = true;
                self.tell_done();
                return Ok(());
            }
            let moment = if end.position == u64::MAX {
                self.last_cut = Some((end.time, epoch));
                Moment::whole(end.time)
            } else {
                Moment::part(end.time)
            };
            self.board.begin(moment);
            let volume = self.emit_lanes(end);
            more = true;
            ship(epoch, epoch + 1);
            self.at = epoch + 1;
            self.flow.enter(epoch, volume.records, volume.bytes);
            self.close(Some(end))?;
        }
        if self.lanes.iter().all(|own| own.ended && own.lane.is_empty()) && !self.follows() {
            self.end(&mut ship)?;
        }
        if more && !self.done && !self.stalled {
            self.activate();
        }
        Ok(())
    }

    /// Reads ahead in every partition; gives whether there is more to read at once.
    fn fill_lanes(&mut self) -> Result<bool> {
        let mut more = false;
        for index in 0..self.lanes.len() {
            self.current = Some(index);
            while let Some(own) = self.lanes.get_mut(index).filter(|own| !own.ended) {
                if self.paused.contains(&own.of) {
                    break;
                }
                let lane = own.index;
                match own.lane.fill()? {
                    Filled::Chunk(entry) => self.announce(Signal::Fence { lane, entry }),
                    Filled::More => {
                        more = true;
                        break;
                    }
                    Filled::Enough | Filled::Idle => break,
                    Filled::End => {
                        own.ended = true;
                        self.announce(Signal::End { lane });
                    }
                }
            }
        }
        Ok(more)
    }

    /// When all input has ended, and something may be due by it: tells that nothing follows, in an epoch
    /// without records. Gives whether it did.
    fn end_of_time(&mut self, ship: &mut impl FnMut(u64, u64)) -> Result<bool> {
        if !self.tells_end() || !self.fences.have_ended() {
            return Ok(false);
        }
        if self.makes_last_mark() && self.last_mark != LastMark::Made {
            self.want_last_mark();
            return Ok(false);
        }
        let Some(epoch) = self.fences.last() else { return Ok(false) };
        self.told_end = true;
        self.end_lanes();
        let time = self.applied.map_or(Time::ZERO, |applied| applied.time);
        let end = self.board.tells_all.get();
        self.board.begin(Moment { end, ..Moment::whole(time) });
        ship(epoch, epoch + 1);
        self.at = epoch + 1;
        self.close(self.applied)?;
        Ok(true)
    }

    /// Whether it has yet to be told that nothing follows.
    pub(super) fn tells_end(&self) -> bool {
        !self.told_end && !self.board.is_empty() && !self.lanes.is_empty()
    }

    /// Partitions that had handed on everything before the present epoch bring nothing more. That they
    /// have ended was known before the epoch could end, so it is said of the same one in every run.
    fn end_lanes(&mut self) {
        let ended = self.lanes.iter_mut().filter(|own| own.ended && own.lane.is_empty());
        ended.for_each(|own| own.lane.end());
    }

    fn emit_lanes(&mut self, end: Entry) -> Volume {
        let mut total = Volume::default();
        for (index, own) in self.lanes.iter_mut().enumerate() {
            self.current = Some(index);
            let volume = own.lane.emit(end);
            total.records += volume.records;
            total.bytes += volume.bytes;
        }
        total
    }

    /// Where the furthest of all stopped, once all have said it: they go up to there, so that no
    /// epoch is cut in two.
    pub(super) fn furthest_stop(&self) -> Option<u64> {
        let stops: Option<Vec<u64>> = self.stops.values().copied().collect();
        stops?.into_iter().max()
    }

    fn announce(&mut self, signal: Signal) {
        self.fences.publish(signal);
        self.tell(signal);
    }
}
