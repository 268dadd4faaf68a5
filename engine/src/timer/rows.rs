//! [`TimerRows`]: what says which timers of event time a computation has set, also after a restart.
//!
//! Invariant: a timer is what its row says, and no more.

use std::rc::Rc;

use super::Name;
use crate::state::MapStore;
use crate::{Key, Time};

/// Where the timers of a computation are.
pub(crate) enum TimerRows<K> {
    /// Rows of a hidden table, which has nothing else.
    Table(Rc<MapStore<K, Name, Time>>),
    /// Rows of the computation's own; it says when they change ([`Change::Moved`](super::Change::Moved)).
    Own(Rc<dyn OwnRows<K>>),
}

/// Rows of a computation that say themselves for when their timers are set.
pub(crate) trait OwnRows<K> {
    /// Calls `see` for each timer, in no order.
    fn each(&self, see: &mut dyn FnMut(&K, Name, Time));
    /// Whether the timer of that name is set for `time`.
    fn is_set(&self, key: &K, name: &str, time: Time) -> bool;
}

impl<K: Key> TimerRows<K> {
    /// Calls `see` for each timer, in no order.
    pub(super) fn each(&self, see: &mut dyn FnMut(&K, Name, Time)) {
        match self {
            Self::Table(store) => store.each_entry(|key, name, time| see(key, name.clone(), *time)),
            Self::Own(rows) => rows.each(see),
        }
    }

    /// Whether the timer of that name is set for `time`.
    pub(super) fn is_set(&self, key: &K, name: &Name, time: Time) -> bool {
        match self {
            Self::Table(store) => store.see(key, name, |set| *set == time) == Some(true),
            Self::Own(rows) => rows.is_set(key, name, time),
        }
    }
}
