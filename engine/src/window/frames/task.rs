//! [`Task`]: where a record belongs, and what a timer sets off.
//!
//! Invariant: a record that comes in order costs one entry, and no other write but once a frame.

use std::marker::PhantomData;
use std::time::Duration;

use super::{
    CleanedUp, Frame, FrameEvent, FrameMethod, FrameState, FrameStore, FrameTimer, Frames, Head,
    Rework,
};
use crate::Time;
use crate::window::entries::{Ordered, OrderedMut};
use crate::window::{Aligned, Window, sliding, tumbling};

/// The moment at which a task is told something, and where it says what is to be handed on.
pub struct Turn<'a, T, R> {
    /// No record before it is expected any more.
    pub watermark: Time,
    /// The engine's time, for retries.
    pub now: Time,
    /// Says how much time has passed, from any beginning. It is noted in frames and decides nothing: let
    /// it stand still, if frames must be the same in every run.
    pub stopwatch: &'a mut dyn FnMut() -> Duration,
    /// What is to be handed on, in order.
    pub out: &'a mut Vec<FrameEvent<T, R>>,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is to be kept. An interval starts here that has it and lies within one frame.
    In(Time),
    /// It is later than is allowed: it is in no frame.
    Late,
}

/// The logic of the frames of any key; made by [`Frames`].
pub struct Task<T, M> {
    pub(super) options: Frames,
    pub(super) method: M,
    of: PhantomData<fn(T)>,
}

/// The window of a grid, or the part of it from some time on.
fn from(window: Window, start: Time) -> Window {
    Window::new(window.start.max(start), window.end)
}

impl<T, M: FrameMethod<T>> Task<T, M> {
    pub(super) fn new(options: Frames, method: M) -> Self {
        Self { options, method, of: PhantomData }
    }

    /// How its frames are.
    pub fn options(&self) -> &Frames {
        &self.options
    }

    /// Calls `clean_up` after each frame that was calculated; how long it takes is noted.
    pub fn clean_up<C>(self, clean_up: C) -> Task<T, CleanedUp<M, C>>
    where
        C: FnMut(&Frame<M::Output>) + 'static,
    {
        Task::new(self.options, CleanedUp::new(self.method, clean_up))
    }

    /// A record came.
    pub fn on_record<S: FrameStore<M::Entry, M::Output>>(
        &self,
        store: &mut S,
        time: Time,
        value: T,
        turn: &mut Turn<'_, T, M::Output>,
    ) {
        match self.observe(store, time, turn.watermark, turn.now) {
            Placed::In(cell) => self.method.enter(store.entries_mut(), cell, time, value),
            Placed::Late => turn.out.push(FrameEvent::Late { time, value }),
        }
    }

    /// The same, for a task that reads records with others: says what becomes of a record of that time.
    /// If any of them lets it in, it is to be [put in](super::insert_item) once, whoever is asked. Such a
    /// task has no history of its own: it must not be one that [backfills](Frames::backfill).
    pub fn observe<S: FrameStore<M::Entry, M::Output>>(
        &self,
        store: &mut S,
        time: Time,
        watermark: Time,
        now: Time,
    ) -> Placed {
        let Some(cell) = self.place(store, time, watermark, now) else {
            store.head_mut().late += 1;
            return Placed::Late;
        };
        let head = store.head();
        if head.begun.is_none() || head.timer.is_none() && time >= head.next {
            self.arm(store, watermark, Some(time));
        }
        Placed::In(cell)
    }

