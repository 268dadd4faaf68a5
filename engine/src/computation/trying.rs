//! Computations that may fail, and what becomes of a record on which one does.
//!
//! Invariant: a record that is refused is counted, and a dead letter unless it was to be ignored.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde::Serialize;

use super::{Closure, Computation, Context, Surroundings};
use crate::letters::{Again, Posted, Retried, Retry, To};
use crate::log::{DEAD_LETTER_LINES, Limited};
use crate::metrics::Counters;
use crate::side_output::Sides;
use crate::state::Tables;
use crate::{DeadLetter, Failure, Key, Origin, Record, Timer, Undo};

/// User code that is applied to one record and the rows of its key, and may fail: then all that it did for
/// the record is undone. A closure given to [`try_compute`](crate::Keyed::try_compute), which says more, does
/// for most; a type of its own can set timers.
pub trait TryComputation<K: Key, I, S: Tables<K>>: 'static {
    /// What it emits.
    type Output: Record;

    /// As [`Computation::TIMERS`].
    const TIMERS: bool = false;

    /// As [`Computation::ENGINE_TIMERS`].
    const ENGINE_TIMERS: bool = false;

    /// Applies it to one record of `key`.
    ///
    /// # Errors
    /// Why all that it did is to be undone.
    fn try_apply(
        &mut self,
        key: &K,
        record: &I,
        rows: S::Rows<'_>,
        out: &mut Context<'_, Self::Output>,
    ) -> Result<(), Undo>;

    /// As [`Computation::on_timer`].
    ///
    /// # Errors
    /// Why all that it did is to be undone. The timer was fired nevertheless, and its dead letter is
    /// `{"key", "timer", "time"}`.
    fn on_timer(
        &mut self,
        key: &K,
        timer: Timer<'_>,
        rows: S::Rows<'_>,
        out: &mut Context<'_, Self::Output>,
    ) -> Result<(), Undo> {
        let _ = (key, timer, rows, out);
        Ok(())
    }
}

impl<K, I, S, O, F> TryComputation<K, I, S> for Closure<F, O>
where
    K: Key,
    S: Tables<K>,
    O: Record,
    F: for<'a> FnMut(&I, S::Rows<'a>, &mut Context<'_, O>) -> Result<(), Undo> + 'static,
{
    type Output = O;

    #[inline(always)]
    fn try_apply(
        &mut self,
        _: &K,
        record: &I,
        rows: S::Rows<'_>,
        out: &mut Context<'_, O>,
    ) -> Result<(), Undo> {
        (self.apply)(record, rows, out)
    }
}

/// A computation that may fail, as one that is tried.
pub(crate) struct Trying<P>(pub(crate) P);

impl<K, I, S, P> Computation<K, I, S> for Trying<P>
where
    K: Key,
    S: Tables<K>,
    P: TryComputation<K, I, S>,
{
    type Output = P::Output;
    const TIMERS: bool = P::TIMERS;
    const ENGINE_TIMERS: bool = P::ENGINE_TIMERS;
    const TRIES: bool = true;

    /// It is tried instead.
    fn apply(&mut self, _: &K, _: I, _: S::Rows<'_>, _: &mut Context<'_, P::Output>) {}

    #[inline(always)]
    fn attempt(
        &mut self,
        key: &K,
        record: &I,
        rows: S::Rows<'_>,
        out: &mut Context<'_, P::Output>,
    ) -> Result<(), Undo> {
        self.0.try_apply(key, record, rows, out)
    }

    fn attempt_timer(
        &mut self,
        key: &K,
        timer: Timer<'_>,
        rows: S::Rows<'_>,
        out: &mut Context<'_, P::Output>,
    ) -> Result<(), Undo> {
        self.0.on_timer(key, timer, rows, out)
    }
}

/// How a computation refuses records.
pub(crate) struct Refusals {
    /// What comes before the computation.
    pub(crate) pipeline: String,
    pub(crate) computation: String,
    /// The index of its port, by which letters of one record are told apart.
    pub(crate) port: u32,
    /// Whether all that is needed to try again is to be kept.
    pub(crate) keeps: Rc<Cell<bool>>,
    /// While a dead letter is tried again: how that ends.
    pub(crate) retrying: RefCell<Option<Retried>>,
    /// Few lines of the log for many letters.
    pub(crate) log: Limited,
}

impl Drop for Refusals {
    fn drop(&mut self) {
        self.log.finish();
    }
}

