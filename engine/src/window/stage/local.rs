//! Windows whose records are combined on the worker that has them, before they travel to the one that owns
//! their key.
//!
//! Invariant: what a window comes to does not depend on which records were combined before: the aggregate is
//! exact, and nothing is told of a window but when it ends.

use std::marker::PhantomData;
use std::rc::Rc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::Windowing;
use crate::aggregate::Aggregate;
use crate::pipeline::{Chain, Consumer, Hub, Tagged, run};
use crate::state::Hasher;
use crate::window::Aligned;
use crate::window::pane::{Fired, Sliding, Windows};
use crate::{Error, Key, Record, Result, Time};

/// What some records of one key, and of one slice of its windows, come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Partial<K, S> {
    pub(crate) key: K,
    /// A time in the slice.
    pub(crate) time: Time,
    state: S,
    /// Of how many records.
    count: u64,
}

/// An aggregate of what records came to.
pub struct Combined<T, A> {
    aggregate: Rc<A>,
    of: PhantomData<fn(&T)>,
}

impl<T, A> Combined<T, A> {
    fn new(aggregate: &Rc<A>) -> Self {
        Self { aggregate: Rc::clone(aggregate), of: PhantomData }
    }
}

impl<K: Key, T: 'static, A: Aggregate<T>> Aggregate<Partial<K, A::State>> for Combined<T, A> {
    type State = A::State;
    type Output = A::Output;
    const EXACT: bool = A::EXACT;

    fn initial(&self) -> A::State {
        self.aggregate.initial()
    }

    fn update(&self, state: &mut A::State, partial: &Partial<K, A::State>) {
        self.aggregate.combine(state, &partial.state);
    }

    fn combine(&self, state: &mut A::State, later: &A::State) {
        self.aggregate.combine(state, later);
    }

    fn output(&self, state: &A::State) -> A::Output {
        self.aggregate.output(state)
    }

    fn weight(&self, partial: &Partial<K, A::State>) -> u64 {
        partial.count
    }
}

/// Windows that [`ToBeKeyed::local_window`](crate::ToBeKeyed::local_window) can be given: [`Windows`] of
/// equal sizes and distances, told once they have ended, and [`Sliding`].
pub trait Local<T>: 'static {
    /// What they make of records.
    type Aggregate: Aggregate<T>;
    /// The same windows, of what records came to.
    #[doc(hidden)]
    type Whole<K: Key>: Windowing<
            Partial<K, <Self::Aggregate as Aggregate<T>>::State>,
            Told = Fired<<Self::Aggregate as Aggregate<T>>::Output>,
        >;

    /// Whether they are corrected when records come late.
    #[doc(hidden)]
    fn corrects(&self) -> bool;
    /// Where windows begin and end, what is made of records, and the windows of what that gives.
    #[doc(hidden)]
    fn split<K: Key>(self) -> (Aligned, Rc<Self::Aggregate>, Self::Whole<K>);
}

impl<T: 'static, A: Aggregate<T>> Local<T> for Windows<T, Aligned, A> {
    type Aggregate = A;
    type Whole<K: Key> = Windows<Partial<K, A::State>, Aligned, Combined<T, A>>;

    fn corrects(&self) -> bool {
        self.lateness_allowed().corrects()
    }

    fn split<K: Key>(self) -> (Aligned, Rc<A>, Self::Whole<K>) {
        let (lateness, empties) = (self.lateness_allowed(), self.empties());
        let (assigner, aggregate) = self.into_parts();
        let aggregate = Rc::new(aggregate);
        let whole = Windows::new(assigner.clone(), Combined::new(&aggregate));
        (assigner, aggregate, whole.empty_windows(empties).too_late(lateness.of_parts()))
    }
}

impl<T: 'static, A: Aggregate<T>> Local<T> for Sliding<T, A> {
    type Aggregate = A;
    type Whole<K: Key> = Sliding<Partial<K, A::State>, Combined<T, A>>;

    fn corrects(&self) -> bool {
        self.lateness_allowed().corrects()
    }

    fn split<K: Key>(self) -> (Aligned, Rc<A>, Self::Whole<K>) {
        let (lateness, empties) = (self.lateness_allowed(), self.empties());
        let (assigner, aggregate) = self.into_parts();
        let aggregate = Rc::new(aggregate);
        let whole = Sliding::new(assigner.clone(), Combined::new(&aggregate));
        (assigner, aggregate, whole.empty_windows(empties).too_late(lateness.of_parts()))
    }
}

/// Why records must not be combined before they are where their key is.
pub(crate) fn check_local<T, L: Local<T>>(windows: &L) -> Result<()> {
    let why = if !L::Aggregate::EXACT {
        "its aggregate is not exact: what it comes to depends on the order and the grouping of the records, \
         which here would depend on the number of workers; use `window`, or an aggregate that is `EXACT`, as \
         counts, and sums of integers and decimals"
    } else if windows.corrects() {
        "windows that are corrected tell of each late record, and here records are combined before they \
         count as late; use `window`, or allow no lateness and no `TooLate::FirePerRecord`"
    } else {
        return Ok(());
    };
    Err(Error::Application(why.to_string()))
}

/// Combines the records of a batch, by key and slice, and hands on what they come to.
pub(crate) struct Combining<C: Chain, F, G, K, A: Aggregate<C::Out>> {
    chain: C,
    key: Rc<F>,
    time: G,
    assigner: Aligned,
    aggregate: Rc<A>,
    hub: Rc<Hub<Partial<K, A::State>>>,
    /// Of the batch, in the order of their first records.
    partials: Vec<Tagged<Partial<K, A::State>>>,
    /// Where they are, by key and the slice's start; nothing iterates it.
    places: HashMap<(K, Time), usize, Hasher>,
}

impl<C: Chain, F, G, K, A: Aggregate<C::Out>> Combining<C, F, G, K, A> {
    pub(crate) fn new(
        chain: C,
        (key, time): (Rc<F>, G),
        (assigner, aggregate): (Aligned, Rc<A>),
        hub: Rc<Hub<Partial<K, A::State>>>,
    ) -> Self {
        let (partials, places) = (Vec::new(), HashMap::default());
        Self { chain, key, time, assigner, aggregate, hub, partials, places }
    }
}

impl<C, F, G, K, A> Consumer<C::In> for Combining<C, F, G, K, A>
where
    C: Chain<Key = (), Out: Record>,
    K: Key,
    F: Fn(&C::Out) -> K,
    G: Fn(&C::Out) -> Time,
    A: Aggregate<C::Out>,
{
    fn consume(&mut self, batch: &mut Vec<Tagged<C::In>>) {
        let Self { chain, key, time, assigner, aggregate, hub, partials, places } = self;
        run(chain, batch, |Tagged { origin, record }| {
            let (key, time) = (key(&record), assigner.pane(time(&record)).start);
            let there = places.get(&(key.clone(), time)).and_then(|place| partials.get_mut(*place));
            if let Some(Tagged { record: partial, .. }) = there {
                aggregate.update(&mut partial.state, &record);
                partial.count += 1;
                return;
            }
            let mut state = aggregate.initial();
            aggregate.update(&mut state, &record);
            places.insert((key.clone(), time), partials.len());
            partials.push(Tagged { origin, record: Partial { key, time, state, count: 1 } });
        });
        places.clear();
        hub.dispatch(partials);
    }
}
