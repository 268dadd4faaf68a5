//! Watermarks: how far the event time of a pipeline has come.
//!
//! A source partition's watermark is `w` when no record with an event time before `w` is expected of it
//! any more ([`Watermarks`] says why not); a pipeline's is the least of the partitions that feed it. The
//! operator that reads the sources notes what each partition has brought to an epoch ([`SourceClock`])
//! and tells every group of tables ([`Note`]), which has applied the epoch's records by then
//! ([`Clocks`]).
//!
//! Invariant: a watermark never goes back, and is a function of the records before it: it changes
//! between epochs only, at the same ones on any number of workers, also before and after a restart.

mod alignment;
mod clocks;
mod source_clock;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use self::alignment::Alignment;
pub(crate) use self::clocks::{Clocks, Passing, PortClock, PortTime, SourceTimes};
pub(crate) use self::source_clock::{Board, Moment, Note, SourceClock, Timed};
use crate::Time;

/// Says by a record how far its partition's event time has come; for
/// [`event_time`](crate::Stream::event_time).
///
/// ```
/// use std::time::Duration;
///
/// use anabranch::{Time, Watermarks};
///
/// struct Trade { time: Time, price: i64 }
///
/// // Up to five seconds out of order; a partition that brings nothing for a minute holds nothing back.
/// let watermarks = Watermarks::bounded(Duration::from_secs(5), |trade: &Trade| trade.time)
///     .idle_after(Duration::from_secs(60));
/// ```
#[must_use = "give it to `event_time`"]
pub struct Watermarks<F> {
    /// What the watermark is after a record and its ingest time, if they say.
    pub(crate) after: F,
    pub(crate) idle_after: Option<Duration>,
    pub(crate) within: Option<Duration>,
}

impl Watermarks<()> {
    /// Event times never go back within a partition: the watermark is that of the last record.
    pub fn monotonic<T>(
        time: impl Fn(&T) -> Time + 'static,
    ) -> Watermarks<impl Fn(&T, Time) -> Option<Time> + 'static> {
        Self::bounded(Duration::ZERO, time)
    }

    /// A record comes after none of its partition that is more than `disorder` newer: the watermark is
    /// that far behind the newest.
    pub fn bounded<T>(
        disorder: Duration,
        time: impl Fn(&T) -> Time + 'static,
    ) -> Watermarks<impl Fn(&T, Time) -> Option<Time> + 'static> {
        Self::at_ingest(move |record: &T, _| Some(time(record).before(disorder)))
    }

    /// Some records say what the watermark is, as markers do that a sender puts between others.
    pub fn marked<T>(
        watermark: impl Fn(&T) -> Option<Time> + 'static,
    ) -> Watermarks<impl Fn(&T, Time) -> Option<Time> + 'static> {
        Self::at_ingest(move |record: &T, _| watermark(record))
    }

    /// Records say what the watermark is together with their ingest time, which
    /// [`Context::now`](crate::Context::now) is, too: where some bring no time of their own, or one ahead of
    /// its day would make all that follow late.
    ///
    /// ```
    /// use anabranch::{Time, Watermarks};
    ///
    /// struct Trade { time: Option<Time>, price: i64 }
    ///
    /// // By its ingest time, if it brings no time or one that has yet to come.
    /// let watermarks = Watermarks::at_ingest(|trade: &Trade, ingest| {
    ///     Some(trade.time.unwrap_or(ingest).min(ingest))
    /// });
    /// ```
    pub fn at_ingest<T>(
        watermark: impl Fn(&T, Time) -> Option<Time> + 'static,
    ) -> Watermarks<impl Fn(&T, Time) -> Option<Time> + 'static> {
        Watermarks { after: watermark, idle_after: None, within: None }
    }
}

impl<F> Watermarks<F> {
    /// A partition that brought nothing for so long, in ingest time, holds no watermark back until it
    /// brings something again; of live input also if all others are silent too. Without it a partition that is silent, or has yet to bring its first
    /// record, holds the watermark for ever.
    pub fn idle_after(self, silence: Duration) -> Self {
        Self { idle_after: Some(silence), ..self }
    }

    /// While the watermark of a partition of this source is more than `drift` ahead of that of some other
    /// partition (of any source that has event times, is not idle and has brought something), it is not
    /// read on: so what windows and joins must keep until the others come is bounded. Live input waits
    /// where it comes from; recorded input is read in the order of its ingest times anyway.
    pub fn aligned_within(self, drift: Duration) -> Self {
        Self { within: Some(drift), ..self }
    }
}

/// How far the event time of one source partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneTime {
    /// Nothing with an event time before it is expected.
    pub(crate) watermark: Time,
    /// The logical time of the first epoch to which it brought something.
    pub(crate) first: Time,
    /// The same of the last.
    pub(crate) last: Time,
}

/// How far event time had come at a boundary, for a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventTimes {
    /// The logical time of the last epoch that was told of.
    pub(crate) now: Time,
    /// All that was due by engine time then or before was fired.
    #[serde(default = "beginning")]
    pub(crate) passed: Time,
    /// Of each partition of each source, by name.
    pub(crate) sources: BTreeMap<String, BTreeMap<u16, LaneTime>>,
    /// The watermark of each pipeline, by the name of its first computation.
    pub(crate) watermarks: BTreeMap<String, Time>,
}

impl Default for EventTimes {
    /// At the beginning.
    fn default() -> Self {
        let now = Time::BEGIN;
        Self { now, passed: now, sources: BTreeMap::new(), watermarks: BTreeMap::new() }
    }
}

fn beginning() -> Time {
    Time::BEGIN
}

impl EventTimes {
    /// How far a partition of a source had come.
    pub(crate) fn of(&self, source: &str, partition: usize) -> Option<LaneTime> {
        self.sources.get(source)?.get(&u16::try_from(partition).ok()?).copied()
    }

    /// Takes over what another group knows: of what both know, they know the same.
    pub(crate) fn add(&mut self, other: Self) {
        for (source, lanes) in other.sources {
            self.sources.entry(source).or_default().extend(lanes);
        }
        self.watermarks.extend(other.watermarks);
        self.now = self.now.max(other.now);
        self.passed = self.passed.max(other.passed);
    }
}
