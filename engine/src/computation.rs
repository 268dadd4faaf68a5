//! Computations: user code applied to one record, rows in, records out.
//!
//! Invariant: a computation sees one record at a time and the rows of its key; what it emits goes
//! on after it has returned. It learns time and randomness from its [`Context`] alone.

mod applied;
mod batch;
mod context;
mod identified;
mod scoped;
mod stage;
mod tried;
mod trying;

use std::marker::PhantomData;

pub(crate) use self::applied::Applied;
pub use self::batch::{BATCH_ITEMS_MAX, OnFailure, TryBatch};
pub(crate) use self::batch::{Batched, Onward, Results};
use self::context::Held;
pub use self::context::{Context, Random};
pub(crate) use self::context::{SourceNames, Surroundings};
pub use self::identified::{Correction, OnIgnore, ResultKey};
pub(crate) use self::identified::{IdentifiedClosure, Identity};
pub use self::scoped::Scoped;
pub(crate) use self::scoped::Values;
pub(crate) use self::stage::{Compute, Desk, Stage};
pub use self::trying::TryComputation;
pub(crate) use self::trying::{Refusals, Trying};
use crate::reprocess::Former;
use crate::state::Tables;
use crate::{Key, Record, Timer, Undo};

/// User code that is applied to one record and the rows of its key.
///
/// A closure given to [`compute`](crate::Keyed::compute) does for most; a type of its own can
/// hold configuration and be shared between programs.
///
/// ```
/// use anabranch::prelude::*;
///
/// const COUNTS: Table<String, u64> = Table::new("counts");
///
/// struct CountUpTo { limit: u64 }
///
/// impl Computation<String, String, Table<String, u64>> for CountUpTo {
///     type Output = (String, u64);
///     fn apply(&mut self, _: &String, word: String, mut count: Row<u64>, out: &mut Context<(String, u64)>) {
///         if *count < self.limit {
///             *count += 1;
///             out.emit((word, *count));
///         }
///     }
/// }
/// ```
pub trait Computation<K: Key, I, S: Tables<K>>: 'static {
    /// What it emits.
    type Output: Record;

    /// Whether it sets timers, by [`Context::set_timer`].
    const TIMERS: bool = false;

    /// Whether it sets timers that are due by engine time, by [`Context::set_engine_timer`].
    const ENGINE_TIMERS: bool = false;

    /// Applies it to one record of `key`.
    fn apply(&mut self, key: &K, record: I, rows: S::Rows<'_>, out: &mut Context<'_, Self::Output>);

    /// Does what there is to do when a timer of `key` is due: after the records of the epoch with which
    /// the watermark came to the timer's time, and [`Context::now`] is the time of that epoch; or, if the
    /// timer's clock is [`Clock::Engine`], after all records of the timer's time, and that is what
    /// [`Context::now`] is.
    ///
    /// [`Clock::Engine`]: crate::Clock::Engine
    ///
    /// ```
    /// use anabranch::prelude::*;
    /// use anabranch::{TestDriver, Timer, Watermarks, sink, source};
    ///
    /// const COUNTS: Table<u32, u64> = Table::new("visits");
    ///
    /// /// How often a user came until a second of silence.
    /// struct Visits;
    ///
    /// impl Computation<u32, (u32, Time), Table<u32, u64>> for Visits {
    ///     type Output = (u32, u64);
    ///     const TIMERS: bool = true;
    ///
    ///     fn apply(&mut self, _: &u32, visit: (u32, Time), mut count: Row<u64>, out: &mut Context<(u32, u64)>) {
    ///         *count += 1;
    ///         // Replaces the one that was set before.
    ///         out.set_timer("silent", visit.1.after(std::time::Duration::from_secs(1)));
    ///     }
    ///
    ///     fn on_timer(&mut self, user: &u32, _: Timer, count: Row<u64>, out: &mut Context<(u32, u64)>) {
    ///         out.emit((*user, *count));
    ///         count.remove();
    ///     }
    /// }
    ///
    /// let driver = TestDriver::new(|app: &App| {
    ///     app.source("visits", source::empty::<(u32, Time)>())
    ///         .event_time(Watermarks::monotonic(|(_, time): &(u32, Time)| *time))
    ///         .key_by(|(user, _)| *user)
    ///         .computation("visits", COUNTS, Visits)
    ///         .sink("done", sink::null());
    ///     Ok(())
    /// });
    /// let mut driver = driver.start()?;
    /// for (user, ms) in [(1_u32, 0), (2, 100), (1, 500), (3, 1_400)] {
    ///     driver.send("visits", (user, Time::from_millis(ms)))?;
    ///     driver.run()?;
    /// }
    /// assert_eq!(driver.outputs::<(u32, u64)>("done"), [(2, 1)]);
    /// driver.finish()?;
    /// assert_eq!(driver.outputs::<(u32, u64)>("done"), [(1, 2), (3, 1)]);
    /// # Ok::<(), anabranch::Error>(())
    /// ```
    fn on_timer(
        &mut self,
        key: &K,
        timer: Timer<'_>,
        rows: S::Rows<'_>,
        out: &mut Context<'_, Self::Output>,
    ) {
        let _ = (key, timer, rows, out);
    }

    /// Whether it is told that a record was ignored.
    #[doc(hidden)]
    const CORRECTS: bool = false;

    /// The record was ignored; what this does is not undone.
    #[doc(hidden)]
    fn has_ignored(
        &mut self,
        key: &K,
        record: &I,
        rows: S::Rows<'_>,
        out: &mut Context<'_, Self::Output>,
    ) {
        let _ = (key, record, rows, out);
    }

    /// Tells, by key, how its results differ from what an earlier program has told.
    #[doc(hidden)]
    fn settle(bound: &S::Bound, former: &Former, tell: &mut dyn FnMut(&K, Vec<Self::Output>)) {
        let _ = (bound, former, tell);
    }

    /// Whether [`attempt`](Self::attempt) is called in place of `apply`.
    #[doc(hidden)]
    const TRIES: bool = false;

    /// As `on_timer`, or says why all that it did is to be undone.
    #[doc(hidden)]
    fn attempt_timer(
        &mut self,
        key: &K,
        timer: Timer<'_>,
        rows: S::Rows<'_>,
        out: &mut Context<'_, Self::Output>,
    ) -> Result<(), Undo> {
        self.on_timer(key, timer, rows, out);
        Ok(())
    }

    /// Applies it to one record of `key`, or says why all that it did is to be undone.
    #[doc(hidden)]
    #[inline(always)]
    fn attempt(
        &mut self,
        key: &K,
        record: &I,
        rows: S::Rows<'_>,
        out: &mut Context<'_, Self::Output>,
    ) -> Result<(), Undo> {
        let _ = (key, record, rows, out);
        Ok(())
    }
}

/// A closure as a computation, which may be one that may fail, or one on batches.
pub(crate) struct Closure<F, O> {
    apply: F,
    of: PhantomData<fn() -> O>,
}

impl<F, O> Closure<F, O> {
    pub(crate) fn new(apply: F) -> Self {
        Self { apply, of: PhantomData }
    }
}

impl<K, I, S, O, F> Computation<K, I, S> for Closure<F, O>
where
    K: Key,
    S: Tables<K>,
    O: Record,
    F: for<'a> FnMut(I, S::Rows<'a>, &mut Context<'_, O>) + 'static,
{
    type Output = O;

    #[inline(always)]
    fn apply(&mut self, _: &K, record: I, rows: S::Rows<'_>, out: &mut Context<'_, O>) {
        (self.apply)(record, rows, out);
    }
}
