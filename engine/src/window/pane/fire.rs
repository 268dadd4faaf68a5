//! [`Pane`]: the row of one window of one key, and one step of it.
//!
//! Invariant: a step changes this row and nothing else. What is told has all records that came before it.

use serde::{Deserialize, Serialize};

use super::{Clock, Contents, Evictor, Fired, Kind, Moment, Take, Trigger, Verdict, View, Windows};
use crate::Time;
use crate::aggregate::Aggregate;
use crate::window::{Window, WindowAssigner};

/// What is kept of one window of one key: the aggregate's state, the trigger's, and about 50 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pane<S, R> {
    pub(super) held: Contents<S>,
    /// How many records came since it was told last.
    pub(super) fresh: u64,
    /// How many times it was told.
    pub(super) firings: u64,
    pub(super) ended: bool,
    /// For when its timer of event time is set.
    pub(super) due: Time,
    /// How many windows side by side before this one were empty. So many that 32 bits do not count them are
    /// without end.
    pub(super) empty_before: u32,
    pub(super) trigger: R,
}

impl<S, R> Pane<S, R> {
    /// For when its timer of event time is set.
    pub(crate) fn due(&self) -> Time {
        self.due
    }

    /// Whether it was never anything.
    pub(super) fn is_empty(&self) -> bool {
        self.held.count == 0 && self.firings == 0 && self.fresh == 0
    }

    pub(super) fn view(&self, window: Window, at: Moment) -> View {
        let Self { held, fresh, firings, ended, .. } = self;
        View {
            window,
            count: held.count,
            fresh: *fresh,
            firings: *firings,
            ended: *ended,
            watermark: at.watermark,
            now: at.now,
        }
    }
}

/// When a pane is to be woken, by either clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dues {
    pub(super) event: Option<Time>,
    pub(super) engine: Option<Time>,
}

/// A row of [`Windows`] with aggregate `A` and trigger `R`.
pub type Row<T, A, R> = Pane<<A as Aggregate<T>>::State, <R as Trigger>::State>;

impl<T, W, A, R, E> Windows<T, W, A, R, E>
where
    T: 'static,
    W: WindowAssigner,
    A: Aggregate<T>,
    R: Trigger,
    E: Evictor<A::State>,
{
    /// A pane without records.
    pub(super) fn open(&self, window: Window, empty_before: u32, at: Moment) -> Row<T, A, R> {
        let view = View {
            window,
            count: 0,
            fresh: 0,
            firings: 0,
            ended: at.watermark >= window.end,
            watermark: at.watermark,
            now: at.now,
        };
        Pane {
            held: Contents { state: self.aggregate.initial(), count: 0 },
            fresh: 0,
            firings: 0,
            ended: view.ended,
            // It is set once the pane is kept.
            due: Time::END,
            empty_before,
            trigger: self.trigger.open(&view),
        }
    }

    /// When the pane is to be woken. Times of its trigger up to `past` count no more.
    fn dues(&self, window: Window, pane: &Row<T, A, R>, past: Option<(Clock, Time)>) -> Dues {
        let wake = |clock| {
            let past = past.filter(|(of, _)| *of == clock).map(|(_, past)| past);
            self.trigger.wake(&pane.trigger, clock).filter(|wake| past.is_none_or(|p| *wake > p))
        };
        let next = if pane.ended { self.lateness.close(window) } else { window.end };
        let event = wake(Clock::Event).map_or(next, |wake| wake.min(next));
        Dues { event: Some(event), engine: wake(Clock::Engine) }
    }

    /// For when the timers of a pane that is kept are set.
    pub(super) fn dues_set(&self, pane: &Row<T, A, R>) -> Dues {
        Dues { event: Some(pane.due), engine: self.trigger.wake(&pane.trigger, Clock::Engine) }
    }

    /// Makes the pane say when it is to be woken.
    pub(super) fn set_dues(
        &self,
        window: Window,
        pane: &mut Row<T, A, R>,
        past: Option<(Clock, Time)>,
    ) -> Dues {
        let dues = self.dues(window, pane, past);
        pane.due = dues.event.unwrap_or(Time::END);
        dues
    }

    /// A record comes in.
    pub(super) fn step_record(
        &self,
        window: Window,
        pane: &mut Row<T, A, R>,
        (time, record): (Time, &T),
        at: Moment,
        out: &mut Vec<Fired<A::Output>>,
    ) {
        self.aggregate.update(&mut pane.held.state, record);
        let weight = self.aggregate.weight(record);
        pane.held.count = pane.held.count.saturating_add(weight);
        pane.fresh = pane.fresh.saturating_add(weight);
        let view = pane.view(window, at);
        let verdict = self.trigger.on_record(&mut pane.trigger, time, &view);
        let kind = if pane.ended { Kind::Late } else { Kind::Early };
        self.obey(verdict, window, pane, kind, out);
    }

    /// A timer of the pane is due. Whether the pane closes.
    pub(super) fn step_timer(
        &self,
        window: Window,
        pane: &mut Row<T, A, R>,
        (clock, time): (Clock, Time),
        at: Moment,
        out: &mut Vec<Fired<A::Output>>,
    ) -> bool {
        let wake = self.trigger.wake(&pane.trigger, clock);
        let overtaken = !pane.ended && at.watermark >= window.end;
        if wake.is_some_and(|wake| wake <= time) && !overtaken {
            let view = pane.view(window, at);
            let verdict = self.trigger.on_time(&mut pane.trigger, &view);
            let kind = if pane.ended { Kind::Late } else { Kind::Early };
            self.obey(verdict, window, pane, kind, out);
        }
        if clock == Clock::Engine {
            return false;
        }
        if !pane.ended && window.end <= time {
            pane.ended = true;
            let view = pane.view(window, at);
            let verdict = self.trigger.on_end(&mut pane.trigger, &view);
            self.obey(verdict, window, pane, Kind::OnTime, out);
        }
        let closes = pane.ended && self.lateness.close(window) <= time;
        if closes {
            let view = pane.view(window, at);
            let verdict = self.trigger.on_close(&mut pane.trigger, &view);
            self.obey(verdict, window, pane, Kind::Final, out);
        }
        closes
    }

    fn obey(
        &self,
        verdict: Verdict,
        window: Window,
        pane: &mut Row<T, A, R>,
        kind: Kind,
        out: &mut Vec<Fired<A::Output>>,
    ) {
        if verdict.fires() {
            self.fire(window, pane, kind, out);
        }
        if verdict.purges() {
            pane.held = Contents { state: self.aggregate.initial(), count: 0 };
            pane.fresh = 0;
        }
    }

    fn fire(
        &self,
        window: Window,
        pane: &mut Row<T, A, R>,
        kind: Kind,
        out: &mut Vec<Fired<A::Output>>,
    ) {
        let part;
        let told = match self.evictor.take(&mut pane.held, self.aggregate.initial()) {
            Take::All => &pane.held,
            Take::Part(taken) => {
                part = taken;
                &part
            }
            Take::Nothing => return,
        };
        let value = self.aggregate.output(&told.state);
        out.push(Fired { window, value, count: told.count, index: pane.firings, kind });
        pane.fresh = 0;
        pane.firings = pane.firings.saturating_add(1);
    }
}
