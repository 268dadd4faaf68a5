//! [`FrameStore`]: what is kept of one key, entry by entry.
//!
//! Invariant: nothing here is iterated but in the order of keys.

use serde::{Deserialize, Serialize};

use super::Frame;
use crate::Time;
use crate::window::entries::{Ordered, OrderedMut};

/// What is known of a key as a whole: a small row, which a record that comes in order does not change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Where the frame starts that was made first. `None` until one was.
    pub begun: Option<Time>,
    /// Where the oldest frame starts: what is before it is history.
    pub first: Time,
    /// Where the next frame is to start: all from `first` to here have been made.
    pub next: Time,
    /// The end of the last frame that was forgotten, as it was older than is kept.
    pub forgotten: Option<Time>,
    /// Records before it have been deleted.
    pub cut: Option<Time>,
    /// Whether there are more frames to make for history.
    pub backfilling: bool,
    /// For when [`FrameTimer::Due`] is set.
    pub timer: Option<Time>,
    /// How many frames have a result.
    pub completed: u64,
    /// How many dead letters there were.
    pub failed: u64,
    /// How many records were too late.
    pub late: u64,
}

/// Where an entry is: a record, or what those of some interval came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The record's time, or where the interval starts.
    pub time: Time,
    /// Counts the records of one time, in the order in which they were applied.
    pub number: u64,
}

/// A frame that is to be calculated, though those after it may have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rework {
    /// Where it ends.
    pub end: Time,
    /// Whether records of it have been deleted.
    pub missing_data: bool,
}

/// The names of a key's timers. To set one is to replace the one of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FrameTimer {
    /// A frame is due: of event time. All others are of engine time.
    Due,
    /// History has been quiet for long enough.
    Backfill,
    /// The frame of that start is to be calculated, or tried again. Those that are due at the same time
    /// must fire in the order of their starts.
    Rework(Time),
    /// There was more to do than is done at one go.
    More,
}

impl FrameTimer {
    /// Whether its time is an event time, so that it fires once the watermark has reached it. Otherwise
    /// it is an engine time.
    pub fn is_event_time(self) -> bool {
        self == Self::Due
    }
}

/// What is kept of one key of one task. Records (or aggregates) are `E`, results are `R`.
pub trait FrameStore<E: 'static, R: 'static> {
    /// What is known of the key as a whole; the default at first.
    fn head(&self) -> &Head;
    /// The same, to change.
    fn head_mut(&mut self) -> &mut Head;
    /// The frames, by their starts.
    fn frames(&self) -> &impl Ordered<Time, Frame<R>>;
    /// The same, to change.
    fn frames_mut(&mut self) -> &mut impl OrderedMut<Time, Frame<R>>;
    /// Records or aggregates, by their times.
    fn entries(&self) -> &impl Ordered<Place, E>;
    /// The same, to change.
    fn entries_mut(&mut self) -> &mut impl OrderedMut<Place, E>;
    /// What is to be calculated again, by the starts of the frames.
    fn rework(&self) -> &impl Ordered<Time, Rework>;
    /// The same, to change.
    fn rework_mut(&mut self) -> &mut impl OrderedMut<Time, Rework>;
    /// Asks for [`Task::on_timer`](super::Task::on_timer) at a time; takes the place of the timer of the
    /// same name. A time that has passed is soon, but not at the same go: what is done at one is bounded.
    fn set_timer(&mut self, timer: FrameTimer, at: Time);
    /// Takes a timer back, if it is set.
    fn cancel_timer(&mut self, timer: FrameTimer);

    /// Before which time nothing is needed by the others that read the same entries (of this task,
    /// nothing is before `own`): [`least_cutoff`](super::least_cutoff) of `own` and theirs. There are
    /// none, unless this says so.
    fn least_cutoff(&self, own: Time) -> Option<Time> {
        Some(own)
    }
}
