//! How often the exchange is called: [`Backoff`] after failures, [`Pace`] for all calls together.
//!
//! Invariant: in no interval of `attempts_per` do more than `attempts_max` calls begin, however
//! many feeds of the process have the same host; and delays grow until something good arrives.
//! Other processes of the same machine are not known to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use anabranch::clock;

use super::Limits;
use crate::backoff::part_of;

/// The delay before connecting again: drawn between a shortest and a longest that both double,
/// while [`Pace`] bounds the rate. (The [`Backoff`](crate::Backoff) of the other connectors draws
/// from zero on and bounds its own rate.)
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: (Duration, Duration),
    last: (Duration, Duration),
    failures: u32,
}

impl Backoff {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { first: limits.backoff_first, last: limits.backoff_last, failures: 0 }
    }

    /// The next delay: `chance` of 2^64 of the way from the shortest to the longest.
    pub(super) fn next(&mut self, chance: u64) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let low = self.first.0.saturating_mul(factor).min(self.last.0);
        let high = self.first.1.saturating_mul(factor).min(self.last.1).max(low);
        low + part_of(high - low, chance)
    }

    /// Something good arrived. To have connected is not enough.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The calls to one host, spread so that they stay under its limit.
#[derive(Debug)]
pub(super) struct Pace {
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    /// When the last calls begin, at most `max`.
    begun: VecDeque<Instant>,
    max: usize,
    per: Duration,
}

impl Pace {
    /// The pace of a host, shared by all feeds of this process.
    pub(super) fn of_host(host: &str, limits: &Limits) -> Arc<Self> {
        static HOSTS: Mutex<BTreeMap<String, Weak<Pace>>> = Mutex::new(BTreeMap::new());
        let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, pace| pace.strong_count() > 0);
        if let Some(pace) = hosts.get(host).and_then(Weak::upgrade) {
            return pace;
        }
        let slots = Slots {
            begun: VecDeque::new(),
            max: limits.attempts_max.max(1),
            per: limits.attempts_per,
        };
        let pace = Arc::new(Self { slots: Mutex::new(slots) });
        hosts.insert(host.to_owned(), Arc::downgrade(&pace));
        pace
    }

    /// Waits until the next call may begin.
    pub(super) async fn turn(&self) {
        let now = clock::instant();
        let at = self.slots.lock().unwrap_or_else(PoisonError::into_inner).reserve(now);
        if at > now {
            tokio::time::sleep_until(at.into()).await;
        }
    }
}

impl Slots {
    /// When the call that asks at `now` may begin.
    fn reserve(&mut self, now: Instant) -> Instant {
        let mut at = self.begun.back().map_or(now, |last| now.max(*last));
        if self.begun.len() >= self.max
            && let Some(first) = self.begun.pop_front()
        {
            at = at.max(first + self.per);
        }
        self.begun.push_back(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backoff::chance;

    #[test]
    fn delays_double_up_to_their_longest_and_begin_again_after_a_reset() {
        let mut backoff = Backoff::new(&Limits::default());
        let delays = |backoff: &mut Backoff, chance| -> Vec<u128> {
            (0..9).map(|_| backoff.next(chance).as_millis()).collect()
        };
        let shortest = delays(&mut backoff, 0);
        assert_eq!(shortest, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        backoff.reset();
        let longest = delays(&mut backoff, u64::MAX);
        assert_eq!(longest, [999, 1999, 3999, 7999, 15999, 31999, 59999, 59999, 59999]);
        for _ in 0..100 {
            assert!(backoff.next(chance()) <= Duration::from_secs(60));
        }
    }

    proptest! {
        #[test]
        fn no_interval_has_more_calls_than_allowed(
            waits in proptest::collection::vec(0..400_u64, 1..200),
        ) {
            let per = Duration::from_millis(1000);
            let mut slots = Slots { begun: VecDeque::new(), max: 8, per };
            let mut now = clock::instant();
            let mut begun = Vec::new();
            for wait in waits {
                now += Duration::from_millis(wait);
                let at = slots.reserve(now);
                prop_assert!(at >= now);
                begun.push(at);
            }
            prop_assert!(slots.begun.len() <= 8);
            prop_assert!(begun.is_sorted());
            for nine in begun.windows(9) {
                prop_assert!(nine[8] - nine[0] >= per, "nine calls within a second");
            }
        }
    }

    #[test]
    fn feeds_of_one_host_share_a_pace() {
        let limits = Limits::default();
        let one = Pace::of_host("one.test:1", &limits);
        assert!(Arc::ptr_eq(&one, &Pace::of_host("one.test:1", &limits)));
        assert!(!Arc::ptr_eq(&one, &Pace::of_host("two.test:1", &limits)));
    }
}
