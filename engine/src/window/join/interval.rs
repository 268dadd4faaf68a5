//! [`IntervalJoin`]: a left record with the right ones within an interval around its time.
//!
//! Invariant: a pair is given when the later applied of its two is applied, so it is given once. An entry
//! goes when no partner can come any more: before, some record could need it; after, none.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::state::{Place, State, Timer, first, next_place};
use super::{Joined, Kind, Late, Lateness};
use crate::window::Window;
use crate::window::entries::OrderedMut;
use crate::{Error, Result, Time};

/// Joins a left record at `t` with the right ones from `t - before` to `t + after`, both ends included.
///
/// Kept of a key: each record until no partner can come, so a left one until the watermark, less the
/// allowed lateness, is past `t + after`, a right one until it is past its time and `before`. One timer is
/// pending per key, for the first that goes. A pair changes at most one entry that is there, the first time
/// that one finds a partner, and only where an outer join must know.
#[derive(Clone, Debug)]
pub struct IntervalJoin {
    /// Where right times begin and end, from the left one on.
    lower: i64,
    upper: i64,
    kind: Kind,
    lateness: Lateness,
}

/// A record that waits for partners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held<V> {
    /// The record.
    pub value: V,
    /// Whether it had one; kept where an outer join must know.
    pub matched: bool,
}

impl IntervalJoin {
    /// An inner join that allows no lateness.
    pub fn new(before: Duration, after: Duration) -> Self {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self::from_nanos(-nanos(before), nanos(after))
    }

    /// The right times from `lower` to `upper` after the left one, or before it if they are negative:
    /// "paid five to ten minutes after it was ordered" is between 5 and 10 minutes.
    pub fn between(lower: SignedDuration, upper: SignedDuration) -> Self {
        let nanos = |duration: SignedDuration| {
            let nanos = duration.as_nanos().clamp(i128::from(-i64::MAX), i128::from(i64::MAX));
            i64::try_from(nanos).unwrap_or_default()
        };
        Self::from_nanos(nanos(lower), nanos(upper))
    }

    fn from_nanos(lower: i64, upper: i64) -> Self {
        Self { lower, upper, kind: Kind::Inner, lateness: Lateness::default() }
    }

    /// Which records are given without a partner.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// How far behind the watermark records are taken.
    #[must_use]
    pub fn lateness(self, allowed: Duration) -> Self {
        Self { lateness: Lateness::new(allowed), ..self }
    }

    /// What is wrong with how it was made.
    ///
    /// # Errors
    ///
    /// [`Error::Application`] if no times are within the interval.
    pub fn check(&self) -> Result<()> {
        if self.lower <= self.upper {
            return Ok(());
        }
        let (lower, upper) =
            (SignedDuration::from_nanos(self.lower), SignedDuration::from_nanos(self.upper));
        Err(Error::Application(format!(
            "an interval join between {lower:?} and {upper:?} joins nothing; give the lesser bound first"
        )))
    }

