//! [`Panes`]: which windows of one key are open, and when they are given and closed.
//!
//! Invariant: windows are given and closed one after another, each at its time, however far the watermark
//! leaps. The open windows of an assigner that merges do not touch.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Lateness;
use super::state::Timer;
use crate::window::entries::OrderedMut;
use crate::window::{Window, WindowAssigner, sessions};
use crate::{Result, Time};

/// An open window, by what it waits for.
pub type Slot = (Phase, Window);

/// What an open window waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// To be given when it ends.
    Waiting,
    /// To be closed, when no late record is taken any more.
    Given,
}

/// What is known of an open window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Whether it, or a session that became part of it, was given before.
    pub given: bool,
}

/// What a windowed join keeps of one key: its records, its open windows, and its timer.
#[derive(Debug)]
pub struct WindowState<'a, R, W, T> {
    /// The records of all inputs: [Ordered](crate::window::entries::OrderedMut) by [`Spot`](super::Spot).
    pub records: &'a mut R,
    /// The open windows: [`Open`], ordered by [`Slot`].
    pub windows: &'a mut W,
    /// Due by the watermark.
    pub timer: &'a mut T,
}

/// To which windows records belong, and when windows are given and closed.
#[derive(Clone, Debug)]
pub(super) struct Panes<A> {
    assigner: A,
    lateness: Lateness,
    /// Whether a window is given when it is closed, instead of when it ends.
    once: bool,
    /// The windows of the record that is applied.
    assigned: Vec<Window>,
}

/// What becomes of a record.
pub(super) enum Entry {
    /// It is in no window.
    Nowhere,
    /// All its windows are closed.
    Late,
    /// It is in an open one.
    Entered,
}

/// What is to be done with a window: to be given, to be closed, or both.
pub(super) struct Step {
    pub(super) window: Window,
    /// Give it; and whether it was given before.
    pub(super) give: Option<bool>,
    pub(super) close: bool,
}

impl<A: WindowAssigner> Panes<A> {
    pub(super) fn new(assigner: A) -> Self {
        Self { assigner, lateness: Lateness::default(), once: false, assigned: Vec::new() }
    }

    pub(super) fn lateness(self, allowed: Duration) -> Self {
        Self { lateness: Lateness::new(allowed), ..self }
    }

    pub(super) fn once(self) -> Self {
        Self { once: true, ..self }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.assigner.check()
    }

    pub(super) fn merges(&self) -> bool {
        self.assigner.merges()
    }

    /// Opens the windows of a record that is about to be kept. Puts those that have ended already into
    /// `ended`: to be given now, and whether they were given before.
    pub(super) fn enter(
        &mut self,
        time: Time,
        watermark: Time,
        windows: &mut impl OrderedMut<Slot, Open>,
        timer: &mut impl Timer,
        ended: &mut Vec<(Window, bool)>,
    ) -> Entry {
        let mut assigned = std::mem::take(&mut self.assigned);
        assigned.clear();
        self.assigner.assign(time, &mut assigned);
        // A record that no window contains would never be dropped.
        assigned.retain(|window| window.contains(time));
        let mut entry = if assigned.is_empty() { Entry::Nowhere } else { Entry::Late };
        for &window in &assigned {
            let known = windows.get(&(Phase::Waiting, window)).is_some();
            if !known {
                let Some((window, given)) = self.merged(window, watermark, windows) else {
                    continue;
                };
                let phase = if self.due(window) <= watermark {
                    ended.push((window, given));
                    timer.set_by(self.closes(window));
                    Phase::Given
                } else {
                    timer.set_by(self.due(window));
                    Phase::Waiting
                };
                if windows.get(&(phase, window)).is_none() {
                    let given = given || phase == Phase::Given;
                    windows.insert((phase, window), Open { given });
                }
            }
            entry = Entry::Entered;
        }
        self.assigned = assigned;
        entry
    }

    /// The window that a new one becomes, and whether it or a part of it was given before; those that it
    /// replaces are gone. `None` if it is closed.
    fn merged(
        &self,
        new: Window,
        watermark: Time,
        windows: &mut impl OrderedMut<Slot, Open>,
    ) -> Option<(Window, bool)> {
        if !self.assigner.merges() {
            let given = windows.get(&(Phase::Given, new)).is_some();
            return (self.closes(new) > watermark).then_some((new, given));
        }
        let (mut window, mut replaced) = (new, Vec::new());
        for phase in [Phase::Waiting, Phase::Given] {
            let from = (phase, sessions::first_possible(new));
            let open = windows.range(from..=(phase, LAST)).map(|((_, window), _)| *window);
            let mut touching = Vec::new();
            window = window.cover(sessions::merge(open, new, &mut touching));
            replaced.extend(touching.into_iter().map(|window| (phase, window)));
        }
        if self.closes(window) <= watermark {
            return None;
        }
        let mut given = false;
        for slot in replaced {
            given |= windows.get(&slot).is_some_and(|open| open.given);
            // One that stays as it is keeps its entry.
            if slot.1 != window || (slot.0 == Phase::Given) != (self.due(window) <= watermark) {
                windows.remove(&slot);
            }
        }
        Some((window, given))
    }

    /// What is due next, taken from the open windows; if nothing is, the timer is set. Closing goes before
    /// giving where both are due at one time.
    pub(super) fn step(
        &self,
        watermark: Time,
        windows: &mut impl OrderedMut<Slot, Open>,
        timer: &mut impl Timer,
    ) -> Option<Step> {
        let entry = |(slot, open): (&Slot, &Open)| (*slot, *open);
        let waiting = windows.range(..(Phase::Given, FIRST)).next().map(entry);
        let given = windows.range((Phase::Given, FIRST)..).next().map(entry);
        let waiting = waiting.map(|(slot, open)| (self.due(slot.1), true, slot, open.given));
        let given = given.map(|(slot, _)| (self.closes(slot.1), false, slot, true));
        let next = waiting.into_iter().chain(given).min_by_key(|next| (next.0, next.1));
        let Some((at, gives, slot, before)) = next else {
            timer.cancel();
            return None;
        };
        if at > watermark {
            timer.set(at);
            return None;
        }
        windows.remove(&slot);
        let window = slot.1;
        let close = !gives || self.closes(window) <= at;
        if !close {
            windows.insert((Phase::Given, window), Open { given: true });
        }
        Some(Step { window, give: gives.then_some(before), close })
    }

    /// The watermark at which a window is given.
    fn due(&self, window: Window) -> Time {
        if self.once { self.closes(window) } else { window.end }
    }

    /// The watermark at which no record is taken into a window any more.
    fn closes(&self, window: Window) -> Time {
        self.lateness.after(window.end)
    }
}

/// The least and the greatest window.
pub(super) const FIRST: Window = Window::new(Window::ALL.start, Window::ALL.start);
const LAST: Window = Window::new(Window::ALL.end, Window::ALL.end);
