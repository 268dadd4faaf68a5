//! Counts, sums, means, extremes, and the first and the last.
//!
//! Invariant: of integers and decimals, all but the first and the last are exact, whatever the
//! order; see [`Number`].

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::{Aggregate, Measure, Number, Of};
use crate::record::Record;

/// See [`count`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Count;

/// How many records there are; 0 without any. Exact; 8 bytes.
///
/// ```
/// use anabranch::aggregate::{count, of_all};
/// assert_eq!(of_all(&count(), &["a", "b"]), 2);
/// ```
pub fn count() -> Count {
    Count
}

impl<T> Aggregate<T> for Count {
    type State = u64;
    type Output = u64;
    const EXACT: bool = true;

    fn initial(&self) -> u64 {
        0
    }
    fn update(&self, state: &mut u64, _: &T) {
        *state = state.saturating_add(1);
    }
    fn combine(&self, state: &mut u64, later: &u64) {
        *state = state.saturating_add(*later);
    }
    fn output(&self, state: &u64) -> u64 {
        *state
    }
}

/// See [`sum`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum;

/// The sum; 0 without any value. [`Number`] tells its type, its exactness and its size. Saturates
/// at the ends of its type.
///
/// ```
/// use anabranch::aggregate::{of_all, sum};
/// let quantity = sum(|(_, quantity): &(u32, u64)| *quantity);
/// assert_eq!(of_all(&quantity, &[(7, 2), (9, 3)]), 5);
/// ```
pub fn sum<T, V: Number, F: Fn(&T) -> V + 'static>(take: F) -> Of<F, V, Sum> {
    Of::new(take, Sum)
}

impl<V: Number> Aggregate<V> for Sum {
    type State = V::Sum;
    type Output = V::Total;
    const EXACT: bool = V::EXACT;

    fn initial(&self) -> V::Sum {
        V::Sum::default()
    }
    fn update(&self, state: &mut V::Sum, number: &V) {
        if number.is_value() {
            number.add_to(state);
        }
    }
    fn combine(&self, state: &mut V::Sum, later: &V::Sum) {
        V::merge(state, later);
    }
    fn output(&self, state: &V::Sum) -> V::Total {
        V::total(state)
    }
}

/// See [`mean`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean;

/// How many values, and their sum.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted<S> {
    count: u64,
    sum: S,
}

/// The mean; `None` without any value. [`Number`] tells its type and its exactness; 8 bytes more
/// than a sum.
///
/// ```
/// use anabranch::aggregate::{mean, of_all};
/// use rust_decimal::Decimal;
/// let price = mean(|cents: &i64| Decimal::new(*cents, 2));
/// assert_eq!(of_all(&price, &[650_000, 700_001]).map(|p| p.to_string()).as_deref(), Some("6750.005"));
/// assert_eq!(of_all(&price, &[]), None);
/// ```
pub fn mean<T, V: Number, F: Fn(&T) -> V + 'static>(take: F) -> Of<F, V, Mean> {
    Of::new(take, Mean)
}

impl<V: Number> Aggregate<V> for Mean {
    type State = Counted<V::Sum>;
    type Output = Option<V::Mean>;
    const EXACT: bool = V::EXACT;

    fn initial(&self) -> Self::State {
        Counted { count: 0, sum: V::Sum::default() }
    }
    fn update(&self, state: &mut Self::State, number: &V) {
        if number.is_value() {
            state.count = state.count.saturating_add(1);
            number.add_to(&mut state.sum);
        }
    }
    fn combine(&self, state: &mut Self::State, later: &Self::State) {
        state.count = state.count.saturating_add(later.count);
        V::merge(&mut state.sum, &later.sum);
    }
    fn output(&self, state: &Self::State) -> Option<V::Mean> {
        V::mean(&state.sum, state.count)
    }
}

/// See [`min`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Min;

/// See [`max`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Max;

/// The least value; `None` without any. Exact, for every [`Measure`]; one value.
///
/// ```
/// use anabranch::aggregate::{min, of_all};
/// assert_eq!(of_all(&min(|price: &f64| *price), &[3.5, f64::NAN, 2.5]), Some(2.5));
/// ```
pub fn min<T, V: Measure, F: Fn(&T) -> V + 'static>(take: F) -> Of<F, V, Min> {
    Of::new(take, Min)
}

