//! [`WindowJoin`]: all pairs of records that are in the same window.
//!
//! Invariant: the pairs of a window that were there when it was given are given with it, the others when
//! their later record is applied; so each is given once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::panes::{Entry, Open, Panes, Slot, WindowState};
use super::records::{Spot, drop_closed, keep, within};
use super::state::Timer;
use super::{Joined, Kind, Late};
use crate::window::entries::{Ordered, OrderedMut};
use crate::window::{Window, WindowAssigner};
use crate::{Result, Time};

/// Joins each left record with each right one of the same window.
///
/// A window is given when the watermark reaches its end, left record by left record. A record that is later
/// than that, and allowed, brings the pairs it makes. A record is without a partner if its window has none
/// of the other input when it closes, which is when no record is allowed into it any more. Sessions can
/// become one as long as they are open, so their pairs are given when they close, too.
///
/// The windows of a record are those that contain its time: an assigner must give each time all windows of
/// its own that contain it. Kept of a key: each record once, until the last of its windows closes, an entry
/// per open window, and one timer.
#[derive(Clone, Debug)]
pub struct WindowJoin<A> {
    panes: Panes<A>,
    kind: Kind,
}

/// A record of one of two inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side<L, R> {
    /// Of the left input.
    Left(L),
    /// Of the right input.
    Right(R),
}

const LEFT: u16 = 0;
const RIGHT: u16 = 1;

impl<A: WindowAssigner> WindowJoin<A> {
    /// An inner join that allows no lateness.
    pub fn new(assigner: A) -> Self {
        let panes = Panes::new(assigner);
        let panes = if panes.merges() { panes.once() } else { panes };
        Self { panes, kind: Kind::Inner }
    }

    /// Which records are given without a partner.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// How far behind the watermark a window may have ended and still take records.
    #[must_use]
    pub fn lateness(self, allowed: Duration) -> Self {
        Self { panes: self.panes.lateness(allowed), ..self }
    }

    /// What is wrong with how it was made.
    ///
    /// # Errors
    ///
    /// That of the assigner.
    pub fn check(&self) -> Result<()> {
        self.panes.check()
    }

    /// Applies a left record.
    ///
    /// # Errors
    ///
    /// The record, if it came too late.
    pub fn left<L, R>(
        &mut self,
        time: Time,
        value: L,
        watermark: Time,
        state: &mut WindowState<
            '_,
            impl OrderedMut<Spot, Side<L, R>>,
            impl OrderedMut<Slot, Open>,
            impl Timer,
        >,
        mut emit: impl FnMut(Window, Joined<'_, L, R>),
    ) -> Result<(), Late<L>> {
        let mut ended = Vec::new();
        match self.panes.enter(time, watermark, state.windows, state.timer, &mut ended) {
            Entry::Nowhere => return Ok(()),
            Entry::Late => return Err(Late { time, value }),
            Entry::Entered => {}
        }
        for (window, _) in ended {
            rights(state.records, window)
                .for_each(|right| emit(window, Joined::Both(&value, right)));
        }
        keep(state.records, LEFT, time, Side::Left(value));
        Ok(())
    }

    /// Applies a right record.
    ///
    /// # Errors
    ///
    /// The record, if it came too late.
    pub fn right<L, R>(
        &mut self,
        time: Time,
        value: R,
        watermark: Time,
        state: &mut WindowState<
            '_,
            impl OrderedMut<Spot, Side<L, R>>,
            impl OrderedMut<Slot, Open>,
            impl Timer,
        >,
        mut emit: impl FnMut(Window, Joined<'_, L, R>),
    ) -> Result<(), Late<R>> {
        let mut ended = Vec::new();
        match self.panes.enter(time, watermark, state.windows, state.timer, &mut ended) {
            Entry::Nowhere => return Ok(()),
            Entry::Late => return Err(Late { time, value }),
            Entry::Entered => {}
        }
        for (window, _) in ended {
            lefts(state.records, window).for_each(|left| emit(window, Joined::Both(left, &value)));
        }
        keep(state.records, RIGHT, time, Side::Right(value));
        Ok(())
    }

    /// The timer is due: gives the windows that have ended, and closes those that take nothing any more.
    pub fn wake<L, R>(
        &mut self,
        watermark: Time,
        state: &mut WindowState<
            '_,
            impl OrderedMut<Spot, Side<L, R>>,
            impl OrderedMut<Slot, Open>,
            impl Timer,
        >,
        mut emit: impl FnMut(Window, Joined<'_, L, R>),
    ) {
        while let Some(step) = self.panes.step(watermark, state.windows, state.timer) {
            let (window, records) = (step.window, &*state.records);
            if step.give.is_some() {
                for left in lefts(records, window) {
                    rights(records, window)
                        .for_each(|right| emit(window, Joined::Both(left, right)));
                }
            }
            if step.close {
                if self.kind.keeps_left() && rights(records, window).next().is_none() {
                    lefts(records, window).for_each(|left| emit(window, Joined::Left(left)));
                }
                if self.kind.keeps_right() && lefts(records, window).next().is_none() {
                    rights(records, window).for_each(|right| emit(window, Joined::Right(right)));
                }
                drop_closed(window, state.records, state.windows);
            }
        }
    }
}

/// The left records of a window.
fn lefts<'a, L: 'a, R: 'a>(
    records: &'a impl Ordered<Spot, Side<L, R>>,
    window: Window,
) -> impl Iterator<Item = &'a L> {
    within(records, LEFT, window).filter_map(|(_, side)| match side {
        Side::Left(left) => Some(left),
        Side::Right(_) => None,
    })
}

/// The right records of a window.
fn rights<'a, L: 'a, R: 'a>(
    records: &'a impl Ordered<Spot, Side<L, R>>,
    window: Window,
) -> impl Iterator<Item = &'a R> {
    within(records, RIGHT, window).filter_map(|(_, side)| match side {
        Side::Right(right) => Some(right),
        Side::Left(_) => None,
    })
}
