//! [`Compute`]: a computation as the last step of a chain, with its tables and timers.
//!
//! Invariant: of a record that a computation refuses nothing is left but a dead letter.
//!
//! Invariant: what a computation emits goes on after it has returned, and what it asks of timers is done
//! then, before the next record.

use std::cell::Cell;

use super::{Computation, Context, Surroundings};
use crate::cluster::catch_within;
use crate::pipeline::Chain;
use crate::state::{AHEAD, Tables, Touch};
use crate::timer::{Asking, DueKey, EngineTimers, Request, Round, Timers};
use crate::{Clock, Key, Origin, Record, Time, Timer, Undo};

/// A chain followed by a computation on tables.
pub(crate) struct Compute<C: Chain<Key: Key>, S: Tables<C::Key>, P: Computation<C::Key, C::Out, S>>
{
    pub(crate) chain: C,
    pub(crate) then: Applied<C, S, P>,
}

/// The computation itself.
pub(crate) struct Applied<C: Chain<Key: Key>, S: Tables<C::Key>, P: Computation<C::Key, C::Out, S>>
{
    pub(crate) bound: S::Bound,
    pub(crate) computation: P,
    pub(crate) surroundings: Surroundings,
    pub(crate) outputs: Vec<P::Output>,
    pub(crate) requests: Vec<Request>,
    pub(crate) timers: Option<Timers<C::Key>>,
    pub(crate) engine_timers: Option<EngineTimers<C::Key>>,
}

impl<C, S, P> Applied<C, S, P>
where
    C: Chain<Key: Key, Out: Record>,
    S: Tables<C::Key>,
    P: Computation<C::Key, C::Out, S>,
{
    /// Applies the computation to a record of `key`; `by_timer` if one was fired.
    #[inline(always)]
    fn apply(&mut self, origin: Origin, nth: u32, by_timer: bool, key: &C::Key, record: C::Out) {
        if P::TRIES {
            return self.attempt(origin, nth, by_timer, key, &record);
        }
        self.call(origin, nth, by_timer, key, |computation, rows, out| {
            computation.apply(key, record, rows, out);
        });
    }

    /// Calls the computation with the rows of `key`; `by_timer` if one was fired.
    #[inline(always)]
    fn call(
        &mut self,
        origin: Origin,
        nth: u32,
        by_timer: bool,
        key: &C::Key,
        call: impl FnOnce(&mut P, S::Rows<'_>, &mut Context<'_, P::Output>),
    ) {
        let Self { bound, computation, surroundings, outputs, requests, .. } = self;
        {
            let mut guard = S::lock(bound);
            let (now, watermark) = (origin.time(), surroundings.watermark.get());
            S::enter(&mut guard, key, &mut Touch { now, watermark, requests });
            let rows = S::rows(&mut guard, key);
            let sequences = Cell::new(0);
            let held = None;
            let mut context =
                Context { origin, nth, sequences, outputs, requests, surroundings, held };
            call(computation, rows, &mut context);
            S::leave(&mut guard, key, &mut Touch { now, watermark, requests });
            S::settle(&mut guard, key);
        }
        if (P::TIMERS || P::ENGINE_TIMERS || S::EXPIRES) && !requests.is_empty() {
            self.take_requests(key, Asking { now: origin.time(), by_timer });
        }
    }

    /// Calls the computation with the rows of `key`, and undoes what it did if it says so, or panics.
    #[inline(always)]
    fn attempt(&mut self, origin: Origin, nth: u32, by_timer: bool, key: &C::Key, record: &C::Out) {
        let Self { bound, computation, surroundings, outputs, requests, .. } = self;
        let mut held = Vec::new();
        let undo = {
            let mut guard = S::lock(bound);
            let (now, watermark) = (origin.time(), surroundings.watermark.get());
            S::enter(&mut guard, key, &mut Touch { now, watermark, requests });
            let asked = requests.len();
            S::attempt(&mut guard);
            let tried = catch_within(|| {
                let (rows, sequences) = (S::rows(&mut guard, key), Cell::new(0));
                let held = Some(&mut held);
                let requests = &mut *requests;
                let outputs = &mut *outputs;
                let mut context =
                    Context { origin, nth, sequences, outputs, requests, surroundings, held };
                computation.attempt(key, record, rows, &mut context)
            });
            let undo = tried.unwrap_or_else(|panic| Err(Undo::Fail(panic.text))).err();
            if undo.is_some() {
                S::undo(&mut guard, key);
                outputs.clear();
                requests.truncate(asked);
                held.clear();
            } else {
                S::keep(&mut guard);
                S::leave(&mut guard, key, &mut Touch { now, watermark, requests });
            }
            S::settle(&mut guard, key);
            undo
        };
        held.into_iter().for_each(|emit| emit(&surroundings.sides));
        if !requests.is_empty() {
            self.take_requests(key, Asking { now: origin.time(), by_timer });
        }
        if let Some(undo) = undo {
            self.surroundings.undone(undo, origin, record);
        }
    }

    /// Sets and cancels the timers that were asked for.
    fn take_requests(&mut self, key: &C::Key, asking: Asking) {
        let Self { requests, timers, engine_timers, .. } = self;
        for Request { clock, name, change } in requests.drain(..) {
            match (clock, &mut *timers, &mut *engine_timers) {
                (Clock::Event, Some(timers), _) => timers.take(key, name, change, asking),
                (Clock::Engine, _, Some(timers)) => timers.take(key, name, change, asking),
                _ => {}
            }
        }
    }

    /// Whether the timer is that of a row whose time may be up; if so, it is seen to.
    fn wake(&mut self, origin: Origin, key: &C::Key, timer: Timer<'_>) -> bool {
        let Self { bound, surroundings, requests, .. } = self;
        let (now, watermark) = (origin.time(), surroundings.watermark.get());
        let mut touch = Touch { now, watermark, requests };
        let woken = S::wake(&mut S::lock(bound), key, timer, &mut touch);
        self.take_requests(key, Asking { now, by_timer: true });
        woken
    }

    fn due(&self, clock: Clock) -> Option<&DueKey> {
        match clock {
            Clock::Event => self.timers.as_ref()?.next(),
            Clock::Engine => self.engine_timers.as_ref()?.next(),
        }
    }

    fn pop(&mut self, clock: Clock) -> Option<(DueKey, C::Key)> {
        match clock {
            Clock::Event => {
                let timers = self.timers.as_mut()?;
                if S::is_large(&self.bound) {
                    timers.soon(AHEAD).for_each(|key| S::look_up(&self.bound, key));
                }
                timers.pop()
            }
            Clock::Engine => self.engine_timers.as_mut()?.pop(),
        }
    }
}

