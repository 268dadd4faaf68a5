//! How late a record may be, and what becomes of one that is later.
//!
//! Invariant: a record is judged by the watermark alone. A window of which a time is at or after the
//! `cut_off` is open.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Window;
use crate::Time;

/// What becomes of a record when all its windows have closed. Whatever it is, the record is counted: see
/// [`Outcome`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TooLate {
    /// It goes to the side output.
    #[default]
    SideOutput,
    /// It is gone.
    Drop,
    /// It is told at once, by itself, in the last window that it belonged to.
    FirePerRecord,
    /// It is taken for one of the first time that is not too late, and so enters the oldest window that
    /// is open.
    OldestOpen,
}

/// What became of a record.
#[must_use = "late records are counted, and some are to go to a side output"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// None of its windows had ended.
    InTime,
    /// It has corrected at least one window that had ended.
    Late,
    /// It was too late, and entered the oldest open window.
    Moved,
    /// It was too late, and is told by itself.
    FiredAlone,
    /// It was too late: it is for the side output.
    SideOutput,
    /// It was too late, and is gone.
    Dropped,
    /// The assigner has no window for its time.
    Outside,
}

impl Outcome {
    /// Whether it came after a window of its time had ended.
    pub fn is_late(self) -> bool {
        !matches!(self, Self::InTime | Self::Outside)
    }

    /// Whether it came after all windows of its time had closed.
    pub fn is_too_late(self) -> bool {
        self.is_late() && self != Self::Late
    }
}

/// Whether the window has ended.
pub(super) fn has_ended(window: Window, watermark: Time) -> bool {
    watermark >= window.end
}

/// For how long windows stay open after they have ended, and what becomes of what comes after that.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lateness {
    pub(super) allowed: Duration,
    pub(super) too_late: TooLate,
}

impl Lateness {
    /// Whether late records are told of, one by one.
    pub(crate) fn corrects(self) -> bool {
        !self.allowed.is_zero() || self.too_late == TooLate::FirePerRecord
    }

    /// What becomes of records that were combined with others: they cannot go to the side output.
    pub(crate) fn of_parts(self) -> TooLate {
        match self.too_late {
            TooLate::SideOutput => TooLate::Drop,
            other => other,
        }
    }

    /// When a window closes.
    pub(super) fn close(self, window: Window) -> Time {
        window.end.after(self.allowed)
    }

    pub(super) fn is_closed(self, window: Window, watermark: Time) -> bool {
        watermark >= self.close(window)
    }

    /// The first time of which no window can have closed.
    pub(super) fn cut_off(self, watermark: Time) -> Time {
        watermark.before(self.allowed)
    }
}