    /// Applies a left record.
    ///
    /// # Errors
    ///
    /// The record, if it came too late.
    pub fn left<L, R>(
        &self,
        time: Time,
        value: L,
        watermark: Time,
        state: &mut State<
            '_,
            impl OrderedMut<Place, Held<L>>,
            impl OrderedMut<Place, Held<R>>,
            impl Timer,
        >,
        mut emit: impl FnMut(Joined<'_, L, R>),
    ) -> Result<(), Late<L>> {
        if self.lateness.is_past(time, watermark) {
            return Err(Late { time, value });
        }
        let (keeps, reach) = (self.kind.keeps_left(), within(time, self.lower, self.upper));
        let matched = matches(reach, state.right, self.kind.keeps_right(), |right| {
            emit(Joined::Both(&value, right));
        });
        let gone = self.left_gone(time);
        if gone > watermark {
            let place = next_place(state.left, time);
            state.left.insert(place, Held { value, matched: matched && keeps });
            state.timer.set_by(gone);
        } else if keeps && !matched {
            emit(Joined::Left(&value));
        }
        Ok(())
    }

    /// Applies a right record.
    ///
    /// # Errors
    ///
    /// The record, if it came too late.
    pub fn right<L, R>(
        &self,
        time: Time,
        value: R,
        watermark: Time,
        state: &mut State<
            '_,
            impl OrderedMut<Place, Held<L>>,
            impl OrderedMut<Place, Held<R>>,
            impl Timer,
        >,
        mut emit: impl FnMut(Joined<'_, L, R>),
    ) -> Result<(), Late<R>> {
        if self.lateness.is_past(time, watermark) {
            return Err(Late { time, value });
        }
        let (keeps, reach) = (self.kind.keeps_right(), within(time, -self.upper, -self.lower));
        let matched = matches(reach, state.left, self.kind.keeps_left(), |left| {
            emit(Joined::Both(left, &value));
        });
        let gone = self.right_gone(time);
        if gone > watermark {
            let place = next_place(state.right, time);
            state.right.insert(place, Held { value, matched: matched && keeps });
            state.timer.set_by(gone);
        } else if keeps && !matched {
            emit(Joined::Right(&value));
        }
        Ok(())
    }

    /// The timer is due: drops what no record can need any more, and gives what had no partner.
    pub fn wake<L, R>(
        &self,
        watermark: Time,
        state: &mut State<
            '_,
            impl OrderedMut<Place, Held<L>>,
            impl OrderedMut<Place, Held<R>>,
            impl Timer,
        >,
        mut emit: impl FnMut(Joined<'_, L, R>),
    ) {
        loop {
            let left = first(state.left).map(|place| (self.left_gone(place.0), false, place));
            let right = first(state.right).map(|place| (self.right_gone(place.0), true, place));
            // What goes first; at one time the left ones.
            let Some((gone, is_right, place)) = left.into_iter().chain(right).min() else {
                return state.timer.cancel();
            };
            if gone > watermark {
                return state.timer.set(gone);
            }
            if is_right {
                let held = state.right.remove(&place);
                if let Some(held) = held.filter(|held| self.kind.keeps_right() && !held.matched) {
                    emit(Joined::Right(&held.value));
                }
            } else {
                let held = state.left.remove(&place);
                if let Some(held) = held.filter(|held| self.kind.keeps_left() && !held.matched) {
                    emit(Joined::Left(&held.value));
                }
            }
        }
    }

    /// The watermark at which a left record at `time` gets no partner any more.
    fn left_gone(&self, time: Time) -> Time {
        self.lateness.past(Time::from_nanos(time.as_nanos().saturating_add(self.upper)))
    }

    /// The watermark at which a right record at `time` gets no partner any more.
    fn right_gone(&self, time: Time) -> Time {
        self.lateness.past(Time::from_nanos(time.as_nanos().saturating_sub(self.lower)))
    }
}

/// The times from `lower` to `upper` after `time`, both included; none if they are beyond all time.
fn within(time: Time, lower: i64, upper: i64) -> Option<(Time, Time)> {
    let at = |offset| i128::from(time.as_nanos()) + i128::from(offset);
    let (from, to) = (at(lower), at(upper));
    let there = from <= to && from <= i128::from(i64::MAX) && to >= i128::from(i64::MIN);
    let window = Window::clamped(from, to);
    there.then_some((window.start, window.end))
}

/// Gives the entries whose times are within `reach`, and whether there are any. Where it must be known,
/// writes down that they have a partner.
fn matches<V>(
    reach: Option<(Time, Time)>,
    entries: &mut impl OrderedMut<Place, Held<V>>,
    keeps: bool,
    mut pair: impl FnMut(&V),
) -> bool {
    let Some((from, to)) = reach else { return false };
    let (mut any, mut first_time) = (false, Vec::new());
    for (place, held) in entries.range((from, 0)..=(to, u64::MAX)) {
        any = true;
        if keeps && !held.matched {
            first_time.push(*place);
        }
        pair(&held.value);
    }
    for place in first_time {
        entries.update(&place, |held| held.matched = true);
    }
    any
}
