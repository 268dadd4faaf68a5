//! [`Retry`]: how often what failed is tried again, and after which pauses.
//!
//! Invariant: a policy is a pure function of the number of the try and of a seed; tries and pauses are
//! bounded whatever was asked for.

use std::time::Duration;

/// The most tries of a policy.
const TRIES_MAX: u32 = 1_000;
/// The longest pause of a policy.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

/// A policy for what may pass by itself: so many tries, with pauses between them that grow up to a bound.
/// Without more, five tries with pauses of 100 ms, 200 ms, 400 ms and 800 ms at most.
///
/// Of each pause up to a half is left out, so that what failed together is not tried again together. How
/// much is decided by a seed, never by a random device: that of a record is its origin.
///
/// ```
/// use std::time::Duration;
///
/// use anabranch::Retry;
///
/// let policy = Retry::tries(4)
///     .first_pause(Duration::from_secs(1))
///     .factor(10)
///     .longest_pause(Duration::from_secs(30));
/// let whole = policy.without_jitter();
/// let pauses: Vec<u64> = (1..).map_while(|tried| whole.pause(tried, 0)).map(|p| p.as_secs()).collect();
/// assert_eq!(pauses, [1, 10, 30], "the fourth try is the last");
/// let pause = policy.pause(2, 7).unwrap();
/// assert!(Duration::from_secs(5) <= pause && pause <= Duration::from_secs(10));
/// assert_eq!(policy.pause(2, 7), Some(pause), "a function of the seed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    tries: u32,
    first: Duration,
    factor: u32,
    longest: Duration,
    jitter: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: 5,
            first: Duration::from_millis(100),
            factor: 2,
            longest: Duration::from_secs(10),
            jitter: true,
        }
    }
}

impl Retry {
    /// So many tries in all, at least one and at most 1,000.
    #[must_use]
    pub fn tries(tries: u32) -> Self {
        Self { tries: tries.clamp(1, TRIES_MAX), ..Self::default() }
    }

    /// One try: what fails is not tried again.
    #[must_use]
    pub fn never() -> Self {
        Self::tries(1)
    }

    /// The pause after the first try.
    #[must_use]
    pub fn first_pause(self, first: Duration) -> Self {
        Self { first, ..self }
    }

    /// By how much each pause is longer than the one before; at least 1.
    #[must_use]
    pub fn factor(self, factor: u32) -> Self {
        Self { factor: factor.max(1), ..self }
    }

    /// No pause is longer; at most an hour.
    #[must_use]
    pub fn longest_pause(self, longest: Duration) -> Self {
        Self { longest: longest.min(PAUSE_MAX), ..self }
    }

    /// Each pause is made as long as it may be.
    #[must_use]
    pub fn without_jitter(self) -> Self {
        Self { jitter: false, ..self }
    }

    /// How long to wait after the try of that number, from 1, has failed; none if it was the last.
    #[must_use]
    pub fn pause(&self, tried: u32, seed: u64) -> Option<Duration> {
        if tried >= self.tries {
            return None;
        }
        let longest = self.longest.min(PAUSE_MAX);
        let grown = u128::from(self.factor).saturating_pow(tried.saturating_sub(1));
        let whole = self.first.as_nanos().saturating_mul(grown);
        let whole = Duration::from_nanos_u128(whole.min(longest.as_nanos()));
        if !self.jitter {
            return Some(whole);
        }
        let mut bytes = [0; 12];
        let (of_seed, of_try) = bytes.split_at_mut(8);
        of_seed.copy_from_slice(&seed.to_le_bytes());
        of_try.copy_from_slice(&tried.to_le_bytes());
        let share = xxhash_rust::xxh3::xxh3_64(&bytes) % 1_024;
        // An hour in nanoseconds times 1,024 is within 64 bits.
        let less =
            u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX).saturating_mul(share) / 2_048;
        Some(whole.saturating_sub(Duration::from_nanos(less)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Beside a loop that multiplies.
        #[test]
        fn pauses_grow_up_to_the_bound(
            (tries, first, factor, longest, seed) in (0..40_u32, 0..5_000_u64, 0..9_u32, 0..9_000_u64, any::<u64>()),
        ) {
            let millis = Duration::from_millis;
            let policy = Retry::tries(tries).first_pause(millis(first)).factor(factor);
            let policy = policy.longest_pause(millis(longest));
            let mut whole = u128::from(first);
            for tried in 1..tries.max(1) {
                let expected = millis(whole.min(longest.into()) as u64);
                prop_assert_eq!(policy.without_jitter().pause(tried, seed), Some(expected));
                let pause = policy.pause(tried, seed).unwrap();
                prop_assert!(expected / 2 <= pause && pause <= expected);
                prop_assert_eq!(policy.pause(tried, seed), Some(pause));
                whole *= u128::from(factor.max(1));
            }
            prop_assert_eq!(policy.pause(tries.max(1), seed), None);
        }
    }

    #[test]
    fn no_pause_stays_none_however_often_it_grows() {
        let policy = Retry::tries(40).first_pause(Duration::ZERO).factor(7);
        assert_eq!(policy.pause(39, 0), Some(Duration::ZERO));
        let policy = policy.first_pause(Duration::from_nanos(1)).without_jitter();
        assert_eq!(
            policy.pause(13, 0),
            Some(Duration::from_nanos(7_u64.pow(12)).min(policy.longest))
        );
    }

    #[test]
    fn what_failed_together_is_not_tried_together() {
        let pauses: std::collections::BTreeSet<_> =
            (0..100).map(|seed| Retry::default().pause(1, seed)).collect();
        assert!(pauses.len() > 90, "{pauses:?}");
        assert_eq!(Retry::never().pause(1, 0), None);
        assert_eq!(Retry::tries(u32::MAX).tries, TRIES_MAX);
        let long = Retry::default().longest_pause(Duration::MAX).first_pause(Duration::MAX);
        assert_eq!(long.without_jitter().pause(1, 0), Some(PAUSE_MAX));
    }
}
