//! [`Counts`]: windows of so many records, in the order in which they come.
//!
//! Invariant: windows start and end where slices do, and all slices have as many records.

use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Clock, Contents};
use crate::Result;
use crate::aggregate::Aggregate;
use crate::window::assign::{nanos, wrong};

/// The most records of a window, and between the starts of two.
const RECORDS_MOST: u64 = 1 << 40;
/// The most slices of a window.
const SLICES_MOST: u64 = 100_000;

/// Windows of the records of one key by their number: each is told when it is full, with its number from
/// 0 on.
///
/// Records that fill no window yet are pending; they are told before it is full if
/// [`flush_after`](Self::flush_after) or [`flush_at_end`](Self::flush_at_end) says so. One row for each
/// slice (the greatest common divisor of size and slide) of a window that is not full, at least one.
pub struct Counts<T, A> {
    pub(super) aggregate: A,
    /// Records of a slice; slices of a window; slices from one window's start to the next.
    pub(super) slice: u64,
    pub(super) size: u64,
    pub(super) slide: u64,
    pub(super) flush_at_end: bool,
    pub(super) flush_after: Option<(Clock, Duration)>,
    mistake: Option<String>,
    of: PhantomData<fn(&T)>,
}

/// A row of [`Counts`], by the number of the slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountSlice<S> {
    pub(super) held: Contents<S>,
    /// The first slice after those that were told before they were full.
    pub(super) since: u64,
}

impl<T: 'static, A: Aggregate<T>> Counts<T, A> {
    /// Windows of `size` records, side by side.
    pub fn new(size: u64, aggregate: A) -> Self {
        Self::sliding(size, size, aggregate)
    }

    /// Windows of `size` records, one every `slide` records.
    pub fn sliding(size: u64, slide: u64, aggregate: A) -> Self {
        let (mut slice, mut rest) = (slide.max(1), size % slide.max(1));
        while rest != 0 {
            (slice, rest) = (rest, slice % rest);
        }
        let mistake = if size == 0 || slide == 0 {
            Some(format!(
                "count windows of {size} records, one every {slide}: a window has at least 1 record, and \
                 starts at least 1 after the one before"
            ))
        } else if size.max(slide) > RECORDS_MOST || size / slice > SLICES_MOST {
            Some(format!(
                "count windows of {size} records, one every {slide}, are kept as {} parts; give sizes \
                 that have a greater common divisor, so that it is at most {SLICES_MOST}",
                size / slice
            ))
        } else {
            None
        };
        let (size, slide) = ((size / slice).max(1), (slide / slice).max(1));
        let (flush_at_end, flush_after) = (false, None);
        Self { aggregate, slice, size, slide, flush_at_end, flush_after, mistake, of: PhantomData }
    }

    /// Tells what is pending when the input ends.
    #[must_use]
    pub fn flush_at_end(mut self) -> Self {
        self.flush_at_end = true;
        self
    }

    /// Tells what is pending when its first record has waited so long by that clock; the next record
    /// begins a new window. So a window is told when it is full or when its time is up, whichever is
    /// first.
    #[must_use]
    pub fn flush_after(mut self, clock: Clock, wait: Duration) -> Self {
        if let Err(mistake) = nanos("wait for a full window", wait) {
            self.mistake = self.mistake.or(Some(mistake));
        }
        self.flush_after = Some((clock, wait));
        self
    }

    /// Whether it can do without event time.
    pub(crate) fn is_timeless(&self) -> bool {
        !self.flush_at_end && !matches!(self.flush_after, Some((Clock::Event, _)))
    }

    /// What is wrong with how it was made.
    ///
    /// # Errors
    ///
    /// [`Error::Application`](crate::Error::Application), with what to do.
    pub fn check(&self) -> Result<()> {
        wrong(self.mistake.as_ref())
    }
}
