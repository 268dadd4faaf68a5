//! [`WindowAssigner`]: to which windows a record belongs; sessions, and the one window of all time.
//!
//! Invariant: an assigner is a function of the time alone.

use std::time::Duration;

use super::Window;
use crate::{Error, Result, Time};

/// Says to which windows a record belongs.
///
/// ```
/// use anabranch::Time;
/// use anabranch::window::{Window, WindowAssigner};
///
/// /// Windows of a second at even seconds; what comes at odd ones is in none.
/// struct EvenSeconds;
///
/// impl WindowAssigner for EvenSeconds {
///     fn assign(&self, time: Time, windows: &mut Vec<Window>) {
///         let second = time.as_nanos().div_euclid(1_000_000_000);
///         if second % 2 == 0 {
///             let start = Time::from_millis(second * 1_000);
///             windows.push(Window::new(start, Time::from_millis(second * 1_000 + 1_000)));
///         }
///     }
/// }
/// ```
pub trait WindowAssigner: 'static {
    /// Adds the windows that `time` belongs to, in their order. The same time must give the same windows
    /// always.
    fn assign(&self, time: Time, windows: &mut Vec<Window>);

    /// Whether windows of a key that touch become one, as sessions do.
    fn merges(&self) -> bool {
        false
    }

    /// The window after this one, in their order, whether or not it has records: so that empty windows
    /// can be told. `None` if they do not follow one another, or it is the last.
    fn next(&self, _window: Window) -> Option<Window> {
        None
    }

    /// What is wrong with how it was made, which the drawing reports; it is asked for nothing then.
    ///
    /// # Errors
    ///
    /// [`Error::Application`], with what to do.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// A size in nanoseconds, or what is wrong with it.
pub(super) fn nanos(what: &str, duration: Duration) -> Result<i64, String> {
    match i64::try_from(duration.as_nanos()) {
        Ok(0) => Err(format!("a {what} of nothing has no windows; give at least a nanosecond")),
        Ok(nanos) => Ok(nanos),
        Err(_) => {
            Err(format!("a {what} of {duration:?} is more than time has; give at most 292 years"))
        }
    }
}

/// The first thing wrong with an assigner, as an error.
pub(super) fn wrong(mistake: Option<&String>) -> Result<()> {
    mistake.map_or(Ok(()), |mistake| Err(Error::Application(mistake.clone())))
}

/// One window for all time: it closes at the end of the input, unless a trigger fires it before.
pub fn global() -> Global {
    Global(())
}

/// See [`global`].
#[derive(Clone, Copy, Debug)]
pub struct Global(());

impl WindowAssigner for Global {
    fn assign(&self, _time: Time, windows: &mut Vec<Window>) {
        windows.push(Window::ALL);
    }
}

/// Windows that end when no record of the key came for `gap`: a record at `t` begins as the window from
/// `t` until `t + gap`, and windows that touch become one. A record exactly `gap` after the one before
/// it belongs to its session still, as in Flink and Kafka Streams.
pub fn session(gap: Duration) -> Session {
    match nanos("session gap", gap) {
        Ok(gap) => Session { gap, mistake: None },
        Err(mistake) => Session { gap: 1, mistake: Some(mistake) },
    }
}

/// See [`session`].
#[derive(Clone, Debug)]
pub struct Session {
    gap: i64,
    mistake: Option<String>,
}

impl WindowAssigner for Session {
    fn assign(&self, time: Time, windows: &mut Vec<Window>) {
        let start = time.as_nanos();
        windows.push(Window::new(time, Time::from_nanos(start.saturating_add(self.gap))));
    }

    fn merges(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        wrong(self.mistake.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_one_window_of_all_time() {
        for nanos in [i64::MIN, -1, 0, i64::MAX] {
            let mut windows = Vec::new();
            global().assign(Time::from_nanos(nanos), &mut windows);
            assert_eq!(windows, [Window::ALL]);
            assert!(Window::ALL.contains(Time::from_nanos(nanos)));
        }
    }

    #[test]
    fn a_record_begins_a_session_of_one_gap() {
        for (nanos, end) in [(-3, 7), (i64::MAX - 3, i64::MAX), (i64::MAX, i64::MAX)] {
            let mut windows = Vec::new();
            let time = Time::from_nanos(nanos);
            session(Duration::from_nanos(10)).assign(time, &mut windows);
            assert_eq!(windows, [Window::new(time, Time::from_nanos(end))]);
            assert!(windows[0].contains(time));
        }
        assert!(session(Duration::from_secs(1)).merges() && !global().merges());
    }

    #[test]
    fn a_gap_that_cannot_be_is_told_with_what_to_do() {
        let error = session(Duration::ZERO).check().unwrap_err().to_string();
        assert!(error.contains("session gap of nothing") && error.contains("at least"), "{error}");
        let error = session(Duration::MAX).check().unwrap_err().to_string();
        assert!(error.contains("at most 292 years"), "{error}");
        session(Duration::from_nanos(1)).check().unwrap();
    }
}
