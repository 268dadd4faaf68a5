//! Which product trades next: the k-th is 1/k^s as likely as the first.
//!
//! Invariant: integers only, so that the choice is the same on every machine: a library's `pow`
//! is not.

use super::random::SplitMix64;

/// Bits after the point of logarithms and weights.
const BITS: u32 = 40;

/// Chooses among products, the first most often.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    /// The sums of the weights of the first one, two, ... products.
    sums: Vec<u64>,
}

impl Zipf {
    /// Over `keys` products with the exponent `skew_milli` / 1000.
    pub(crate) fn new(keys: u32, skew_milli: u32) -> Self {
        let halvings = halvings();
        let mut sum = 0;
        let sums = (1..=u64::from(keys))
            .map(|k| {
                let exponent = u128::from(skew_milli) * u128::from(log2(k)) / 1000;
                sum += power(exponent, &halvings).max(1);
                sum
            })
            .collect();
        Self { sums }
    }

    /// The index of a product, from 0.
    pub(crate) fn choose(&self, random: &mut SplitMix64) -> usize {
        let total = self.sums.last().copied().unwrap_or(1);
        let point = random.below(total);
        self.sums.partition_point(|sum| *sum <= point)
    }
}

/// The binary logarithm of `k` (at least 1), in units of 2^-40.
fn log2(k: u64) -> u64 {
    let whole = k.ilog2();
    // The number scaled into [1, 2), with 62 bits after the point; each squaring shifts the next
    // bit of the logarithm before the point.
    let mut x = u128::from(k) << (62 - whole.min(62));
    let mut log = u64::from(whole);
    for _ in 0..BITS {
        x = (x * x) >> 62;
        let bit = x >> 63;
        x >>= bit;
        log = log << 1 | u64::from(bit == 1);
    }
    log
}

/// 2^-(2^-i) for i from 1, with 62 bits after the point: each the root of the one before.
fn halvings() -> [u128; BITS as usize] {
    let mut root = 1_u128 << 61;
    std::array::from_fn(|_| {
        root = (root << 62).isqrt();
        root
    })
}

/// 2^-exponent in units of 2^-40, where the exponent is in the same units.
fn power(exponent: u128, halvings: &[u128; BITS as usize]) -> u64 {
    let mut product = 1_u128 << 62;
    for (i, halving) in halvings.iter().enumerate() {
        if exponent >> (BITS as usize - 1 - i) & 1 == 1 {
            product = (product * halving) >> 62;
        }
    }
    let whole = u32::try_from(exponent >> BITS).unwrap_or(u32::MAX);
    let weight = (product >> (62 - BITS)).checked_shr(whole).unwrap_or(0);
    u64::try_from(weight).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_floating_point_to_nine_digits() {
        let halvings = halvings();
        for (k, skew) in [(1_u64, 1000_u32), (2, 1000), (3, 1000), (7, 500), (1000, 1300)] {
            let exponent = u128::from(skew) * u128::from(log2(k)) / 1000;
            let weight = power(exponent, &halvings) as f64 / 2_f64.powi(BITS as i32);
            let expected = (k as f64).powf(-f64::from(skew) / 1000.0);
            assert!((weight / expected - 1.0).abs() < 1e-7, "{k}^-{skew}: {weight} {expected}");
        }
    }

    #[test]
    fn the_first_is_chosen_as_often_as_the_law_says() {
        let zipf = Zipf::new(3, 1000);
        let mut random = SplitMix64::new(1);
        let mut counts = [0_u32; 3];
        for _ in 0..110_000 {
            counts[zipf.choose(&mut random)] += 1;
        }
        // 1 : 1/2 : 1/3 is 6/11, 3/11, 2/11; the seed is fixed, so this cannot flicker.
        for (count, expected) in counts.into_iter().zip([60_000_u32, 30_000, 20_000]) {
            assert!(count.abs_diff(expected) < 600, "{counts:?}");
        }
        assert!((0..1000).all(|_| Zipf::new(1, 0).choose(&mut random) == 0));
    }
}
