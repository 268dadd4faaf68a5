//! [`Ttl`]: how long a row lives after it was written, or written or read.
//!
//! Kept of each row is its *stamp*, the time of its last touch, in an entry of its own: so reading a large
//! row writes down a time, and not the row. A stamp is there exactly while the row and one [`Timer`] are.
//!
//! Invariant: a row is gone for whoever looks at its last touch and its time to live after it or later,
//! whether or not the timer was served; before, it is there. Nothing but the clock that is given says
//! when that is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::assign::wrong;
use super::join::Timer;
use crate::{Clock, Result, Time};

#[cfg(test)]
mod tests;

/// The time to live of a table's rows.
///
/// # Timers
///
/// A row asks for a timer when it begins to live. Touching it asks for none: when the timer is served, it
/// finds that the row was touched, and asks for the time at which the row would be gone now. So each row
/// has one timer pending, which is served at most twice per time to live.
#[derive(Clone, Copy, Debug)]
pub struct Ttl {
    lives: Duration,
    reads: bool,
    clock: Clock,
}

/// When a row is looked at, by the clock that its table goes by. The clock of a row never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// What the clock shows: by it, rows are gone.
    pub clock: Time,
    /// From when on a touched row lives: what the clock shows, or later.
    pub touch: Time,
}

impl Moment {
    /// By the engine's time: that of the record, or of the timer.
    pub fn engine(now: Time) -> Self {
        Self { clock: now, touch: now }
    }

    /// By event time: the clock is the watermark, and a row lives from the record's time on; from the
    /// watermark on if that has passed the record, so that no row is gone as soon as it is written.
    pub fn event(watermark: Time, time: Time) -> Self {
        Self { clock: watermark, touch: time.max(watermark) }
    }
}

impl Ttl {
    /// Rows live for `time` after they were written last, by the engine's time.
    pub const fn since_write(time: Duration) -> Self {
        Self::new(time, false)
    }

    /// Rows live for `time` after they were written or read last, by the engine's time.
    pub const fn since_access(time: Duration) -> Self {
        Self::new(time, true)
    }

    const fn new(lives: Duration, reads: bool) -> Self {
        Self { lives, reads, clock: Clock::Engine }
    }

    /// The same by event time: rows live until the watermark is `time` further than it was at the touch.
    #[must_use]
    pub const fn in_event_time(self) -> Self {
        Self { clock: Clock::Event, ..self }
    }

    /// The clock that rows go by.
    pub(crate) fn clock(self) -> Clock {
        self.clock
    }

    /// What is wrong with how it was made.
    ///
    /// # Errors
    ///
    /// [`Error::Application`](crate::Error::Application) if rows live for no time.
    pub fn check(&self) -> Result<()> {
        let mistake = self.lives.is_zero().then(|| {
            "a time to live of nothing keeps no row; give at least a nanosecond".to_string()
        });
        wrong(mistake.as_ref())
    }

    /// Whether a row with that stamp is there for one who looks at it without touching it.
    pub fn is_live(&self, stamp: Option<Time>, clock: Time) -> bool {
        stamp.is_some_and(|stamp| clock < self.gone_at(stamp))
    }

    /// The row is about to be read. Gives whether it is there; if it is not, the row has to be removed, if
    /// it is still kept.
    pub fn read(&self, stamp: &mut Option<Time>, moment: Moment, timer: &mut impl Timer) -> bool {
        let live = self.is_live(*stamp, moment.clock);
        if !live {
            self.remove(stamp, timer);
        } else if self.reads {
            *stamp = (*stamp).max(Some(moment.touch));
        }
        live
    }

    /// The row is about to be written. Gives whether it is there; if it is not, what is still kept of it
    /// has to be removed before.
    pub fn write(&self, stamp: &mut Option<Time>, moment: Moment, timer: &mut impl Timer) -> bool {
        let live = self.is_live(*stamp, moment.clock);
        if live {
            *stamp = (*stamp).max(Some(moment.touch));
        } else {
            // A timer of the row that is gone is replaced.
            *stamp = Some(moment.touch);
            timer.set(self.gone_at(moment.touch));
        }
        live
    }

    /// The row was removed.
    pub fn remove(&self, stamp: &mut Option<Time>, timer: &mut impl Timer) {
        if stamp.take().is_some() {
            timer.cancel();
        }
    }

    /// The timer is due. Gives whether the row is there; if it is not, it has to be removed.
    pub fn wake(&self, stamp: &mut Option<Time>, clock: Time, timer: &mut impl Timer) -> bool {
        let Some(touched) = *stamp else { return false };
        let gone_at = self.gone_at(touched);
        if clock < gone_at {
            timer.set(gone_at);
            return true;
        }
        *stamp = None;
        timer.cancel();
        false
    }

    /// The first time at which a row that was touched then is gone.
    fn gone_at(&self, touched: Time) -> Time {
        touched.after(self.lives.max(Duration::from_nanos(1)))
    }
}