impl<C, S, P> Chain for Compute<C, S, P>
where
    C: Chain<Key: Key, Out: Record>,
    S: Tables<C::Key>,
    P: Computation<C::Key, C::Out, S>,
{
    type Key = C::Key;
    type In = C::In;
    type Out = P::Output;
    const FANS_OUT: bool = true;
    const ENGINE_TIMERS: bool = C::ENGINE_TIMERS || P::ENGINE_TIMERS || S::EXPIRES;

    #[inline(always)]
    fn feed(
        &mut self,
        origin: Origin,
        key: &C::Key,
        record: C::In,
        next: &mut impl FnMut(P::Output),
    ) {
        let Self { chain, then } = self;
        let mut nth = 0;
        chain.feed(origin, key, record, &mut |record| {
            then.apply(origin, nth, false, key, record);
            nth += 1;
            if !then.outputs.is_empty() {
                for output in then.outputs.drain(..) {
                    next(output);
                }
            }
        });
    }

    fn has_large_tables(&self) -> bool {
        self.chain.has_large_tables() || S::is_large(&self.then.bound)
    }

    fn look_up(&self, key: &C::Key) {
        self.chain.look_up(key);
        S::look_up(&self.then.bound, key);
    }

    fn begin_round(&mut self, round: Round) {
        self.chain.begin_round(round);
        if let Some(timers) = &mut self.then.timers {
            timers.begin(round);
        }
    }

    fn next_due(&self, clock: Clock) -> Option<&DueKey> {
        let both = [self.chain.next_due(clock), self.then.due(clock)];
        both.into_iter().flatten().min()
    }

    fn fire(&mut self, clock: Clock, origin: Origin, next: &mut impl FnMut(&C::Key, P::Output)) {
        let Self { chain, then } = self;
        let own = match (chain.next_due(clock), then.due(clock)) {
            (Some(before), Some(own)) => own < before,
            (None, own) => own.is_some(),
            (Some(_), None) => false,
        };
        if own {
            let Some((due, key)) = then.pop(clock) else { return };
            let timer = Timer { name: &due.name, time: due.time, clock };
            if S::EXPIRES && then.wake(origin, &key, timer) {
                return;
            }
            then.call(origin, 0, true, &key, |computation, rows, out| {
                computation.on_timer(&key, timer, rows, out);
            });
            then.outputs.drain(..).for_each(|output| next(&key, output));
            return;
        }
        let mut nth = 0;
        chain.fire(clock, origin, &mut |key, record| {
            then.apply(origin, nth, true, key, record);
            nth += 1;
            then.outputs.drain(..).for_each(|output| next(key, output));
        });
    }

    fn end_round(&mut self) {
        self.chain.end_round();
        if let Some(timers) = &mut self.then.timers {
            timers.end();
        }
    }

    fn engine_passed(&mut self, until: Time, ended: bool) {
        self.chain.engine_passed(until, ended);
        if let Some(timers) = &mut self.then.engine_timers {
            timers.passed(until, ended);
        }
    }
}
