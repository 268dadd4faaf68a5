//! Chains: steps fused by the compiler into one function from a record to its outputs.
//!
//! Invariant: a chain costs no allocation, no box and no virtual call per record; its outputs come
//! in the order in which they were emitted.

use std::marker::PhantomData;

use super::Tagged;
use crate::letters::{Retried, Retry};
use crate::reprocess::Former;
use crate::timer::{DueKey, Round};
use crate::{Clock, Origin, Time};

/// What is of tables and timers in a step that has none: those of the chain before it are its own.
macro_rules! of_chain {
    () => {
        const ENGINE_TIMERS: bool = C::ENGINE_TIMERS;

        fn has_large_tables(&self) -> bool {
            self.chain.has_large_tables()
        }

        fn look_up(&self, key: &C::Key) {
            self.chain.look_up(key);
        }

        fn begin_round(&mut self, round: Round) {
            self.chain.begin_round(round);
        }

        fn next_due(&self, clock: Clock) -> Option<&DueKey> {
            self.chain.next_due(clock)
        }

        fn end_round(&mut self) {
            self.chain.end_round();
        }

        fn engine_passed(&mut self, until: Time, ended: bool) {
            self.chain.engine_passed(until, ended);
        }
    };
}
pub(crate) use of_chain;

/// A fused chain of steps. `Key` is what the stream is keyed by, `()` before a `key_by`.
pub trait Chain: 'static {
    /// What the stream is keyed by.
    type Key: 'static;
    /// What enters.
    type In: 'static;
    /// What leaves.
    type Out: 'static;
    /// Whether one record can become several, so that their places tell them apart.
    const FANS_OUT: bool;
    /// Whether one of the chain's computations sets timers that are due by engine time.
    #[doc(hidden)]
    const ENGINE_TIMERS: bool = false;

    /// Takes one record through the chain; calls `next` for each output, in order.
    fn feed(
        &mut self,
        origin: Origin,
        key: &Self::Key,
        record: Self::In,
        next: &mut impl FnMut(Self::Out),
    );

    /// Whether one of the chain's computations has a table that is too large for the processor's caches.
    #[doc(hidden)]
    fn has_large_tables(&self) -> bool {
        false
    }

    /// A record of `key` comes soon: brings its rows near.
    #[doc(hidden)]
    fn look_up(&self, _: &Self::Key) {}

    /// Begins to fire the timers of the chain's computations that are due by event time.
    #[doc(hidden)]
    fn begin_round(&mut self, _: Round) {}

    /// The timer of that clock that is fired next: of engine time, whether or not it is due yet.
    #[doc(hidden)]
    fn next_due(&self, _: Clock) -> Option<&DueKey> {
        None
    }

    /// Takes what enters at one of the chain's computations through the rest of it; calls `next` for each output of
    /// the chain, in order. Gives how a dead letter ended: none if no computation of the chain has that name.
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn resume(
        &mut self,
        _: Entering<'_>,
        _: Origin,
        _: &mut impl FnMut(&Self::Key, Self::Out),
    ) -> Option<Retried> {
        None
    }

    /// All that was due by event time was fired.
    #[doc(hidden)]
    fn end_round(&mut self) {}

    /// All that was due by engine time at `until` or before was fired; `ended` says that all input has.
    #[doc(hidden)]
    fn engine_passed(&mut self, _until: Time, _ended: bool) {}

    /// Takes a whole batch through, if the chain changes nothing: then its outputs are its inputs.
    #[doc(hidden)]
    fn pass(_: &mut Vec<Tagged<Self::In>>) -> Option<Vec<Tagged<Self::Out>>> {
        None
    }
}

