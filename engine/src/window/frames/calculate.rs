//! Making frames: in order as far as the watermark has come, towards the past for history, and again
//! where something failed, came late or was removed.
//!
//! Invariant: whatever a calculation comes to, the next frame's turn comes: a frame that is to be
//! calculated again has a timer of its own.

use super::{
    Attempt, Frame, FrameEvent, FrameMethod, FrameState, FrameStore, FrameTimer, Place, Rework,
    Task, Turn,
};
use crate::Time;
use crate::window::Window;
use crate::window::entries::{Ordered, OrderedMut};

impl<T, M: FrameMethod<T>> Task<T, M> {
    /// Makes the frames that the watermark has passed, in order, but not more than a batch: then it asks
    /// for [`FrameTimer::More`]. Done by timers; there is no harm in doing it at any time.
    pub fn advance<S: FrameStore<M::Entry, M::Output>>(
        &mut self,
        store: &mut S,
        turn: &mut Turn<'_, T, M::Output>,
    ) {
        let over = turn.watermark == Window::ALL.end;
        let mut left = self.options.batch.max(1);
        let mut more = false;
        while let Some(window) = self.next_window(store, turn.watermark, None) {
            if window.end >= turn.watermark && !over {
                break;
            }
            more = left == 0;
            if more {
                break;
            }
            left -= 1;
            let head = store.head_mut();
            if head.begun.is_none() {
                head.begun = Some(window.start);
                head.first = window.start;
            }
            head.next = window.end;
            self.attempt(store, Frame::new(window, false), turn);
        }
        self.finish(store, left, more, turn);
    }

    /// Makes frames for the records before the oldest frame, newest first, down to the earliest record's;
    /// not more than a batch, as [`advance`](Self::advance). Nothing, if there is no frame yet. Done some
    /// time after such records; there is no harm in doing it at any time.
    pub fn backfill<S: FrameStore<M::Entry, M::Output>>(
        &mut self,
        store: &mut S,
        turn: &mut Turn<'_, T, M::Output>,
    ) {
        store.head_mut().backfilling = store.head().begun.is_some();
        self.finish(store, self.options.batch.max(1), false, turn);
    }

    /// What is left to do at one go after frames were made in order.
    fn finish<S: FrameStore<M::Entry, M::Output>>(
        &mut self,
        store: &mut S,
        mut left: usize,
        mut more: bool,
        turn: &mut Turn<'_, T, M::Output>,
    ) {
        while store.head().backfilling {
            let Some(window) = self.window_before(store) else {
                store.head_mut().backfilling = false;
                break;
            };
            if left == 0 {
                more = true;
                break;
            }
            left -= 1;
            store.head_mut().first = window.start;
            self.attempt(store, Frame::new(window, false), turn);
        }
        self.clean(store, turn.watermark);
        if more {
            store.set_timer(FrameTimer::More, turn.now);
        } else {
            self.arm(store, turn.watermark, None);
        }
    }

    /// The frame to be made before the oldest.
    fn window_before<S: FrameStore<M::Entry, M::Output>>(&self, store: &S) -> Option<Window> {
        self.options.backfill?;
        let head = store.head();
        let (place, _) = store.entries().first()?;
        if place.time >= head.first || head.forgotten.is_some() {
            return None;
        }
        let newest = Time::from_nanos(head.first.as_nanos().saturating_sub(1));
        Some(Window::new(self.grid(head).pane(newest).start, head.first))
    }

    /// The turn of a frame that is to be calculated again.
    pub(super) fn rework<S: FrameStore<M::Entry, M::Output>>(
        &mut self,
        store: &mut S,
        start: Time,
        turn: &mut Turn<'_, T, M::Output>,
    ) {
        let Some(rework) = store.rework().get(&start).copied() else { return };
        let window = Window::new(start, rework.end);
        let frame = match store.frames().get(&start) {
            None => Frame::new(window, false),
            Some(frame) if frame.state == FrameState::Open => frame.clone(),
            Some(_) => return,
        };
        self.attempt(store, Frame { missing_data: rework.missing_data, ..frame }, turn);
        self.clean(store, turn.watermark);
    }

