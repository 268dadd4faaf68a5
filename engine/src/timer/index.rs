//! [`Timers`]: those of one computation on one worker.
//!
//! Invariant: a timer is what its row says: one that is found by its time is fired if the row still says that
//! time. Setting a timer again replaces it.

use super::agenda::{Agenda, Due, Entry};
use super::{Asking, Change, DueKey, Name, Round, TimerRows, check_again, key_bytes};
use crate::state::{LockedMap, MapStore, SubKey};
use crate::{Key, MapRow, Time, Value};

/// The timers of one computation on one worker.
pub(crate) struct Timers<K> {
    rows: TimerRows<K>,
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
    later: Vec<(K, Name, Time)>,
    /// How many timers were set in the last round.
    again: u64,
    /// Kept for its memory.
    key_bytes: Vec<u8>,
}

impl<K: Key> Timers<K> {
    pub(crate) fn new(rows: TimerRows<K>, partitions: usize, level: usize) -> Self {
        Self {
            rows,
            partitions: partitions.max(1) as u64,
            level,
            agenda: None,
            round: None,
            due: Due::default(),
            firing: None,
            later: Vec::new(),
            again: 0,
            key_bytes: Vec::new(),
        }
    }

    /// Sets a timer of `key`, or cancels it.
    pub(crate) fn take(&mut self, key: &K, name: Name, change: Change, asking: Asking) {
        let (known, time) = match (&self.rows, change) {
            (TimerRows::Own(_), Change::Moved { from, to }) => (from, to),
            (TimerRows::Table(store), Change::Set(time)) => {
                (with_row(store, key, |row| row.insert(name.clone(), time)), Some(time))
            }
            (TimerRows::Table(store), Change::SetBy(time)) => {
                let known = with_row(store, key, |row| match row.get(&name) {
                    Some(known) if *known <= time => Err(()),
                    _ => Ok(row.insert(name.clone(), time)),
                });
                let Ok(known) = known else { return };
                (known, Some(time))
            }
            (TimerRows::Table(store), Change::Cancel) => {
                (with_row(store, key, |row| row.remove(&name)), None)
            }
            // A computation whose own rows say for when timers are set sets no others.
            (TimerRows::Own(_), _) | (TimerRows::Table(_), Change::Moved { .. }) => return,
        };
        if known == time && self.round.is_none() {
            return;
        }
        if let Some(known) = known {
            self.forget(key, &name, known);
        }
        if let Some(time) = time {
            self.enter_or_add(key, name, time, asking);
        }
    }

    /// A timer is set now: it is due in this round, or later.
    fn enter_or_add(&mut self, key: &K, name: Name, time: Time, asking: Asking) {
        let Some(round) = self.round.filter(|round| time <= round.until) else {
            return self.enter(key, name, time);
        };
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
    }

    /// Enters it into the agenda, if there is one yet.
    fn enter(&mut self, key: &K, name: Name, time: Time) {
        let partition = self.partition(key);
        if let Some(agenda) = &mut self.agenda {
            agenda.enter(time, Entry { partition, key: key.clone(), name });
        }
    }

    fn forget(&mut self, key: &K, name: &Name, time: Time) {
        if let Some(agenda) = &mut self.agenda {
            agenda.forget();
        }
        if let Some(round) = self.round {
            let due = self.due_key(round, key, name.clone(), time);
            self.due.remove(&due);
            self.later.retain(|(other, known, _)| known != name || other != key);
        }
    }

    /// Begins to fire what is due.
    pub(crate) fn begin(&mut self, round: Round) {
        if self.agenda.as_ref().is_none_or(Agenda::is_cluttered) {
            self.agenda = Some(self.agenda_of_rows());
        }
        self.round = Some(round);
        if round.goes_on() {
            // It begins where the last one ended: only what is set in it is due.
            return;
        }
        self.again = 0;
        let Self { rows, level, agenda, due, key_bytes: buffer, .. } = self;
        let Some(agenda) = agenda else { return };
        let has_stale = agenda.has_stale();
        let (count, taken) = agenda.take(round.until);
        let set = taken
            .filter(|(time, Entry { key, name, .. })| !has_stale || rows.is_set(key, name, *time));
        due.extend(
            count,
            set.map(|(time, Entry { partition, key, name })| {
                let (place, bytes) = (round.place(time), key_bytes(&key, buffer));
                (DueKey { place, partition, time, key: bytes, level: *level, name }, key)
            }),
        );
    }

    fn agenda_of_rows(&self) -> Agenda<K> {
        let mut agenda = Agenda::default();
        self.rows.each(&mut |key, name, time| {
            let partition = self.partition(key);
            agenda.enter(time, Entry { partition, key: key.clone(), name });
        });
        agenda
    }

    /// What is fired next.
    pub(crate) fn next(&self) -> Option<&DueKey> {
        self.due.first()
    }

    /// The keys of some that are fired soon, every `ahead` timers.
    pub(crate) fn soon(&self, ahead: usize) -> impl Iterator<Item = &K> {
        self.due.soon(ahead)
    }

    /// Takes what is fired next; its row is gone, unless it is one of the computation's own.
    pub(crate) fn pop(&mut self) -> Option<(DueKey, K)> {
        let (due, key) = self.due.pop()?;
        if let TimerRows::Table(store) = &self.rows {
            with_row(store, &key, |row| row.remove(&due.name));
        }
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

    fn due_key(&mut self, round: Round, key: &K, name: Name, time: Time) -> DueKey {
        let (place, partition) = (round.place(time), self.partition(key));
        let bytes = key_bytes(key, &mut self.key_bytes);
        DueKey { place, partition, time, key: bytes, level: self.level, name }
    }

    fn partition(&self, key: &K) -> u32 {
        (key.placement_hash() % self.partitions) as u32
    }
}

/// Changes the timers of `key`.
pub(super) fn with_row<K: Key, S: SubKey, V: Value, R>(
    store: &MapStore<K, S, V>,
    key: &K,
    change: impl FnOnce(&mut MapRow<'_, S, V>) -> R,
) -> R {
    let mut locked = LockedMap::new(store);
    let changed = change(&mut locked.row(key));
    locked.settle(key);
    changed
}
