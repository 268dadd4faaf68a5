//! Joins of one key: by an interval of time, by window, and as of a time.
//!
//! * An [`IntervalJoin`] joins a left record at `t` with the right ones around `t`.
//! * A [`WindowJoin`] joins all that is in the same window; a [`CoGroup`] gives the records of each window
//!   input by input, of any number of inputs.
//! * An [`AsOf`] join gives each left record the newest right one that is not after it.
//!
//! Each is plain logic on the rows of one key, which it is handed as [ordered](super::entries::OrderedMut) entries, and on one
//! [`Timer`]: it asks to be woken once the watermark reaches a time. Who calls says what the watermark is:
//! to apply a record, the one before the record's epoch; to wake, the one after it. All inputs of a
//! join have one watermark, the least of theirs. At a watermark `w` the times before `w` are complete; at
//! the greatest time there is, all are. A due timer is served before the next record is applied.
//!
//! # What a join gives
//!
//! Nothing that a join gave is taken back: there are no corrections, and a record that an outer join gives
//! without a partner has none and gets none. That is known once the watermark, less the allowed lateness,
//! has passed every time that a partner could have; then the record is dropped, too. Only a [`CoGroup`] that
//! is not [`once`](CoGroup::once) gives a window again, when a late record is still allowed into it.
//!
//! A record whose time is before the watermark less the allowed lateness (with windows: all of whose
//! windows have ended by then) is [`Late`]: it joins nothing and is handed back, to be counted.
//!
//! What a record brings is in the order of the other side's times, and of application where times are
//! equal; what the watermark brings is in the order in which a watermark that never leaps would bring it. So
//! nothing depends on how far the watermark moves at once.
//!
//! # More than two inputs
//!
//! A [`CoGroup`] takes any number of inputs, with an enum for their records; what is made of the groups,
//! inner or outer, is up to whom they are given to. Interval and as-of joins are joined with a third input by
//! another join: of what the first one gives, with a time that a function of it says (mostly the later of
//! the two), and with a watermark that is as far back as the first one waits.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use anabranch::Time;
//! use anabranch::window::join::{AsOf, State};
//!
//! let (mut orders, mut prices, mut timer) = (BTreeMap::new(), BTreeMap::new(), None::<Time>);
//! let mut state = State { left: &mut orders, right: &mut prices, timer: &mut timer };
//! let (at, no_watermark) = (Time::from_millis, Time::from_nanos(i64::MIN));
//!
//! let join = AsOf::exact();
//! join.right(at(10), 99.5, no_watermark, &mut state).unwrap();
//! join.left(at(15), "one coin", no_watermark, &mut state, |_| unreachable!("it waits")).unwrap();
//! join.right(at(20), 97.0, no_watermark, &mut state).unwrap();
//! join.right(at(14), 98.0, no_watermark, &mut state).unwrap();
//!
//! let mut bought = Vec::new();
//! join.wake(at(16), &mut state, |joined| bought.push(joined.left().copied().zip(joined.right().copied())));
//! assert_eq!(bought, [Some(("one coin", 98.0))]);
//! ```
//!
//! Invariant: each pair is given exactly once, and each record without a partner exactly once (with
//! windows: in each of its windows). What is kept of a key is what some record may still need.

mod as_of;
mod group;
mod interval;
mod panes;
mod records;
mod state;
mod windowed;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::as_of::AsOf;
pub use self::group::{CoGroup, Group};
pub use self::interval::{Held, IntervalJoin};
pub use self::panes::{Open, Phase, Slot, WindowState};
pub use self::records::Spot;
pub use self::state::{Place, State, Timer};
pub use self::windowed::{Side, WindowJoin};
use crate::Time;

/// Which records are given when they have no partner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// None.
    #[default]
    Inner,
    /// Those of the left input.
    Left,
    /// Those of the right input.
    Right,
    /// Those of both inputs.
    Full,
}

impl Kind {
    /// Whether left records without a partner are given.
    pub fn keeps_left(self) -> bool {
        matches!(self, Self::Left | Self::Full)
    }

    /// Whether right records without a partner are given.
    pub fn keeps_right(self) -> bool {
        matches!(self, Self::Right | Self::Full)
    }
}

/// What a join gives: a pair, or a record that has no partner and gets none.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined<'a, L, R> {
    /// A left record and a right one.
    Both(&'a L, &'a R),
    /// A left record alone.
    Left(&'a L),
    /// A right record alone.
    Right(&'a R),
}

impl<L, R> Clone for Joined<'_, L, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L, R> Copy for Joined<'_, L, R> {}

impl<'a, L, R> Joined<'a, L, R> {
    /// The left record, if there is one.
    pub fn left(self) -> Option<&'a L> {
        match self {
            Self::Both(left, _) | Self::Left(left) => Some(left),
            Self::Right(_) => None,
        }
    }

    /// The right record, if there is one.
    pub fn right(self) -> Option<&'a R> {
        match self {
            Self::Both(_, right) | Self::Right(right) => Some(right),
            Self::Left(_) => None,
        }
    }
}

/// A record that came too late: it joined nothing and left nothing behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late<V> {
    /// Its time.
    pub time: Time,
    /// The record.
    pub value: V,
}

/// How far behind the watermark records are taken, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Lateness(i64);

impl Lateness {
    fn new(allowed: Duration) -> Self {
        Self(i64::try_from(allowed.as_nanos()).unwrap_or(i64::MAX))
    }

    /// The watermark at which no record before `time` is taken any more.
    fn after(self, time: Time) -> Time {
        Time::from_nanos(time.as_nanos().saturating_add(self.0))
    }

    /// The watermark at which no record at `time` is taken any more.
    fn past(self, time: Time) -> Time {
        Time::from_nanos(self.after(time).as_nanos().saturating_add(1))
    }

    /// Whether a record at `time` is too late. At the end of all time, each is.
    fn is_past(self, time: Time, watermark: Time) -> bool {
        self.past(time) <= watermark
    }
}
