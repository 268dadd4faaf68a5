//! Records by rank, distinct values, and records as they are.
//!
//! Invariant: of records that rank alike, the earlier one comes first, so a state depends on the
//! records and their order alone.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::{Aggregate, Measure, Of};
use crate::record::Record;

/// See [`min_by`].
pub struct MinBy<F, V> {
    by: F,
    values: PhantomData<fn() -> V>,
}

/// See [`max_by`].
pub struct MaxBy<F, V> {
    by: F,
    values: PhantomData<fn() -> V>,
}

/// The record with the least value, the earliest of several; `None` where none has a value. Not
/// [`EXACT`](Aggregate::EXACT), as the earliest wins; one record and one value.
///
/// ```
/// use anabranch::aggregate::{min_by, of_all};
/// let cheapest = min_by(|(_, price): &(char, u32)| *price);
/// assert_eq!(of_all(&cheapest, &[('a', 3), ('b', 2), ('c', 2)]), Some(('b', 2)));
/// ```
pub fn min_by<T: Record, V: Measure, F: Fn(&T) -> V + 'static>(by: F) -> MinBy<F, V> {
    MinBy { by, values: PhantomData }
}

/// The record with the greatest value, the earliest of several; `None` where none has a value. Not
/// [`EXACT`](Aggregate::EXACT), as the earliest wins; one record and one value.
///
/// ```
/// use anabranch::aggregate::{max_by, of_all};
/// let dearest = max_by(|(_, price): &(char, u32)| *price);
/// assert_eq!(of_all(&dearest, &[('a', 3), ('b', 2), ('c', 3)]), Some(('a', 3)));
/// ```
pub fn max_by<T: Record, V: Measure, F: Fn(&T) -> V + 'static>(by: F) -> MaxBy<F, V> {
    MaxBy { by, values: PhantomData }
}

macro_rules! extremes_by {
    ($($name:ident $better:ident),*) => {$(
        impl<T: Record, V: Measure, F: Fn(&T) -> V + 'static> Aggregate<T> for $name<F, V> {
            type State = Option<(V::Kept, T)>;
            type Output = Option<T>;
            const EXACT: bool = false;

            fn initial(&self) -> Self::State {
                None
            }
            fn update(&self, state: &mut Self::State, record: &T) {
                if let Some(kept) = (self.by)(record).kept()
                    && state.as_ref().is_none_or(|(best, _)| V::order(&kept, best).$better())
                {
                    *state = Some((kept, record.clone()));
                }
            }
            fn combine(&self, state: &mut Self::State, later: &Self::State) {
                if let Some((kept, _)) = later
                    && state.as_ref().is_none_or(|(best, _)| V::order(kept, best).$better())
                {
                    state.clone_from(later);
                }
            }
            fn output(&self, state: &Self::State) -> Option<T> {
                state.as_ref().map(|(_, record)| record.clone())
            }
        }
    )*};
}

extremes_by!(MinBy is_lt, MaxBy is_gt);

/// See [`top_k`].
pub struct TopK<F, V> {
    size: usize,
    by: F,
    values: PhantomData<fn() -> V>,
}

/// The `size` records with the greatest values, greatest first, and of equal ones the earliest
/// first; records without a value are passed over. For the least, take [`Reverse`] of the value.
/// Not [`EXACT`](Aggregate::EXACT), as the earlier wins; at most `size` records and values. A
/// record costs a search, and a shift of what ranks after it.
///
/// ```
/// use std::cmp::Reverse;
/// use anabranch::aggregate::{of_all, top_k};
/// let records = [('a', 3), ('b', 9), ('c', 3), ('d', 1)];
/// assert_eq!(of_all(&top_k(2, |r: &(char, u32)| r.1), &records), [('b', 9), ('a', 3)]);
/// assert_eq!(of_all(&top_k(1, |r: &(char, u32)| Reverse(r.1)), &records), [('d', 1)]);
/// ```
///
/// [`Reverse`]: std::cmp::Reverse
pub fn top_k<T: Record, V: Measure, F: Fn(&T) -> V + 'static>(size: usize, by: F) -> TopK<F, V> {
    TopK { size, by, values: PhantomData }
}

