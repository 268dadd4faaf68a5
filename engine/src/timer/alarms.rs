//! [`Alarms`]: when something is due next by engine time, on this worker.
//!
//! Invariant: a group has set its own before the worker parks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::Time;

/// When each group of this worker has something to do next, though nothing may come; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Alarms(Rc<RefCell<BTreeMap<usize, Time>>>);

impl Alarms {
    /// The group of that index has something to do at `at`; nothing, if there is none.
    pub(crate) fn set(&self, group: usize, at: Option<Time>) {
        let mut alarms = self.0.borrow_mut();
        match at {
            Some(at) => drop(alarms.insert(group, at)),
            None => drop(alarms.remove(&group)),
        }
    }

    /// The first of all groups.
    pub(crate) fn next(&self) -> Option<Time> {
        self.0.borrow().values().min().copied()
    }
}
