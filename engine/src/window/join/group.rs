//! [`CoGroup`]: the records of each window, input by input.
//!
//! Invariant: a group has all records of its window that were applied so far. A window is given once when
//! it ends, and again, whole, with each record that is allowed into it later.

use std::time::Duration;

use super::Late;
use super::panes::{Entry, Open, Panes, Slot, WindowState};
use super::records::{Spot, drop_closed, keep, within};
use super::state::Timer;
use crate::window::entries::{Ordered, OrderedMut};
use crate::window::{Window, WindowAssigner};
use crate::{Result, Time};

/// Gives the records of two or more inputs that are in the same window, for any join of them.
///
/// Records are of one type, mostly an enum of what the inputs have; inputs are numbers. What is kept, and
/// what is asked of an assigner, is as with a [`WindowJoin`](super::WindowJoin). A record that makes sessions
/// one gives the session that they become, once that has ended, as one that was given before, if one of
/// them was.
#[derive(Clone, Debug)]
pub struct CoGroup<A> {
    panes: Panes<A>,
}

/// The records of one window.
#[derive(Debug)]
pub struct Group<'a, R> {
    /// The window.
    pub window: Window,
    /// Whether it, or a session that became part of it, was given before: then this one counts instead.
    pub again: bool,
    records: &'a R,
}

impl<R> Group<'_, R> {
    /// The records of an input with their times, in the order of these, and of application where they are
    /// equal.
    pub fn input<'a, V: 'a>(&'a self, input: u16) -> impl DoubleEndedIterator<Item = (Time, &'a V)>
    where
        R: Ordered<Spot, V>,
    {
        within(self.records, input, self.window).map(|((_, time, _), value)| (*time, value))
    }
}

impl<A: WindowAssigner> CoGroup<A> {
    /// One that allows no lateness.
    pub fn new(assigner: A) -> Self {
        Self { panes: Panes::new(assigner) }
    }

    /// How far behind the watermark a window may have ended and still take records.
    #[must_use]
    pub fn lateness(self, allowed: Duration) -> Self {
        Self { panes: self.panes.lateness(allowed) }
    }

    /// Gives a window once, when no record is allowed into it any more, instead of again and again.
    #[must_use]
    pub fn once(self) -> Self {
        Self { panes: self.panes.once() }
    }

    /// What is wrong with how it was made.
    ///
    /// # Errors
    ///
    /// That of the assigner.
    pub fn check(&self) -> Result<()> {
        self.panes.check()
    }

    /// Applies a record of an input.
    ///
    /// # Errors
    ///
    /// The record, if it came too late.
    pub fn apply<V, R: OrderedMut<Spot, V>>(
        &mut self,
        input: u16,
        time: Time,
        value: V,
        watermark: Time,
        state: &mut WindowState<'_, R, impl OrderedMut<Slot, Open>, impl Timer>,
        mut emit: impl FnMut(Group<'_, R>),
    ) -> Result<(), Late<V>> {
        let mut ended = Vec::new();
        match self.panes.enter(time, watermark, state.windows, state.timer, &mut ended) {
            Entry::Nowhere => return Ok(()),
            Entry::Late => return Err(Late { time, value }),
            Entry::Entered => {}
        }
        keep(state.records, input, time, value);
        for (window, again) in ended {
            emit(Group { window, again, records: state.records });
        }
        Ok(())
    }

    /// The timer is due: gives the windows that have ended, and closes those that take nothing any more.
    pub fn wake<V, R: OrderedMut<Spot, V>>(
        &mut self,
        watermark: Time,
        state: &mut WindowState<'_, R, impl OrderedMut<Slot, Open>, impl Timer>,
        mut emit: impl FnMut(Group<'_, R>),
    ) {
        while let Some(step) = self.panes.step(watermark, state.windows, state.timer) {
            if let Some(again) = step.give {
                emit(Group { window: step.window, again, records: state.records });
            }
            if step.close {
                drop_closed(step.window, state.records, state.windows);
            }
        }
    }
}
