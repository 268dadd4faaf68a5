//! [`Frames`]: how long frames are, and what else can be said about them.
//!
//! Invariant: what cannot be is told by [`Frames::check`] when the application is drawn, never later.

use std::fmt::Display;
use std::time::Duration;

use super::{Aggregated, Attempt, FrameMethod, Items, Task};
use crate::aggregate::Aggregate;
use crate::window::assign::{nanos, wrong};
use crate::{Error, Record, Result, Time};

/// The longest that is waited before a frame is tried again.
const BACKOFF_MOST: Duration = Duration::from_secs(3_600);

/// Frames of `duration`, one after the other, from the minute of the earliest record on.
///
/// ```
/// use std::time::Duration;
/// use anabranch::Time;
/// use anabranch::aggregate::count;
/// use anabranch::window::frames::frames;
///
/// // How many there were in each quarter of a minute.
/// let counts = frames(Duration::from_secs(15)).aggregate::<u64, _>(count());
///
/// // A function of the records that may fail, tried up to five times more.
/// let spans = frames(Duration::from_secs(15))
///     .retries(5, Duration::from_secs(1))
///     .calculate(|_, records: &[(Time, &u64)]| {
///         let least = records.iter().map(|(_, value)| **value).min().ok_or("no records")?;
///         Ok::<_, &str>(records.iter().map(|(_, value)| **value - least).max())
///     });
/// # counts.options().check()?;
/// # spans.options().check()?;
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn frames(duration: Duration) -> Frames {
    Frames {
        duration,
        floor: Duration::from_secs(60),
        anchor: None,
        ticking: false,
        batch: 1_000,
        timed: false,
        lateness: Duration::ZERO,
        retries: 3,
        backoff: Duration::from_secs(1),
        hold_failed: false,
        keep: None,
        backfill: None,
    }
}

/// See [`frames`].
#[derive(Clone, Debug)]
#[must_use = "say by `aggregate` or `calculate` what is made of the records"]
pub struct Frames {
    pub(super) duration: Duration,
    pub(super) floor: Duration,
    pub(super) anchor: Option<Time>,
    pub(super) ticking: bool,
    pub(super) batch: usize,
    timed: bool,
    pub(super) lateness: Duration,
    retries: u32,
    backoff: Duration,
    pub(super) hold_failed: bool,
    pub(super) keep: Option<Duration>,
    /// How far back, and after how long a silence.
    pub(super) backfill: Option<(Duration, Duration)>,
}

impl Frames {
    /// A frame starts at `anchor`, others whole durations before and after it; the first that is made is
    /// that of the earliest record.
    pub fn anchored(self, anchor: Time) -> Self {
        Self { anchor: Some(anchor), ..self }
    }

    /// The first frame starts at the last whole `unit` up to the earliest record, instead of at its minute.
    pub fn floored_to(self, unit: Duration) -> Self {
        Self { floor: unit, ..self }
    }

    /// Empty frames are made as time passes, also while no record has come after them. A key costs that
    /// for ever then.
    pub fn ticking(self) -> Self {
        Self { ticking: true, ..self }
    }

    /// At most so many frames are made at one go (1,000, if nothing is said).
    pub fn batch(self, most: usize) -> Self {
        Self { batch: most, ..self }
    }

    /// Frames say how long their calculation and the cleaning up took, by this machine's clock. They are
    /// other ones in every run then, and so is what is made of them; else they say that it took no time.
    pub fn timed(self) -> Self {
        Self { timed: true, ..self }
    }

    pub(crate) fn is_timed(&self) -> bool {
        self.timed
    }

    /// A frame is calculated again when records come for it until the watermark is more than `lateness`
    /// after its end. Its records are kept for so long.
    pub fn lateness(self, lateness: Duration) -> Self {
        Self { lateness, ..self }
    }

    /// A calculation that fails is tried `most` times again (3, if nothing is said): after `backoff` (1 s),
    /// then after twice as long, and so on up to an hour.
    pub fn retries(self, most: u32, backoff: Duration) -> Self {
        Self { retries: most, backoff, ..self }
    }

    /// The records of a frame that failed for good are kept until it is [retried](Task::retry) or
    /// [removed](Task::remove). If nothing is said they may be deleted, as if it had been calculated.
    pub fn hold_failed(self) -> Self {
        Self { hold_failed: true, ..self }
    }

    /// Frames are forgotten when the watermark is more than `keep` (and the lateness) after their ends. If
    /// nothing is said they are kept for ever.
    pub fn keep(self, keep: Duration) -> Self {
        Self { keep: Some(keep), ..self }
    }

    /// Records before the oldest frame are let in too, down to `reach` before the first frame that was
    /// made, if no frame was forgotten yet. When none has come for `quiet`, in engine time, frames are
    /// made for them, newest first: all down to the earliest record's.
    pub fn backfill(self, reach: Duration, quiet: Duration) -> Self {
        Self { backfill: Some((reach, quiet)), ..self }
    }

    /// The value of a frame is that of an aggregate. No records are kept, but what they come to.
    pub fn aggregate<T, A: Aggregate<T>>(self, aggregate: A) -> Task<T, Aggregated<A>> {
        self.method(Aggregated::new(aggregate))
    }

    /// The value of a frame is what `calculate` makes of its records, given by time and, within one, as
    /// they were applied. They are kept until then.
    pub fn calculate<T, R, E, F>(self, calculate: F) -> Task<T, Items<F>>
    where
        T: Record,
        R: Record,
        E: Display,
        F: FnMut(&mut Attempt, &[(Time, &T)]) -> Result<R, E> + 'static,
    {
        self.method(Items::new(calculate))
    }

    /// The value of a frame is made by a method of your own.
    pub fn method<T, M: FrameMethod<T>>(self, method: M) -> Task<T, M> {
        Task::new(self, method)
    }

    /// What is wrong with it.
    ///
    /// # Errors
    ///
    /// [`Error::Application`], with what to do.
    pub fn check(&self) -> Result<()> {
        wrong(nanos("frame", self.duration).err().as_ref())?;
        wrong(nanos("unit that frames are floored to", self.floor).err().as_ref())?;
        if self.batch == 0 {
            return Err(Error::Application(
                "frames are made none at a time, so never; give a batch of at least one".into(),
            ));
        }
        Ok(())
    }

    /// Whether frames are made for history.
    pub(crate) fn backfills(&self) -> bool {
        self.backfill.is_some()
    }

    /// How long to wait before the frame is tried again that has been tried so often; `None` if it has
    /// been often enough.
    pub(super) fn backoff(&self, attempts: u32) -> Option<Duration> {
        if attempts > self.retries {
            return None;
        }
        let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        Some(self.backoff.saturating_mul(doubled).min(BACKOFF_MOST.max(self.backoff)))
    }
}
