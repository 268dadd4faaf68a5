//! How reading ends: others are told, and with a data directory one worker makes a last mark, so that a start
//! after a graceful end has nothing to replay.
//!
//! Invariant: the last mark is at a boundary before which every worker has handed on all that it reads. It is
//! before the epoch that tells the end of time: what a start goes on from does not know it, and tells it again.

use super::{Mode, Reading};
use crate::Result;
use crate::epoch::Signal;

/// The last mark, on the worker that makes marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LastMark {
    /// There is input, or may be, that it has to come after.
    #[default]
    Ahead,
    /// All input is before it.
    Wanted,
    /// It was made, or nothing has changed since the last checkpoint.
    Made,
}

impl Reading {
    /// Nothing is left that this worker reads itself: tells the others, and ends, unless it has yet to make
    /// the last mark.
    pub(super) fn end(&mut self, ship: &mut impl FnMut(u64, u64)) -> Result<()> {
        if self.worker == 0 && self.settling.is_some() && !self.told_done {
            tracing::warn!("it ends before all is computed anew: the next start begins that again");
        }
        self.tell_done();
        self.done = !self.makes_last_mark() || self.last_mark == LastMark::Made;
        if !self.done && self.is_last_boundary(ship)? {
            self.want_last_mark();
        }
        Ok(())
    }

    /// Whether this worker makes the last mark.
    pub(super) fn makes_last_mark(&self) -> bool {
        self.worker == 0 && self.keeps()
    }

    /// Every worker has handed on what it reads, before the present epoch.
    pub(super) fn want_last_mark(&mut self) {
        if self.last_mark == LastMark::Ahead {
            self.last_mark = LastMark::Wanted;
        }
    }

    /// Whether everything that all workers read is before the present epoch; live, moves it up to there.
    fn is_last_boundary(&mut self, ship: &mut impl FnMut(u64, u64)) -> Result<bool> {
        if matches!(self.mode, Mode::Recorded) {
            let all_stopped = self.furthest_stop().filter(|_| self.stopping);
            let is_last = all_stopped.is_some_and(|last| last <= self.at);
            return Ok(is_last || self.fences.have_ended());
        }
        let ends: Option<Vec<u64>> = self.ends.values().copied().collect();
        let Some(ends) = ends else { return Ok(false) };
        let last = ends.into_iter().max().unwrap_or(0);
        if last > self.at {
            self.follow(last, ship)?;
        }
        Ok(true)
    }

    /// Whether the last mark is to be made now: see [`ask_mark`](Self::ask_mark).
    pub(crate) fn wants_last_mark(&self) -> bool {
        self.last_mark == LastMark::Wanted
    }

    /// The last mark was made, or is not needed: the last checkpoint is at the present epoch.
    pub(crate) fn leave_last_mark(&mut self) {
        self.last_mark = LastMark::Made;
        self.activate();
    }

    /// Tells the others that this worker has nothing left to read.
    pub(super) fn tell_done(&mut self) {
        if !std::mem::replace(&mut self.told_done, true) {
            self.tell(Signal::Done { worker: self.worker, epoch: self.at });
        }
    }
}
