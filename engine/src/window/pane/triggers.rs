//! The triggers that come with the engine.
//!
//! Invariant: none fires a pane early in which nothing is new; and no record stays untold when its window
//! closes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Clock;
use super::trigger::{Or, Trigger, Verdict, View};
use crate::window::assign::{nanos, wrong};
use crate::{Result, Time};

fn fire_if(fires: bool) -> Verdict {
    if fires { Verdict::Fire } else { Verdict::Wait }
}

/// When the window has ended, and again at each record that is late: the default.
///
/// ```
/// use std::time::Duration;
/// use anabranch::window::pane::{Clock, Trigger, at_watermark, every, every_records};
///
/// // Also before it has ended: at every hundredth record, and a second after the first that is new.
/// let early = every_records(100).or(every(Duration::from_secs(1), Clock::Engine));
/// let trigger = at_watermark().or(early);
/// trigger.check()?;
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn at_watermark() -> AtWatermark {
    AtWatermark { late: 1 }
}

/// See [`at_watermark`].
#[derive(Clone, Copy, Debug)]
pub struct AtWatermark {
    late: u64,
}

impl Default for AtWatermark {
    fn default() -> Self {
        at_watermark()
    }
}

impl AtWatermark {
    /// Corrects when so many late records have come, and when the window closes.
    #[must_use]
    pub fn late_every(mut self, records: u64) -> Self {
        self.late = records;
        self
    }
}

impl Trigger for AtWatermark {
    type State = ();
    const ENGINE_TIME: bool = false;

    fn open(&self, _: &View) {}
    fn on_record(&self, (): &mut (), _: Time, view: &View) -> Verdict {
        fire_if(view.ended && view.fresh >= self.late)
    }
    fn check(&self) -> Result<()> {
        check_records(self.late)
    }
}

/// Once, when the window closes: what is told is never corrected.
pub fn at_close() -> AtClose {
    AtClose(())
}

/// See [`at_close`].
#[derive(Clone, Copy, Debug)]
pub struct AtClose(());

impl Trigger for AtClose {
    type State = ();
    const ENGINE_TIME: bool = false;

    fn open(&self, _: &View) {}
    fn on_record(&self, (): &mut (), _: Time, _: &View) -> Verdict {
        Verdict::Wait
    }
    fn on_end(&self, (): &mut (), _: &View) -> Verdict {
        Verdict::Wait
    }
    fn on_close(&self, (): &mut (), _: &View) -> Verdict {
        Verdict::Fire
    }
}

/// Whenever so many records are new; the rest when the window closes.
pub fn every_records(records: u64) -> EveryRecords {
    EveryRecords { records }
}

/// At each record.
pub fn each_record() -> EveryRecords {
    every_records(1)
}

/// See [`every_records`].
#[derive(Clone, Copy, Debug)]
pub struct EveryRecords {
    records: u64,
}

fn check_records(records: u64) -> Result<()> {
    let mistake = (records == 0).then(|| {
        "a trigger at every 0 records never fires; give at least 1, which is at each record"
            .to_owned()
    });
    wrong(mistake.as_ref())
}

impl Trigger for EveryRecords {
    type State = ();
    const ENGINE_TIME: bool = false;

    fn open(&self, _: &View) {}
    fn on_record(&self, (): &mut (), _: Time, view: &View) -> Verdict {
        fire_if(view.fresh >= self.records)
    }
    fn on_end(&self, (): &mut (), _: &View) -> Verdict {
        Verdict::Wait
    }
    fn check(&self) -> Result<()> {
        check_records(self.records)
    }
}

/// Again and again while something is new; the rest when the window closes. By the engine's time: when
/// the first new record has waited for `period`. By event time: when the watermark has reached the next
/// multiple of `period` since 1970; one that leaps over several fires once.
pub fn every(period: Duration, clock: Clock) -> Every {
    match nanos("period of a trigger", period) {
        Ok(period) => Every { period, clock, mistake: None },
        Err(mistake) => Every { period: 1, clock, mistake: Some(mistake) },
    }
}

/// See [`every`].
#[derive(Clone, Debug)]
pub struct Every {
    period: i64,
    clock: Clock,
    mistake: Option<String>,
}

/// When a trigger is to be woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// If at all.
    pub at: Option<Time>,
}

impl Trigger for Every {
    type State = Due;

    fn open(&self, _: &View) -> Due {
        Due::default()
    }

    fn on_record(&self, due: &mut Due, time: Time, view: &View) -> Verdict {
        if due.at.is_none() || view.fresh == 1 {
            let from = match self.clock {
                Clock::Engine => view.now.as_nanos(),
                // Before there is any watermark.
                Clock::Event if view.watermark.as_nanos() == i64::MIN => {
                    time.as_nanos().saturating_sub(time.as_nanos().rem_euclid(self.period))
                }
                Clock::Event => {
                    let watermark = view.watermark.as_nanos();
                    watermark.saturating_sub(watermark.rem_euclid(self.period))
                }
            };
            due.at = Some(Time::from_nanos(from.saturating_add(self.period)));
        }
        Verdict::Wait
    }

    fn on_time(&self, due: &mut Due, view: &View) -> Verdict {
        let reached = match self.clock {
            Clock::Event => view.watermark,
            Clock::Engine => view.now,
        };
        if due.at.is_none_or(|at| at > reached) {
            return Verdict::Wait;
        }
        due.at = None;
        fire_if(view.fresh > 0)
    }

    fn on_end(&self, due: &mut Due, view: &View) -> Verdict {
        // Its time may have come in the same leap of the watermark.
        self.on_time(due, view)
    }

    fn wake(&self, due: &Due, clock: Clock) -> Option<Time> {
        due.at.filter(|_| clock == self.clock)
    }

    fn merge(&self, due: &mut Due, other: Due) {
        due.at = due.at.into_iter().chain(other.at).min();
    }

    fn check(&self) -> Result<()> {
        wrong(self.mistake.as_ref())
    }
}

/// When so many records are new, or the first of them has waited so long, whichever is first.
pub fn count_or_time(records: u64, period: Duration, clock: Clock) -> Or<EveryRecords, Every> {
    every_records(records).or(every(period, clock))
}