    fn place<S: FrameStore<M::Entry, M::Output>>(
        &self,
        store: &mut S,
        time: Time,
        watermark: Time,
        now: Time,
    ) -> Option<Time> {
        let head = store.head();
        let Some(begun) = head.begun else {
            return Some(self.unbegun_cell(time));
        };
        if time >= head.next {
            return Some(from(self.grid(head).pane(time), head.next).start);
        }
        let (first, cut, forgotten) = (head.first, head.cut, head.forgotten);
        let frame = store.frames().range(..=time).next_back().map(|(_, frame)| frame);
        if let Some(frame) = frame.filter(|frame| frame.window().contains(time)) {
            let (start, end) = (frame.start, frame.end);
            if frame.state == FrameState::Open {
                return Some(start);
            }
            let over = end.after(self.options.lateness) < watermark;
            if over || cut.is_some_and(|cut| start < cut) {
                return None;
            }
            store.frames_mut().update(&start, Frame::reopen);
            store.rework_mut().insert(start, Rework { end, missing_data: false });
            store.set_timer(FrameTimer::Rework(start), now);
            return Some(start);
        }
        let removed = store.rework().range(..=time).next_back();
        if let Some((start, _)) = removed.filter(|(_, rework)| time < rework.end) {
            return Some(*start);
        }
        let (reach, quiet) = self.options.backfill?;
        if time >= first || time < begun.before(reach) || forgotten.is_some() {
            return None;
        }
        store.set_timer(FrameTimer::Backfill, now.after(quiet));
        Some(self.grid(store.head()).pane(time).start)
    }

    /// A timer that was asked for fired.
    pub fn on_timer<S: FrameStore<M::Entry, M::Output>>(
        &mut self,
        store: &mut S,
        timer: FrameTimer,
        turn: &mut Turn<'_, T, M::Output>,
    ) {
        match timer {
            FrameTimer::Due => {
                store.head_mut().timer = None;
                self.advance(store, turn);
            }
            FrameTimer::More => self.advance(store, turn),
            FrameTimer::Backfill => self.backfill(store, turn),
            FrameTimer::Rework(start) => self.rework(store, start, turn),
        }
    }

    /// The grid of frames of a key that has begun.
    pub(super) fn grid(&self, head: &Head) -> Aligned {
        let anchor = self.options.anchor.or(head.begun).unwrap_or_default();
        tumbling(self.options.duration).anchored(anchor)
    }

    /// Before the first frame it is not known where frames start, but by which times they can: by those
    /// that have this distance.
    fn unbegun_cell(&self, time: Time) -> Time {
        let cells = match self.options.anchor {
            Some(anchor) => tumbling(self.options.duration).anchored(anchor),
            // Their greatest common divisor: the least first, as not to be many windows.
            None => {
                let (duration, floor) = (self.options.duration, self.options.floor);
                sliding(duration.min(floor), duration.max(floor))
            }
        };
        cells.pane(time).start
    }

    /// The frame to be made next, once its time is over. None as long as no record says so; `coming` is
    /// the time of one that is not yet in the store.
    pub(super) fn next_window<S: FrameStore<M::Entry, M::Output>>(
        &self,
        store: &S,
        watermark: Time,
        coming: Option<Time>,
    ) -> Option<Window> {
        let head = store.head();
        if head.begun.is_none() {
            let first = store.entries().first().map(|(place, _)| place.time);
            let earliest = first.into_iter().chain(coming).min()?;
            let start = match self.options.anchor {
                Some(anchor) => {
                    tumbling(self.options.duration).anchored(anchor).pane(earliest).start
                }
                None => tumbling(self.options.floor).pane(earliest).start,
            };
            return Some(tumbling(self.options.duration).anchored(start).pane(start));
        }
        let last = store.entries().last().map(|(place, _)| place.time);
        // At the end of time no more than the records are.
        let ticking = self.options.ticking && watermark < Window::ALL.end;
        let wanted = ticking || last.max(coming).is_some_and(|last| last >= head.next);
        let window = from(self.grid(head).pane(head.next), head.next);
        (wanted && window.start < window.end).then_some(window)
    }

    /// Sets the timer for the next frame, if it is not.
    pub(super) fn arm<S: FrameStore<M::Entry, M::Output>>(
        &self,
        store: &mut S,
        watermark: Time,
        coming: Option<Time>,
    ) {
        let next = self.next_window(store, watermark, coming);
        let at = next.map(|window| window.end.after(Duration::from_nanos(1)));
        if store.head().timer == at {
            return;
        }
        store.head_mut().timer = at;
        match at {
            Some(at) => store.set_timer(FrameTimer::Due, at),
            None => store.cancel_timer(FrameTimer::Due),
        }
    }
}