impl<F, V: Measure> TopK<F, V> {
    fn place<T: Clone>(&self, state: &mut Vec<(V::Kept, T)>, kept: &V::Kept, record: &T) {
        let at = state.partition_point(|(other, _)| V::order(other, kept).is_ge());
        if at < self.size {
            state.truncate(self.size - 1);
            state.insert(at, (kept.clone(), record.clone()));
        }
    }
}

impl<T: Record, V: Measure, F: Fn(&T) -> V + 'static> Aggregate<T> for TopK<F, V> {
    type State = Vec<(V::Kept, T)>;
    type Output = Vec<T>;
    const EXACT: bool = false;

    fn initial(&self) -> Self::State {
        Vec::new()
    }
    fn update(&self, state: &mut Self::State, record: &T) {
        if let Some(kept) = (self.by)(record).kept() {
            self.place(state, &kept, record);
        }
    }
    fn combine(&self, state: &mut Self::State, later: &Self::State) {
        // In the order of `later`, equal ones stay in the order of arrival.
        for (kept, record) in later {
            self.place(state, kept, record);
        }
    }
    fn output(&self, state: &Self::State) -> Vec<T> {
        state.iter().map(|(_, record)| record.clone()).collect()
    }
}

/// See [`distinct`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Distinct;

/// How many different values there are; 0 without any. Exact. Every different value is kept:
/// where they may be many, take [`distinct_sketch`](super::distinct_sketch).
///
/// ```
/// use anabranch::aggregate::{distinct, of_all};
/// let users = distinct(|user: &&str| user.to_string());
/// assert_eq!(of_all(&users, &["ann", "bob", "ann"]), 2);
/// ```
pub fn distinct<T, V: Record + Ord, F: Fn(&T) -> V + 'static>(take: F) -> Of<F, V, Distinct> {
    Of::new(take, Distinct)
}

impl<V: Record + Ord> Aggregate<V> for Distinct {
    type State = BTreeSet<V>;
    type Output = u64;
    const EXACT: bool = true;

    fn initial(&self) -> BTreeSet<V> {
        BTreeSet::new()
    }
    fn update(&self, state: &mut BTreeSet<V>, value: &V) {
        if !state.contains(value) {
            state.insert(value.clone());
        }
    }
    fn combine(&self, state: &mut BTreeSet<V>, later: &BTreeSet<V>) {
        for value in later {
            if !state.contains(value) {
                state.insert(value.clone());
            }
        }
    }
    fn output(&self, state: &BTreeSet<V>) -> u64 {
        state.len() as u64
    }
}

/// See [`collect`].
#[derive(Clone, Copy, Debug)]
pub struct Collect {
    limit: usize,
}

/// The records themselves, as far as there was room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected<T> {
    /// In their order, the first of them if not all.
    pub records: Vec<T>,
    /// How many more there were.
    pub left_out: u64,
}

/// The first `limit` records, and how many more there were. By their order, so it is not
/// [`EXACT`](Aggregate::EXACT); at most `limit` records.
///
/// ```
/// use anabranch::aggregate::{collect, of_all};
/// let collected = of_all(&collect(2), &['a', 'b', 'c']);
/// assert_eq!((collected.records, collected.left_out), (vec!['a', 'b'], 1));
/// ```
pub fn collect(limit: usize) -> Collect {
    Collect { limit }
}

impl<T: Record> Aggregate<T> for Collect {
    type State = Collected<T>;
    type Output = Collected<T>;
    const EXACT: bool = false;

    fn initial(&self) -> Collected<T> {
        Collected { records: Vec::new(), left_out: 0 }
    }
    fn update(&self, state: &mut Collected<T>, record: &T) {
        if state.records.len() < self.limit {
            state.records.push(record.clone());
        } else {
            state.left_out = state.left_out.saturating_add(1);
        }
    }
    fn combine(&self, state: &mut Collected<T>, later: &Collected<T>) {
        for record in &later.records {
            self.update(state, record);
        }
        state.left_out = state.left_out.saturating_add(later.left_out);
    }
    fn output(&self, state: &Collected<T>) -> Collected<T> {
        state.clone()
    }
}
