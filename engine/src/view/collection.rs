//! [`Collection`]: a multiset of records that changes with the epochs, and what is made of it.
//!
//! Invariant: nothing here looks at a clock, a worker or an order of arrival: at each epoch a collection is a
//! function of the collections that it is made of.

use std::fmt::Debug;
use std::hash::Hash;

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::iterate::Iterate;
use timely::dataflow::StreamVec;
use timely::order::Product;
use timely::progress::Timestamp;

use super::arranged::{Arrange, Arranged};
use super::blame::Of;
use super::iterate::Round;
use crate::Record;

/// What can be in a view: a record with an order.
///
/// Every type that is a [`Record`], `Ord`, `Hash` and `Debug` is one.
pub trait ViewData: Record + Ord + Hash + Debug {}

impl<T: Record + Ord + Hash + Debug> ViewData for T {}

/// When a collection changes: with an epoch, and within [`iterate`](Collection::iterate) with a round.
#[doc(hidden)]
pub trait Tick: Timestamp + Lattice + Ord {}

impl<T: Timestamp + Lattice + Ord> Tick for T {}

/// A multiset of records that changes with the epochs: a table's rows, or what is made of other collections.
///
/// A record can be in it several times. What a step makes of it is kept up with its changes, at a cost in
/// proportion to them. Steps of one name are those of [`Stream`](crate::Stream), with other functions: these
/// are called for a record that comes and for one that goes, so they must give the same for the same record.
/// Clones are cheap, and are the same collection.
pub struct Collection<'s, D: ViewData, T: Tick = u64> {
    pub(super) inner: VecCollection<'s, T, D, i64>,
}

impl<D: ViewData, T: Tick> Clone for Collection<'_, D, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<'s, D: ViewData, T: Tick> Collection<'s, D, T> {
    pub(crate) fn new(inner: VecCollection<'s, T, D, i64>) -> Self {
        Self { inner }
    }

    pub(crate) fn into_stream(self) -> StreamVec<'s, T, (D, T, i64)> {
        self.inner.inner
    }

    /// Replaces each record by what `map` makes of it.
    pub fn map<O: ViewData>(&self, mut map: impl FnMut(D) -> O + 'static) -> Collection<'s, O, T> {
        let of = Of::here();
        Collection::new(self.inner.clone().map(move |record| of.run(|| map(record))))
    }

    /// Keeps those records for which `keep` holds.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(&D) -> bool + 'static) -> Self {
        let of = Of::here();
        Self::new(self.inner.clone().filter(move |record| of.run(|| keep(record))))
    }

    /// Replaces each record by those that `map` makes of it.
    pub fn flat_map<I>(&self, mut map: impl FnMut(D) -> I + 'static) -> Collection<'s, I::Item, T>
    where
        I: IntoIterator<Item: ViewData> + 'static,
    {
        let of = Of::here();
        Collection::new(self.inner.clone().flat_map(move |record| of.run(|| map(record))))
    }

    /// The records of both; what is in both is there as often as in the two together.
    #[must_use]
    pub fn concat(&self, other: &Self) -> Self {
        Self::new(self.inner.clone().concat(other.inner.clone()))
    }

    /// As often less as it was more: `a.concat(&b.negate())` is `a` without what is in `b`. Only a collection
    /// in which nothing is less than never is released by a [`View`](crate::View).
    #[must_use]
    pub fn negate(&self) -> Self {
        Self::new(self.inner.clone().negate())
    }

    /// Each record once, however often it is there.
    #[must_use]
    pub fn distinct(&self) -> Self {
        Self::new(self.inner.clone().distinct_core())
    }

    /// Each record once, with how often it is there.
    pub fn count(&self) -> Collection<'s, (D, i64), T> {
        Collection::new(self.inner.clone().count_core())
    }

    /// Applies `step` until nothing changes any more: to these records first, then to what it made of them,
    /// and so on. Other collections are brought in by [`Round::enter`].
    ///
    /// ```
    /// use anabranch::prelude::*;
    /// use anabranch::{TestDriver, source};
    ///
    /// /// Which places a road leads to from a place.
    /// const ROADS: MapTable<u32, u32, ()> = MapTable::new("roads");
    ///
    /// fn reachable(app: &App) -> Result<()> {
    ///     app.source("roads", source::empty::<(u32, u32)>()).key_by(|road| road.0).compute(
    ///         "build",
    ///         ROADS,
    ///         |(_, to), mut roads, _: &mut Context<'_, ()>| {
    ///             roads.insert(to, ());
    ///         },
    ///     );
    ///     app.view("reachable", ROADS, |t| {
    ///         let roads = t.map(|(from, to, ())| (from, to));
    ///         roads.map(|(from, _)| (from, from)).distinct().iterate(|round, there| {
    ///             // From a place by way of another to what a road leads to from that.
    ///             let by_way = there.map(|(from, at)| (at, from));
    ///             by_way.join(&round.enter(&roads)).map(|(_, (from, to))| (from, to)).concat(there).distinct()
    ///         })
    ///     });
    ///     Ok(())
    /// }
    ///
    /// let mut driver = TestDriver::new(reachable).start()?;
    /// for road in [(1_u32, 2_u32), (2, 3), (3, 1), (5, 6)] {
    ///     driver.send("roads", road)?;
    /// }
    /// driver.run()?;
    /// let from_5: Vec<(u32, u32)> =
    ///     driver.view("reachable")?.into_iter().map(|(pair, _)| pair).filter(|(from, _)| *from == 5).collect();
    /// assert_eq!(from_5, [(5, 5), (5, 6)]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    #[must_use]
    pub fn iterate<F>(&self, step: F) -> Self
    where
        F: for<'i> FnOnce(
            &Round<'i, T>,
            &Collection<'i, D, Product<T, u64>>,
        ) -> Collection<'i, D, Product<T, u64>>,
    {
        let iterated = self.inner.clone().iterate(|scope, inner| {
            // What cancels must not go round for ever.
            step(&Round { scope }, &Collection::new(inner)).inner.consolidate()
        });
        Self::new(iterated)
    }
}

