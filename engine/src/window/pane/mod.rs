//! Panes: what a window holds of one key, when it is told, and what becomes of records that come late.
//!
//! All of it is logic of one key, told of records and of timers, which keeps its rows and its timers in a
//! [`Store`]. There are three forms:
//!
//! * [`Windows`]: any [`WindowAssigner`](super::WindowAssigner), with a [`Trigger`] that says when a pane
//!   is told, an [`Evictor`] that says what of it, and a [`TooLate`] for what comes too late;
//! * [`Sliding`]: sliding windows, told when they end and corrected when a record is late, at a constant
//!   cost an event however many windows overlap;
//! * [`Counts`]: windows of so many records.
//!
//! [`presets`] puts them together as the emitters of the minibatch system.
//!
//! # What it costs
//!
//! A key with one open pane of [`Windows`] takes 220 to 420 bytes, if the key, the aggregate's state and the
//! trigger's are 8 bytes or less; each of several panes of a key, 170. Records cost the same however many keys there
//! are, but for the waits for memory (measured by `cargo bench -p anabranch-benches --bench windows`).
//!
//! # What is told, and when
//!
//! A window *ends* when the watermark reaches its end, and *closes* when the watermark has passed that by
//! the allowed lateness. Until then a late record corrects it; after that, a record is too late. Each
//! [`Fired`] says which [`Kind`] it is, and how many of this window there were before it.
//!
//! Invariant: what is told is a function of the rows and of what comes; the order of records within an
//! epoch, of timers (by time, then name) and of windows (by end, then start) decides everything.

mod blocks;
mod counting;
mod counts;
mod drive;
mod evict;
mod fire;
mod lateness;
pub mod presets;
mod slices;
mod sliding;
mod store;
#[cfg(test)]
mod tests;
mod trigger;
mod triggers;
mod upkeep;
mod windows;

use serde::{Deserialize, Serialize};

pub use self::blocks::Cache;
pub use self::counts::{CountSlice, Counts};
pub use self::evict::{Accumulate, Contents, Discard, Evictor, Take};
pub use self::fire::{Pane, Row};
pub use self::lateness::{Outcome, TooLate};
pub use self::slices::{SlidingKey, SlidingRow};
pub use self::sliding::Sliding;
pub use self::store::{Clock, Store};
pub use self::trigger::{Or, Purging, Trigger, Verdict, View};
pub use self::triggers::{
    AtClose, AtWatermark, Due, Every, EveryRecords, at_close, at_watermark, count_or_time,
    each_record, every, every_records,
};
pub use self::windows::Windows;
use super::Window;
use crate::Time;

/// Where time stands when something is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// No record before it is expected any more; the end of time when the input has ended.
    pub watermark: Time,
    /// The engine's time.
    pub now: Time,
}

/// What is told of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired<O, W = Window> {
    /// Of which window; a number where windows are counted.
    pub window: W,
    /// What its records came to.
    pub value: O,
    /// Of how many records.
    pub count: u64,
    /// How many times the window was told before.
    pub index: u64,
    /// Why it is told.
    pub kind: Kind,
}

impl<O, W> Fired<O, W> {
    /// With the value that `change` makes of it; nothing if that is `None`. A zero or an empty
    /// collection is a value like others.
    pub fn filter_map<P>(self, change: impl FnOnce(O) -> Option<P>) -> Option<Fired<P, W>> {
        let Self { window, value, count, index, kind } = self;
        change(value).map(|value| Fired { window, value, count, index, kind })
    }
}

/// Why a window is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// It has not ended.
    Early,
    /// It has ended (a count window: it is full). Nothing is missing but what comes late.
    OnTime,
    /// A correction: it had ended before.
    Late,
    /// It closes, or the time for more records is up: nothing follows.
    Final,
    /// One record that came after its window had closed, for itself.
    TooLate,
    /// What was told of it holds no more, because it became part of another session; the value is what it
    /// had until then.
    Replaced,
}
