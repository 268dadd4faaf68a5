//! The rows of [`Sliding`](super::Sliding): slices, and what is told next.
//!
//! Invariant: no window begins or ends within a slice.

use serde::{Deserialize, Serialize};

use super::Contents;
use crate::Time;
use crate::window::Window;

/// Names a row of [`Sliding`](super::Sliding).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SlidingKey {
    /// What is told next; also the name of the one timer.
    Next,
    /// What the records of a slice came to.
    Slice(Window),
    /// How many times a window was told, if that is more than once or it was empty.
    Told(Window),
}

impl SlidingKey {
    /// After all slices.
    pub(super) const PAST_SLICES: Self =
        Self::Told(Window::new(Window::ALL.start, Window::ALL.start));

    /// The first slice that ends after `time`.
    pub(super) fn from(time: Time) -> Self {
        // Windows are in the order of their ends.
        Self::Slice(Window::new(time, time))
    }
}

/// A row of [`Sliding`](super::Sliding).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlidingRow<S> {
    /// See [`SlidingKey::Next`].
    Next(Next),
    /// See [`SlidingKey::Slice`].
    Slice(Contents<S>),
    /// See [`SlidingKey::Told`].
    Told(u64),
}

/// What is told next, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// The window that is told next; none if no slice is in one that has not ended.
    pub(super) window: Option<Window>,
    /// When the timer is due.
    pub(super) due: Option<Time>,
    /// How many windows in a row were empty.
    pub(super) empty: u64,
}

impl<S> SlidingRow<S> {
    pub(super) fn slice(&self) -> Option<&Contents<S>> {
        if let Self::Slice(slice) = self { Some(slice) } else { None }
    }

    pub(super) fn next(&self) -> Option<Next> {
        if let Self::Next(next) = self { Some(*next) } else { None }
    }

    /// For when the timer is set, if this row says it.
    pub(crate) fn due(&self) -> Option<Time> {
        self.next()?.due
    }

    pub(super) fn told(&self) -> Option<u64> {
        if let Self::Told(times) = self { Some(*times) } else { None }
    }
}
