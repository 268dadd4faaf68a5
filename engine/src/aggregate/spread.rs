//! Variance and standard deviation.
//!
//! Invariant: no difference of large squares is ever taken (Welford; Chan and others for parts), so
//! values that lie close together far from 0 keep their digits.

use serde::{Deserialize, Serialize};

use super::number::one_nan;
use super::{Aggregate, Number, Of};

/// How values lie around their mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    mean: f64,
    /// The sum of the squares of the distances from the mean.
    squares: f64,
}

impl Moments {
    fn add(&mut self, number: f64) {
        self.count = self.count.saturating_add(1);
        let distance = number - self.mean;
        self.mean = one_nan(self.mean + distance / self.count as f64);
        self.squares = one_nan(self.squares + distance * (number - self.mean));
    }

    fn merge(&mut self, later: &Self) {
        if later.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *later;
            return;
        }
        let (count, later_count) = (self.count as f64, later.count as f64);
        self.count = self.count.saturating_add(later.count);
        let share = later_count / self.count as f64;
        let distance = later.mean - self.mean;
        let squares = later.squares + distance * distance * count * share;
        self.mean = one_nan(self.mean + distance * share);
        self.squares = one_nan(self.squares + squares);
    }

    /// `less`: by how much the divisor is less than the count.
    fn variance(&self, less: u64) -> Option<f64> {
        let divisor = self.count.checked_sub(less).filter(|divisor| *divisor > 0)?;
        Some(self.squares / divisor as f64)
    }
}

/// See [`variance`] and [`sample_variance`].
#[derive(Clone, Copy, Debug)]
pub struct Variance {
    less: u64,
}

/// See [`deviation`] and [`sample_deviation`].
#[derive(Clone, Copy, Debug)]
pub struct Deviation(Variance);

/// The population variance (divided by n), as `f64`; `None` without any value. Stable, but not
/// [`EXACT`](Aggregate::EXACT): parts that are combined agree with the whole up to rounding. 24
/// bytes. Integers and decimals are rounded to `f64` first.
///
/// ```
/// use anabranch::aggregate::{of_all, variance};
/// assert_eq!(of_all(&variance(|n: &u32| *n), &[1, 2, 3, 4]), Some(1.25));
/// ```
pub fn variance<T, V: Number, F: Fn(&T) -> V + 'static>(take: F) -> Of<F, V, Variance> {
    Of::new(take, Variance { less: 0 })
}

/// The sample variance (divided by n - 1); `None` of less than two values. Else as [`variance`].
///
/// ```
/// use anabranch::aggregate::{of_all, sample_variance};
/// assert_eq!(of_all(&sample_variance(|n: &u32| *n), &[1, 2, 3]), Some(1.0));
/// assert_eq!(of_all(&sample_variance(|n: &u32| *n), &[1]), None);
/// ```
pub fn sample_variance<T, V: Number, F: Fn(&T) -> V + 'static>(take: F) -> Of<F, V, Variance> {
    Of::new(take, Variance { less: 1 })
}

/// The population standard deviation: the root of [`variance`], and else like it.
///
/// ```
/// use anabranch::aggregate::{deviation, of_all};
/// assert_eq!(of_all(&deviation(|n: &f64| *n), &[1.0, 2.0]), Some(0.5));
/// ```
pub fn deviation<T, V: Number, F: Fn(&T) -> V + 'static>(take: F) -> Of<F, V, Deviation> {
    Of::new(take, Deviation(Variance { less: 0 }))
}

/// The sample standard deviation: the root of [`sample_variance`], and else like it.
///
/// ```
/// use anabranch::aggregate::{of_all, sample_deviation};
/// assert_eq!(of_all(&sample_deviation(|n: &f64| *n), &[1.0, 2.0, 3.0]), Some(1.0));
/// ```
pub fn sample_deviation<T, V: Number, F: Fn(&T) -> V + 'static>(take: F) -> Of<F, V, Deviation> {
    Of::new(take, Deviation(Variance { less: 1 }))
}

impl<V: Number> Aggregate<V> for Variance {
    type State = Moments;
    type Output = Option<f64>;
    const EXACT: bool = false;

    fn initial(&self) -> Moments {
        Moments::default()
    }
    fn update(&self, state: &mut Moments, number: &V) {
        if number.is_value() {
            state.add(number.to_f64());
        }
    }
    fn combine(&self, state: &mut Moments, later: &Moments) {
        state.merge(later);
    }
    fn output(&self, state: &Moments) -> Option<f64> {
        state.variance(self.less)
    }
}

impl<V: Number> Aggregate<V> for Deviation {
    type State = Moments;
    type Output = Option<f64>;
    const EXACT: bool = false;

    fn initial(&self) -> Moments {
        Moments::default()
    }
    fn update(&self, state: &mut Moments, number: &V) {
        Aggregate::<V>::update(&self.0, state, number);
    }
    fn combine(&self, state: &mut Moments, later: &Moments) {
        state.merge(later);
    }
    fn output(&self, state: &Moments) -> Option<f64> {
        state.variance(self.0.less).map(f64::sqrt)
    }
}
