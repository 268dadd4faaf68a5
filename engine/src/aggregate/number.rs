//! [`Number`]: what can be summed.
//!
//! Invariant: of integers and decimals a sum is exact; of `f64` it is the same on every machine for
//! the same order and grouping. What is no value (NaN, `None`) never gets into a state.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::wide::{Wide, decimal_to_f64};
use crate::decimal::Portable;
use crate::record::Record;

/// What can be summed and averaged: integers of up to 64 bits, `f64`, [`Decimal`] and
/// [`Portable`], and `Option`s of them, of which `None` is passed over.
///
/// | numbers | state of a sum | [`Total`](Self::Total) | [`Mean`](Self::Mean) | exact |
/// |---|---|---|---|---|
/// | `i8` to `i64` | 16 bytes | `i64`, saturating | `f64` | yes |
/// | `u8` to `u64` | 16 bytes | `u64` | `f64` | yes |
/// | `Decimal` | 32 bytes | [`Portable`], saturating | [`Portable`] | yes |
/// | `f64` | 16 bytes | `f64` | `f64` | no |
///
/// The mean of integers is the quotient of the exact sum, each rounded to a `f64`; that of
/// decimals has all the places a decimal holds, rounded once, half to even. Sums of floating-point
/// numbers are compensated (Neumaier): their error is about that of one rounding, unless terms much
/// larger than the sum cancel out.
pub trait Number: sealed::Sealed + 'static {
    /// What a sum is given as.
    type Total: Record;
    /// What a mean is given as.
    type Mean: Record;
    /// What a sum is kept as.
    type Sum: Record + Default;
    /// What a sum of products is kept as.
    type Products: Record + Default;
    /// Whether sums are exact.
    const EXACT: bool;

    #[doc(hidden)]
    fn is_value(&self) -> bool {
        true
    }
    #[doc(hidden)]
    fn add_to(&self, sum: &mut Self::Sum);
    #[doc(hidden)]
    fn add_product(&self, other: &Self, products: &mut Self::Products);
    #[doc(hidden)]
    fn merge(sum: &mut Self::Sum, later: &Self::Sum);
    #[doc(hidden)]
    fn merge_products(products: &mut Self::Products, later: &Self::Products);
    #[doc(hidden)]
    fn total(sum: &Self::Sum) -> Self::Total;
    /// `None` when `count` is 0.
    #[doc(hidden)]
    fn mean(sum: &Self::Sum, count: u64) -> Option<Self::Mean>;
    /// `None` when the weights are 0.
    #[doc(hidden)]
    fn weighted(products: &Self::Products, weights: &Self::Sum) -> Option<Self::Mean>;
    /// NaN if it is no value.
    #[doc(hidden)]
    fn to_f64(&self) -> f64;
}

mod sealed {
    /// Sums are kept in checkpoints: what a number is stays with the engine.
    pub trait Sealed {}
}

macro_rules! integers {
    ($total:ty: $($integer:ty),*) => {$(
        impl sealed::Sealed for $integer {}

        impl Number for $integer {
            type Total = $total;
            type Mean = f64;
            // Overflows after 2^63 records.
            type Sum = i128;
            type Products = Wide;
            const EXACT: bool = true;

            fn add_to(&self, sum: &mut i128) {
                *sum = sum.saturating_add(i128::from(*self));
            }
            fn add_product(&self, other: &Self, products: &mut Wide) {
                products.add(&Wide::of_product(i128::from(*self), i128::from(*other)));
            }
            fn merge(sum: &mut i128, later: &i128) {
                *sum = sum.saturating_add(*later);
            }
            fn merge_products(products: &mut Wide, later: &Wide) {
                products.add(later);
            }
            fn total(sum: &i128) -> $total {
                let end = if *sum < 0 { <$total>::MIN } else { <$total>::MAX };
                <$total>::try_from(*sum).unwrap_or(end)
            }
            fn mean(sum: &i128, count: u64) -> Option<f64> {
                (count > 0).then(|| *sum as f64 / count as f64)
            }
            fn weighted(products: &Wide, weights: &i128) -> Option<f64> {
                (*weights != 0).then(|| products.to_f64() / *weights as f64)
            }
            fn to_f64(&self) -> f64 {
                *self as f64
            }
        }
    )*};
}

integers!(i64: i8, i16, i32, i64);
integers!(u64: u8, u16, u32, u64);

/// A sum and what its roundings took away (Neumaier's variant of Kahan's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compensated {
    sum: f64,
    lost: f64,
}

impl Compensated {
    pub(super) fn add(&mut self, number: f64) {
        let sum = self.sum + number;
        self.lost = if !sum.is_finite() {
            // Nothing is known of it, and nothing is lost.
            0.0
        } else if self.sum.abs() >= number.abs() {
            self.lost + ((self.sum - sum) + number)
        } else {
            self.lost + ((number - sum) + self.sum)
        };
        self.sum = one_nan(sum);
    }

