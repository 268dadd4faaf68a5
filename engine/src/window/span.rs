//! [`Window`]: an interval of time.
//!
//! Invariant: half-open, so that windows side by side share no time and miss none.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Time;

/// The times from `start` on and before `end`, in the order of their ends.
///
/// A window that ends at the greatest time there is (in the year 2262) has no end: it contains that time
/// too.
///
/// ```
/// use anabranch::Time;
/// use anabranch::window::Window;
///
/// let window = Window::new("2026-03-01T12:00:00Z".parse()?, "2026-03-01T12:10:00Z".parse()?);
/// assert!(window.contains(window.start) && !window.contains(window.end));
/// assert_eq!(window.to_string(), "[2026-03-01T12:00:00Z, 2026-03-01T12:10:00Z)");
/// # Ok::<(), anabranch::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first time that is in it.
    pub start: Time,
    /// The first time that is no longer in it.
    pub end: Time,
}

impl Window {
    /// The least and the greatest time.
    const FIRST: Time = Time::from_nanos(i64::MIN);
    const LAST: Time = Time::from_nanos(i64::MAX);

    /// All of time.
    pub const ALL: Self = Self { start: Self::FIRST, end: Self::LAST };

    /// From `start` until `end`.
    pub const fn new(start: Time, end: Time) -> Self {
        Self { start, end }
    }

    /// The window that closes on the right: the times after `end - size` and up to `end`, that one too,
    /// as a rolling value at `end` has them. As times are whole nanoseconds, it is the half-open one that
    /// ends a nanosecond later.
    pub fn up_to(end: Time, size: Duration) -> Self {
        let size = i128::try_from(size.as_nanos()).unwrap_or(i128::MAX);
        let after = i128::from(end.as_nanos()) + 1;
        Self::clamped(after.saturating_sub(size), after)
    }

    /// The part of this window that times can express.
    pub(super) fn clamped(start: i128, end: i128) -> Self {
        let time = |nanos: i128| {
            let nanos = nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
            Time::from_nanos(i64::try_from(nanos).unwrap_or_default())
        };
        Self { start: time(start), end: time(end) }
    }

    /// Whether it has no end.
    pub fn is_endless(self) -> bool {
        self.end == Self::LAST
    }

    /// Whether `time` is in it.
    pub fn contains(self, time: Time) -> bool {
        self.start <= time && (time < self.end || self.is_endless())
    }

    /// Whether some time is in both.
    pub fn intersects(self, other: Self) -> bool {
        self.start.max(other.start) < self.end.min(other.end)
    }

    /// Whether they intersect, or one begins where the other ends.
    pub fn touches(self, other: Self) -> bool {
        self.start.max(other.start) <= self.end.min(other.end)
    }

    /// The least window that has both in it.
    #[must_use]
    pub fn cover(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

impl Ord for Window {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.end, self.start).cmp(&(other.end, other.start))
    }
}

impl PartialOrd for Window {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.start == Self::FIRST, self.is_endless()) {
            (true, true) => f.write_str("[all time)"),
            (true, false) => write!(f, "[.., {})", self.end),
            (false, true) => write!(f, "[{}, ..)", self.start),
            (false, false) => write!(f, "[{}, {})", self.start, self.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: i64, end: i64) -> Window {
        Window::new(Time::from_nanos(start), Time::from_nanos(end))
    }

    #[test]
    fn side_by_side_windows_touch_and_share_nothing() {
        let (a, b, c) = (window(0, 10), window(10, 20), window(11, 12));
        assert!(a.touches(b) && b.touches(a) && !a.intersects(b) && !b.intersects(a));
        assert!(b.intersects(c) && c.intersects(b) && !a.touches(c));
        assert!(!a.contains(Time::from_nanos(10)) && b.contains(Time::from_nanos(10)));
        assert_eq!(a.cover(c), window(0, 12));
    }

    #[test]
    fn the_order_is_that_of_the_ends() {
        let mut windows = [window(5, 20), window(0, 20), window(9, 10)];
        windows.sort();
        assert_eq!(windows, [window(9, 10), window(0, 20), window(5, 20)]);
    }

    #[test]
    fn a_window_up_to_a_time_has_that_time_and_not_the_one_a_size_before() {
        let window = Window::up_to(Time::from_nanos(100), Duration::from_nanos(10));
        let contained = |nanos| window.contains(Time::from_nanos(nanos));
        assert!(!contained(90) && contained(91) && contained(100) && !contained(101));
        let first = Window::up_to(Window::FIRST, Duration::MAX);
        assert!(first.contains(Window::FIRST));
    }

    #[test]
    fn all_of_time_has_its_ends() {
        assert!(Window::ALL.contains(Window::FIRST) && Window::ALL.contains(Window::LAST));
        assert_eq!(Window::ALL.to_string(), "[all time)");
    }
}
