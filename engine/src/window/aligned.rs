//! Windows of one size, at equal distances: tumbling and sliding.
//!
//! Invariant: boundaries are the anchor and whole multiples of the slide before and after it; divisions
//! round down, so that times before 1970 are no exception. What reaches beyond the times there are is
//! cut there.

use std::time::Duration;

use super::assign::{nanos, wrong};
use super::{Window, WindowAssigner};
use crate::{Result, Time};

/// The most windows that one record may belong to.
const OVERLAP_MOST: i64 = 100_000;

/// Windows of `size`, side by side: each record is in one.
///
/// ```
/// # use std::time::Duration;
/// use anabranch::Time;
/// use anabranch::window::{WindowAssigner, tumbling};
///
/// let mut windows = Vec::new();
/// let time: Time = "1969-12-31T23:59:59Z".parse()?;
/// tumbling(Duration::from_secs(60)).assign(time, &mut windows);
/// assert_eq!(windows[0].to_string(), "[1969-12-31T23:59:00Z, 1970-01-01T00:00:00Z)");
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn tumbling(size: Duration) -> Aligned {
    sliding(size, size)
}

/// Windows of `size`, one every `slide`: a record is in `size / slide` of them, at most 100,000. If the
/// slide is more than the size, some records are in none.
pub fn sliding(size: Duration, slide: Duration) -> Aligned {
    let sizes = nanos("window size", size).and_then(|size| Ok((size, nanos("slide", slide)?)));
    let (size, slide, mistake) = match sizes {
        Ok((size, slide)) if size / slide > OVERLAP_MOST => {
            let mistake = format!(
                "windows of {} that slide by {} put each record into {} windows; slide by more, so that \
                 it is in at most {OVERLAP_MOST}, or use a rolling value",
                shown(size),
                shown(slide),
                size / slide
            );
            (1, 1, Some(mistake))
        }
        Ok((size, slide)) => (size, slide, None),
        Err(mistake) => (1, 1, Some(mistake)),
    };
    // The greatest common divisor.
    let (mut pane, mut rest) = (slide, size % slide);
    while rest != 0 {
        (pane, rest) = (rest, pane % rest);
    }
    Aligned { size, slide, pane, anchor: 0, mistake }
}

fn shown(nanos: i64) -> String {
    format!("{:?}", Duration::from_nanos(nanos.unsigned_abs()))
}

/// See [`tumbling`] and [`sliding`].
#[derive(Clone, Debug)]
pub struct Aligned {
    size: i64,
    slide: i64,
    pane: i64,
    /// Where a window starts, from nothing up to a slide.
    anchor: i64,
    mistake: Option<String>,
}

impl Aligned {
    /// A window starts at `anchor`, instead of at the beginning of 1970.
    #[must_use]
    pub fn anchored(mut self, anchor: Time) -> Self {
        self.anchor = anchor.as_nanos().rem_euclid(self.slide);
        self
    }

    /// The windows have their right boundaries, and not their left ones: a record at a boundary is in the
    /// window that ends there. (As times are whole nanoseconds, this moves them by one.) Give it after
    /// [`anchored`](Self::anchored).
    #[must_use]
    pub fn right_closed(mut self) -> Self {
        self.anchor = if self.anchor + 1 == self.slide { 0 } else { self.anchor + 1 };
        self
    }

    /// The last of the times that are `distance` from one another and from the anchor, up to `time`.
    fn boundary(&self, time: Time, distance: i64) -> i128 {
        let anchor = if distance == self.slide { self.anchor } else { self.anchor % distance };
        let past = time.as_nanos().rem_euclid(distance) - anchor;
        let past = if past < 0 { past + distance } else { past };
        i128::from(time.as_nanos()) - i128::from(past)
    }

    /// Where the last window that has the time starts, and how many others have it.
    fn starts(&self, time: Time) -> Option<(i128, i128)> {
        let last = self.boundary(time, self.slide);
        if self.size == self.slide {
            return Some((last, 0));
        }
        // How far before the last start the earliest window that has the time may start.
        let left = i128::from(self.size) - 1 - (i128::from(time.as_nanos()) - last);
        (left >= 0).then(|| (last, left / i128::from(self.slide)))
    }

    /// The first and the last of the windows that have the time.
    pub(super) fn first_and_last(&self, time: Time) -> Option<(Window, Window)> {
        let (last, earlier) = self.starts(time)?;
        Some((self.at(last - earlier * i128::from(self.slide)), self.at(last)))
    }

    fn at(&self, start: i128) -> Window {
        Window::clamped(start, start + i128::from(self.size))
    }

    /// How much later each window starts than the one before.
    pub fn slide(&self) -> Duration {
        Duration::from_nanos(self.slide.unsigned_abs())
    }

    /// How long a window is.
    pub fn size(&self) -> Duration {
        Duration::from_nanos(self.size.unsigned_abs())
    }

    /// The pane of `time`: the longest interval around it in which no window starts or ends, of one
    /// length (the greatest common divisor of size and slide). A value of a window is what its panes
    /// combine to, so that one entry of a [`Tree`](super::Tree) holds all records of a pane.
    pub fn pane(&self, time: Time) -> Window {
        let start = self.boundary(time, self.pane);
        Window::clamped(start, start + i128::from(self.pane))
    }
}

