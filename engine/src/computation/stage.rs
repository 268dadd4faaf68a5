//! [`Compute`]: a computation as the last step of a chain; [`Stage`]: how it is applied, and [`Desk`]: what it is
//! applied with.
//!
//! Invariant: what a computation emits goes on after it has returned, and what it asks of timers is done
//! then, before the next record.

use crate::letters::{Retried, Retry};
use crate::pipeline::{Chain, Entering};
use crate::reprocess::Former;
use crate::state::{AHEAD, Tables, Touch};
use crate::timer::{Asking, DueKey, EngineTimers, Request, Round, Timers};
use crate::{Clock, Key, Origin, Record, Result, Time, Timer};

use super::{Held, Surroundings};

/// A chain followed by a computation on tables.
pub(crate) struct Compute<C, T> {
    pub(crate) chain: C,
    pub(crate) then: T,
}

/// A computation with what it is applied with.
pub(crate) trait Stage: 'static {
    type Key: Key;
    type In;
    type Out: Record;
    type Tables: Tables<Self::Key>;
    /// Whether it sets timers that are due by engine time.
    const ENGINE_TIMERS: bool;

    fn desk(&self) -> &Desk<Self::Key, Self::Tables>;
    fn desk_mut(&mut self) -> &mut Desk<Self::Key, Self::Tables>;

    /// Applies the computation to a record of `key`, the `nth` that comes to it of the one that entered;
    /// `by_timer` if a timer was fired.
    fn apply(
        &mut self,
        origin: Origin,
        nth: u32,
        by_timer: bool,
        key: &Self::Key,
        record: Self::In,
    );

    /// Applies the computation to a dead letter once more; gives its key, and how it ended.
    ///
    /// # Errors
    /// When key or record are none of this program's.
    fn retry(&mut self, retry: &Retry, origin: Origin) -> Result<(Self::Key, Retried)>
    where
        Self::In: Record,
    {
        let (key, record) = retry.keyed()?;
        self.desk().surroundings.begin_retry();
        self.apply(origin, 0, false, &key, record);
        let retried = self.desk().surroundings.end_retry();
        Ok((key, retried))
    }

    /// Whether a record on which it fails goes on all the same: then it does not go on again when it is tried again.
    fn goes_on(&self) -> bool {
        false
    }

    /// A timer of its own is due.
    fn on_timer(&mut self, origin: Origin, key: &Self::Key, timer: Timer<'_>);

    /// Tells how its results differ from what an earlier program has told.
    fn settle(&self, former: &Former, tell: &mut dyn FnMut(&Self::Key, Self::Out)) {
        let _ = (former, tell);
    }

    /// What it has emitted.
    fn outputs(&mut self) -> &mut Vec<Self::Out>;
}

/// What a computation is applied with: its tables, its timers, and what else it can learn.
pub(crate) struct Desk<K: Key, S: Tables<K>> {
    pub(crate) bound: S::Bound,
    pub(crate) surroundings: Surroundings,
    pub(crate) requests: Vec<Request>,
    /// What was emitted to side outputs by a call that may be undone, until it may not.
    pub(crate) held: Vec<Held>,
    pub(crate) timers: Option<Timers<K>>,
    pub(crate) engine_timers: Option<EngineTimers<K>>,
}

