//! [`Invocation`]: one call of a computation that may be undone, and [`why`] it is.
//!
//! Invariant: what is undone leaves rows, outputs, side outputs, values and requests for timers as they were
//! before the call.

use std::cell::Cell;

use super::{Context, Held, Surroundings};
use crate::cluster::{Caught, catch_within};
use crate::state::Tables;
use crate::timer::Request;
use crate::{Failure, Key, Origin, Undo};

/// What calls have done that is not in rows.
pub(super) struct Done<'a, O> {
    pub(super) outputs: &'a mut Vec<O>,
    pub(super) requests: &'a mut Vec<Request>,
    pub(super) held: &'a mut Vec<Held>,
}

/// A call of a computation, with what came of those before.
pub(super) struct Invocation<'a, O> {
    pub(super) origin: Origin,
    pub(super) nth: u32,
    /// Which item of a batch it is for.
    pub(super) item: u32,
    pub(super) surroundings: &'a Surroundings,
    pub(super) done: Done<'a, O>,
}

/// How much of that there was before a call.
#[derive(Clone, Copy, Default)]
pub(super) struct Before {
    pub(super) outputs: usize,
    pub(super) requests: usize,
    pub(super) held: usize,
}

impl<O> Invocation<'_, O> {
    /// Calls it with the rows of `key`, and undoes what it did if it says so, or panics.
    pub(super) fn attempt<K: Key, S: Tables<K>>(
        &mut self,
        guard: &mut S::Guard<'_>,
        key: &K,
        call: impl FnOnce(S::Rows<'_>, &mut Context<'_, O>) -> Result<(), Undo>,
    ) -> Option<Undo> {
        let Done { outputs, requests, held } = &self.done;
        let (outputs, requests, held) = (outputs.len(), requests.len(), held.len());
        let mut kept = false;
        let tried = catch_within(|| self.call::<K, S>(guard, key, &mut kept, call));
        let undo = why(tried, &kept);
        if undo.is_some() {
            self.undo::<K, S>(guard, key, Before { outputs, requests, held });
        }
        undo
    }

    /// Calls it with the rows of `key`. If it fails, or panics, what it did is to be [undone](Self::undo); else it is
    /// `kept`.
    #[inline(always)]
    pub(super) fn call<K: Key, S: Tables<K>>(
        &mut self,
        guard: &mut S::Guard<'_>,
        key: &K,
        kept: &mut bool,
        call: impl FnOnce(S::Rows<'_>, &mut Context<'_, O>) -> Result<(), Undo>,
    ) -> Result<(), Undo> {
        let Self { origin, nth, item, surroundings, ref mut done } = *self;
        S::attempt(guard);
        surroundings.values.attempt();
        let mut context = Context {
            origin,
            nth,
            item,
            sequences: Cell::new(0),
            outputs: done.outputs,
            requests: done.requests,
            surroundings,
            held: Some(done.held),
            former: None,
        };
        *kept = false;
        call(S::rows(guard, key), &mut context)?;
        *kept = true;
        S::keep(guard);
        surroundings.values.keep();
        S::settle(guard, key);
        Ok(())
    }

    /// Undoes what the last call did.
    #[cold]
    pub(super) fn undo<K: Key, S: Tables<K>>(
        &mut self,
        guard: &mut S::Guard<'_>,
        key: &K,
        before: Before,
    ) {
        S::undo(guard, key);
        self.done.outputs.truncate(before.outputs);
        self.done.requests.truncate(before.requests);
        self.done.held.truncate(before.held);
        self.surroundings.values.undo();
        S::settle(guard, key);
    }
}

/// Why what a call did is to be undone, if it is: a panic is a failure.
///
/// # Panics
/// When there was a panic though what it did was to be kept: what that leaves behind is not known.
#[inline(always)]
pub(super) fn why(tried: Result<Result<(), Undo>, Caught>, kept: &bool) -> Option<Undo> {
    match tried {
        Ok(result) => result.err(),
        Err(panic) => Some(failure(panic, *kept)),
    }
}

#[cold]
fn failure(panic: Caught, kept: bool) -> Undo {
    assert!(!kept, "{}", panic.text);
    Undo::Fail(Box::new(Failure::panic(panic.text)))
}
