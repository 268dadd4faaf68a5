//! What [`Windows`] does with a record and with a timer.
//!
//! Invariant: each row has one timer of event time, and one of the engine's time if its trigger asks for
//! one, named by its window. A row goes when its window closes, or becomes part of another.

use super::fire::{Dues, Row};
use super::lateness::has_ended;
use super::{Clock, Evictor, Fired, Kind, Moment, Outcome, Store, TooLate, Trigger, Windows};
use crate::Time;
use crate::aggregate::Aggregate;
use crate::window::{Window, WindowAssigner, sessions};

impl<T, W, A, R, E> Windows<T, W, A, R, E>
where
    T: 'static,
    W: WindowAssigner,
    A: Aggregate<T>,
    R: Trigger,
    E: Evictor<A::State>,
{
    /// A record of the key, of event time `time`. It is not kept: if it was too late, the outcome says
    /// what the policy is.
    pub fn on_record<S: Store<Window, Row<T, A, R>>>(
        &mut self,
        time: Time,
        record: &T,
        at: Moment,
        store: &mut S,
        out: &mut Vec<Fired<A::Output>>,
    ) -> Outcome {
        let outcome = self.enter(time, record, at, store, out);
        if outcome != Outcome::Dropped {
            return outcome;
        }
        match self.lateness.too_late {
            TooLate::Drop => Outcome::Dropped,
            TooLate::SideOutput => Outcome::SideOutput,
            TooLate::FirePerRecord => {
                let mut state = self.aggregate.initial();
                self.aggregate.update(&mut state, record);
                out.extend(self.assigned.last().map(|window| Fired {
                    window: *window,
                    value: self.aggregate.output(&state),
                    count: 1,
                    index: 0,
                    kind: Kind::TooLate,
                }));
                Outcome::FiredAlone
            }
            TooLate::OldestOpen => {
                let moved = self.lateness.cut_off(at.watermark);
                match self.enter(moved, record, at, store, out) {
                    // There is no open window: time has ended, or the windows have gaps.
                    Outcome::Dropped | Outcome::Outside => Outcome::Dropped,
                    _ => Outcome::Moved,
                }
            }
        }
    }

    /// Puts a record into its open windows. `Dropped` if none of its windows is open.
    fn enter<S: Store<Window, Row<T, A, R>>>(
        &mut self,
        time: Time,
        record: &T,
        at: Moment,
        store: &mut S,
        out: &mut Vec<Fired<A::Output>>,
    ) -> Outcome {
        let mut windows = std::mem::take(&mut self.assigned);
        windows.clear();
        self.assigner.assign(time, &mut windows);
        let (mut entered, mut late) = (false, false);
        for new in windows.iter().copied() {
            let window = if self.assigner.merges() { self.merged(new, store) } else { new };
            late |= has_ended(window, at.watermark);
            if self.lateness.is_closed(window, at.watermark) {
                continue;
            }
            entered = true;
            let united = match self.replaced.as_slice() {
                [same] if *same == window => None,
                _ => self.unite(window, at, store, out),
            };
            self.add(window, united, (time, record), at, store, out);
        }
        let outside = windows.is_empty();
        self.assigned = windows;
        match (entered, late) {
            (true, false) => Outcome::InTime,
            (true, true) => Outcome::Late,
            (false, _) if outside => Outcome::Outside,
            (false, _) => Outcome::Dropped,
        }
    }

    /// What a session becomes part of; those that it takes in are put into `replaced`.
    fn merged<S: Store<Window, Row<T, A, R>>>(&mut self, new: Window, store: &S) -> Window {
        self.replaced.clear();
        let open = store.range(sessions::first_possible(new)..).map(|(window, _)| *window);
        sessions::merge(open, new, &mut self.replaced)
    }

    /// Takes the rows of `replaced` out, with their timers, and makes one of `window` of them.
    fn unite<S: Store<Window, Row<T, A, R>>>(
        &self,
        window: Window,
        at: Moment,
        store: &mut S,
        out: &mut Vec<Fired<A::Output>>,
    ) -> Option<Row<T, A, R>> {
        let mut united: Option<Row<T, A, R>> = None;
        for old in &self.replaced {
            let Some(pane) = store.remove(old) else { continue };
            keep_timers(*old, self.dues_set(&pane), Dues::default(), store);
            if E::SUPERSEDES && pane.firings > 0 {
                let value = self.aggregate.output(&pane.held.state);
                let (count, index) = (pane.held.count, pane.firings);
                out.push(Fired { window: *old, value, count, index, kind: Kind::Replaced });
            }
            match &mut united {
                None => united = Some(pane),
                Some(all) => {
                    self.aggregate.combine(&mut all.held.state, &pane.held.state);
                    all.held.count = all.held.count.saturating_add(pane.held.count);
                    all.fresh = all.fresh.saturating_add(pane.fresh);
                    self.trigger.merge(&mut all.trigger, pane.trigger);
                }
            }
        }
        if let Some(pane) = &mut united {
            pane.firings = 0;
            pane.ended = has_ended(window, at.watermark);
        }
        united
    }

    /// Adds a record to the row of a window: the one that is there, or `united`, or a new one.
    fn add<S: Store<Window, Row<T, A, R>>>(
        &self,
        window: Window,
        united: Option<Row<T, A, R>>,
        record: (Time, &T),
        at: Moment,
        store: &mut S,
        out: &mut Vec<Fired<A::Output>>,
    ) {
        if united.is_none() {
            let dues = store.update(&window, |pane| {
                let before = self.dues_set(pane);
                self.step_record(window, pane, record, at, out);
                (before, self.set_dues(window, pane, None))
            });
            if let Some((before, after)) = dues {
                keep_timers(window, before, after, store);
                return;
            }
        }
        let mut pane = united.unwrap_or_else(|| self.open(window, 0, at));
        self.step_record(window, &mut pane, record, at, out);
        let dues = self.set_dues(window, &mut pane, None);
        store.insert(window, pane);
        keep_timers(window, Dues::default(), dues, store);
    }

    /// The timer of that clock and window, set for `time`, is due.
    pub fn on_timer<S: Store<Window, Row<T, A, R>>>(
        &mut self,
        (clock, window, time): (Clock, Window, Time),
        at: Moment,
        store: &mut S,
        out: &mut Vec<Fired<A::Output>>,
    ) {
        // No record follows the end of the input, and so nothing that an empty window could precede.
        let over = at.watermark == Time::END;
        let stepped = store.update(&window, |pane| {
            let mut before = self.dues_set(pane);
            match clock {
                Clock::Event => before.event = None,
                Clock::Engine => before.engine = None,
            }
            let had_ended = pane.ended;
            let empty = if pane.is_empty() { pane.empty_before.saturating_add(1) } else { 0 };
            let closes =
                over && pane.is_empty() || self.step_timer(window, pane, (clock, time), at, out);
            let after = self.set_dues(window, pane, Some((clock, time)));
            (before, after, closes, (!had_ended && pane.ended).then_some(empty))
        });
        let Some((before, after, closes, ends_after)) = stepped else { return };
        if closes {
            store.remove(&window);
        }
        keep_timers(window, before, if closes { Dues::default() } else { after }, store);
        if let Some(empty) = ends_after.filter(|empty| u64::from(*empty) < self.empties && !over)
            && let Some(next) = self.assigner.next(window)
        {
            self.open_empty(next, empty, at, store);
        }
    }

    /// Tells the empty windows from the one of `from` on, without waiting for a record: at most as many
    /// as [`empty_windows`](Self::empty_windows) says.
    pub fn begin<S: Store<Window, Row<T, A, R>>>(&mut self, from: Time, at: Moment, store: &mut S) {
        self.assigned.clear();
        self.assigner.assign(from, &mut self.assigned);
        if let Some(first) = self.assigned.first().copied().filter(|_| self.empties > 0) {
            self.open_empty(first, 0, at, store);
        }
    }

    fn open_empty<S: Store<Window, Row<T, A, R>>>(
        &self,
        window: Window,
        empty_before: u32,
        at: Moment,
        store: &mut S,
    ) {
        if store.get(&window).is_none() {
            let mut pane = self.open(window, empty_before, at);
            // It is told even if the watermark is past it.
            pane.ended = false;
            let dues = self.set_dues(window, &mut pane, None);
            store.insert(window, pane);
            keep_timers(window, Dues::default(), dues, store);
        }
    }
}

/// Sets and cancels the timers of a row.
fn keep_timers<R, S: Store<Window, R>>(window: Window, before: Dues, after: Dues, store: &mut S) {
    if before.event != after.event {
        store.move_timer(&window, before.event, after.event);
    }
    match after.engine {
        Some(at) if before.engine != after.engine => {
            store.set_timer(Clock::Engine, &window, at);
        }
        None if before.engine.is_some() => store.cancel_timer(Clock::Engine, &window),
        _ => {}
    }
}
