//! [`TryBatch`]: a computation on batches, item by item.
//!
//! Invariant: a batch has one key and is applied at once, in one epoch; of one that is aborted nothing is left
//! but a dead letter, and of an item that is refused nothing either.

use super::stage::{Desk, Stage};
use super::tried::{Done, Invocation};
use super::{Closure, Context, Surroundings};
use crate::reprocess::Former;
use crate::state::{Tables, Touch};
use crate::timer::Asking;
use crate::{Key, Origin, Record, Timer, Undo};

/// The items of a batch, at most: one with more is a dead letter.
pub const BATCH_ITEMS_MAX: usize = 1 << 16;

/// User code that is applied to the items of a batch, one by one, and may fail. A closure given to
/// [`try_batch`](crate::Keyed::try_batch), which says more, does for most; a type of its own can also look at
/// the batch as a whole, before and after.
pub trait TryBatch<K: Key, I: Record, S: Tables<K>>: 'static {
    /// What it emits.
    type Output: Record;

    /// Looks at the batch before its first item; what it takes out of `items` is not applied.
    ///
    /// # Errors
    /// Whatever it is, the batch is not applied: it is a dead letter, unless that is [`Undo::Ignore`] or
    /// [`Undo::Break`].
    fn prepare(
        &mut self,
        key: &K,
        items: &mut Vec<&I>,
        rows: S::Rows<'_>,
        out: &mut Context<'_, Self::Output>,
    ) -> Result<(), Undo> {
        let _ = (key, items, rows, out);
        Ok(())
    }

    /// Applies it to one item.
    ///
    /// # Errors
    /// Why all that it did is to be undone, and what is to become of the rest of the batch.
    fn try_apply(
        &mut self,
        key: &K,
        item: &I,
        rows: S::Rows<'_>,
        out: &mut Context<'_, Self::Output>,
    ) -> Result<(), Undo>;

    /// Whether it is told that an item was ignored.
    #[doc(hidden)]
    const CORRECTS: bool = false;

    /// The item was ignored.
    #[doc(hidden)]
    fn has_ignored(
        &mut self,
        key: &K,
        item: &I,
        rows: S::Rows<'_>,
        out: &mut Context<'_, Self::Output>,
    ) {
        let _ = (key, item, rows, out);
    }

    /// Tells, by key, how its results differ from what an earlier program has told.
    #[doc(hidden)]
    fn settle(bound: &S::Bound, former: &Former, tell: &mut dyn FnMut(&K, Vec<Self::Output>)) {
        let _ = (bound, former, tell);
    }

    /// Looks at the items that were applied and not undone, after the last.
    ///
    /// # Errors
    /// [`Undo::Ignore`] and [`Undo::Break`] undo what this did; any other aborts the batch.
    fn finish(
        &mut self,
        key: &K,
        items: &[&I],
        rows: S::Rows<'_>,
        out: &mut Context<'_, Self::Output>,
    ) -> Result<(), Undo> {
        let _ = (key, items, rows, out);
        Ok(())
    }
}

impl<K, I, S, O, F> TryBatch<K, I, S> for Closure<F, O>
where
    K: Key,
    I: Record,
    S: Tables<K>,
    O: Record,
    F: for<'a> FnMut(&I, S::Rows<'a>, &mut Context<'_, O>) -> Result<(), Undo> + 'static,
{
    type Output = O;

    fn try_apply(
        &mut self,
        _: &K,
        item: &I,
        rows: S::Rows<'_>,
        out: &mut Context<'_, O>,
    ) -> Result<(), Undo> {
        (self.apply)(item, rows, out)
    }
}

/// What goes on after a batch that was not aborted.
pub(crate) trait Onward<I, O>: 'static {
    type Out: Record;

    /// `kept` are the items that were applied and not undone, `results` what was emitted.
    fn onward(&self, batch: &[I], kept: &[&I], results: &mut Vec<O>) -> Option<Self::Out>;

    /// Whether what failed goes on all the same.
    fn goes_on(&self) -> bool {
        false
    }
}

/// Its results, as a batch, if there are some.
pub(crate) struct Results;

impl<I: Record, O: Record> Onward<I, O> for Results {
    type Out = Vec<O>;

