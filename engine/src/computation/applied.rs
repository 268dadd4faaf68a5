//! [`Applied`]: a computation that is applied record by record, as it is or tried.
//!
//! Invariant: of a record that a computation refuses nothing is left but a dead letter.

use std::cell::Cell;
use std::marker::PhantomData;

use super::stage::{Desk, Stage};
use super::tried::{Before, Done, Invocation, why};
use super::trying::FiredTimer;
use super::{Computation, Context};
use crate::cluster::catch_within;
use crate::reprocess::Former;
use crate::state::{Tables, Touch};
use crate::timer::Asking;
use crate::{Key, Origin, Record, Timer, Undo};

/// A computation on records of type `I`.
pub(crate) struct Applied<K: Key, I, S: Tables<K>, P: Computation<K, I, S>> {
    desk: Desk<K, S>,
    computation: P,
    outputs: Vec<P::Output>,
    /// Whether what was tried last stays.
    kept: bool,
    of: PhantomData<fn(I)>,
}

impl<K: Key, I: Record, S: Tables<K>, P: Computation<K, I, S>> Applied<K, I, S, P> {
    pub(crate) fn new(desk: Desk<K, S>, computation: P) -> Self {
        Self { desk, computation, outputs: Vec::new(), kept: false, of: PhantomData }
    }

    /// Calls the computation with the rows of `key`; `by_timer` if one was fired.
    #[inline(always)]
    fn call(
        &mut self,
        origin: Origin,
        nth: u32,
        by_timer: bool,
        key: &K,
        call: impl FnOnce(&mut P, S::Rows<'_>, &mut Context<'_, P::Output>),
    ) {
        let Self { desk, computation, outputs, .. } = self;
        let Desk { bound, surroundings, requests, .. } = desk;
        {
            let mut guard = S::lock(bound);
            let (now, watermark) = (origin.time(), surroundings.watermark.get());
            S::enter(&mut guard, key, &mut Touch { now, watermark, requests });
            let rows = S::rows(&mut guard, key);
            let (sequences, item, held, former) = (Cell::new(0), 0, None, None);
            let mut context = Context {
                origin,
                nth,
                item,
                sequences,
                outputs,
                requests,
                surroundings,
                held,
                former,
            };
            call(computation, rows, &mut context);
            S::leave(&mut guard, key, &mut Touch { now, watermark, requests });
            S::settle(&mut guard, key);
        }
        if (P::TIMERS || P::ENGINE_TIMERS || S::EXPIRES) && !desk.requests.is_empty() {
            desk.take_requests(key, Asking { now: origin.time(), by_timer });
        }
    }

    /// Calls the computation with the rows of `key`, and undoes what it did if it says so, or panics.
    #[inline(always)]
    fn attempt(
        &mut self,
        origin: Origin,
        nth: u32,
        by_timer: bool,
        key: &K,
        attempt: impl FnOnce(&mut P, &K, S::Rows<'_>, &mut Context<'_, P::Output>) -> Result<(), Undo>,
    ) -> Option<Undo> {
        // What records and timers before this have asked for is done: what there is now is of the row's own timer.
        let mut before = Before::default();
        if S::EXPIRES {
            let Desk { bound, surroundings, requests, .. } = &mut self.desk;
            let (now, watermark) = (origin.time(), surroundings.watermark.get());
            S::enter(&mut S::lock(bound), key, &mut Touch { now, watermark, requests });
            before.requests = requests.len();
        }
        // All the rest is done within what is caught, and undone outside of it: so it can stay in registers.
        let (this, origin) = (&mut *self, &origin);
        let tried = catch_within(move || {
            let Self { desk, computation, outputs, kept, .. } = this;
            let Desk { bound, surroundings, requests, held, .. } = desk;
            let mut guard = S::lock(bound);
            let done = Done { outputs, requests: &mut *requests, held };
            let mut invocation = Invocation { origin: *origin, nth, item: 0, surroundings, done };
            invocation.call::<K, S>(&mut guard, key, kept, |rows, context| {
                attempt(computation, key, rows, context)
            })?;
            let (now, watermark) = (origin.time(), surroundings.watermark.get());
            S::leave(&mut guard, key, &mut Touch { now, watermark, requests });
            Ok(())
        });
        let undo = why(tried, &self.kept);
        if undo.is_some() {
            let Self { desk, outputs, .. } = self;
            let Desk { bound, surroundings, requests, held, .. } = desk;
            let done = Done { outputs, requests, held };
            let mut invocation = Invocation { origin: *origin, nth, item: 0, surroundings, done };
            invocation.undo::<K, S>(&mut S::lock(bound), key, before);
        }
        let Desk { surroundings, requests, held, .. } = &mut self.desk;
        if !held.is_empty() {
            held.drain(..).for_each(|emit| emit(&surroundings.sides));
        }
        if (P::TIMERS || P::ENGINE_TIMERS || S::EXPIRES) && !requests.is_empty() {
            self.desk.take_requests(key, Asking { now: origin.time(), by_timer });
        }
        undo
    }
}

impl<K: Key, I: Record, S: Tables<K>, P: Computation<K, I, S>> Stage for Applied<K, I, S, P> {
    type Key = K;
    type In = I;
    type Out = P::Output;
    type Tables = S;
    const ENGINE_TIMERS: bool = P::ENGINE_TIMERS;

    fn desk(&self) -> &Desk<K, S> {
        &self.desk
    }

    fn desk_mut(&mut self) -> &mut Desk<K, S> {
        &mut self.desk
    }

    #[inline(always)]
    fn apply(&mut self, origin: Origin, nth: u32, by_timer: bool, key: &K, record: I) {
        if !P::TRIES {
            return self.call(origin, nth, by_timer, key, |computation, rows, out| {
                computation.apply(key, record, rows, out);
            });
        }
        let undo = self.attempt(origin, nth, by_timer, key, |computation, key, rows, out| {
            computation.attempt(key, &record, rows, out)
        });
        if let Some(undo) = undo {
            if P::CORRECTS && matches!(undo, Undo::Ignore | Undo::Break) {
                self.call(origin, nth, by_timer, key, |computation, rows, out| {
                    computation.has_ignored(key, &record, rows, out);
                });
            }
            self.desk.surroundings.undone(undo, origin, Some(key), &record);
        }
    }

    fn settle(&self, former: &Former, tell: &mut dyn FnMut(&K, P::Output)) {
        P::settle(&self.desk.bound, former, &mut |key, outputs| {
            outputs.into_iter().for_each(|output| tell(key, output));
        });
    }

    fn on_timer(&mut self, origin: Origin, key: &K, timer: Timer<'_>) {
        if P::TRIES {
            let undo = self.attempt(origin, 0, true, key, |computation, key, rows, out| {
                computation.attempt_timer(key, timer, rows, out)
            });
            if let Some(undo) = undo {
                let timer = FiredTimer::new(key, timer);
                self.desk.surroundings.undone(undo, origin, None::<&K>, &timer);
            }
            return;
        }
        self.call(origin, 0, true, key, |computation, rows, out| {
            computation.on_timer(key, timer, rows, out);
        });
    }

    fn outputs(&mut self) -> &mut Vec<P::Output> {
        &mut self.outputs
    }
}
