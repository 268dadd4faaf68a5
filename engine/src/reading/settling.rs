//! A start that computes anew what an earlier program had computed: where it is done with that.
//!
//! Invariant: what was told otherwise is corrected in an epoch of its own, the first that the earlier program had
//! not applied; all workers leave it out of their input, so it is the same in every such start.

use super::{Mode, Reading};
use crate::Result;
use crate::keeper::Keeper;
use crate::origin::Entry;
use crate::watermark::Moment;

/// Where an earlier program had come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settling {
    /// The first epoch that it had not applied.
    pub(crate) at: u64,
    /// Recorded: where the last one before that ended.
    pub(crate) applied: Option<Entry>,
}

impl Reading {
    /// Computes anew what an earlier program had computed up to there.
    pub(crate) fn settle_at(&mut self, settling: Option<Settling>) {
        self.settling = settling;
    }

    /// Whether this worker is still at what an earlier program had applied.
    pub(super) fn is_anew(&self) -> bool {
        let Some(settling) = &self.settling else { return false };
        match self.mode {
            Mode::Live { .. } => {
                let next = self.keeper.as_ref().and_then(Keeper::next_epoch);
                next.is_some_and(|next| next < settling.at)
            }
            Mode::Recorded => self.applied < settling.applied,
        }
    }

    /// Recorded: where an epoch is to end, if it would end after that: input that has grown since is not computed
    /// anew.
    pub(super) fn anew_up_to(&self) -> Option<Entry> {
        self.settling.filter(|_| self.is_anew())?.applied
    }

    /// After the last epoch that an earlier program had applied: leaves out the next one, in which groups correct
    /// what was told; on the worker that marks boundaries asks first for the mark that says so. Gives
    /// whether there is nothing more to do.
    pub(super) fn settle(&mut self, ship: &mut impl FnMut(u64, u64)) -> Result<bool> {
        let Some(Settling { at, .. }) = self.settling else { return Ok(true) };
        if self.worker == 0 && !std::mem::replace(&mut self.settle_asked, true) {
            let (at, applied) = (at.max(self.at), self.applied.map(|applied| applied.time));
            self.board.begin(Moment::whole(applied.unwrap_or_else(|| super::time(at))));
            self.follow(at, ship)?;
            self.settle_mark = true;
            tracing::info!(
                "all that was kept is computed anew; what was told otherwise is corrected now"
            );
            self.activate();
            return Ok(false);
        }
        self.settling = None;
        let after = at.max(self.at) + 1;
        self.fences.begin(after);
        self.follow(after, ship)?;
        Ok(true)
    }

    /// Whether groups are to correct, in the epoch that is open here, what an earlier program has told.
    pub(crate) fn take_settle_mark(&mut self) -> bool {
        std::mem::take(&mut self.settle_mark)
    }
}