    fn onward(&self, _: &[I], _: &[&I], results: &mut Vec<O>) -> Option<Vec<O>> {
        (!results.is_empty()).then(|| std::mem::take(results))
    }
}

/// What becomes of items, for the computation after, on which the computation that it
/// [`depends`](crate::Keyed::depends) on fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They go on all the same; so do those of a batch that is aborted.
    Continue,
    /// They do not go on.
    Block,
}

/// The batch itself.
impl<I: Record> Onward<I, ()> for OnFailure {
    type Out = Vec<I>;

    fn onward(&self, batch: &[I], kept: &[&I], _: &mut Vec<()>) -> Option<Vec<I>> {
        let items: Vec<I> = match self {
            Self::Continue => batch.to_vec(),
            Self::Block => kept.iter().map(|item| (*item).clone()).collect(),
        };
        (!items.is_empty()).then_some(items)
    }

    fn goes_on(&self) -> bool {
        *self == Self::Continue
    }
}

/// A computation on batches, with what it is applied with.
pub(crate) struct Batched<
    K: Key,
    I: Record,
    S: Tables<K>,
    P: TryBatch<K, I, S>,
    R: Onward<I, P::Output>,
> {
    desk: Desk<K, S>,
    computation: P,
    onward: R,
    outputs: Vec<R::Out>,
}

/// What became of a batch.
struct Ended<'b, I> {
    kept: Vec<&'b I>,
    /// Items of which nothing is left.
    undone: Vec<(&'b I, Undo)>,
    /// How many came after one that broke the batch off.
    skipped: usize,
    /// Why nothing is left of all of it.
    aborted: Option<Undo>,
}

impl<K, I, S, P, R> Batched<K, I, S, P, R>
where
    K: Key,
    I: Record,
    S: Tables<K>,
    P: TryBatch<K, I, S>,
    R: Onward<I, P::Output>,
{
    pub(crate) fn new(desk: Desk<K, S>, computation: P, onward: R) -> Self {
        Self { desk, computation, onward, outputs: Vec::new() }
    }

    /// Applies the computation to all items, each of which may be undone.
    fn each<'b>(
        computation: &mut P,
        invocation: &mut Invocation<'_, P::Output>,
        guard: &mut S::Guard<'_>,
        key: &K,
        batch: &'b [I],
    ) -> Ended<'b, I> {
        let mut items: Vec<&I> = batch.iter().collect();
        let mut ended = Ended { kept: Vec::new(), undone: Vec::new(), skipped: 0, aborted: None };
        ended.aborted = invocation.attempt::<K, S>(guard, key, |rows, out| {
            computation.prepare(key, &mut items, rows, out)
        });
        if ended.aborted.is_some() {
            return ended;
        }
        let mut items = items.into_iter();
        while let Some(item) = items.next() {
            invocation.item += 1;
            let undo = invocation.attempt::<K, S>(guard, key, |rows, out| {
                computation.try_apply(key, item, rows, out)
            });
            match undo {
                None => ended.kept.push(item),
                Some(undo @ Undo::Abort(_)) => {
                    ended.aborted = Some(undo);
                    return ended;
                }
                Some(undo) => {
                    if P::CORRECTS && matches!(undo, Undo::Ignore | Undo::Break) {
                        invocation.attempt::<K, S>(guard, key, |rows, out| {
                            computation.has_ignored(key, item, rows, out);
                            Ok(())
                        });
                    }
                    let is_last = undo == Undo::Break;
                    ended.undone.push((item, undo));
                    if is_last {
                        ended.skipped = items.len();
                        break;
                    }
                }
            }
        }
        invocation.item += 1;
        let undo = invocation.attempt::<K, S>(guard, key, |rows, out| {
            computation.finish(key, &ended.kept, rows, out)
        });
        ended.aborted = undo.filter(|undo| !matches!(undo, Undo::Ignore | Undo::Break));
        ended
    }

    /// Applies the computation to a batch, and undoes all of it if it is aborted.
    fn all<'b>(
        &mut self,
        origin: Origin,
        nth: u32,
        key: &K,
        batch: &'b [I],
        results: &mut Vec<P::Output>,
    ) -> Ended<'b, I> {
        let Self { desk, computation, .. } = self;
        let Desk { bound, surroundings, requests, held, .. } = desk;
        let mut guard = S::lock(bound);
        let (now, watermark) = (origin.time(), surroundings.watermark.get());
        S::enter(&mut guard, key, &mut Touch { now, watermark, requests });
        let asked = requests.len();
        S::hold(&mut guard);
        surroundings.values.hold();
        let done = Done { outputs: &mut *results, requests: &mut *requests, held: &mut *held };
        let mut invocation = Invocation { origin, nth, item: 0, surroundings, done };
        let ended = Self::each(computation, &mut invocation, &mut guard, key, batch);
        if ended.aborted.is_some() {
            S::undo_held(&mut guard, key);
            surroundings.values.undo_held();
            results.clear();
            requests.truncate(asked);
            held.clear();
        } else {
            S::leave(&mut guard, key, &mut Touch { now, watermark, requests });
        }
        S::let_go(&mut guard);
        surroundings.values.let_go();
        held.drain(..).for_each(|emit| emit(&surroundings.sides));
        ended
    }
}

