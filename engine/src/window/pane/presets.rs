//! The emitters of the minibatch system: windows of so many records, and of so long.
//!
//! Invariant: what an emitter tells is in the order of windows, and each record is told once.

use std::time::Duration;

use super::{Clock, Counts, TooLate, Windows};
use crate::aggregate::Aggregate;
use crate::window::{Aligned, tumbling};
use crate::{Error, Result};

/// How many empty windows in a row are told: a day of seconds.
const EMPTY_MOST: u64 = 24 * 60 * 60;

/// Windows of `size` records; the rest stays pending (`CountWindow`).
pub fn count<T: 'static, A: Aggregate<T>>(size: u64, aggregate: A) -> Counts<T, A> {
    Counts::new(size, aggregate)
}

/// Windows of `interval` side by side, half-open, also the empty ones (86,400 in a row); what comes after its window was
/// told goes to the side output (`FixedTimeWindow`).
pub fn fixed<T, A>(interval: Duration, aggregate: A) -> Windows<T, Aligned, A> {
    Windows::new(tumbling(interval), aggregate).empty_windows(EMPTY_MOST)
}

/// The same, but what comes after its window was told enters the oldest that was not
/// (`RelaxedTimeWindow`).
pub fn relaxed<T, A>(interval: Duration, aggregate: A) -> Windows<T, Aligned, A> {
    fixed(interval, aggregate).too_late(TooLate::OldestOpen)
}

/// What [`emitter`] gives.
pub enum Emitter<T, A> {
    /// By their number, and perhaps by their waiting.
    Count(Counts<T, A>),
    /// By their time.
    Time(Windows<T, Aligned, A>),
}

/// The emitter for a size, an interval, or both: [`count`], [`relaxed`], or a window that is full or whose
/// first record has waited so long, whichever is first. Without either, each record by itself.
///
/// # Errors
///
/// [`Error::Application`] for a size or an interval of nothing.
pub fn emitter<T: 'static, A: Aggregate<T>>(
    size: Option<u64>,
    interval: Option<Duration>,
    aggregate: A,
) -> Result<Emitter<T, A>> {
    if size == Some(0) {
        return Err(Error::Application(
            "windows of 0 records are never full; give `size` at least 1, or an `interval` instead, or \
             leave out both, for each record by itself"
                .to_owned(),
        ));
    }
    let emitter = match (size, interval) {
        (None, Some(interval)) => Emitter::Time(relaxed(interval, aggregate)),
        (size, wait) => {
            let counts = count(size.unwrap_or(1), aggregate);
            Emitter::Count(match wait {
                Some(wait) => counts.flush_after(Clock::Engine, wait),
                None => counts,
            })
        }
    };
    match &emitter {
        Emitter::Count(counts) => counts.check()?,
        Emitter::Time(windows) => windows.check()?,
    }
    Ok(emitter)
}
