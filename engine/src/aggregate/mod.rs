//! [`Aggregate`]: how many records become one value; and the aggregates that come with the engine.
//!
//! Invariant: a state is a pure function of the records and of their order (of the records alone,
//! if the aggregate is [`EXACT`](Aggregate::EXACT)): no seed, no clock, no arithmetic that differs
//! between machines. No record makes an aggregate panic.
//!
//! ```
//! use anabranch::aggregate::{Aggregate, count, max, mean, of_all, sum};
//!
//! struct Trade { price: f64, quantity: u64 }
//! let trades = [Trade { price: 10.0, quantity: 5 }, Trade { price: 12.0, quantity: 1 }];
//!
//! let statistics = (
//!     count(),
//!     sum(|trade: &Trade| trade.quantity),
//!     mean(|trade: &Trade| trade.price),
//!     max(|trade: &Trade| trade.price),
//! );
//! assert_eq!(of_all(&statistics, &trades), (2, 6, Some(11.0), Some(12.0)));
//! assert_eq!(of_all(&statistics, &[]), (0, 0, None, None));
//! ```
//!
//! # Rules
//!
//! * *Nothing to say.* Where no record has a value, the output is `None` (a count or a sum is 0, a
//!   collection empty).
//! * *NaN is no value.* Wherever a floating-point number is taken, a NaN is passed over, as if its
//!   record were not there ([`count`] counts records and asks for no number). Infinities are
//!   numbers; a sum of both is NaN, and so is what follows from it.
//! * *Overflow.* States do not overflow: sums of integers are kept in 128 bits and sums of decimals
//!   in 256. Only an output saturates, at the ends of its type.
//! * *Exactness.* Integers and decimals are summed exactly. Floating-point sums depend on the order
//!   by their rounding, so they are not `EXACT`, and the same on every machine for the same order
//!   and grouping.

mod basic;
mod measure;
mod number;
mod quantile;
mod ranked;
mod sketch;
mod spread;
mod weighted;
mod wide;

#[cfg(test)]
mod tests;

use std::marker::PhantomData;

pub use self::basic::{
    Count, First, Last, Max, Mean, Min, Sum, count, first, last, max, mean, min, sum,
};
pub use self::measure::Measure;
pub use self::number::Number;
pub use self::quantile::{Quantile, Quantiles, median, quantile, quantiles};
pub use self::ranked::{
    Collect, Collected, Distinct, MaxBy, MinBy, TopK, collect, distinct, max_by, min_by, top_k,
};
pub use self::sketch::{DistinctSketch, distinct_sketch};
pub use self::spread::{
    Deviation, Variance, deviation, sample_deviation, sample_variance, variance,
};
pub use self::weighted::{Ewma, Vwap, ewma, vwap};
use crate::record::Record;

