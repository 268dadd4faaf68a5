//! Questions about frames that are kept: which overlap an interval, what calculating them took.
//!
//! Invariant: as frames share no time, their ends are in the order of their starts; so an answer costs
//! one look-up, and a step for each frame in it.

use std::time::Duration;

use super::{Frame, OfTask};
use crate::Time;
use crate::window::Window;
use crate::window::entries::Ordered;

/// The frames of one task among those of several
/// ([`frames_shared`](crate::Keyed::frames_shared)), to be asked about as those of one.
pub fn of_task<R: 'static, E: Ordered<(u32, Time), Frame<R>>>(frames: &E, task: u32) -> OfTask<&E> {
    OfTask { entries: frames, task }
}

/// The frames that have some time of `window` in them, in order.
///
/// ```
/// use std::collections::BTreeMap;
/// use anabranch::Time;
/// use anabranch::window::Window;
/// use anabranch::window::frames::{Frame, query};
///
/// let second = |second: i64| Time::from_millis(second * 1_000);
/// let frames: BTreeMap<Time, Frame<u64>> = (0..60)
///     .step_by(15)
///     .map(|start| {
///         let frame = Frame { start: second(start), end: second(start + 15), ..Frame::default() };
///         (frame.start, frame)
///     })
///     .collect();
/// let found = query::overlapping(&frames, Window::new(second(10), second(30)));
/// let starts: Vec<_> = found.map(|frame| frame.start).collect();
/// assert_eq!(starts, [second(0), second(15)]);
/// ```
pub fn overlapping<R: 'static>(
    frames: &impl Ordered<Time, Frame<R>>,
    window: Window,
) -> impl DoubleEndedIterator<Item = &Frame<R>> {
    let some = window.start < window.end;
    let before =
        frames.range(..window.start).next_back().filter(|(_, frame)| frame.end > window.start);
    let within = frames.range(window.start..window.end.max(window.start));
    let frames = before.into_iter().chain(within).map(|(_, frame)| frame);
    some.then_some(frames).into_iter().flatten()
}

/// The same, only those that are calculated.
pub fn calculated<R: 'static>(
    frames: &impl Ordered<Time, Frame<R>>,
    window: Window,
) -> impl DoubleEndedIterator<Item = &Frame<R>> {
    overlapping(frames, window).filter(|frame| frame.calculated())
}

/// The oldest frame.
pub fn earliest<R: 'static>(frames: &impl Ordered<Time, Frame<R>>) -> Option<&Frame<R>> {
    frames.first().map(|(_, frame)| frame)
}

/// The newest frame.
pub fn latest<R: 'static>(frames: &impl Ordered<Time, Frame<R>>) -> Option<&Frame<R>> {
    frames.last().map(|(_, frame)| frame)
}

/// What calculating frames took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Performance {
    /// How many frames are calculated.
    pub calculated: u64,
    /// The mean time to calculate one of them; nothing, if there is none.
    pub analysis_time: Duration,
    /// The mean time to clean up after one.
    pub cleanup_time: Duration,
}

/// What calculating those frames took that are calculated and have some time of `window` in them.
pub fn performance<R: 'static>(
    frames: &impl Ordered<Time, Frame<R>>,
    window: Window,
) -> Performance {
    let (mut count, mut analysis, mut cleanup) = (0_u64, 0_u128, 0_u128);
    for frame in calculated(frames, window) {
        count += 1;
        analysis = analysis.saturating_add(frame.analysis_time.as_nanos());
        cleanup = cleanup.saturating_add(frame.cleanup_time.as_nanos());
    }
    let mean = |sum: u128| {
        let nanos = sum / u128::from(count.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    };
    Performance { calculated: count, analysis_time: mean(analysis), cleanup_time: mean(cleanup) }
}
