//! Timers of computations: set by name under a key, due when the watermark passes their time.
//!
//! They are rows of a hidden table of the group, so they are kept, restored and moved to other workers
//! as all rows are; an index in order of time, made from the rows at a start, finds what is due.
//!
//! Invariant: after the records of an epoch, the timers that the new watermark has passed are fired in
//! an order made of times, partitions, keys and names alone. None is looked at that is not due.

mod index;
mod round;

pub(crate) use self::index::{Change, Request, Timers};
pub(crate) use self::round::{DueKey, Round, Rounds, is_timed, name};

use crate::Time;

/// A timer that is due; see [`Context::set_timer`](crate::Context::set_timer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer<'a> {
    /// What it was set as.
    pub name: &'a str,
    /// For when it was set.
    pub time: Time,
}
