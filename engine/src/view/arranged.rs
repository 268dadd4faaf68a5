//! [`Arranged`]: a collection sorted by its keys, once, for several uses.
//!
//! Invariant: what is made of an arrangement is what is made of its collection.

use differential_dataflow::operators::arrange::{Arranged as Differential, TraceAgent};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};

use super::blame::Of;
use super::collection::{Collection, Tick, ViewData};

type Spine<K, V, T> = TraceAgent<ValSpine<K, V, T, i64>>;

/// A [`Collection`] of keys and values, sorted by the keys and kept so; made by
/// [`arrange`](Collection::arrange). Clones are cheap, and are the same arrangement.
pub struct Arranged<'s, K: ViewData, V: ViewData, T: Tick = u64> {
    inner: Differential<'s, Spine<K, V, T>>,
}

impl<K: ViewData, V: ViewData, T: Tick> Clone for Arranged<'_, K, V, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

/// A [`Collection`] of keys and values, or one that is [`Arranged`] already.
pub trait Arrange<'s, K: ViewData, V: ViewData, T: Tick = u64> {
    /// The arrangement.
    fn arranged(&self) -> Arranged<'s, K, V, T>;
}

impl<'s, K: ViewData, V: ViewData, T: Tick> Arrange<'s, K, V, T> for Collection<'s, (K, V), T> {
    fn arranged(&self) -> Arranged<'s, K, V, T> {
        self.arrange()
    }
}

impl<'s, K: ViewData, V: ViewData, T: Tick> Arrange<'s, K, V, T> for Arranged<'s, K, V, T> {
    fn arranged(&self) -> Self {
        self.clone()
    }
}

impl<'s, K: ViewData, V: ViewData, T: Tick> Arranged<'s, K, V, T> {
    pub(super) fn new(inner: Differential<'s, Spine<K, V, T>>) -> Self {
        Self { inner }
    }

    /// The collection itself.
    pub fn collection(&self) -> Collection<'s, (K, V), T> {
        Collection::new(self.inner.clone().as_collection(|key, value| (key.clone(), value.clone())))
    }

    /// See [`Collection::join`].
    pub fn join<W: ViewData>(
        &self,
        other: &impl Arrange<'s, K, W, T>,
    ) -> Collection<'s, (K, (V, W)), T> {
        self.join_map(other, |key, value, other| (key.clone(), (value.clone(), other.clone())))
    }

    /// What `map` makes of each pair of records of one key.
    pub fn join_map<W: ViewData, O: ViewData>(
        &self,
        other: &impl Arrange<'s, K, W, T>,
        mut map: impl FnMut(&K, &V, &W) -> O + 'static,
    ) -> Collection<'s, O, T> {
        let of = Of::here();
        let joined =
            self.inner.clone().join_core(other.arranged().inner, move |key, value, other| {
                Some(of.run(|| map(key, value, other)))
            });
        Collection::new(joined)
    }

    /// See [`Collection::semijoin`].
    pub fn semijoin(&self, keys: &Collection<'s, K, T>) -> Collection<'s, (K, V), T> {
        let once = keys.map(|key| (key, ())).arrange().reduced(|_, _| [()]);
        self.join_map(&once, |key, value, ()| (key.clone(), value.clone()))
    }

    /// See [`Collection::antijoin`].
    pub fn antijoin(&self, keys: &Collection<'s, K, T>) -> Collection<'s, (K, V), T> {
        self.collection().concat(&self.semijoin(keys).negate())
    }

    /// See [`Collection::reduce`].
    pub fn reduce<O: ViewData, I: IntoIterator<Item = O>>(
        &self,
        reduce: impl FnMut(&K, &[(&V, i64)]) -> I + 'static,
    ) -> Collection<'s, (K, O), T> {
        self.reduced(reduce).collection()
    }

    /// The same, arranged by the same keys, as it is anyway.
    pub fn reduced<O: ViewData, I: IntoIterator<Item = O>>(
        &self,
        mut reduce: impl FnMut(&K, &[(&V, i64)]) -> I + 'static,
    ) -> Arranged<'s, K, O, T> {
        let of = Of::here();
        let reduced = self
            .inner
            .clone()
            .reduce_abelian::<_, ValBuilder<K, O, T, i64>, ValSpine<K, O, T, i64>, _, _>(
                "Reduce",
                move |key, values, out| {
                    let values = of.run(|| reduce(key, values));
                    out.extend(values.into_iter().map(|value| (value, 1)));
                },
                |records, key, updates| {
                    records.clear();
                    let updates = updates.drain(..);
                    records.extend(
                        updates.map(|(value, time, diff)| ((key.clone(), value), time, diff)),
                    );
                },
            );
        Arranged::new(reduced)
    }

    /// See [`Collection::count_by_key`].
    pub fn count_by_key(&self) -> Collection<'s, (K, i64), T> {
        self.reduce(|_, values| [values.iter().map(|(_, times)| times).sum::<i64>()])
    }

    /// See [`Collection::top_k`].
    pub fn top_k(&self, most: usize) -> Collection<'s, (K, V), T> {
        self.reduce(move |_, values| first(values.iter().rev(), most))
    }

    /// See [`Collection::bottom_k`].
    pub fn bottom_k(&self, most: usize) -> Collection<'s, (K, V), T> {
        self.reduce(move |_, values| first(values.iter(), most))
    }
}

/// The first `most` of `values`, each as often as it is there.
fn first<'a, V: Clone + 'a>(values: impl Iterator<Item = &'a (&'a V, i64)>, most: usize) -> Vec<V> {
    let each = values.flat_map(|(value, times)| {
        let times = usize::try_from(*times).unwrap_or(0).min(most);
        std::iter::repeat_n(*value, times)
    });
    each.take(most).cloned().collect()
}
