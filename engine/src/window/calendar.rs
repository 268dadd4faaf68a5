//! Windows of the calendar: days, weeks and months as a time zone has them.
//!
//! Invariant: each time is in one window; where one ends the next begins, also where clocks change. The
//! rules of the time zones are those that the program was built with, not the machine's, so that the same
//! times are in the same windows on any machine.

use std::cell::Cell;
use std::fmt;

use jiff::ToSpan;
use jiff::civil::Date;
pub use jiff::civil::Weekday;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use super::assign::wrong;
use super::{Window, WindowAssigner};
use crate::{Result, Time};

/// The days of a time zone, by its IANA name. When its clocks change, a day has 23 or 25 hours.
///
/// ```
/// use anabranch::Time;
/// use anabranch::window::{WindowAssigner, calendar};
///
/// let mut windows = Vec::new();
/// let time: Time = "2026-03-29T12:00:00Z".parse()?;
/// calendar::days("Europe/Berlin").assign(time, &mut windows);
/// assert_eq!(windows[0].to_string(), "[2026-03-28T23:00:00Z, 2026-03-29T22:00:00Z)");
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn days(zone: &str) -> Calendar {
    Calendar::new(Unit::Day, zone)
}

/// The weeks of a time zone, from Monday, as ISO 8601 has them.
pub fn weeks(zone: &str) -> Calendar {
    weeks_from(Weekday::Monday, zone)
}

/// The weeks of a time zone, from another day of the week.
pub fn weeks_from(first: Weekday, zone: &str) -> Calendar {
    Calendar::new(Unit::Week(first), zone)
}

/// The months of a time zone.
pub fn months(zone: &str) -> Calendar {
    Calendar::new(Unit::Month, zone)
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Day,
    Week(Weekday),
    Month,
}

impl Unit {
    /// The first date of the unit that has `date`; none before the calendar's first.
    fn first(self, date: Date) -> Option<Date> {
        match self {
            Self::Day => Some(date),
            Self::Week(first) => {
                let since = i64::from(date.weekday().since(first).rem_euclid(7));
                date.checked_sub(since.days()).ok()
            }
            Self::Month => Some(date.first_of_month()),
        }
    }

    /// The first date of the unit after the one that begins with `date`.
    fn after(self, date: Date) -> Option<Date> {
        match self {
            Self::Day => date.tomorrow().ok(),
            Self::Week(_) => date.checked_add(1.week()).ok(),
            Self::Month => date.checked_add(1.month()).ok(),
        }
    }
}

/// See [`days`], [`weeks`] and [`months`].
///
/// A day begins when the clock first shows its midnight or, where the clock leaps over it, what follows.
/// A date that a zone left out (Apia's 30th of December 2011) has no window.
#[derive(Clone)]
pub struct Calendar {
    unit: Unit,
    zone: TimeZone,
    /// The window that was asked for last: most times are where the one before was.
    recent: Cell<Window>,
    mistake: Option<String>,
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Calendar({:?}, {:?})", self.unit, self.zone.iana_name())
    }
}

impl Calendar {
    fn new(unit: Unit, name: &str) -> Self {
        let zones = TimeZoneDatabase::bundled();
        let (zone, mistake) = match zones.get(name) {
            Ok(zone) => (zone, None),
            Err(_) => (TimeZone::UTC, Some(unknown(name, &zones))),
        };
        Self { unit, zone, recent: Cell::new(Window::new(Time::ZERO, Time::ZERO)), mistake }
    }

