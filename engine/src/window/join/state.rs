//! [`State`] and [`Timer`]: what a join keeps of a key, and how it asks to be woken.
//!
//! Invariant: every change names one entry, so that a change costs what the entry costs, whatever else is
//! kept of the key.

use crate::Time;
use crate::window::entries::Ordered;

/// Where a record of one input stands: its time, and how many of that time were applied before it.
pub type Place = (Time, u64);

/// One timer of a key, with a name of its own among the key's timers.
///
/// It is due once the clock reaches the time that was asked for (for joins the watermark), and is no
/// longer pending when it is served.
pub trait Timer {
    /// Asks for `at` instead of what was asked for. A time that has come is due after the epoch.
    fn set(&mut self, at: Time);

    /// Asks for nothing any more.
    fn cancel(&mut self);

    /// Asks for `at`, unless it is asked for no later time.
    fn set_by(&mut self, at: Time);
}

impl Timer for Option<Time> {
    fn set(&mut self, at: Time) {
        *self = Some(at);
    }

    fn set_by(&mut self, at: Time) {
        if self.is_none_or(|pending| at < pending) {
            *self = Some(at);
        }
    }

    fn cancel(&mut self) {
        *self = None;
    }
}

/// What a join of two inputs keeps of one key: the entries of both, and its timer.
#[derive(Debug)]
pub struct State<'a, L, R, T> {
    /// Of the left input.
    pub left: &'a mut L,
    /// Of the right input.
    pub right: &'a mut R,
    /// Due by the watermark.
    pub timer: &'a mut T,
}

/// The place of the next record at `time`: after those that are there.
pub(super) fn next_place<V>(entries: &impl Ordered<Place, V>, time: Time) -> Place {
    let last = entries.range((time, 0)..=(time, u64::MAX)).next_back();
    (time, last.map_or(0, |((_, nth), _)| nth.saturating_add(1)))
}

/// The first entry.
pub(super) fn first<K: Ord + Copy, V>(entries: &impl Ordered<K, V>) -> Option<K> {
    entries.range(..).next().map(|(key, _)| *key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_moves_forward_only_when_it_is_served() {
        let (at, mut timer) = (Time::from_nanos, None);
        timer.set_by(at(5));
        timer.set_by(at(7));
        assert_eq!(timer, Some(at(5)));
        timer.set_by(at(3));
        assert_eq!(timer, Some(at(3)));
    }
}