impl WindowAssigner for Aligned {
    fn assign(&self, time: Time, windows: &mut Vec<Window>) {
        if let Some((last, earlier)) = self.starts(time) {
            windows.extend((0..=earlier).rev().map(|n| self.at(last - n * i128::from(self.slide))));
        }
    }

    fn next(&self, window: Window) -> Option<Window> {
        if window.is_endless() {
            return None;
        }
        // The start may have been cut.
        let start = i128::from(window.end.as_nanos()) - i128::from(self.size);
        Some(self.at(start + i128::from(self.slide)))
    }

    fn check(&self) -> Result<()> {
        wrong(self.mistake.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assigned(assigner: &Aligned, time: i64) -> Vec<Window> {
        let mut windows = Vec::new();
        assigner.check().unwrap();
        assigner.assign(Time::from_nanos(time), &mut windows);
        windows
    }

    /// The same, from every window there could be.
    fn candidates(size: i128, slide: i128, anchor: i128, time: i64) -> Vec<Window> {
        let time = i128::from(time);
        let nearest = (time - anchor).div_euclid(slide);
        let reach = size / slide + 2;
        (nearest - reach..=nearest + reach)
            .map(|n| anchor + n * slide)
            .filter(|start| *start <= time && time < start + size)
            .map(|start| Window::clamped(start, start + size))
            .collect()
    }

    fn any_time() -> impl Strategy<Value = i64> {
        prop_oneof![
            -2_000_i64..2_000,
            any::<i64>(),
            i64::MIN..i64::MIN + 300,
            i64::MAX - 300..=i64::MAX
        ]
    }

    proptest! {
        #[test]
        fn a_record_is_in_exactly_the_windows_that_contain_it(
            time in any_time(),
            size in prop_oneof![1_u64..200, Just(3_600_000_000_000), Just(i64::MAX as u64)],
            part in 1_u64..60,
            anchor in any_time(),
            right_closed in any::<bool>(),
        ) {
            let slide = if size < 200 { part } else { (size / part).max(1) };
            let assigner = sliding(Duration::from_nanos(size), Duration::from_nanos(slide))
                .anchored(Time::from_nanos(anchor));
            let (size, slide) = (i128::from(size), i128::from(slide));
            let found;
            let expected;
            if right_closed {
                // (start, end]: the start is left out, the end is in.
                expected = candidates(size, slide, i128::from(anchor) + 1, time);
                found = assigned(&assigner.right_closed(), time);
            } else {
                expected = candidates(size, slide, i128::from(anchor), time);
                found = assigned(&assigner, time);
            }
            prop_assert!(found.is_sorted());
            prop_assert_eq!(&found, &expected);
            for window in found {
                prop_assert!(window.contains(Time::from_nanos(time)));
            }
        }

        #[test]
        fn windows_follow_one_another(
            time in -2_000_i64..2_000, size in 1_u64..200, slide in 1_u64..200,
        ) {
            let assigner = sliding(Duration::from_nanos(size), Duration::from_nanos(slide));
            let windows = assigned(&assigner, time);
            for pair in windows.windows(2) {
                prop_assert_eq!(assigner.next(pair[0]), Some(pair[1]));
            }
        }

        #[test]
        fn panes_make_up_windows(
            time in -2_000_i64..2_000,
            size in 1_u64..200,
            slide in 1_u64..200,
            anchor in -500_i64..500,
        ) {
            let assigner = sliding(Duration::from_nanos(size), Duration::from_nanos(slide))
                .anchored(Time::from_nanos(anchor));
            let pane = assigner.pane(Time::from_nanos(time));
            prop_assert!(pane.contains(Time::from_nanos(time)));
            let windows = assigned(&assigner, time);
            for nanos in pane.start.as_nanos()..pane.end.as_nanos() {
                prop_assert_eq!(&assigned(&assigner, nanos), &windows);
            }
        }
    }

    #[test]
    fn the_ends_of_time_have_windows() {
        for time in [i64::MIN, i64::MAX] {
            let hour = tumbling(Duration::from_secs(3_600));
            assert!(assigned(&hour, time)[0].contains(Time::from_nanos(time)));
        }
        let last = assigned(&tumbling(Duration::from_secs(1)), i64::MAX)[0];
        assert_eq!(tumbling(Duration::from_secs(1)).next(last), None);
    }

    #[test]
    fn a_record_at_a_boundary_is_in_the_window_that_ends_there_if_that_is_closed() {
        let windows = tumbling(Duration::from_nanos(10)).right_closed();
        assert_eq!(assigned(&windows, 20), [Window::up_to(Time::from_nanos(20), windows.size())]);
        let one = tumbling(Duration::from_nanos(1)).right_closed();
        assert_eq!(assigned(&one, 20), [Window::up_to(Time::from_nanos(20), one.size())]);
    }

    #[test]
    fn what_cannot_be_is_told_with_what_to_do() {
        let second = Duration::from_secs(1);
        for (assigner, part) in [
            (tumbling(Duration::ZERO), "window size of nothing"),
            (tumbling(Duration::MAX), "at most 292 years"),
            (sliding(second, Duration::ZERO), "slide of nothing"),
            (sliding(second, Duration::from_nanos(1)), "slide by more"),
        ] {
            let error = assigner.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            // Nothing is asked of it then; yet it does not panic.
            assigner.assign(Time::ZERO, &mut Vec::new());
        }
        sliding(second, Duration::from_micros(10)).check().unwrap();
    }
}