    /// When a date begins; the end of time if there is no such date.
    fn begin(&self, date: Option<Date>) -> Time {
        let midnight = date.map(|date| self.zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)));
        let Some((midnight, Ok(mut begin))) =
            midnight.map(|time| (time.offset(), time.compatible()))
        else {
            return Window::ALL.end;
        };
        if matches!(midnight, AmbiguousOffset::Gap { .. }) {
            // There is no midnight: the date begins where the clock leaps.
            let after = begin.checked_add(1.nanosecond()).unwrap_or(begin);
            begin = self.zone.preceding(after).next().map_or(begin, |leap| leap.timestamp());
        }
        Time::from(begin)
    }

    fn window(&self, time: Time) -> Window {
        let date = self.zone.to_datetime(time.timestamp()).date();
        let mut first = self.unit.first(date);
        let mut start = self.begin(first);
        // A clock that is put back over midnight shows yesterday's date again when today has begun: the
        // window is looked for by when dates begin, not by the date shown.
        loop {
            first = first.and_then(|first| self.unit.after(first));
            let window = Window::new(start, self.begin(first));
            if first.is_none() || window.contains(time) {
                return window;
            }
            start = window.end;
        }
    }
}

impl WindowAssigner for Calendar {
    fn assign(&self, time: Time, windows: &mut Vec<Window>) {
        if !self.recent.get().contains(time) {
            self.recent.set(self.window(time));
        }
        windows.push(self.recent.get());
    }

    fn next(&self, window: Window) -> Option<Window> {
        (!window.is_endless()).then(|| self.window(window.end))
    }

    fn check(&self) -> Result<()> {
        wrong(self.mistake.as_ref())
    }
}

