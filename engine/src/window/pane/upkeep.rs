//! What of [`Sliding`] is told next, and what is removed.
//!
//! Invariant: while a key has rows there is one timer, and one row that says what it is for.

use super::slices::Next;
use super::sliding::Key;
use super::store::first_in;
use super::{Sliding, SlidingKey, SlidingRow, Store};
use crate::Time;
use crate::aggregate::Aggregate;
use crate::window::{Window, WindowAssigner as _};

impl<T: 'static, A: Aggregate<T>> Sliding<T, A> {
    /// There is a new slice: sees to it that its first window that has not ended is told.
    pub(super) fn schedule<S: Store<SlidingKey, SlidingRow<A::State>>>(
        &self,
        time: Time,
        key: &mut Key<'_, A::State, A::Output, S>,
    ) {
        let not_ended = time.max(key.at.watermark);
        let window = self.assigner.first_and_last(not_ended).map(|(first, _)| first);
        let window = window.filter(|window| window.start <= time);
        let row = key.store.get(&SlidingKey::Next).and_then(SlidingRow::next);
        let mut next = row.unwrap_or_default();
        next.window = next.window.into_iter().chain(window).min();
        self.keep_next(row, next, key.store);
    }

    /// Keeps what is next, and its timer.
    pub(super) fn keep_next<S: Store<SlidingKey, SlidingRow<A::State>>>(
        &self,
        row: Option<Next>,
        mut next: Next,
        store: &mut S,
    ) {
        // When nothing is to be told, rows are kept until no record can change them.
        next.due = next.window.map(|window| window.end).or_else(|| {
            let slices = SlidingKey::from(Window::ALL.start)..SlidingKey::PAST_SLICES;
            let slice = store.range(slices).next_back().and_then(|(name, _)| self.last_of(*name));
            let told = store.range(SlidingKey::PAST_SLICES..).next_back();
            let told = told.and_then(|(name, _)| self.last_of(*name));
            Some(self.lateness.close(slice.into_iter().chain(told).max()?))
        });
        let due = row.and_then(|row| row.due);
        if next.due != due {
            store.move_timer(&SlidingKey::Next, due, next.due);
        }
        if next.due.is_none() {
            store.remove(&SlidingKey::Next);
        } else if row != Some(next) {
            store.insert(SlidingKey::Next, SlidingRow::Next(next));
        }
    }

    /// The window to be told after this one: the next one, if it may be empty; else the next that is not.
    pub(super) fn after<S: Store<SlidingKey, SlidingRow<A::State>>>(
        &self,
        window: Window,
        also_empty: bool,
        store: &S,
    ) -> Option<Window> {
        let next = self.assigner.next(window)?;
        let later = SlidingKey::from(next.start)..SlidingKey::PAST_SLICES;
        let later = store.range(later).next();
        let slice = match later {
            Some((SlidingKey::Slice(slice), _)) => Some(*slice),
            _ => None,
        };
        if also_empty || slice.is_some_and(|slice| slice.start < next.end) {
            return Some(next);
        }
        self.assigner.first_and_last(slice?.start).map(|(first, _)| first)
    }

    /// Removes what no record can correct any more.
    pub(super) fn clean<S: Store<SlidingKey, SlidingRow<A::State>>>(
        &self,
        time: Time,
        key: &mut Key<'_, A::State, A::Output, S>,
    ) {
        for from in [SlidingKey::from(Window::ALL.start), SlidingKey::PAST_SLICES] {
            while let Some(name) = first_in(key.store, from..)
                && self.last_of(name).is_some_and(|last| self.lateness.is_closed(last, time))
            {
                key.store.remove(&name);
            }
        }
    }

    /// The last window that has a row in it.
    fn last_of(&self, name: SlidingKey) -> Option<Window> {
        match name {
            SlidingKey::Next => None,
            SlidingKey::Slice(slice) => Some(self.assigner.first_and_last(slice.start)?.1),
            SlidingKey::Told(window) => Some(window),
        }
    }
}