/// How many records become one value: the average price, the last state, the ten largest orders.
///
/// A window keeps one state for each of its slices and applies the records to it in their order;
/// sessions that merge, and slices that make up a sliding window, are combined. These laws must
/// hold, for the states as well as for their bytes:
///
/// * `combine` is associative, and [`initial`](Self::initial) changes nothing on either side of it;
/// * to update with some records and then others is to combine the states of both.
///
/// An aggregate whose arithmetic rounds may keep them up to its rounding.
///
/// Each aggregate of this module does. A tuple of up to eight aggregates is an aggregate. One of
/// your own:
///
/// ```
/// use anabranch::aggregate::{Aggregate, of_all};
///
/// /// The lowest and the highest, and how far they are apart.
/// struct Range;
///
/// impl Aggregate<i64> for Range {
///     type State = Option<(i64, i64)>;
///     type Output = u64;
///     const EXACT: bool = true;
///
///     fn initial(&self) -> Self::State {
///         None
///     }
///     fn update(&self, state: &mut Self::State, record: &i64) {
///         self.combine(state, &Some((*record, *record)));
///     }
///     fn combine(&self, state: &mut Self::State, later: &Self::State) {
///         *state = match (*state, *later) {
///             (Some((low, high)), Some((l, h))) => Some((low.min(l), high.max(h))),
///             (state, later) => state.or(later),
///         };
///     }
///     fn output(&self, state: &Self::State) -> u64 {
///         state.map_or(0, |(low, high)| high.abs_diff(low))
///     }
/// }
///
/// assert_eq!(of_all(&Range, &[3, -1, 2]), 4);
/// ```
pub trait Aggregate<T>: 'static {
    /// What is kept of the records so far. It goes into checkpoints, field by field with their
    /// names; equal states must have equal bytes (no hash maps).
    type State: Record;

    /// The value.
    type Output: Record;

    /// Whether `update` and `combine` are exactly commutative too: the same states, to the last
    /// bit, whatever the order and the grouping of the records. Only then may parts be computed
    /// by each worker before they are exchanged.
    const EXACT: bool;

    /// The state of no records.
    fn initial(&self) -> Self::State;

    /// Applies `record`, which is later than all in `state`.
    fn update(&self, state: &mut Self::State, record: &T);

    /// Appends the records of `later` to those of `state`.
    fn combine(&self, state: &mut Self::State, later: &Self::State);

    /// The value of the records in `state`.
    fn output(&self, state: &Self::State) -> Self::Output;

    /// How many records a record stands for.
    #[doc(hidden)]
    fn weight(&self, _: &T) -> u64 {
        1
    }
}

/// The value of `records`, in their order: for tests, and for buffers that are kept anyway.
///
/// ```
/// use anabranch::aggregate::{of_all, sum};
/// assert_eq!(of_all(&sum(|number: &i64| *number), &[1, 2, 3]), 6);
/// ```
pub fn of_all<'a, T: 'a, A: Aggregate<T>>(
    aggregate: &A,
    records: impl IntoIterator<Item = &'a T>,
) -> A::Output {
    let mut state = aggregate.initial();
    for record in records {
        aggregate.update(&mut state, record);
    }
    aggregate.output(&state)
}

/// An aggregate `A` of what `F` takes from each record.
///
/// Made by the functions of this module; of use where a type must be named.
pub struct Of<F, V, A> {
    take: F,
    aggregate: A,
    values: PhantomData<fn() -> V>,
}

impl<F, V, A> Of<F, V, A> {
    fn new(take: F, aggregate: A) -> Self {
        Self { take, aggregate, values: PhantomData }
    }
}

impl<T, F, V, A> Aggregate<T> for Of<F, V, A>
where
    F: Fn(&T) -> V + 'static,
    V: 'static,
    A: Aggregate<V>,
{
    type State = A::State;
    type Output = A::Output;
    const EXACT: bool = A::EXACT;

    fn initial(&self) -> A::State {
        self.aggregate.initial()
    }

    fn update(&self, state: &mut A::State, record: &T) {
        self.aggregate.update(state, &(self.take)(record));
    }

    fn combine(&self, state: &mut A::State, later: &A::State) {
        self.aggregate.combine(state, later);
    }

    fn output(&self, state: &A::State) -> A::Output {
        self.aggregate.output(state)
    }
}

macro_rules! tuples {
    ($($name:ident $index:tt),*) => {
        /// All of them, over the same records.
        impl<T, $($name: Aggregate<T>),*> Aggregate<T> for ($($name,)*) {
            type State = ($($name::State,)*);
            type Output = ($($name::Output,)*);
            const EXACT: bool = $($name::EXACT)&&*;

            fn initial(&self) -> Self::State {
                ($(self.$index.initial(),)*)
            }

            fn update(&self, state: &mut Self::State, record: &T) {
                $(self.$index.update(&mut state.$index, record);)*
            }

            fn combine(&self, state: &mut Self::State, later: &Self::State) {
                $(self.$index.combine(&mut state.$index, &later.$index);)*
            }

            fn output(&self, state: &Self::State) -> Self::Output {
                ($(self.$index.output(&state.$index),)*)
            }
        }
    };
}

tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
