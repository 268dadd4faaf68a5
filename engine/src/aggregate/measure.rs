//! [`Measure`]: what can be compared.
//!
//! Invariant: what is kept of equal values has equal bytes, so a state does not tell in which order
//! they came; and what is no value (NaN, `None`) never gets into a state.

use std::cmp::{Ordering, Reverse};

use rust_decimal::Decimal;

use crate::decimal::Portable;
use crate::record::Record;
use crate::time::Time;

/// What records are compared by: integers, `f64`, [`Decimal`] and [`Portable`], `bool`, `char`,
/// `String`, [`Time`]; [`Reverse`] of them; and `Option`s of them, of which `None` is passed over.
///
/// Floating-point numbers are ordered by [`f64::total_cmp`] (-0 is less than 0), and a NaN is
/// passed over. Decimals are kept without zeros at their end.
///
/// Implement it for a type of your own that has an order:
///
/// ```
/// use std::cmp::Ordering;
/// use anabranch::aggregate::{Measure, max, of_all};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
/// enum Severity { Low, High }
///
/// impl Measure for Severity {
///     type Kept = Self;
///     fn kept(&self) -> Option<Self> {
///         Some(*self)
///     }
///     fn order(a: &Self, b: &Self) -> Ordering {
///         a.cmp(b)
///     }
/// }
///
/// let worst = max(|severity: &Severity| *severity);
/// assert_eq!(of_all(&worst, &[Severity::High, Severity::Low]), Some(Severity::High));
/// ```
pub trait Measure: 'static {
    /// What is kept of it.
    type Kept: Record;

    /// What is kept of it; `None` if it is no value. What is equal by [`order`](Self::order) must
    /// be the same in every bit.
    fn kept(&self) -> Option<Self::Kept>;

    /// A total order.
    fn order(a: &Self::Kept, b: &Self::Kept) -> Ordering;
}

/// Values of which equal ones are the same.
macro_rules! measures {
    ($($type:ty),*) => {$(
        impl Measure for $type {
            type Kept = $type;

            fn kept(&self) -> Option<$type> {
                Some(self.clone())
            }
            fn order(a: &$type, b: &$type) -> Ordering {
                a.cmp(b)
            }
        }
    )*};
}

measures!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, bool, char, String, Time);

impl Measure for f64 {
    type Kept = f64;

    fn kept(&self) -> Option<f64> {
        (!self.is_nan()).then_some(*self)
    }
    fn order(a: &f64, b: &f64) -> Ordering {
        a.total_cmp(b)
    }
}

impl Measure for Decimal {
    type Kept = Portable;

    fn kept(&self) -> Option<Portable> {
        Some(Portable(self.normalize()))
    }
    fn order(a: &Portable, b: &Portable) -> Ordering {
        a.cmp(b)
    }
}

impl Measure for Portable {
    type Kept = Portable;

    fn kept(&self) -> Option<Portable> {
        self.0.kept()
    }
    fn order(a: &Portable, b: &Portable) -> Ordering {
        a.cmp(b)
    }
}

impl<M: Measure> Measure for Option<M> {
    type Kept = M::Kept;

    fn kept(&self) -> Option<M::Kept> {
        self.as_ref().and_then(M::kept)
    }
    fn order(a: &M::Kept, b: &M::Kept) -> Ordering {
        M::order(a, b)
    }
}

impl<M: Measure> Measure for Reverse<M> {
    type Kept = M::Kept;

    fn kept(&self) -> Option<M::Kept> {
        self.0.kept()
    }
    fn order(a: &M::Kept, b: &M::Kept) -> Ordering {
        M::order(b, a)
    }
}