impl<'s, K: ViewData, V: ViewData, T: Tick> Collection<'s, (K, V), T> {
    /// Sorts the records by their keys, once: for several joins and reductions on the same records. Each
    /// of them does so by itself where it is given a collection.
    pub fn arrange(&self) -> Arranged<'s, K, V, T> {
        Arranged::new(self.inner.clone().arrange_by_key())
    }

    /// Each pair of records of one key.
    pub fn join<W: ViewData>(
        &self,
        other: &impl Arrange<'s, K, W, T>,
    ) -> Collection<'s, (K, (V, W)), T> {
        self.arrange().join(other)
    }

    /// The records whose keys are in `keys`.
    #[must_use]
    pub fn semijoin(&self, keys: &Collection<'s, K, T>) -> Self {
        self.arrange().semijoin(keys)
    }

    /// The records whose keys are not in `keys`.
    #[must_use]
    pub fn antijoin(&self, keys: &Collection<'s, K, T>) -> Self {
        self.arrange().antijoin(keys)
    }

    /// Replaces the records of each key by what `reduce` makes of them: it is given the values, in their order,
    /// and how often each is there.
    ///
    /// ```
    /// use anabranch::Collection;
    ///
    /// /// The greatest amount of each account.
    /// fn greatest<'s>(amounts: &Collection<'s, (u32, i64)>) -> Collection<'s, (u32, i64)> {
    ///     amounts.reduce(|_, amounts| amounts.last().map(|(amount, _)| **amount))
    /// }
    /// ```
    pub fn reduce<O: ViewData, I: IntoIterator<Item = O>>(
        &self,
        reduce: impl FnMut(&K, &[(&V, i64)]) -> I + 'static,
    ) -> Collection<'s, (K, O), T> {
        self.arrange().reduce(reduce)
    }

    /// How many records each key has.
    pub fn count_by_key(&self) -> Collection<'s, (K, i64), T> {
        Collection::new(self.inner.clone().map(|(key, _)| key).count_core())
    }

    /// Of each key the `most` greatest values.
    #[must_use]
    pub fn top_k(&self, most: usize) -> Self {
        self.arrange().top_k(most)
    }

    /// Of each key the `most` least values.
    #[must_use]
    pub fn bottom_k(&self, most: usize) -> Self {
        self.arrange().bottom_k(most)
    }
}
