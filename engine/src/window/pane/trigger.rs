//! [`Trigger`]: when a pane is told.
//!
//! Invariant: a trigger is a pure state machine. It sets no timer: it says when it wants to be woken, as a
//! function of its state, and whoever calls it keeps the timers as it says.

use serde::{Deserialize, Serialize};

use super::{Clock, Window};
use crate::record::Record;
use crate::{Result, Time};

/// What a trigger can see of its pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The window.
    pub window: Window,
    /// How many records are held; the one that just came is among them.
    pub count: u64,
    /// How many came since the last firing; the one that just came is among them.
    pub fresh: u64,
    /// How many times the window was told.
    pub firings: u64,
    /// Whether the window has ended.
    pub ended: bool,
    /// No record before it is expected any more.
    pub watermark: Time,
    /// The engine's time.
    pub now: Time,
}

/// What is to be done with a pane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    #[default]
    Wait,
    /// It is told.
    Fire,
    /// It is emptied.
    Purge,
    /// It is told, and then emptied.
    FireAndPurge,
}

impl Verdict {
    /// Whether it is told.
    pub fn fires(self) -> bool {
        matches!(self, Self::Fire | Self::FireAndPurge)
    }

    /// Whether it is emptied.
    pub fn purges(self) -> bool {
        matches!(self, Self::Purge | Self::FireAndPurge)
    }

    fn of(fires: bool, purges: bool) -> Self {
        match (fires, purges) {
            (false, false) => Self::Wait,
            (true, false) => Self::Fire,
            (false, true) => Self::Purge,
            (true, true) => Self::FireAndPurge,
        }
    }

    /// What either of them does.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::of(self.fires() || other.fires(), self.purges() || other.purges())
    }
}

/// Says when a pane is told. It is told of each record (not of its value), of the end of its window, of its
/// close, and of the times that it asked for.
///
/// ```
/// use anabranch::Time;
/// use anabranch::window::pane::{Trigger, Verdict, View};
///
/// /// At the first record of a window, and again when the window has ended.
/// struct FirstAndLast;
///
/// impl Trigger for FirstAndLast {
///     type State = ();
///     fn open(&self, _: &View) {}
///     fn on_record(&self, _: &mut (), _: Time, view: &View) -> Verdict {
///         if view.firings == 0 || view.ended { Verdict::Fire } else { Verdict::Wait }
///     }
/// }
/// ```
pub trait Trigger: 'static {
    /// What it keeps of each pane, in checkpoints too.
    type State: Record;

    /// Whether it may ask to be woken by [`Clock::Engine`]. One that never does says no, and saves the
    /// engine's looking out for it.
    const ENGINE_TIME: bool = true;

    /// The state of a pane that is new.
    fn open(&self, view: &View) -> Self::State;

    /// A record of event time `time` has come in.
    fn on_record(&self, state: &mut Self::State, time: Time, view: &View) -> Verdict;

    /// A time that it asked for has come (another part of it may have asked): look at the view's
    /// watermark and engine time. Is not called for times that the end of the window has overtaken.
    fn on_time(&self, _state: &mut Self::State, _view: &View) -> Verdict {
        Verdict::Wait
    }

    /// The window has ended.
    fn on_end(&self, _state: &mut Self::State, _view: &View) -> Verdict {
        Verdict::Fire
    }

    /// The window closes: the pane is gone after this. What was never told is told, by default.
    fn on_close(&self, _state: &mut Self::State, view: &View) -> Verdict {
        if view.fresh > 0 { Verdict::Fire } else { Verdict::Wait }
    }

    /// When it is to be woken next, by that clock. Once woken, only a later time counts.
    fn wake(&self, _state: &Self::State, _clock: Clock) -> Option<Time> {
        None
    }

    /// The pane takes another one in, as sessions do.
    fn merge(&self, _state: &mut Self::State, _other: Self::State) {}

    /// What is wrong with how it was made.
    ///
    /// # Errors
    ///
    /// [`Error::Application`](crate::Error::Application), with what to do.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Does what either of them says.
    fn or<B: Trigger>(self, other: B) -> Or<Self, B>
    where
        Self: Sized,
    {
        Or { first: self, second: other }
    }

    /// Empties the pane whenever it is told.
    fn purging(self) -> Purging<Self>
    where
        Self: Sized,
    {
        Purging(self)
    }
}

/// See [`Trigger::or`]; also what that keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Or<A, B> {
    first: A,
    second: B,
}

impl<A: Trigger, B: Trigger> Trigger for Or<A, B> {
    type State = Or<A::State, B::State>;
    const ENGINE_TIME: bool = A::ENGINE_TIME || B::ENGINE_TIME;

    fn open(&self, view: &View) -> Self::State {
        Or { first: self.first.open(view), second: self.second.open(view) }
    }
    fn on_record(&self, state: &mut Self::State, time: Time, view: &View) -> Verdict {
        let first = self.first.on_record(&mut state.first, time, view);
        first.or(self.second.on_record(&mut state.second, time, view))
    }
    fn on_time(&self, state: &mut Self::State, view: &View) -> Verdict {
        let first = self.first.on_time(&mut state.first, view);
        first.or(self.second.on_time(&mut state.second, view))
    }
    fn on_end(&self, state: &mut Self::State, view: &View) -> Verdict {
        let first = self.first.on_end(&mut state.first, view);
        first.or(self.second.on_end(&mut state.second, view))
    }
    fn on_close(&self, state: &mut Self::State, view: &View) -> Verdict {
        let first = self.first.on_close(&mut state.first, view);
        first.or(self.second.on_close(&mut state.second, view))
    }
    fn wake(&self, state: &Self::State, clock: Clock) -> Option<Time> {
        let first = self.first.wake(&state.first, clock);
        let second = self.second.wake(&state.second, clock);
        first.into_iter().chain(second).min()
    }
    fn merge(&self, state: &mut Self::State, other: Self::State) {
        self.first.merge(&mut state.first, other.first);
        self.second.merge(&mut state.second, other.second);
    }
    fn check(&self) -> Result<()> {
        self.first.check()?;
        self.second.check()
    }
}

/// See [`Trigger::purging`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Purging<A>(A);

impl<A> Purging<A> {
    fn and_purge(verdict: Verdict) -> Verdict {
        Verdict::of(verdict.fires(), verdict != Verdict::Wait)
    }
}

impl<A: Trigger> Trigger for Purging<A> {
    type State = A::State;
    const ENGINE_TIME: bool = A::ENGINE_TIME;

    fn open(&self, view: &View) -> A::State {
        self.0.open(view)
    }
    fn on_record(&self, state: &mut A::State, time: Time, view: &View) -> Verdict {
        Self::and_purge(self.0.on_record(state, time, view))
    }
    fn on_time(&self, state: &mut A::State, view: &View) -> Verdict {
        Self::and_purge(self.0.on_time(state, view))
    }
    fn on_end(&self, state: &mut A::State, view: &View) -> Verdict {
        Self::and_purge(self.0.on_end(state, view))
    }
    fn on_close(&self, state: &mut A::State, view: &View) -> Verdict {
        Self::and_purge(self.0.on_close(state, view))
    }
    fn wake(&self, state: &A::State, clock: Clock) -> Option<Time> {
        self.0.wake(state, clock)
    }
    fn merge(&self, state: &mut A::State, other: A::State) {
        self.0.merge(state, other);
    }
    fn check(&self) -> Result<()> {
        self.0.check()
    }
}
