//! Weighted averages: by age (EWMA) and by volume (VWAP).
//!
//! Invariant: parts compose: a state tells what the records do to whatever average came before.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::number::one_nan;
use super::{Aggregate, Number};

/// See [`ewma`].
pub struct Ewma<F, V> {
    alpha: f64,
    take: F,
    values: PhantomData<fn() -> V>,
}

/// What a run of values does to the average before it.
///
/// Each value moves the average by `alpha` of the way to it; so does a run, by `1 - kept`. An
/// average that was `first` before the run becomes `average`; one that was off by d becomes off by
/// `kept` * d.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smoothed {
    first: f64,
    average: f64,
    kept: f64,
}

/// The exponentially weighted moving average, as `f64`: it begins with the first value, and each
/// later value moves it by `alpha` of the way to that value. `None` without any value. By the order
/// of the records, so it is not [`EXACT`](Aggregate::EXACT); parts that are combined in order agree
/// with the whole up to rounding. 24 bytes.
///
/// An `alpha` outside of 0 to 1 is taken as the nearer of them, and a NaN as 1 (the last value).
///
/// ```
/// use anabranch::aggregate::{ewma, of_all};
/// assert_eq!(of_all(&ewma(0.5, |n: &f64| *n), &[4.0, 8.0, 2.0]), Some(4.0));
/// ```
pub fn ewma<T, V: Number, F: Fn(&T) -> V + 'static>(alpha: f64, take: F) -> Ewma<F, V> {
    let alpha = if alpha.is_nan() { 1.0 } else { alpha.clamp(0.0, 1.0) };
    Ewma { alpha, take, values: PhantomData }
}

impl<T, V: Number, F: Fn(&T) -> V + 'static> Aggregate<T> for Ewma<F, V> {
    type State = Option<Smoothed>;
    type Output = Option<f64>;
    const EXACT: bool = false;

    fn initial(&self) -> Self::State {
        None
    }
    fn update(&self, state: &mut Self::State, record: &T) {
        let number = (self.take)(record);
        if number.is_value() {
            let (number, kept) = (number.to_f64(), 1.0 - self.alpha);
            let one = Smoothed { first: number, average: number, kept };
            self.combine_one(state, one);
        }
    }
    fn combine(&self, state: &mut Self::State, later: &Self::State) {
        if let Some(later) = later {
            self.combine_one(state, *later);
        }
    }
    fn output(&self, state: &Self::State) -> Option<f64> {
        state.map(|smoothed| smoothed.average)
    }
}

impl<F, V> Ewma<F, V> {
    fn combine_one(&self, state: &mut Option<Smoothed>, later: Smoothed) {
        match state {
            None => *state = Some(later),
            Some(before) => {
                let off = later.kept * (before.average - later.first);
                before.average = one_nan(later.average + off);
                before.kept *= later.kept;
            }
        }
    }
}

/// See [`vwap`].
pub struct Vwap<P, Q, V> {
    price: P,
    quantity: Q,
    values: PhantomData<fn() -> V>,
}

/// Prices times quantities, and quantities, summed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Weighted<P, Q> {
    products: P,
    weights: Q,
}

/// The volume-weighted average price: the sum of price times quantity, divided by the sum of
/// quantities; `None` where that sum is 0 or no record has both. Of integers and decimals it is
/// exact but for the last division ([`Number`] tells its type); a product of decimals is rounded
/// to what a decimal holds (28 places), and saturates. 48 to 64 bytes, of `f64` 32.
///
/// ```
/// use anabranch::aggregate::{of_all, vwap};
/// use rust_decimal::Decimal;
/// let price = vwap(|t: &(i64, u32)| Decimal::new(t.0, 2), |t| Decimal::from(t.1));
/// let average = of_all(&price, &[(10_000, 3), (20_000, 1)]);
/// assert_eq!(average.map(|price| price.to_string()).as_deref(), Some("125"));
/// ```
pub fn vwap<T, V, P, Q>(price: P, quantity: Q) -> Vwap<P, Q, V>
where
    V: Number,
    P: Fn(&T) -> V + 'static,
    Q: Fn(&T) -> V + 'static,
{
    Vwap { price, quantity, values: PhantomData }
}

impl<T, V, P, Q> Aggregate<T> for Vwap<P, Q, V>
where
    V: Number,
    P: Fn(&T) -> V + 'static,
    Q: Fn(&T) -> V + 'static,
{
    type State = Weighted<V::Products, V::Sum>;
    type Output = Option<V::Mean>;
    const EXACT: bool = V::EXACT;

    fn initial(&self) -> Self::State {
        Weighted { products: V::Products::default(), weights: V::Sum::default() }
    }
    fn update(&self, state: &mut Self::State, record: &T) {
        let (price, quantity) = ((self.price)(record), (self.quantity)(record));
        if price.is_value() && quantity.is_value() {
            price.add_product(&quantity, &mut state.products);
            quantity.add_to(&mut state.weights);
        }
    }
    fn combine(&self, state: &mut Self::State, later: &Self::State) {
        V::merge_products(&mut state.products, &later.products);
        V::merge(&mut state.weights, &later.weights);
    }
    fn output(&self, state: &Self::State) -> Option<V::Mean> {
        V::weighted(&state.products, &state.weights)
    }
}
