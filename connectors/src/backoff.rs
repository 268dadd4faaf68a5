//! [`Backoff`]: how long to wait before the next attempt to connect.
//!
//! Invariant: never more than [`ATTEMPTS_PER_SECOND_MAX`] attempts start within a second, whatever
//! the jitter gives and however often [`Backoff::reset`] is called. It reads no clock and sleeps
//! nowhere: the caller brings the instant and does the waiting.

use std::fmt;
use std::time::{Duration, Instant};

use anabranch::metrics::{Counter, Counters};

/// The most attempts that one [`Backoff`] allows in any second.
pub const ATTEMPTS_PER_SECOND_MAX: u32 = 8;

const SPACING: Duration = Duration::from_millis(1000 / ATTEMPTS_PER_SECOND_MAX as u64);
const FIRST: Duration = Duration::from_millis(500);
const MAX: Duration = Duration::from_secs(30);

/// Exponential back-off with full jitter: after the n-th failure in a row a wait drawn evenly from
/// `0 .. min(first * 2^(n-1), max)`.
///
/// Full jitter spreads the clients of a server that comes back over the whole interval
/// (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
///
/// ```
/// use std::time::{Duration, Instant};
/// use anabranch_connectors::Backoff;
///
/// # fn instant() -> Instant { anabranch::clock::instant() }
/// let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30))
///     .with_jitter(|| u64::MAX); // the longest waits
/// let now = instant();
/// assert_eq!(backoff.wait(now), Duration::ZERO, "the first attempt is made at once");
/// assert_eq!(backoff.wait(now).as_millis(), 499);
/// assert_eq!(backoff.wait(now + Duration::from_secs(1)).as_millis(), 999);
/// backoff.reset(); // a good message came
/// assert_eq!(backoff.wait(now + Duration::from_secs(60)).as_millis(), 499);
/// ```
pub struct Backoff {
    first: Duration,
    max: Duration,
    /// Waits are drawn below this; `None` before the first attempt.
    ceiling: Option<Duration>,
    /// When the attempt that was granted last is made.
    last_attempt: Option<Instant>,
    /// What the server asked for, once.
    asked: Duration,
    jitter: Box<dyn FnMut() -> u64 + Send>,
}

impl Backoff {
    /// Waits below `first` after the first failure, below twice that after the second, and so on
    /// up to `max`; jitter from the operating system.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            ceiling: None,
            last_attempt: None,
            asked: Duration::ZERO,
            jitter: Box::new(chance),
        }
    }

    /// Draws from `jitter` instead, whose numbers are taken as fractions of 2^64: for tests.
    #[must_use]
    pub fn with_jitter(mut self, jitter: impl FnMut() -> u64 + Send + 'static) -> Self {
        self.jitter = Box::new(jitter);
        self
    }

    /// How long to wait from `now` until the next attempt, which then counts as made.
    pub fn wait(&mut self, now: Instant) -> Duration {
        let drawn = match self.ceiling {
            None => Duration::ZERO,
            Some(ceiling) => part_of(ceiling, (self.jitter)()),
        };
        let next = self.ceiling.map_or(self.first, |ceiling| ceiling.saturating_mul(2));
        self.ceiling = Some(next.min(self.max));
        let mut wait = drawn.max(std::mem::take(&mut self.asked));
        if let Some(last) = self.last_attempt {
            wait = wait.max((last + SPACING).saturating_duration_since(now));
        }
        self.last_attempt = Some(now + wait);
        wait
    }

    /// A good message came: the next failure is a first one again. Not to be called for a mere
    /// connection, or a server that accepts and drops would be stormed.
    pub fn reset(&mut self) {
        if self.ceiling.is_some() {
            self.ceiling = Some(self.first);
        }
    }

    /// The server asked for `pause` before the next attempt (HTTP's `Retry-After`): the next wait
    /// is no shorter.
    pub fn at_least(&mut self, pause: Duration) {
        self.asked = self.asked.max(pause);
    }
}

/// Half a second doubling to thirty.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(FIRST, MAX)
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff").field("ceiling", &self.ceiling).finish_non_exhaustive()
    }
}

/// What became of the attempts to connect, counted: `connects`, `reconnects` (connections after the
/// first) and `connect_failures`.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    connects: Counter,
    reconnects: Counter,
    failures: Counter,
}

impl Attempts {
    pub(crate) fn of(counters: &Counters) -> Self {
        Self {
            connects: counters.counter("connects"),
            reconnects: counters.counter("reconnects"),
            failures: counters.counter("connect_failures"),
        }
    }

    pub(crate) fn connected(&self) {
        self.reconnects.add(u64::from(self.connects.get() > 0));
        self.connects.add(1);
    }

    pub(crate) fn failed(&self) {
        self.failures.add(1);
    }
}

/// `chance` of 2^64 of `whole`.
pub(crate) fn part_of(whole: Duration, chance: u64) -> Duration {
    let nanos = whole.as_nanos().saturating_mul(u128::from(chance)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Random bits for jitter; without a random source the longest wait, which is safe.
pub(crate) fn chance() -> u64 {
    let mut bytes = [0xff; 8];
    if anabranch::clock::entropy(&mut bytes).is_err() {
        return u64::MAX;
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the jitter, the resets and the time that each attempt takes.
        #[test]
        fn no_second_sees_more_attempts_than_allowed(
            steps in proptest::collection::vec((any::<u64>(), any::<bool>(), 0..300_u64), 1..200),
        ) {
            let mut draws: Vec<u64> = steps.iter().map(|step| step.0).collect();
            let mut backoff = Backoff::default().with_jitter(move || draws.pop().unwrap_or(0));
            let mut now = anabranch::clock::instant();
            let mut attempts: Vec<Instant> = Vec::new();
            for (_, good, took_ms) in steps {
                now += backoff.wait(now);
                attempts.push(now);
                now += Duration::from_millis(took_ms);
                if good {
                    backoff.reset();
                }
            }
            for ninth in attempts.windows(ATTEMPTS_PER_SECOND_MAX as usize + 1) {
                let (first, last) = (ninth[0], ninth[ninth.len() - 1]);
                prop_assert!(last - first >= Duration::from_secs(1));
            }
        }

        #[test]
        fn waits_double_up_to_the_longest_and_jitter_reaches_all_of_them(draw: u64) {
            let mut backoff = Backoff::default().with_jitter(move || draw);
            let now = anabranch::clock::instant();
            prop_assert_eq!(backoff.wait(now), Duration::ZERO);
            for ceiling_ms in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
                let later = now + Duration::from_secs(1_000 * ceiling_ms);
                backoff.last_attempt = None;
                let expected = ceiling_ms as f64 / 1e3 * (draw as f64 / 2_f64.powi(64));
                prop_assert!((backoff.wait(later).as_secs_f64() - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn what_the_server_asks_for_is_kept_once() {
        let mut backoff = Backoff::default().with_jitter(|| 0);
        let now = anabranch::clock::instant();
        backoff.wait(now);
        backoff.at_least(Duration::from_secs(90));
        assert_eq!(backoff.wait(now), Duration::from_secs(90));
        assert_eq!(backoff.wait(now + Duration::from_secs(100)), Duration::ZERO);
    }
}