impl<K: Key, S: Tables<K>> Desk<K, S> {
    /// Sets and cancels the timers that were asked for.
    pub(super) fn take_requests(&mut self, key: &K, asking: Asking) {
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
    fn wake(&mut self, origin: Origin, key: &K, timer: Timer<'_>) -> bool {
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

    fn pop(&mut self, clock: Clock) -> Option<(DueKey, K)> {
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

impl<C, T> Chain for Compute<C, T>
where
    C: Chain<Key: Key, Out: Record>,
    T: Stage<Key = C::Key, In = C::Out>,
{
    type Key = C::Key;
    type In = C::In;
    type Out = T::Out;
    const FANS_OUT: bool = true;
    const ENGINE_TIMERS: bool = C::ENGINE_TIMERS || T::ENGINE_TIMERS || T::Tables::EXPIRES;

    #[inline(always)]
    fn feed(&mut self, origin: Origin, key: &C::Key, record: C::In, next: &mut impl FnMut(T::Out)) {
        let Self { chain, then } = self;
        let mut nth = 0;
        chain.feed(origin, key, record, &mut |record| {
            then.apply(origin, nth, false, key, record);
            nth += 1;
            if !then.outputs().is_empty() {
                for output in then.outputs().drain(..) {
                    next(output);
                }
            }
        });
    }

    fn has_large_tables(&self) -> bool {
        self.chain.has_large_tables() || T::Tables::is_large(&self.then.desk().bound)
    }

    fn look_up(&self, key: &C::Key) {
        self.chain.look_up(key);
        T::Tables::look_up(&self.then.desk().bound, key);
    }

    fn begin_round(&mut self, round: Round) {
        self.chain.begin_round(round);
        if let Some(timers) = &mut self.then.desk_mut().timers {
            timers.begin(round);
        }
    }

    fn next_due(&self, clock: Clock) -> Option<&DueKey> {
        let both = [self.chain.next_due(clock), self.then.desk().due(clock)];
        both.into_iter().flatten().min()
    }

    #[allow(private_interfaces)]
    fn resume(
        &mut self,
        entering: Entering<'_>,
        origin: Origin,
        next: &mut impl FnMut(&C::Key, T::Out),
    ) -> Option<Retried> {
        match entering {
            Entering::Timer(clock) if self.is_next(clock) => {
                self.fire(clock, origin, next);
                return None;
            }
            Entering::Retry(retry) if self.then.desk().surroundings.refuses_as(retry) => {
                return Some(self.retry(retry, origin, next));
            }
            // What computations before it would tell this one has been told already.
            Entering::Former(former) => {
                self.then.settle(former, &mut |key, output| next(key, output));
                return None;
            }
            _ => {}
        }
        let Self { chain, then } = self;
        let by_timer = matches!(entering, Entering::Timer(_));
        let mut nth = 0;
        chain.resume(entering, origin, &mut |key, record| {
            then.apply(origin, nth, by_timer, key, record);
            nth += 1;
            then.outputs().drain(..).for_each(|output| next(key, output));
        })
    }

    fn end_round(&mut self) {
        self.chain.end_round();
        if let Some(timers) = &mut self.then.desk_mut().timers {
            timers.end();
        }
    }

    fn engine_passed(&mut self, until: Time, ended: bool) {
        self.chain.engine_passed(until, ended);
        if let Some(timers) = &mut self.then.desk_mut().engine_timers {
            timers.passed(until, ended);
        }
    }
}

impl<C, T> Compute<C, T>
where
    C: Chain<Key: Key, Out: Record>,
    T: Stage<Key = C::Key, In = C::Out>,
{
    /// Whether the timer that is fired next is of this computation.
    fn is_next(&self, clock: Clock) -> bool {
        match (self.chain.next_due(clock), self.then.desk().due(clock)) {
            (Some(before), Some(own)) => own < before,
            (None, own) => own.is_some(),
            (Some(_), None) => false,
        }
    }

    /// Fires it.
    fn fire(&mut self, clock: Clock, origin: Origin, next: &mut impl FnMut(&C::Key, T::Out)) {
        let then = &mut self.then;
        let Some((due, key)) = then.desk_mut().pop(clock) else { return };
        let timer = Timer { name: &due.name, time: due.time, clock };
        if T::Tables::EXPIRES && then.desk_mut().wake(origin, &key, timer) {
            return;
        }
        then.on_timer(origin, &key, timer);
        then.outputs().drain(..).for_each(|output| next(&key, output));
    }

    /// Tries a dead letter of this computation again.
    fn retry(
        &mut self,
        retry: &Retry,
        origin: Origin,
        next: &mut impl FnMut(&C::Key, T::Out),
    ) -> Retried {
        let then = &mut self.then;
        let (key, retried) = match then.retry(retry, origin) {
            Ok(retried) => retried,
            Err(error) => return Some(error.to_string()),
        };
        if then.goes_on() {
            then.outputs().clear();
        }
        then.outputs().drain(..).for_each(|output| next(&key, output));
        retried
    }
}
