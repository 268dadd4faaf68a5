//! Frames: the cases of the original by their numbers, and frames beside a model that keeps everything.
//!
//! Invariant: time moves only when a test says so, and timers fire as the engine fires them.

mod cases;
mod cases_failures;
mod cases_retention;
mod edges;
mod model;
mod properties;
mod rows;
mod shared;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;
use crate::Time;
use crate::window::Window;
use crate::window::entries::{Ordered, OrderedMut};

/// All that is kept of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept<E, R> {
    head: Head,
    frames: BTreeMap<Time, Frame<R>>,
    entries: BTreeMap<Place, E>,
    rework: BTreeMap<Time, Rework>,
    timers: BTreeMap<FrameTimer, Time>,
}

impl<E, R> Kept<E, R> {
    fn new() -> Self {
        Self {
            head: Head::default(),
            frames: BTreeMap::new(),
            entries: BTreeMap::new(),
            rework: BTreeMap::new(),
            timers: BTreeMap::new(),
        }
    }
}

impl<E: 'static, R: 'static> FrameStore<E, R> for Kept<E, R> {
    fn head(&self) -> &Head {
        &self.head
    }
    fn head_mut(&mut self) -> &mut Head {
        &mut self.head
    }
    fn frames(&self) -> &impl Ordered<Time, Frame<R>> {
        &self.frames
    }
    fn frames_mut(&mut self) -> &mut impl OrderedMut<Time, Frame<R>> {
        &mut self.frames
    }
    fn entries(&self) -> &impl Ordered<Place, E> {
        &self.entries
    }
    fn entries_mut(&mut self) -> &mut impl OrderedMut<Place, E> {
        &mut self.entries
    }
    fn rework(&self) -> &impl Ordered<Time, Rework> {
        &self.rework
    }
    fn rework_mut(&mut self) -> &mut impl OrderedMut<Time, Rework> {
        &mut self.rework
    }
    fn set_timer(&mut self, timer: FrameTimer, at: Time) {
        self.timers.insert(timer, at);
    }
    fn cancel_timer(&mut self, timer: FrameTimer) {
        self.timers.remove(&timer);
    }
}

/// Takes the timers out that are due, in the order in which they fire.
pub(super) fn due(
    timers: &mut impl OrderedMut<FrameTimer, Time>,
    watermark: Time,
    now: Time,
) -> Vec<FrameTimer> {
    let limit = |timer: FrameTimer| if timer.is_event_time() { watermark } else { now };
    let mut due: Vec<_> = timers.range(..).map(|(timer, at)| (*at, *timer)).collect();
    due.retain(|(at, timer)| *at <= limit(*timer));
    due.sort();
    let due: Vec<_> = due.into_iter().map(|(_, timer)| timer).collect();
    for timer in &due {
        timers.remove(timer);
    }
    due
}

pub(super) type Event<M> = FrameEvent<u64, <M as FrameMethod<u64>>::Output>;

/// A task and what it keeps of one key.
pub(super) struct World<M: FrameMethod<u64>> {
    task: Task<u64, M>,
    kept: Kept<M::Entry, M::Output>,
    watermark: Time,
    now: Time,
    stopwatch: Rc<Cell<Duration>>,
    out: Vec<Event<M>>,
    /// How many events came of each go.
    goes: Vec<usize>,
}

impl<M: FrameMethod<u64>> World<M> {
    pub(super) fn new(task: Task<u64, M>) -> Self {
        task.options().check().unwrap();
        Self {
            task,
            kept: Kept::new(),
            watermark: Window::ALL.start,
            now: Time::ZERO,
            stopwatch: Rc::default(),
            out: Vec::new(),
            goes: Vec::new(),
        }
    }

    fn turn<R>(
        &mut self,
        go: impl FnOnce(
            &mut Task<u64, M>,
            &mut Kept<M::Entry, M::Output>,
            &mut Turn<'_, u64, M::Output>,
        ) -> R,
    ) -> R {
        let stopwatch = Rc::clone(&self.stopwatch);
        let before = self.out.len();
        let mut turn = Turn {
            watermark: self.watermark,
            now: self.now,
            stopwatch: &mut || stopwatch.get(),
            out: &mut self.out,
        };
        let done = go(&mut self.task, &mut self.kept, &mut turn);
        self.goes.push(self.out.len() - before);
        done
    }

    pub(super) fn record(&mut self, time: Time, value: u64) {
        self.turn(|task, kept, turn| task.on_record(kept, time, value, turn));
    }

    /// Fires the timers that are due, until none is.
    pub(super) fn fire(&mut self) {
        loop {
            let due = due(&mut self.kept.timers, self.watermark, self.now);
            if due.is_empty() {
                return;
            }
            for timer in due {
                self.turn(|task, kept, turn| task.on_timer(kept, timer, turn));
            }
        }
    }

    pub(super) fn reach(&mut self, watermark: Time) {
        self.watermark = watermark;
        self.fire();
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
        self.fire();
    }

    /// Written and read again, as by a checkpoint.
    pub(super) fn restart(&mut self)
    where
        Kept<M::Entry, M::Output>: Serialize + DeserializeOwned,
    {
        let bytes = rmp_serde::to_vec_named(&self.kept).unwrap();
        self.kept = rmp_serde::from_slice(&bytes).unwrap();
    }

    pub(super) fn frame(&self, start: &str) -> &Frame<M::Output> {
        &self.kept.frames[&at(start)]
    }

    /// The starts of the frames that were calculated, in that order; forgets what was handed on.
    pub(super) fn made(&mut self) -> Vec<String> {
        let events = std::mem::take(&mut self.out);
        let frames = events.into_iter().filter_map(|event| match event {
            FrameEvent::Calculated(frame) => Some(clock_of(frame.start)),
            _ => None,
        });
        frames.collect()
    }
}

/// A time of some day.
pub(super) fn at(clock: &str) -> Time {
    format!("2026-03-01T{clock}Z").parse().unwrap()
}

pub(super) fn clock_of(time: Time) -> String {
    time.to_string().replace("2026-03-01T", "").replace('Z', "")
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Counts, in frames of a quarter of a minute.
pub(super) fn quarters() -> Frames {
    frames(seconds(15))
}