impl<K, I, S, P, R> Stage for Batched<K, I, S, P, R>
where
    K: Key,
    I: Record,
    S: Tables<K>,
    P: TryBatch<K, I, S>,
    R: Onward<I, P::Output>,
{
    type Key = K;
    type In = Vec<I>;
    type Out = R::Out;
    type Tables = S;
    const ENGINE_TIMERS: bool = false;

    fn desk(&self) -> &Desk<K, S> {
        &self.desk
    }

    fn desk_mut(&mut self) -> &mut Desk<K, S> {
        &mut self.desk
    }

    fn apply(&mut self, origin: Origin, nth: u32, by_timer: bool, key: &K, batch: Vec<I>) {
        if batch.is_empty() {
            return;
        }
        let surroundings = &self.desk.surroundings;
        if batch.len() > BATCH_ITEMS_MAX {
            let items = batch.len();
            let undo = Undo::abort(format!(
                "a batch of {items} items is more than {BATCH_ITEMS_MAX}; send it in several"
            ));
            return surroundings.undone(undo, origin, Some(key), &batch);
        }
        let mut results = Vec::new();
        let Ended { kept, undone, skipped, aborted } =
            self.all(origin, nth, key, &batch, &mut results);
        if !self.desk.requests.is_empty() {
            self.desk.take_requests(key, Asking { now: origin.time(), by_timer });
        }
        let surroundings = &self.desk.surroundings;
        match aborted {
            Some(undo) => {
                surroundings.undone(undo, origin, Some(key), &batch);
                // Of items that were kept before, nothing is left either.
                self.outputs.extend(self.onward.onward(&batch, &[], &mut results));
            }
            None => {
                if !undone.is_empty() {
                    surroundings.counters.counter("skipped").add(skipped as u64);
                    // A dead letter that is tried again, and is a batch of several, has succeeded with the others.
                    let retrying = surroundings.part_of_retry(batch.len() > 1);
                    tell(surroundings, undone, origin, key);
                    surroundings.resume_retry(retrying);
                }
                self.outputs.extend(self.onward.onward(&batch, &kept, &mut results));
            }
        }
    }

    fn goes_on(&self) -> bool {
        self.onward.goes_on()
    }

    fn settle(&self, former: &Former, tell: &mut dyn FnMut(&K, R::Out)) {
        P::settle(&self.desk.bound, former, &mut |key, mut results| {
            if let Some(batch) = self.onward.onward(&[], &[], &mut results) {
                tell(key, batch);
            }
        });
    }

    /// It sets none.
    fn on_timer(&mut self, _: Origin, _: &K, _: Timer<'_>) {}

    fn outputs(&mut self) -> &mut Vec<R::Out> {
        &mut self.outputs
    }
}

/// What became of items that were undone; a dead letter is a batch of its item.
#[cold]
fn tell<I: Record>(
    surroundings: &Surroundings,
    undone: Vec<(&I, Undo)>,
    origin: Origin,
    key: &impl Key,
) {
    for (item, undo) in undone {
        surroundings.undone(undo, origin, Some(key), &[item]);
    }
}
