//! [`AsOf`]: each left record with the newest right one that is not after it.
//!
//! Invariant: of the right input is kept what a left record can still ask for: what is newer than the
//! times that are complete, and the newest one before.

use std::time::Duration;

use super::state::{Place, State, Timer, first, next_place};
use super::{Joined, Late, Lateness};
use crate::Time;
use crate::window::entries::{Ordered, OrderedMut};

/// Joins a left record at `t` with the newest right one at or before `t`: the price at the time of the
/// order. Of right records of one time the one that was applied last counts.
///
/// A left record is given once, with what was found ([`Joined::Both`]) or alone ([`Joined::Left`]), which an
/// inner join drops and counts.
///
/// * At once, when it is applied, by what was applied so far: [`AsOf::known`].
/// * Exactly, once the watermark less the allowed lateness is past `t`: [`AsOf::exact`]. Then right
///   records that come later, but not too late, count as well. Left records come out in the order of
///   their times, and of application where these are equal.
///
/// Kept of a key: the left records that wait; of the right ones the last of each time from the watermark
/// less the allowed lateness on, and the newest before, until it is out of the tolerance (without one,
/// forever). One timer is pending per key.
#[derive(Clone, Debug)]
pub struct AsOf {
    exact: bool,
    tolerance: Option<Duration>,
    lateness: Lateness,
}

impl AsOf {
    /// By what was applied before the left record.
    pub fn known() -> Self {
        Self { exact: false, tolerance: None, lateness: Lateness::default() }
    }

    /// By all right records, as soon as they are known to be there.
    pub fn exact() -> Self {
        Self { exact: true, ..Self::known() }
    }

    /// How much older than the left record the right one may be, at most.
    #[must_use]
    pub fn tolerance(self, tolerance: Duration) -> Self {
        Self { tolerance: Some(tolerance), ..self }
    }

    /// How far behind the watermark records are taken.
    #[must_use]
    pub fn lateness(self, allowed: Duration) -> Self {
        Self { lateness: Lateness::new(allowed), ..self }
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
        state: &mut State<'_, impl OrderedMut<Place, L>, impl OrderedMut<Time, R>, impl Timer>,
        mut emit: impl FnMut(Joined<'_, L, R>),
    ) -> Result<(), Late<L>> {
        if self.lateness.is_past(time, watermark) {
            return Err(Late { time, value });
        }
        if self.exact {
            let place = next_place(state.left, time);
            state.left.insert(place, value);
            state.timer.set_by(self.lateness.past(time));
        } else {
            emit(self.found(time, &value, state.right));
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
        state: &mut State<'_, impl OrderedMut<Place, L>, impl OrderedMut<Time, R>, impl Timer>,
    ) -> Result<(), Late<R>> {
        if self.lateness.is_past(time, watermark) {
            return Err(Late { time, value });
        }
        state.right.insert(time, value);
        if let Some((_, gone)) = self.oldest(state.right) {
            state.timer.set_by(gone);
        }
        Ok(())
    }

    /// The timer is due: gives the left records that waited for it, and drops the right ones that no left
    /// one can ask for any more.
    pub fn wake<L, R>(
        &self,
        watermark: Time,
        state: &mut State<'_, impl OrderedMut<Place, L>, impl OrderedMut<Time, R>, impl Timer>,
        mut emit: impl FnMut(Joined<'_, L, R>),
    ) {
        let left = loop {
            let Some(place) = first(state.left) else { break None };
            let due = self.lateness.past(place.0);
            if due > watermark {
                break Some(due);
            }
            if let Some(value) = state.left.remove(&place) {
                emit(self.found(place.0, &value, state.right));
            }
        };
        let right = loop {
            let Some((oldest, gone)) = self.oldest(state.right) else { break None };
            if gone > watermark {
                break Some(gone);
            }
            state.right.remove(&oldest);
        };
        match left.into_iter().chain(right).min() {
            Some(next) => state.timer.set(next),
            None => state.timer.cancel(),
        }
    }

    /// What a left record at `time` is joined with.
    fn found<'a, L, R>(
        &self,
        time: Time,
        value: &'a L,
        right: &'a impl Ordered<Time, R>,
    ) -> Joined<'a, L, R> {
        match right.range(..=time).next_back() {
            Some((at, right)) if self.tolerates(*at, time) => Joined::Both(value, right),
            _ => Joined::Left(value),
        }
    }

    fn tolerates(&self, right: Time, left: Time) -> bool {
        self.tolerance.is_none_or(|tolerance| left <= right.after(tolerance))
    }

    /// The oldest right record, and the watermark at which no left one can ask for it: all that can come are
    /// at or after the next one, or too much newer. `None` if it stays.
    fn oldest<R>(&self, right: &impl Ordered<Time, R>) -> Option<(Time, Time)> {
        let mut entries = right.range(..).map(|(time, _)| *time);
        let oldest = entries.next()?;
        let next = entries.next().map(|next| self.lateness.after(next));
        let stale = self.tolerance.map(|tolerance| self.lateness.past(oldest.after(tolerance)));
        let gone = next.into_iter().chain(stale).min()?;
        Some((oldest, gone))
    }
}