/// The greatest value; `None` without any. Exact, for every [`Measure`]; one value.
///
/// ```
/// use anabranch::aggregate::{max, of_all};
/// assert_eq!(of_all(&max(|price: &f64| *price), &[3.5, f64::NAN, 2.5]), Some(3.5));
/// ```
pub fn max<T, V: Measure, F: Fn(&T) -> V + 'static>(take: F) -> Of<F, V, Max> {
    Of::new(take, Max)
}

macro_rules! extremes {
    ($($name:ident $better:ident),*) => {$(
        impl<V: Measure> Aggregate<V> for $name {
            type State = Option<V::Kept>;
            type Output = Option<V::Kept>;
            const EXACT: bool = true;

            fn initial(&self) -> Self::State {
                None
            }
            fn update(&self, state: &mut Self::State, value: &V) {
                if let Some(kept) = value.kept()
                    && state.as_ref().is_none_or(|best| V::order(&kept, best).$better())
                {
                    *state = Some(kept);
                }
            }
            fn combine(&self, state: &mut Self::State, later: &Self::State) {
                if let Some(kept) = later
                    && state.as_ref().is_none_or(|best| V::order(kept, best).$better())
                {
                    *state = Some(kept.clone());
                }
            }
            fn output(&self, state: &Self::State) -> Self::Output {
                state.clone()
            }
        }
    )*};
}

extremes!(Min is_lt, Max is_gt);

/// See [`first`].
#[derive(Clone, Copy, Debug)]
pub struct First<V>(PhantomData<fn() -> V>);

/// See [`last`].
#[derive(Clone, Copy, Debug)]
pub struct Last<V>(PhantomData<fn() -> V>);

/// What is taken from the first record; `None` without any. By the order of the records, so it is
/// not [`EXACT`](Aggregate::EXACT); one value.
///
/// ```
/// use anabranch::aggregate::{first, last, max, min, of_all};
/// let candle = (first(|p: &u32| *p), max(|p: &u32| *p), min(|p: &u32| *p), last(|p: &u32| *p));
/// assert_eq!(of_all(&candle, &[4, 9, 1, 5]), (Some(4), Some(9), Some(1), Some(5)));
/// ```
pub fn first<T, V: Record, F: Fn(&T) -> V + 'static>(take: F) -> Of<F, V, First<V>> {
    Of::new(take, First(PhantomData))
}

/// What is taken from the last record; `None` without any. By the order of the records, so it is
/// not [`EXACT`](Aggregate::EXACT); one value.
///
/// ```
/// use anabranch::aggregate::{last, of_all};
/// assert_eq!(of_all(&last(|price: &u32| *price), &[4, 9, 1]), Some(1));
/// ```
pub fn last<T, V: Record, F: Fn(&T) -> V + 'static>(take: F) -> Of<F, V, Last<V>> {
    Of::new(take, Last(PhantomData))
}

impl<V: Record> Aggregate<V> for First<V> {
    // A value may be a `None`, which would look like no value where it is encoded.
    type State = Option<(V,)>;
    type Output = Option<V>;
    const EXACT: bool = false;

    fn initial(&self) -> Option<(V,)> {
        None
    }
    fn update(&self, state: &mut Option<(V,)>, value: &V) {
        if state.is_none() {
            *state = Some((value.clone(),));
        }
    }
    fn combine(&self, state: &mut Option<(V,)>, later: &Option<(V,)>) {
        if state.is_none() {
            state.clone_from(later);
        }
    }
    fn output(&self, state: &Option<(V,)>) -> Option<V> {
        state.clone().map(|(value,)| value)
    }
}

impl<V: Record> Aggregate<V> for Last<V> {
    type State = Option<(V,)>;
    type Output = Option<V>;
    const EXACT: bool = false;

    fn initial(&self) -> Option<(V,)> {
        None
    }
    fn update(&self, state: &mut Option<(V,)>, value: &V) {
        *state = Some((value.clone(),));
    }
    fn combine(&self, state: &mut Option<(V,)>, later: &Option<(V,)>) {
        if later.is_some() {
            state.clone_from(later);
        }
    }
    fn output(&self, state: &Option<(V,)>) -> Option<V> {
        state.clone().map(|(value,)| value)
    }
}
