//! Quantiles, about, in bounded memory (DDSketch).
//!
//! Invariant: a state is a pure function of the multiset of the values: no arrival order, and no
//! logarithm, whose last bit differs between machines. So it is exact in the sense of
//! [`Aggregate::EXACT`], though its outputs are estimates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Aggregate, Number, Of};

/// A bucket is a power of two, divided into 64 by the next bits of the number.
const BUCKET_SHIFT: u32 = 52 - 6;
/// The first bucket of ordinary numbers; below are 0 and what is as good as 0 (under 2.3e-308).
const BUCKET_NORMAL: u32 = 64;
/// Of each sign. If they are used without gaps, a quotient of 2^64 between the greatest and the
/// least is covered.
const BUCKETS_MAX: usize = 4096;

/// How many values there are of about each size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Buckets {
    count: u64,
    negative: BTreeMap<u32, u64>,
    positive: BTreeMap<u32, u64>,
    range: Option<(f64, f64)>,
}

impl Buckets {
    fn add(&mut self, number: f64) {
        self.count = self.count.saturating_add(1);
        self.widen((number, number));
        let bucket = (number.abs().to_bits() >> BUCKET_SHIFT) as u32;
        let buckets = if number < 0.0 { &mut self.negative } else { &mut self.positive };
        fill(buckets, bucket, 1);
    }

    fn merge(&mut self, later: &Self) {
        self.count = self.count.saturating_add(later.count);
        if let Some(range) = later.range {
            self.widen(range);
        }
        for (bucket, count) in &later.negative {
            fill(&mut self.negative, *bucket, *count);
        }
        for (bucket, count) in &later.positive {
            fill(&mut self.positive, *bucket, *count);
        }
    }

    fn widen(&mut self, (low, high): (f64, f64)) {
        let lower = |a: f64, b: f64| if a.total_cmp(&b).is_le() { a } else { b };
        let higher = |a: f64, b: f64| if a.total_cmp(&b).is_ge() { a } else { b };
        self.range = Some(match self.range {
            None => (low, high),
            Some((least, greatest)) => (lower(least, low), higher(greatest, high)),
        });
    }

    /// The value at place q * (n - 1), rounded down, of the n values in order.
    fn quantile(&self, quantile: f64) -> Option<f64> {
        let (least, greatest) = self.range?;
        let last = self.count.saturating_sub(1);
        let place = ((quantile * last as f64) as u64).min(last);
        let middles = self.negative.iter().rev().map(|(bucket, count)| (-middle(*bucket), *count));
        let middles = middles.chain(self.positive.iter().map(|(b, count)| (middle(*b), *count)));
        let mut passed = 0_u64;
        for (middle, count) in middles {
            passed = passed.saturating_add(count);
            if passed > place {
                return Some(match place {
                    0 => least,
                    place if place == last => greatest,
                    _ => middle.max(least).min(greatest),
                });
            }
        }
        Some(greatest)
    }
}

/// Adds to a bucket. Beyond the greatest [`BUCKETS_MAX`], buckets fall together with the least of
/// these: whatever the order was, the same are left, with the same counts.
fn fill(buckets: &mut BTreeMap<u32, u64>, bucket: u32, count: u64) {
    let held = buckets.entry(bucket).or_default();
    *held = held.saturating_add(count);
    if buckets.len() > BUCKETS_MAX
        && let Some((_, low)) = buckets.pop_first()
        && let Some(mut least) = buckets.first_entry()
    {
        let held = least.get_mut();
        *held = held.saturating_add(low);
    }
}

/// The number in the middle of a bucket.
fn middle(bucket: u32) -> f64 {
    let lowest = u64::from(bucket) << BUCKET_SHIFT;
    if bucket < BUCKET_NORMAL {
        0.0
    } else if f64::from_bits(lowest).is_infinite() {
        f64::INFINITY
    } else {
        f64::from_bits(lowest | 1 << (BUCKET_SHIFT - 1))
    }
}

/// See [`quantile`].
#[derive(Clone, Copy, Debug)]
pub struct Quantile {
    quantile: f64,
}

/// See [`quantiles`].
#[derive(Clone, Debug)]
pub struct Quantiles {
    quantiles: Box<[f64]>,
}

/// The value below which about the share `quantile` of the values lies, as `f64`: of n values in
/// order the one at place `quantile` * (n - 1), rounded down, within 0.8 % of it (the least and
/// the greatest are exact). `None` without any value. The same whatever the order of the values.
///
/// A DDSketch of at most 4096 buckets for each sign, of 64 for a power of two. Only buckets in use
/// are kept, about 16 bytes each: values within a factor of 10 need 213 at most. If there were more
/// than 4096 of one sign (a quotient over 10^19 between values), what is nearest to 0 is counted as
/// if it were greater. A `quantile` outside of 0 to 1 is taken as the nearer of them, a NaN as 0.
///
/// ```
/// use anabranch::aggregate::{of_all, quantile};
/// let times: Vec<u32> = (1..=1000).collect();
/// let p99 = of_all(&quantile(0.99, |time: &u32| *time), &times);
/// assert!(p99.is_some_and(|p99| (p99 - 990.0).abs() < 8.0), "{p99:?}");
/// ```
pub fn quantile<T, V, F>(quantile: f64, take: F) -> Of<F, V, Quantile>
where
    V: Number,
    F: Fn(&T) -> V + 'static,
{
    Of::new(take, Quantile { quantile })
}

/// The [`quantile`] of one half.
///
/// ```
/// use anabranch::aggregate::{median, of_all};
/// assert!(of_all(&median(|n: &f64| *n), &[1.0, 9.0, 2.0]).is_some_and(|n| (n - 2.0).abs() < 0.02));
/// ```
pub fn median<T, V: Number, F: Fn(&T) -> V + 'static>(take: F) -> Of<F, V, Quantile> {
    quantile(0.5, take)
}

/// Several [`quantile`]s of one sketch, in the order asked for; empty without any value.
///
/// ```
/// use anabranch::aggregate::{of_all, quantiles};
/// let ends = quantiles(&[0.0, 1.0], |n: &i32| *n);
/// assert_eq!(of_all(&ends, &[5, -3, 4]), [-3.0, 5.0]);
/// assert!(of_all(&ends, &[]).is_empty());
/// ```
pub fn quantiles<T, V, F>(quantiles: &[f64], take: F) -> Of<F, V, Quantiles>
where
    V: Number,
    F: Fn(&T) -> V + 'static,
{
    Of::new(take, Quantiles { quantiles: quantiles.into() })
}

macro_rules! quantiles {
    ($($name:ident $output:ty: $self:ident $state:ident => $result:expr;)*) => {$(
        impl<V: Number> Aggregate<V> for $name {
            type State = Buckets;
            type Output = $output;
            const EXACT: bool = true;

            fn initial(&self) -> Buckets {
                Buckets::default()
            }
            fn update(&self, state: &mut Buckets, number: &V) {
                if number.is_value() {
                    state.add(number.to_f64());
                }
            }
            fn combine(&self, state: &mut Buckets, later: &Buckets) {
                state.merge(later);
            }
            fn output(&$self, $state: &Buckets) -> $output {
                $result
            }
        }
    )*};
}

quantiles! {
    Quantile Option<f64>: self state => state.quantile(self.quantile);
    Quantiles Vec<f64>: self state => {
        self.quantiles.iter().filter_map(|quantile| state.quantile(*quantile)).collect()
    };
}
