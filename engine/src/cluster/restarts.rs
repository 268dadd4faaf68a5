//! Whether and when a cluster that has failed is started again.
//!
//! Invariant: failures in a row that bring nothing forward end after a fixed number of restarts,
//! each later than the one before; what restarting cannot mend is not tried again. The first
//! cause of a row is kept until something goes well.

use std::collections::VecDeque;
use std::time::Duration;

use super::failure::Cause;
use crate::Error;

/// Exit codes from here on are errors that stay the same at the next start.
const LASTING: u8 = 2;
/// How many of the last records that were set aside are remembered.
const ASIDE_KEPT: usize = 1024;

/// How a supervisor starts its cluster again. The defaults are for production; tests scale them
/// down.
#[derive(Clone, Debug)]
pub struct Restarts {
    /// Before the first restart; doubled for each further one in a row (100 ms).
    pub first: Duration,
    /// The longest pause (10 s).
    pub longest: Duration,
    /// After this long without a failure a restart is the first again (60 s).
    pub healthy: Duration,
    /// The most restarts in a row without progress (10).
    pub limit: u32,
}

impl Default for Restarts {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            healthy: Duration::from_secs(60),
            limit: 10,
        }
    }
}

/// How one start of the cluster went.
#[derive(Debug, Default)]
pub(super) struct Went {
    /// How long it ran without a failure after it was formed.
    pub(super) healthy: Duration,
    /// Whether it brought something forward that lasts.
    pub(super) progressed: bool,
}

/// What comes after a failure.
#[derive(Debug)]
pub(super) enum Next {
    /// Start again, after a pause; how many restarts in a row this makes, 0 if it does not count.
    Start { after: Duration, attempt: u32 },
    /// End with this.
    GiveUp(Error),
}

/// The failures in a row.
#[derive(Debug)]
pub(super) struct Row {
    policy: Restarts,
    restarts: u32,
    first: Option<Cause>,
    aside: VecDeque<String>,
}

impl Row {
    pub(super) fn new(policy: &Restarts) -> Self {
        Self { policy: policy.clone(), restarts: 0, first: None, aside: VecDeque::new() }
    }

    /// The cluster has failed.
    pub(super) fn failed(&mut self, cause: Cause, went: &Went) -> Next {
        if cause.code >= LASTING {
            return Next::GiveUp(in_kind(&cause));
        }
        let aside = cause.aside.as_ref().filter(|origin| !self.aside.contains(origin));
        if let Some(origin) = aside {
            // One record less that can fail: it is progress, so the next start need not wait.
            if self.aside.len() == ASIDE_KEPT {
                self.aside.pop_front();
            }
            self.aside.push_back(origin.clone());
            (self.restarts, self.first) = (0, None);
            return Next::Start { after: Duration::ZERO, attempt: 0 };
        }
        if went.progressed || went.healthy >= self.policy.healthy {
            (self.restarts, self.first) = (0, None);
        }
        let last = cause.text.clone();
        let first = self.first.get_or_insert(cause);
        if self.restarts >= self.policy.limit {
            let then = if first.text == last { String::new() } else { format!("; then {last}") };
            return Next::GiveUp(Error::Cluster(format!(
                "{first}{then}; gave up after {} restarts without progress: mend the cause and \
                 start again, the program goes on where it was",
                self.restarts
            )));
        }
        let doubled = 2u32.saturating_pow(self.restarts);
        let after = self.policy.first.saturating_mul(doubled).min(self.policy.longest);
        self.restarts += 1;
        Next::Start { after, attempt: self.restarts }
    }
}

/// A cause as an error of the kind that its process had.
pub(super) fn in_kind(cause: &Cause) -> Error {
    match cause.code {
        0 | 1 => Error::Cluster(cause.text.clone()),
        2 => Error::Usage(cause.text.clone()),
        _ => Error::Data(cause.text.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(text: &str) -> Cause {
        Cause { process: Some(0), lost: true, text: text.to_owned(), code: 1, aside: None }
    }

    fn pause(next: Next) -> (u128, u32) {
        match next {
            Next::Start { after, attempt } => (after.as_millis(), attempt),
            Next::GiveUp(error) => panic!("gave up: {error}"),
        }
    }

    fn gave_up(next: Next) -> Error {
        match next {
            Next::GiveUp(error) => error,
            Next::Start { .. } => panic!("would start again"),
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_then_it_gives_up_with_the_first_cause() {
        let mut row = Row::new(&Restarts::default());
        let failed = |n| pause(row.failed(cause(&format!("fault {n}")), &Went::default())).0;
        let pauses: Vec<_> = (0..10).map(failed).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
        let told = gave_up(row.failed(cause("the last"), &Went::default()));
        assert_eq!(told.exit_code(), 1);
        let told = told.to_string();
        assert!(told.starts_with("fault 0; then the last; gave up after 10 restarts"), "{told}");
    }

    #[test]
    fn health_or_progress_begins_a_new_row() {
        let mut row = Row::new(&Restarts { limit: 2, ..Restarts::default() });
        let healthy = Went { healthy: Duration::from_secs(60), progressed: false };
        let progressed = Went { healthy: Duration::ZERO, progressed: true };
        for went in [healthy, progressed] {
            for _ in 0..100 {
                assert_eq!(pause(row.failed(cause("x"), &went)), (100, 1));
            }
            let almost = Went { healthy: Duration::from_secs(59), progressed: false };
            assert_eq!(pause(row.failed(cause("y"), &almost)), (200, 2));
        }
        assert!(
            gave_up(row.failed(cause("x"), &Went::default())).to_string().starts_with("x; gave")
        );
    }

    #[test]
    fn each_record_that_was_set_aside_costs_one_restart_without_a_pause() {
        let mut row = Row::new(&Restarts { limit: 1, ..Restarts::default() });
        let at = |origin: &str| Cause { aside: Some(origin.to_owned()), ..cause("panicked") };
        for record in 0..2000 {
            assert_eq!(pause(row.failed(at(&format!("p-0-{record}")), &Went::default())), (0, 0));
        }
        // The same one again: setting it aside has not helped.
        assert_eq!(pause(row.failed(at("p-0-1999"), &Went::default())), (100, 1));
        gave_up(row.failed(at("p-0-1998"), &Went::default()));
    }

    #[test]
    fn what_a_restart_cannot_mend_ends_at_once_and_keeps_its_exit_code() {
        for code in [2, 3] {
            let mut row = Row::new(&Restarts::default());
            let lasting = Cause { code, ..cause("no such option") };
            let told = gave_up(row.failed(lasting, &Went { progressed: true, ..Went::default() }));
            assert_eq!((told.to_string().as_str(), told.exit_code()), ("no such option", code));
        }
    }
}