impl Surroundings {
    /// What a record did was undone: it is counted, and if it failed it is a dead letter. Without a `key` it
    /// is of a kind that is not tried again.
    #[cold]
    pub(crate) fn undone(
        &self,
        undo: Undo,
        origin: Origin,
        key: Option<&impl Key>,
        record: &impl Serialize,
    ) {
        match undo {
            Undo::Ignore | Undo::Break => self.counters.counter("ignored").add(1),
            Undo::Fail(failure) | Undo::Abort(failure) => {
                self.refuse(*failure, origin, key, record);
            }
        }
    }

    /// Whether the dead letter is one of this computation.
    pub(super) fn refuses_as(&self, retry: &Retry) -> bool {
        let To::Computation { name, .. } = &retry.to else { return false };
        self.refusals.as_ref().is_some_and(|refusals| refusals.computation == *name)
    }

    /// What is applied now is a dead letter: if it fails again it becomes no other one.
    pub(super) fn begin_retry(&self) {
        if let Some(refusals) = &self.refusals {
            refusals.retrying.replace(Some(None));
        }
    }

    /// If `part`, what fails from here on is a dead letter of its own; gives what is to be resumed.
    pub(super) fn part_of_retry(&self, part: bool) -> Option<Retried> {
        self.refusals.as_ref().filter(|_| part)?.retrying.take()
    }

    pub(super) fn resume_retry(&self, retrying: Option<Retried>) {
        if let (Some(refusals), Some(_)) = (&self.refusals, &retrying) {
            refusals.retrying.replace(retrying);
        }
    }

    /// How it ended.
    pub(super) fn end_retry(&self) -> Retried {
        self.refusals.as_ref()?.retrying.take().flatten()
    }

    fn refuse(
        &self,
        failure: Failure,
        origin: Origin,
        key: Option<&impl Key>,
        record: &impl Serialize,
    ) {
        let Some(refusals) = &self.refusals else { return };
        if let Some(retrying) = &mut *refusals.retrying.borrow_mut() {
            self.counters.counter("failed_again").add(1);
            *retrying = Some(failure.reason());
            return;
        }
        let names = self.sources.get().map(|names| &**names).unwrap_or_default();
        let again = match key.filter(|_| refusals.keeps.get()) {
            Some(key) => Again::of(key, record),
            None => Again::Never,
        };
        refusals.refuse(failure, origin, record, again, (names, &self.counters, &self.sides));
    }
}

impl Refusals {
    /// Of letters that are not tried again.
    pub(crate) fn new(pipeline: &str, computation: &str, port: u32) -> Self {
        Self {
            pipeline: pipeline.to_string(),
            computation: computation.to_string(),
            port,
            keeps: Rc::default(),
            retrying: RefCell::default(),
            log: Limited::new(DEAD_LETTER_LINES),
        }
    }

    /// The same, of letters that are tried again, if `keeps` says that these are kept.
    pub(crate) fn keeping(mut self, keeps: &Rc<Cell<bool>>) -> Self {
        self.keeps = Rc::clone(keeps);
        self
    }

    /// The record is a dead letter, which is counted and handed to `sides`.
    pub(crate) fn refuse(
        &self,
        failure: Failure,
        origin: Origin,
        record: &impl Serialize,
        again: Again,
        (names, counters, sides): (&[String], &Counters, &Sides),
    ) {
        let Self { pipeline, computation, port, log, .. } = self;
        counters.counter("dead_letters").add(1);
        let source = names.get(origin.source()).cloned();
        let letter = DeadLetter {
            source: source.unwrap_or_else(|| "timers".to_string()),
            partition: origin.partition(),
            offset: origin.offset(),
            time: origin.time(),
            pipeline: pipeline.clone(),
            computation: Some(computation.clone()),
            failure,
            bytes: serde_json::to_vec(record).unwrap_or_default(),
        };
        letter.warn(log);
        sides.post(origin.child(*port), Posted::Letter(Box::new((letter, again))));
    }
}

/// What a dead letter holds of a timer.
#[derive(Serialize)]
pub(super) struct FiredTimer<'a, K> {
    key: &'a K,
    timer: &'a str,
    time: String,
}

impl<'a, K> FiredTimer<'a, K> {
    pub(super) fn new(key: &'a K, timer: Timer<'a>) -> Self {
        Self { key, timer: timer.name, time: timer.time.to_string() }
    }
}