    pub(super) fn merge(&mut self, later: &Self) {
        self.add(later.sum);
        if self.sum.is_finite() {
            self.lost += later.lost;
        }
    }

    pub(super) fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// The sign and the payload of a NaN that is computed differ between machines.
pub(super) fn one_nan(number: f64) -> f64 {
    if number.is_nan() { f64::NAN } else { number }
}

impl sealed::Sealed for f64 {}

impl Number for f64 {
    type Total = f64;
    type Mean = f64;
    type Sum = Compensated;
    type Products = Compensated;
    const EXACT: bool = false;

    fn is_value(&self) -> bool {
        !self.is_nan()
    }
    fn add_to(&self, sum: &mut Compensated) {
        sum.add(*self);
    }
    fn add_product(&self, other: &Self, products: &mut Compensated) {
        products.add(self * other);
    }
    fn merge(sum: &mut Compensated, later: &Compensated) {
        sum.merge(later);
    }
    fn merge_products(products: &mut Compensated, later: &Compensated) {
        products.merge(later);
    }
    fn total(sum: &Compensated) -> f64 {
        sum.total()
    }
    fn mean(sum: &Compensated, count: u64) -> Option<f64> {
        (count > 0).then(|| sum.total() / count as f64)
    }
    fn weighted(products: &Compensated, weights: &Compensated) -> Option<f64> {
        let weights = weights.total();
        (weights != 0.0).then(|| one_nan(products.total() / weights))
    }
    fn to_f64(&self) -> f64 {
        *self
    }
}

impl sealed::Sealed for Decimal {}

impl Number for Decimal {
    type Total = Portable;
    type Mean = Portable;
    type Sum = Wide;
    type Products = Wide;
    const EXACT: bool = true;

    fn add_to(&self, sum: &mut Wide) {
        sum.add(&Wide::of_decimal(self));
    }
    fn add_product(&self, other: &Self, products: &mut Wide) {
        // A product of more than 28 places is rounded; it depends on this record alone.
        products.add(&Wide::of_decimal(&self.saturating_mul(*other)));
    }
    fn merge(sum: &mut Wide, later: &Wide) {
        sum.add(later);
    }
    fn merge_products(products: &mut Wide, later: &Wide) {
        products.add(later);
    }
    fn total(sum: &Wide) -> Portable {
        Portable(sum.to_decimal())
    }
    fn mean(sum: &Wide, count: u64) -> Option<Portable> {
        sum.mean(count).map(Portable)
    }
    fn weighted(products: &Wide, weights: &Wide) -> Option<Portable> {
        products.ratio(*weights).map(Portable)
    }
    fn to_f64(&self) -> f64 {
        decimal_to_f64(self)
    }
}

macro_rules! forwarded {
    ($number:ident) => {
        type Total = <$number as Number>::Total;
        type Mean = <$number as Number>::Mean;
        type Sum = <$number as Number>::Sum;
        type Products = <$number as Number>::Products;
        const EXACT: bool = <$number as Number>::EXACT;

        fn merge(sum: &mut Self::Sum, later: &Self::Sum) {
            <$number as Number>::merge(sum, later);
        }
        fn merge_products(products: &mut Self::Products, later: &Self::Products) {
            <$number as Number>::merge_products(products, later);
        }
        fn total(sum: &Self::Sum) -> Self::Total {
            <$number as Number>::total(sum)
        }
        fn mean(sum: &Self::Sum, count: u64) -> Option<Self::Mean> {
            <$number as Number>::mean(sum, count)
        }
        fn weighted(products: &Self::Products, weights: &Self::Sum) -> Option<Self::Mean> {
            <$number as Number>::weighted(products, weights)
        }
    };
}

impl sealed::Sealed for Portable {}

impl Number for Portable {
    forwarded!(Decimal);

    fn add_to(&self, sum: &mut Wide) {
        self.0.add_to(sum);
    }
    fn add_product(&self, other: &Self, products: &mut Wide) {
        self.0.add_product(&other.0, products);
    }
    fn to_f64(&self) -> f64 {
        decimal_to_f64(&self.0)
    }
}

impl<N: Number> sealed::Sealed for Option<N> {}

impl<N: Number> Number for Option<N> {
    forwarded!(N);

    fn is_value(&self) -> bool {
        self.as_ref().is_some_and(N::is_value)
    }
    fn add_to(&self, sum: &mut N::Sum) {
        if let Some(number) = self {
            number.add_to(sum);
        }
    }
    fn add_product(&self, other: &Self, products: &mut N::Products) {
        if let (Some(number), Some(other)) = (self, other) {
            number.add_product(other, products);
        }
    }
    fn to_f64(&self) -> f64 {
        self.as_ref().map_or(f64::NAN, N::to_f64)
    }
}
