//! [`Timers`]: those of one computation on one worker.
//!
//! Invariant: a timer is what its row says: one that is found by its time is fired if the row still says that
//! time. Setting a timer again replaces it.

use std::rc::Rc;

use super::agenda::{Agenda, Due, Entry};
use super::{Asking, Change, DueKey, Round, check_again};
use crate::state::{LockedMap, MapStore};
use crate::{Key, MapRow, Time, Value};

/// The timers of one computation on one worker.
pub(crate) struct Timers<K> {
    store: Rc<MapStore<K, String, Time>>,
    /// How many partitions the state has.
    partitions: u64,
    /// Which computation of its chain.
    level: usize,
    /// None until the rows were restored.
    agenda: Option<Agenda<K>>,
    round: Option<Round>,
    /// What is yet to be fired in the round.
    due: Due<K>,
    /// The time that is being fired.
    firing: Option<Time>,
    /// What was set while it was, for then or before: it is due in the next round.
    later: Vec<(K, String, Time)>,
    /// How many timers were set in the last round.
    again: u64,
}

impl<K: Key> Timers<K> {
    pub(crate) fn new(
        store: Rc<MapStore<K, String, Time>>,
        partitions: usize,
        level: usize,
    ) -> Self {
        Self {
            store,
            partitions: partitions.max(1) as u64,
            level,
            agenda: None,
            round: None,
            due: Due::default(),
            firing: None,
            later: Vec::new(),
            again: 0,
        }
    }

    /// Sets a timer of `key`, or cancels it.
    pub(crate) fn take(&mut self, key: &K, name: String, change: Change, asking: Asking) {
        match change {
            Change::Set(time) => self.set(key, name, time, asking),
            Change::SetBy(time) => {
                let known = with_row(&self.store, key, |row| row.get(&name).copied());
                if known.is_none_or(|known| time < known) {
                    self.set(key, name, time, asking);
                }
            }
            Change::Cancel => self.cancel(key, &name),
        }
    }

    fn set(&mut self, key: &K, name: String, time: Time, asking: Asking) {
        let known = with_row(&self.store, key, |row| row.insert(name.clone(), time));
        if known == Some(time) && self.round.is_none() {
            return;
        }
        if let Some(known) = known {
            self.forget(key, &name, known);
        }
        if let Some(round) = self.round.filter(|round| time <= round.until) {
            if round.is_last() && asking.by_timer {
                self.again += 1;
                check_again(self.again, &name);
            }
            if self.firing.is_some_and(|firing| time <= firing) {
                self.later.push((key.clone(), name, time));
            } else {
                let due = self.due_key(round, key, name, time);
                self.due.insert(due, key.clone());
            }
            return;
        }
        self.enter(key, name, time);
    }

    fn cancel(&mut self, key: &K, name: &String) {
        if let Some(known) = with_row(&self.store, key, |row| row.remove(name)) {
            self.forget(key, name, known);
        }
    }

    /// Enters it into the agenda, if there is one yet.
    fn enter(&mut self, key: &K, name: String, time: Time) {
        let partition = self.partition(key);
        if let Some(agenda) = &mut self.agenda {
            agenda.enter(time, Entry { partition, key: key.clone(), name });
        }
    }

    fn forget(&mut self, key: &K, name: &str, time: Time) {
        if let Some(agenda) = &mut self.agenda {
            agenda.forget();
        }
        if let Some(round) = self.round {
            let due = self.due_key(round, key, name.to_string(), time);
            self.due.remove(&due);
            self.later.retain(|(other, known, _)| known != name || other != key);
        }
    }

    /// Begins to fire what is due.
    pub(crate) fn begin(&mut self, round: Round) {
        if self.agenda.as_ref().is_none_or(Agenda::is_cluttered) {
            self.agenda = Some(self.agenda_of_rows());
        }
        if !round.goes_on() {
            self.again = 0;
            // One that goes on begins where the last one ended: only what is set in it is due.
            let taken = self.agenda.as_mut().map(|agenda| agenda.take(round.until));
            let valid = taken.into_iter().flatten().filter(|(time, Entry { key, name, .. })| {
                self.store.value(key, name) == Some(*time)
            });
            let level = self.level;
            self.due.extend(valid.map(|(time, Entry { partition, key, name })| {
                let place = round.place(time);
                (DueKey { place, partition, time, key: bytes(&key), level, name }, key)
            }));
        }
        self.round = Some(round);
    }

    fn agenda_of_rows(&self) -> Agenda<K> {
        let mut agenda = Agenda::default();
        self.store.each_entry(|key, name, time| {
            let partition = self.partition(key);
            agenda.enter(*time, Entry { partition, key: key.clone(), name: name.clone() });
        });
        agenda
    }

    /// What is fired next.
    pub(crate) fn next(&self) -> Option<&DueKey> {
        self.due.first()
    }

    /// Takes what is fired next; its row is gone.
    pub(crate) fn pop(&mut self) -> Option<(DueKey, K)> {
        let (due, key) = self.due.pop()?;
        with_row(&self.store, &key, |row| row.remove(&due.name));
        self.firing = Some(due.time);
        Some((due, key))
    }

    /// All that was due was fired.
    pub(crate) fn end(&mut self) {
        (self.round, self.firing) = (None, None);
        for (key, name, time) in std::mem::take(&mut self.later) {
            self.enter(&key, name, time);
        }
    }

    fn due_key(&self, round: Round, key: &K, name: String, time: Time) -> DueKey {
        let (place, partition) = (round.place(time), self.partition(key));
        DueKey { place, partition, time, key: bytes(key), level: self.level, name }
    }

    fn partition(&self, key: &K) -> u32 {
        (key.placement_hash() % self.partitions) as u32
    }
}

/// Changes the timers of `key`.
pub(super) fn with_row<K: Key, V: Value, R>(
    store: &MapStore<K, String, V>,
    key: &K,
    change: impl FnOnce(&mut MapRow<'_, String, V>) -> R,
) -> R {
    let mut locked = LockedMap::new(store);
    let changed = change(&mut locked.row(key));
    locked.settle(key);
    changed
}

pub(super) fn bytes<K: Key>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.append_bytes(&mut bytes);
    bytes
}
