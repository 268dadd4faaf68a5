//! [`FrameMethod`]: how a frame's value is made, of an aggregate or of the records.
//!
//! Invariant: what is kept of the records of a frame has places within the frame, and is a function of
//! the records and of their order.

use std::fmt::Display;

use super::{Attempt, Frame, Place};
use crate::aggregate::Aggregate;
use crate::window::entries::OrderedMut;
use crate::{Record, Time};

/// How the value of a frame is made of its records.
pub trait FrameMethod<T>: 'static {
    /// What is kept: a record, or what some of them come to.
    type Entry: Record;
    /// The value of a frame.
    type Output: Record;

    /// Takes a record in. `cell` is where an interval starts that has its time in it and lies within one
    /// frame: what is kept must be at `time`, or at `cell`.
    fn enter(
        &self,
        entries: &mut impl OrderedMut<Place, Self::Entry>,
        cell: Time,
        time: Time,
        value: T,
    );

    /// Calculates a frame of what was kept, in the order of places.
    ///
    /// # Errors
    ///
    /// Why it cannot, which goes into the frame.
    fn calculate(
        &mut self,
        attempt: &mut Attempt,
        entries: &[(Time, &Self::Entry)],
    ) -> Result<Self::Output, String>;

    /// Cleans up after a frame that was calculated.
    fn clean_up(&mut self, _frame: &Frame<Self::Output>) {}
}

/// By a function of the records; see [`Frames::calculate`](super::Frames::calculate).
pub struct Items<F>(F);

impl<F> Items<F> {
    pub(super) fn new(calculate: F) -> Self {
        Self(calculate)
    }
}

impl<T, R, E, F> FrameMethod<T> for Items<F>
where
    T: Record,
    R: Record,
    E: Display,
    F: FnMut(&mut Attempt, &[(Time, &T)]) -> Result<R, E> + 'static,
{
    type Entry = T;
    type Output = R;

    fn enter(&self, entries: &mut impl OrderedMut<Place, T>, _cell: Time, time: Time, value: T) {
        insert_item(entries, time, value);
    }

    fn calculate(&mut self, attempt: &mut Attempt, entries: &[(Time, &T)]) -> Result<R, String> {
        (self.0)(attempt, entries).map_err(|why| why.to_string())
    }
}

/// Puts a record after those of its time.
pub fn insert_item<T: 'static>(entries: &mut impl OrderedMut<Place, T>, time: Time, value: T) {
    let these = Place { time, number: 0 }..=Place { time, number: u64::MAX };
    let last = entries.range(these).next_back().map(|(place, _)| place.number);
    let number = last.map_or(0, |last| last.saturating_add(1));
    entries.insert(Place { time, number }, value);
}

/// By an aggregate; see [`Frames::aggregate`](super::Frames::aggregate).
pub struct Aggregated<A>(A);

impl<A> Aggregated<A> {
    pub(super) fn new(aggregate: A) -> Self {
        Self(aggregate)
    }
}

impl<T, A: Aggregate<T>> FrameMethod<T> for Aggregated<A> {
    type Entry = A::State;
    type Output = A::Output;

    fn enter(
        &self,
        entries: &mut impl OrderedMut<Place, A::State>,
        cell: Time,
        _time: Time,
        value: T,
    ) {
        let place = Place { time: cell, number: 0 };
        let found = entries.update(&place, |state| self.0.update(state, &value));
        if found.is_none() {
            let mut state = self.0.initial();
            self.0.update(&mut state, &value);
            entries.insert(place, state);
        }
    }

    fn calculate(
        &mut self,
        _attempt: &mut Attempt,
        entries: &[(Time, &A::State)],
    ) -> Result<A::Output, String> {
        // Mostly there is one, and nothing to combine.
        if let [(_, state)] = entries {
            return Ok(self.0.output(state));
        }
        let mut all = self.0.initial();
        for (_, state) in entries {
            self.0.combine(&mut all, state);
        }
        Ok(self.0.output(&all))
    }
}

/// A method and how to clean up after it; see [`Task::clean_up`](super::Task::clean_up).
pub struct CleanedUp<M, C> {
    method: M,
    clean_up: C,
}

impl<M, C> CleanedUp<M, C> {
    pub(super) fn new(method: M, clean_up: C) -> Self {
        Self { method, clean_up }
    }
}

impl<T, M, C> FrameMethod<T> for CleanedUp<M, C>
where
    M: FrameMethod<T>,
    C: FnMut(&Frame<M::Output>) + 'static,
{
    type Entry = M::Entry;
    type Output = M::Output;

    fn enter(
        &self,
        entries: &mut impl OrderedMut<Place, M::Entry>,
        cell: Time,
        time: Time,
        value: T,
    ) {
        self.method.enter(entries, cell, time, value);
    }

    fn calculate(
        &mut self,
        attempt: &mut Attempt,
        entries: &[(Time, &M::Entry)],
    ) -> Result<M::Output, String> {
        self.method.calculate(attempt, entries)
    }

    fn clean_up(&mut self, frame: &Frame<M::Output>) {
        self.method.clean_up(frame);
        (self.clean_up)(frame);
    }
}
