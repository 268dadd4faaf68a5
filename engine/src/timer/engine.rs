//! [`EngineTimers`]: those of one computation on one worker that are due by engine time.
//!
//! Invariant: once the rows were restored, the index has each row's timer. None is due at a moment that
//! was fired before, so no moment is begun twice.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::index::with_row;
use super::{AGAIN_MAX, Asking, Change, DueKey, Name, check_again, key_bytes};
use crate::state::MapStore;
use crate::{Key, Time};

/// The row of a timer: for when it was set, and when it is due. That is later if the time had passed.
pub(crate) type EngineRow = (Time, Time);

/// The timers of one computation on one worker that are due by engine time.
pub(crate) struct EngineTimers<K> {
    store: Rc<MapStore<K, Name, EngineRow>>,
    /// How many partitions the state has.
    partitions: u64,
    /// Which computation of its chain.
    level: usize,
    /// None until the rows were restored.
    index: Option<BTreeMap<DueKey, K>>,
    /// Nothing is due before.
    floor: Time,
    /// Whether all input has ended.
    ended: bool,
    /// The moment for which timers were last set by timers that were fired then, and how many; when all
    /// input has ended, how many in all.
    again: (Time, u64),
}

impl<K: Key> EngineTimers<K> {
    pub(crate) fn new(
        store: Rc<MapStore<K, Name, EngineRow>>,
        partitions: usize,
        level: usize,
    ) -> Self {
        Self {
            store,
            partitions: partitions.max(1) as u64,
            level,
            index: None,
            floor: Time::BEGIN,
            ended: false,
            again: (Time::BEGIN, 0),
        }
    }

    /// Sets a timer of `key`, or cancels it.
    pub(crate) fn take(&mut self, key: &K, name: Name, change: Change, asking: Asking) {
        let known = match change {
            Change::SetBy(time)
                if with_row(&self.store, key, |row| row.get(&name).copied())
                    .is_some_and(|(known, _)| known <= time) =>
            {
                return;
            }
            Change::Set(time) | Change::SetBy(time) => {
                let due = time.max(asking.now).max(self.floor);
                if asking.by_timer {
                    self.count_again(&name, due, asking.now);
                }
                let known = with_row(&self.store, key, |row| row.insert(name.clone(), (time, due)));
                let entered = self.due_key(key, name.clone(), (time, due));
                if let Some(index) = &mut self.index {
                    index.insert(entered, key.clone());
                }
                // The same one again.
                known.filter(|known| *known != (time, due))
            }
            Change::Cancel => with_row(&self.store, key, |row| row.remove(&name)),
            // No row of a computation's own says so.
            Change::Moved { .. } => return,
        };
        if let Some(known) = known {
            let known = self.due_key(key, name, known);
            if let Some(index) = &mut self.index {
                index.remove(&known);
            }
        }
    }

    /// Time does not pass while timers set timers for the moment at which they are fired.
    #[allow(clippy::panic)]
    fn count_again(&mut self, name: &str, due: Time, now: Time) {
        if self.ended {
            self.again.1 += 1;
            return check_again(self.again.1, name);
        }
        if due > now {
            return;
        }
        if self.again.0 != due {
            self.again = (due, 0);
        }
        self.again.1 += 1;
        if self.again.1 > AGAIN_MAX {
            panic!(
                "timers were set {AGAIN_MAX} times by timers that were fired at {due}, the last one as \
                 `{name}`, for that time or before: let one that sets itself again do so for a later time"
            );
        }
    }

    /// All that was due at `until` or before was fired; at first, by an earlier run. `ended` says that
    /// all input has.
    pub(crate) fn passed(&mut self, until: Time, ended: bool) {
        self.floor = self.floor.max(Time::from_nanos(until.as_nanos().saturating_add(1)));
        if ended && !std::mem::replace(&mut self.ended, true) {
            self.again = (Time::END, 0);
        }
        if self.index.is_none() {
            let mut index = BTreeMap::new();
            let store = Rc::clone(&self.store);
            store.each_entry(|key, name, row| {
                index.insert(self.due_key(key, name.clone(), *row), key.clone());
            });
            self.index = Some(index);
        }
    }

    /// What is fired next, once it is due.
    pub(crate) fn next(&self) -> Option<&DueKey> {
        self.index.as_ref()?.first_key_value().map(|(due, _)| due)
    }

    /// Takes what is fired next; its row is gone.
    pub(crate) fn pop(&mut self) -> Option<(DueKey, K)> {
        let (due, key) = self.index.as_mut()?.pop_first()?;
        with_row(&self.store, &key, |row| row.remove(&due.name));
        Some((due, key))
    }

    fn due_key(&self, key: &K, name: Name, (time, due): EngineRow) -> DueKey {
        let partition = (key.placement_hash() % self.partitions) as u32;
        let (place, level) = (due.as_nanos(), self.level);
        let key = key_bytes(key, &mut Vec::new());
        DueKey { place, partition, time, key, level, name }
    }
}