    /// Calculates a frame, and keeps what comes of it.
    fn attempt<S: FrameStore<M::Entry, M::Output>>(
        &mut self,
        store: &mut S,
        mut frame: Frame<M::Output>,
        turn: &mut Turn<'_, T, M::Output>,
    ) {
        let (window, start) = (frame.window(), frame.start);
        let lost = frame.missing_data;
        frame.attempts = frame.attempts.saturating_add(1);
        let mut attempt = Attempt {
            window,
            number: frame.attempts,
            revision: frame.revision,
            missing_data: frame.missing_data,
        };
        let begin = (turn.stopwatch)();
        let result = {
            let entries = entries_of(store, window);
            self.method.calculate(&mut attempt, &entries)
        };
        let end = (turn.stopwatch)();
        frame.analysis_time = end.saturating_sub(begin);
        frame.missing_data = attempt.missing_data;
        match result {
            Ok(result) => {
                if frame.result.is_none() {
                    store.head_mut().completed += 1;
                }
                frame.result = Some(result);
                frame.error = None;
                frame.state = FrameState::Calculated;
                self.method.clean_up(&frame);
                frame.cleanup_time = (turn.stopwatch)().saturating_sub(end);
                store.rework_mut().remove(&start);
                turn.out.push(FrameEvent::Calculated(frame.clone()));
            }
            Err(why) => {
                frame.fail(why);
                if let Some(wait) = self.options.backoff(frame.attempts) {
                    store.set_timer(FrameTimer::Rework(start), turn.now.after(wait));
                } else {
                    frame.state = FrameState::Failed;
                    store.head_mut().failed += 1;
                    turn.out.push(FrameEvent::Failed(frame.clone()));
                }
                if frame.state == FrameState::Open || self.options.hold_failed {
                    let rework = Rework { end: window.end, missing_data: lost };
                    store.rework_mut().insert(start, rework);
                } else {
                    store.rework_mut().remove(&start);
                }
            }
        }
        store.frames_mut().insert(start, frame);
    }

    /// Has a failed frame calculated again, as if it had never been tried. Says whether there is one.
    pub fn retry<S: FrameStore<M::Entry, M::Output>>(
        &self,
        store: &mut S,
        start: Time,
        now: Time,
    ) -> bool {
        let frame = store.frames().get(&start).filter(|frame| frame.state == FrameState::Failed);
        let Some(end) = frame.map(|frame| frame.end) else { return false };
        store.frames_mut().update(&start, Frame::reopen);
        self.redo(store, start, end, now);
        true
    }

    /// Removes a frame, whatever its state, and gives it. The hole is filled: it is made anew.
    pub fn remove<S: FrameStore<M::Entry, M::Output>>(
        &self,
        store: &mut S,
        start: Time,
        now: Time,
    ) -> Option<Frame<M::Output>> {
        let frame = store.frames_mut().remove(&start)?;
        if frame.result.is_some() {
            let head = store.head_mut();
            head.completed = head.completed.saturating_sub(1);
        }
        self.redo(store, start, frame.end, now);
        Some(frame)
    }

    /// Has the frame calculated soon. If it was not to be, records of it may be gone by now.
    fn redo<S: FrameStore<M::Entry, M::Output>>(
        &self,
        store: &mut S,
        start: Time,
        end: Time,
        now: Time,
    ) {
        if store.rework().get(&start).is_none() {
            let missing_data = store.head().cut.is_some_and(|cut| start < cut);
            store.rework_mut().insert(start, Rework { end, missing_data });
        }
        store.set_timer(FrameTimer::Rework(start), now);
    }
}

/// What is kept of a window's records, in order.
fn entries_of<E: 'static, R: 'static>(
    store: &impl FrameStore<E, R>,
    window: Window,
) -> Vec<(Time, &E)> {
    let from = Place { time: window.start, number: 0 };
    let entries = store.entries();
    let within = entries.range(from..).take_while(|(place, _)| window.contains(place.time));
    within.map(|(place, entry)| (place.time, entry)).collect()
}
