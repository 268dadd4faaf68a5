//! Timers of computations: set by name under a key, due when the watermark, or engine time, passes their
//! time.
//!
//! They are rows of hidden tables of the group, so they are kept, restored and moved to other workers
//! as all rows are; an index in order of time, made from the rows at a start, finds what is due.
//!
//! Invariant: after the records of an epoch, the timers that the new watermark has passed are fired in
//! an order made of times, partitions, keys and names alone. Those of engine time are fired in that order
//! too, but between records: after those of their time and before later ones, wherever epochs are cut.
//! None is looked at that is not due.

mod agenda;
mod alarms;
mod engine;
mod index;
mod round;
mod rows;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use smol_str::SmolStr;

pub(crate) use self::alarms::Alarms;
pub(crate) use self::engine::EngineTimers;
pub(crate) use self::index::Timers;
pub(crate) use self::round::{DueKey, Round, Rounds, engine_name, is_timed, name};
pub(crate) use self::rows::{OwnRows, TimerRows};
use crate::{Key, Time};

/// The name of a timer; short ones take no memory elsewhere.
pub(crate) type Name = SmolStr;

/// The bytes of a key; few take no memory elsewhere.
type KeyBytes = SmallVec<[u8; 16]>;

/// By which time a timer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Clock {
    /// The watermark.
    Event,
    /// The engine's time: the ingest time of records, and the wall clock while live input is silent.
    Engine,
}

/// What a computation asks for while it is applied.
pub(crate) struct Request {
    pub(crate) clock: Clock,
    pub(crate) name: Name,
    pub(crate) change: Change,
}

/// What is to become of a timer.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    Set(Time),
    /// It is set, unless it is set for no later time.
    SetBy(Time),
    Cancel,
    /// It is set in a row of the computation's own (see [`OwnRows`]).
    Moved {
        from: Option<Time>,
        to: Option<Time>,
    },
}

/// By whom a timer is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asking {
    /// The logical time of what asks.
    pub(crate) now: Time,
    /// Whether it is a timer, or comes of one.
    pub(crate) by_timer: bool,
}

/// How often timers may set timers when all input has ended, and how often for one moment.
const AGAIN_MAX: u64 = 1 << 20;

/// After the end nothing follows, so what sets itself again and again must end there.
#[allow(clippy::panic)]
fn check_again(again: u64, name: &str) {
    if again > AGAIN_MAX {
        panic!(
            "timers were set {AGAIN_MAX} times by timers, the last one as `{name}`, though all input has \
             ended: let one that sets itself again stop when the watermark is the end of time \
             (`Time::END`)"
        );
    }
}

/// The bytes of `key`, made in `buffer`.
fn key_bytes<K: Key>(key: &K, buffer: &mut Vec<u8>) -> KeyBytes {
    buffer.clear();
    key.append_bytes(buffer);
    KeyBytes::from_slice(buffer)
}

/// A timer that is due; see [`Context::set_timer`](crate::Context::set_timer) and
/// [`Context::set_engine_timer`](crate::Context::set_engine_timer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer<'a> {
    /// What it was set as.
    pub name: &'a str,
    /// For when it was set.
    pub time: Time,
    /// By which time it was due: there is one timer of each clock and name.
    pub clock: Clock,
}