/// What to do about a name that no time zone has.
fn unknown(name: &str, zones: &TimeZoneDatabase) -> String {
    let likeness = |zone: &str| strsim::jaro_winkler(&name.to_lowercase(), &zone.to_lowercase());
    let nearest = zones
        .available()
        .map(|zone| (likeness(zone.as_str()), zone.as_str().to_string()))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let hint = match nearest {
        Some((likeness, zone)) if likeness > 0.8 => format!("did you mean `{zone}`?"),
        _ => "give an IANA name, such as `Europe/Berlin` or `UTC`".to_string(),
    };
    format!("there is no time zone `{name}`: {hint}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 9] = [
        "Europe/Berlin",
        "America/New_York",
        "Asia/Kathmandu",
        // Half an hour.
        "Australia/Lord_Howe",
        // Midnight is left out, or comes twice: until 2011 at one minute past.
        "America/Sao_Paulo",
        "America/St_Johns",
        "America/Havana",
        // A day is left out.
        "Pacific/Apia",
        "UTC",
    ];

    fn assigned(calendar: &Calendar, time: Time) -> Window {
        let mut windows = Vec::new();
        calendar.check().unwrap();
        calendar.assign(time, &mut windows);
        assert_eq!(windows.len(), 1);
        windows[0]
    }

    /// When dates begin, walked day by day; those of which `first` holds.
    fn boundaries(zone: &str, from: Date, days: i32, first: impl Fn(Date) -> bool) -> Vec<Time> {
        let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
        let mut boundaries = from
            .series(1.day())
            .take(usize::try_from(days).unwrap())
            .filter(|date| first(*date))
            .map(|date| Time::from(date.to_zoned(zone.clone()).unwrap().timestamp()))
            .collect::<Vec<_>>();
        boundaries.dedup();
        boundaries
    }

    fn check_walk(calendar: &Calendar, boundaries: &[Time]) {
        for pair in boundaries.windows(2) {
            let window = Window::new(pair[0], pair[1]);
            let (first, last) = (pair[0].as_nanos(), pair[1].as_nanos() - 1);
            let early = first + 30 * 60_000_000_000;
            for nanos in [first, early, first + (last - first) / 2, last] {
                // Neither what was asked before nor the order matters.
                let found = assigned(&calendar.clone(), Time::from_nanos(nanos));
                assert_eq!(found, window, "{calendar:?} {}", Time::from_nanos(nanos));
                assert_eq!(assigned(calendar, Time::from_nanos(nanos)), window);
            }
            assert_eq!(calendar.next(window).unwrap().start, window.end);
        }
    }

    #[test]
    fn windows_are_what_a_walk_over_the_days_finds() {
        for zone in ZONES {
            for from in [Date::constant(1968, 12, 1), Date::constant(2005, 1, 1)] {
                let days = boundaries(zone, from, 2_700, |_| true);
                check_walk(&super::days(zone), &days);
                for first in [Weekday::Monday, Weekday::Sunday, Weekday::Saturday] {
                    let weeks = boundaries(zone, from, 2_700, |date| date.weekday() == first);
                    check_walk(&weeks_from(first, zone), &weeks);
                }
                let firsts = boundaries(zone, from, 2_700, |date| date.day() == 1);
                check_walk(&months(zone), &firsts);
            }
        }
    }

    proptest! {
        #[test]
        fn every_time_is_in_its_window(nanos in any::<i64>(), zone in 0..ZONES.len()) {
            let time = Time::from_nanos(nanos);
            for calendar in [days(ZONES[zone]), weeks(ZONES[zone]), months(ZONES[zone])] {
                let window = assigned(&calendar, time);
                prop_assert!(window.contains(time), "{window} {time}");
                prop_assert_eq!(assigned(&calendar, window.start), window);
                if let Some(next) = calendar.next(window) {
                    prop_assert_eq!(next.start, window.end);
                }
            }
        }
    }

    #[test]
    fn days_have_the_hours_their_clocks_give_them() {
        for (zone, noon, hours) in [
            ("Europe/Berlin", "2026-03-29T12:00:00Z", 23.0),
            ("Europe/Berlin", "2026-10-25T12:00:00Z", 25.0),
            ("America/New_York", "2026-03-08T17:00:00Z", 23.0),
            ("America/New_York", "2026-11-01T17:00:00Z", 25.0),
            ("Asia/Kathmandu", "2026-03-29T06:15:00Z", 24.0),
            ("Australia/Lord_Howe", "2026-10-04T01:30:00Z", 23.5),
            ("Australia/Lord_Howe", "2026-04-05T01:30:00Z", 24.5),
        ] {
            let day = assigned(&days(zone), noon.parse().unwrap());
            let nanos = day.end.as_nanos() - day.start.as_nanos();
            assert_eq!(nanos as f64 / 3.6e12, hours, "{zone} {day}");
        }
    }

    #[test]
    fn a_date_without_a_midnight_begins_where_the_clock_leaps() {
        // At half past eleven in the evening, by an hour.
        let day = assigned(&days("America/Toronto"), "1919-03-31T04:45:00Z".parse().unwrap());
        assert_eq!(day.to_string(), "[1919-03-31T04:30:00Z, 1919-04-01T04:00:00Z)");
        // A zone that changed sides of the date line leaves out a day, not a window.
        let day = assigned(&days("Pacific/Apia"), "2011-12-30T09:59:59Z".parse().unwrap());
        assert_eq!(day.to_string(), "[2011-12-29T10:00:00Z, 2011-12-30T10:00:00Z)");
        let next = days("Pacific/Apia").next(day).unwrap();
        assert_eq!(next.to_string(), "[2011-12-30T10:00:00Z, 2011-12-31T10:00:00Z)");
    }

    #[test]
    fn the_ends_of_time_have_windows() {
        for nanos in [i64::MIN, i64::MAX] {
            let time = Time::from_nanos(nanos);
            let month = assigned(&months("Asia/Kathmandu"), time);
            assert!(month.contains(time), "{month}");
        }
        let last = assigned(&weeks("UTC"), Time::from_nanos(i64::MAX));
        assert!(last.is_endless() && weeks("UTC").next(last).is_none());
    }

    #[test]
    fn an_unknown_zone_is_told_with_the_nearest() {
        let error = days("Europe/Berln").check().unwrap_err().to_string();
        assert!(error.contains("did you mean `Europe/Berlin`?"), "{error}");
        let error = days("12345").check().unwrap_err().to_string();
        assert!(error.contains("give an IANA name"), "{error}");
    }
}