/// What enters a chain not at its beginning but at one of its computations.
#[derive(Clone, Copy)]
pub(crate) enum Entering<'a> {
    /// The timer of that clock that is fired next.
    Timer(Clock),
    /// A dead letter, which is tried again.
    Retry(&'a Retry),
    /// What an earlier program has told: the last computation tells how its results differ.
    Former(&'a Former),
}

/// The empty chain.
pub struct Identity<K, T>(PhantomData<fn(K, T)>);

impl<K, T> Identity<K, T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<K: 'static, T: 'static> Chain for Identity<K, T> {
    type Key = K;
    type In = T;
    type Out = T;
    const FANS_OUT: bool = false;

    #[inline(always)]
    fn feed(&mut self, _: Origin, _: &K, record: T, next: &mut impl FnMut(T)) {
        next(record);
    }

    fn pass(batch: &mut Vec<Tagged<T>>) -> Option<Vec<Tagged<T>>> {
        Some(std::mem::take(batch))
    }
}

/// A chain followed by a function of each record.
pub(crate) struct Map<C, F> {
    pub(crate) chain: C,
    pub(crate) map: F,
}

impl<C: Chain, O: 'static, F: FnMut(C::Out) -> O + 'static> Chain for Map<C, F> {
    type Key = C::Key;
    type In = C::In;
    type Out = O;
    const FANS_OUT: bool = C::FANS_OUT;

    #[inline(always)]
    fn feed(&mut self, origin: Origin, key: &C::Key, record: C::In, next: &mut impl FnMut(O)) {
        let Self { chain, map } = self;
        chain.feed(origin, key, record, &mut |record| next(map(record)));
    }

    #[allow(private_interfaces)]
    fn resume(
        &mut self,
        entering: Entering<'_>,
        origin: Origin,
        next: &mut impl FnMut(&C::Key, O),
    ) -> Option<Retried> {
        let Self { chain, map } = self;
        chain.resume(entering, origin, &mut |key, record| next(key, map(record)))
    }

    of_chain!();
}

/// A chain followed by a test that lets records pass.
pub(crate) struct Filter<C, F> {
    pub(crate) chain: C,
    pub(crate) pass: F,
}

impl<C: Chain, F: FnMut(&C::Out) -> bool + 'static> Chain for Filter<C, F> {
    type Key = C::Key;
    type In = C::In;
    type Out = C::Out;
    const FANS_OUT: bool = C::FANS_OUT;

    #[inline(always)]
    fn feed(&mut self, origin: Origin, key: &C::Key, record: C::In, next: &mut impl FnMut(C::Out)) {
        let Self { chain, pass } = self;
        chain.feed(origin, key, record, &mut |record| {
            if pass(&record) {
                next(record);
            }
        });
    }

    #[allow(private_interfaces)]
    fn resume(
        &mut self,
        entering: Entering<'_>,
        origin: Origin,
        next: &mut impl FnMut(&C::Key, C::Out),
    ) -> Option<Retried> {
        let Self { chain, pass } = self;
        chain.resume(entering, origin, &mut |key, record| {
            if pass(&record) {
                next(key, record);
            }
        })
    }

    of_chain!();
}

/// A chain followed by a function from each record to several.
pub(crate) struct FlatMap<C, F> {
    pub(crate) chain: C,
    pub(crate) map: F,
}

impl<C, I, F> Chain for FlatMap<C, F>
where
    C: Chain,
    I: IntoIterator<Item: 'static> + 'static,
    F: FnMut(C::Out) -> I + 'static,
{
    type Key = C::Key;
    type In = C::In;
    type Out = I::Item;
    const FANS_OUT: bool = true;

    #[inline(always)]
    fn feed(
        &mut self,
        origin: Origin,
        key: &C::Key,
        record: C::In,
        next: &mut impl FnMut(I::Item),
    ) {
        let Self { chain, map } = self;
        chain.feed(origin, key, record, &mut |record| {
            for output in map(record) {
                next(output);
            }
        });
    }

    #[allow(private_interfaces)]
    fn resume(
        &mut self,
        entering: Entering<'_>,
        origin: Origin,
        next: &mut impl FnMut(&C::Key, I::Item),
    ) -> Option<Retried> {
        let Self { chain, map } = self;
        chain.resume(entering, origin, &mut |key, record| {
            for output in map(record) {
                next(key, output);
            }
        })
    }

    of_chain!();
}

/// A chain followed by a look at each record.
pub(crate) struct Inspect<C, F> {
    pub(crate) chain: C,
    pub(crate) inspect: F,
}

impl<C: Chain, F: FnMut(&C::Out) + 'static> Chain for Inspect<C, F> {
    type Key = C::Key;
    type In = C::In;
    type Out = C::Out;
    const FANS_OUT: bool = C::FANS_OUT;

    #[inline(always)]
    fn feed(&mut self, origin: Origin, key: &C::Key, record: C::In, next: &mut impl FnMut(C::Out)) {
        let Self { chain, inspect } = self;
        chain.feed(origin, key, record, &mut |record| {
            inspect(&record);
            next(record);
        });
    }

    #[allow(private_interfaces)]
    fn resume(
        &mut self,
        entering: Entering<'_>,
        origin: Origin,
        next: &mut impl FnMut(&C::Key, C::Out),
    ) -> Option<Retried> {
        let Self { chain, inspect } = self;
        chain.resume(entering, origin, &mut |key, record| {
            inspect(&record);
            next(key, record);
        })
    }

    of_chain!();
}
