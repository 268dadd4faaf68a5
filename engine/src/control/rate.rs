//! [`Rate`]: how often may be asked.
//!
//! Invariant: who asks too often is told when to ask again, and costs no worker anything.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::clock;

/// Requests a second, in the long run and at once.
const REQUESTS: u32 = 20_000;
/// Those that change something.
const CHANGES: u32 = 200;

/// The bounds of one program.
pub(super) struct Rate {
    requests: Bucket,
    changes: Bucket,
}

impl Default for Rate {
    fn default() -> Self {
        Self { requests: Bucket::new(REQUESTS), changes: Bucket::new(CHANGES) }
    }
}

impl Rate {
    /// Whether a request may go on, which perhaps changes something; if not, how many seconds to wait.
    pub(super) fn admit(&self, changes: bool) -> Result<(), u64> {
        let now = clock::instant();
        self.requests.take(now)?;
        if changes { self.changes.take(now) } else { Ok(()) }
    }
}

/// So many tokens at most, and as many more each second.
struct Bucket {
    most: f64,
    left: Mutex<(f64, Instant)>,
}

impl Bucket {
    fn new(most: u32) -> Self {
        let most = f64::from(most);
        Self { most, left: Mutex::new((most, clock::instant())) }
    }

    /// Takes one, if there is one; if not, says how many seconds to wait.
    fn take(&self, now: Instant) -> Result<(), u64> {
        let mut guard = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = &mut *guard;
        let passed = now.saturating_duration_since(*since);
        *left = (*left + passed.as_secs_f64() * self.most).min(self.most);
        *since = now.max(*since);
        if *left < 1.0 {
            return Err(1);
        }
        *left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_asks_too_often_has_to_wait() {
        let bucket = Bucket::new(CHANGES);
        let begin = clock::instant();
        let taken =
            |at: Duration| (0..10 * CHANGES).filter(|_| bucket.take(begin + at).is_ok()).count();
        assert_eq!(taken(Duration::ZERO), CHANGES as usize);
        assert_eq!(taken(Duration::from_millis(100)), CHANGES as usize / 10);
        assert_eq!(bucket.take(begin), Err(1), "time does not go back");
        assert_eq!(taken(Duration::from_secs(60)), CHANGES as usize, "none are saved up");
    }
}
