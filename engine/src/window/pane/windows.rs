//! [`Windows`]: the panes of one key, of any windows.
//!
//! Invariant: what they are does not change once they are made; what they hold is in the store.

use std::marker::PhantomData;
use std::time::Duration;

use super::lateness::Lateness;
use super::{Accumulate, AtWatermark, Discard, TooLate, Trigger};
use crate::Result;
use crate::window::{Window, WindowAssigner};

/// Windows of the records of one key, as their assigner makes them: one row for each that has records and
/// is open.
///
/// A record changes a row for each window that it belongs to. Where many windows overlap and need no
/// trigger of their own, take [`Sliding`](super::Sliding).
///
/// ```
/// use std::time::Duration;
/// use anabranch::aggregate::mean;
/// use anabranch::window::pane::{TooLate, Trigger, Windows, at_watermark, every_records};
/// use anabranch::window::tumbling;
///
/// let minute = Duration::from_secs(60);
/// let averages = Windows::new(tumbling(minute), mean(|price: &f64| *price))
///     .trigger(at_watermark().or(every_records(100)))
///     .lateness(minute)
///     .too_late(TooLate::Drop);
/// averages.check()?;
/// # let _: Windows<f64, _, _, _> = averages;
/// # Ok::<(), anabranch::Error>(())
/// ```
pub struct Windows<T, W, A, R = AtWatermark, E = Accumulate> {
    pub(super) assigner: W,
    pub(super) aggregate: A,
    pub(super) trigger: R,
    pub(super) evictor: E,
    pub(super) lateness: Lateness,
    /// How many empty windows in a row are told.
    pub(super) empties: u64,
    /// Kept for their memory.
    pub(super) assigned: Vec<Window>,
    pub(super) replaced: Vec<Window>,
    of: PhantomData<fn(&T)>,
}

impl<T, W: WindowAssigner, A> Windows<T, W, A> {
    /// Those of `assigner`, each told once it has ended, with all its records; what is too late goes to
    /// the side output.
    pub fn new(assigner: W, aggregate: A) -> Self {
        Self {
            assigner,
            aggregate,
            trigger: AtWatermark::default(),
            evictor: Accumulate,
            lateness: Lateness::default(),
            empties: 0,
            assigned: Vec::new(),
            replaced: Vec::new(),
            of: PhantomData,
        }
    }
}

impl<T, W, A, R, E> Windows<T, W, A, R, E> {
    /// Told when `trigger` says so.
    pub fn trigger<N>(self, trigger: N) -> Windows<T, W, A, N, E> {
        self.with(|_, evictor| (trigger, evictor))
    }

    /// Each firing tells what is new since the last.
    pub fn discarding(self) -> Windows<T, W, A, R, Discard> {
        self.evictor(Discard)
    }

    /// Each firing tells what `evictor` takes.
    pub fn evictor<N>(self, evictor: N) -> Windows<T, W, A, R, N> {
        self.with(|trigger, _| (trigger, evictor))
    }

    fn with<N, M>(self, change: impl FnOnce(R, E) -> (N, M)) -> Windows<T, W, A, N, M> {
        let Self { assigner, aggregate, lateness, empties, assigned, replaced, of, .. } = self;
        let (trigger, evictor) = change(self.trigger, self.evictor);
        Windows { assigner, aggregate, trigger, evictor, lateness, empties, assigned, replaced, of }
    }

    /// Windows stay open for so long after they have ended, and are corrected.
    #[must_use]
    pub fn lateness(mut self, allowed: Duration) -> Self {
        self.lateness.allowed = allowed;
        self
    }

    /// What becomes of a record when its windows have closed.
    #[must_use]
    pub fn too_late(mut self, policy: TooLate) -> Self {
        self.lateness.too_late = policy;
        self
    }

    /// Also tells windows without records, if its windows follow one another: those after a window that
    /// was told, at most so many in a row. A key that has no records for longer than that rests until its
    /// next one, so that it needs no memory.
    ///
    /// They are made one by one, each when the one before it ends: a watermark that leaps over a century
    /// costs as many timers as there are windows told, and one row.
    #[must_use]
    pub fn empty_windows(mut self, most: u64) -> Self {
        self.empties = most;
        self
    }
}

impl<T, W, A, R, E> Windows<T, W, A, R, E> {
    pub(crate) fn lateness_allowed(&self) -> Lateness {
        self.lateness
    }

    pub(crate) fn empties(&self) -> u64 {
        self.empties
    }

    pub(crate) fn into_parts(self) -> (W, A) {
        (self.assigner, self.aggregate)
    }

    pub(crate) fn aggregate(&self) -> &A {
        &self.aggregate
    }
}

impl<T, W: WindowAssigner, A, R: Trigger, E> Windows<T, W, A, R, E> {
    /// What is wrong with how it was made.
    ///
    /// # Errors
    ///
    /// [`Error::Application`](crate::Error::Application), with what to do.
    pub fn check(&self) -> Result<()> {
        self.assigner.check()?;
        self.trigger.check()
    }
}
