//! [`Invocation`]: one call of a computation that may be undone.
//!
//! Invariant: what is undone leaves rows, outputs, side outputs, values and requests for timers as they were
//! before the call.

use std::cell::Cell;

use super::{Context, Held, Surroundings};
use crate::cluster::catch_within;
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

impl<O> Invocation<'_, O> {
    /// Calls it with the rows of `key`, and undoes what it did if it says so, or panics.
    #[inline(always)]
    pub(super) fn attempt<K: Key, S: Tables<K>>(
        &mut self,
        guard: &mut S::Guard<'_>,
        key: &K,
        call: impl FnOnce(S::Rows<'_>, &mut Context<'_, O>) -> Result<(), Undo>,
    ) -> Option<Undo> {
        let Self { origin, nth, item, surroundings, done } = self;
        let Done { outputs, requests, held } = done;
        let before = (outputs.len(), requests.len(), held.len());
        S::attempt(guard);
        surroundings.values.attempt();
        let tried = catch_within(|| {
            let (rows, sequences) = (S::rows(guard, key), Cell::new(0));
            let (origin, nth, item) = (*origin, *nth, *item);
            let mut context = Context {
                origin,
                nth,
                item,
                sequences,
                outputs,
                requests,
                surroundings,
                held: Some(held),
                former: None,
            };
            call(rows, &mut context)
        });
        let panicked =
            |panic: crate::cluster::Caught| Err(Undo::Fail(Box::new(Failure::panic(panic.text))));
        let undo = tried.unwrap_or_else(panicked).err();
        if undo.is_some() {
            S::undo(guard, key);
            outputs.truncate(before.0);
            requests.truncate(before.1);
            held.truncate(before.2);
            surroundings.values.undo();
        } else {
            S::keep(guard);
            surroundings.values.keep();
        }
        S::settle(guard, key);
        undo
    }
}
