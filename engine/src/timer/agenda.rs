//! [`Agenda`] and [`Due`]: the timers of a computation by time, until they are due, and those that are.
//!
//! Invariant: for each row of the table the agenda has an entry of its time. It has others that are stale, as
//! their rows were changed since: who takes them asks the rows. They are never most of it.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::{DueKey, Name};
use crate::Time;

/// How many stale entries are never too many.
const STALE_MIN: usize = 1 << 12;

/// Timers by time.
pub(super) struct Agenda<K> {
    times: BTreeMap<Time, SmallVec<[Entry<K>; 1]>>,
    entries: usize,
    stale: usize,
}

/// A timer of some time.
pub(super) struct Entry<K> {
    pub(super) partition: u32,
    pub(super) key: K,
    pub(super) name: Name,
}

impl<K> Default for Agenda<K> {
    fn default() -> Self {
        Self { times: BTreeMap::new(), entries: 0, stale: 0 }
    }
}

impl<K> Agenda<K> {
    pub(super) fn enter(&mut self, time: Time, entry: Entry<K>) {
        self.times.entry(time).or_default().push(entry);
        self.entries += 1;
    }

    /// The row of an entry was changed.
    pub(super) fn forget(&mut self) {
        self.stale += 1;
    }

    /// Whether any entry may be stale.
    pub(super) fn has_stale(&self) -> bool {
        self.stale > 0
    }

    /// Whether it is to be made again, of the rows.
    pub(super) fn is_cluttered(&self) -> bool {
        self.stale > STALE_MIN && self.stale > self.entries / 2
    }

    /// Takes the entries of `until` and before, and says how many there are.
    pub(super) fn take(
        &mut self,
        until: Time,
    ) -> (usize, impl Iterator<Item = (Time, Entry<K>)> + use<K>) {
        let rest = match until.as_nanos().checked_add(1) {
            Some(after) => self.times.split_off(&Time::from_nanos(after)),
            None => BTreeMap::new(),
        };
        let due = std::mem::replace(&mut self.times, rest);
        let count = due.values().map(SmallVec::len).sum();
        self.entries -= count;
        self.stale = self.stale.min(self.entries);
        let entries = |(time, entries): (Time, SmallVec<_>)| {
            entries.into_iter().map(move |entry| (time, entry))
        };
        (count, due.into_iter().flat_map(entries))
    }
}

/// Timers that are due, in the order in which they are fired.
pub(super) struct Due<K> {
    /// Those that were due when the round began, the first one last; none in place of one that is not any
    /// more, but never at the end.
    sorted: Vec<(DueKey, Option<K>)>,
    /// Those that were set since.
    added: BTreeMap<DueKey, K>,
}

impl<K> Default for Due<K> {
    fn default() -> Self {
        Self { sorted: Vec::new(), added: BTreeMap::new() }
    }
}

impl<K> Due<K> {
    /// Adds what is due as a round begins, at most so many; twice the same is once.
    pub(super) fn extend(&mut self, most: usize, due: impl Iterator<Item = (DueKey, K)>) {
        self.sorted.reserve(most);
        self.sorted.extend(due.map(|(due, key)| (due, Some(key))));
        self.sorted.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        self.sorted.dedup_by(|(one, _), (other, _)| one == other);
    }

    pub(super) fn insert(&mut self, due: DueKey, key: K) {
        self.added.insert(due, key);
    }

    pub(super) fn remove(&mut self, due: &DueKey) {
        self.added.remove(due);
        if let Ok(at) = self.sorted.binary_search_by(|(there, _)| due.cmp(there))
            && let Some((_, key)) = self.sorted.get_mut(at)
        {
            *key = None;
            self.trim();
        }
    }

    /// What is fired next.
    pub(super) fn first(&self) -> Option<&DueKey> {
        let sorted = self.sorted.last().map(|(due, _)| due);
        let added = self.added.first_key_value().map(|(due, _)| due);
        sorted.into_iter().chain(added).min()
    }

    /// The keys of some that are fired soon, every so many.
    pub(super) fn soon(&self, ahead: usize) -> impl Iterator<Item = &K> {
        let count = if self.sorted.len().is_multiple_of(ahead) { ahead } else { 0 };
        self.sorted.iter().rev().take(count).filter_map(|(_, key)| key.as_ref())
    }

    pub(super) fn pop(&mut self) -> Option<(DueKey, K)> {
        let added = self.added.first_key_value().map(|(due, _)| due);
        let is_added = match (self.sorted.last(), added) {
            (Some((sorted, _)), Some(added)) => added < sorted,
            (sorted, _) => sorted.is_none(),
        };
        if is_added {
            return self.added.pop_first();
        }
        let (due, key) = self.sorted.pop()?;
        self.trim();
        Some((due, key?))
    }

    fn trim(&mut self) {
        while self.sorted.last().is_some_and(|(_, key)| key.is_none()) {
            self.sorted.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn due(number: u8) -> DueKey {
        let (place, time) = (i64::from(number / 4), Time::from_nanos(i64::from(number / 4)));
        let name = (number % 4).to_string().into();
        DueKey { place, partition: 0, time, key: SmallVec::new(), level: 0, name }
    }

    proptest! {
        #[test]
        fn what_is_due_is_a_sorted_map(
            begun in prop::collection::vec(0..24_u8, 0..20),
            steps in prop::collection::vec((0..3_u8, 0..24_u8), 0..40),
        ) {
            let (mut dues, mut model) = (Due::default(), BTreeMap::new());
            dues.extend(begun.len(), begun.iter().map(|number| (due(*number), ())));
            model.extend(begun.iter().map(|number| (due(*number), ())));
            for (what, number) in steps {
                match what {
                    0 if !model.contains_key(&due(number)) => {
                        dues.insert(due(number), ());
                        model.insert(due(number), ());
                    }
                    1 => {
                        dues.remove(&due(number));
                        model.remove(&due(number));
                    }
                    _ => prop_assert_eq!(dues.pop(), model.pop_first()),
                }
                prop_assert_eq!(dues.first(), model.first_key_value().map(|(due, ())| due));
            }
        }
    }

    #[test]
    fn an_agenda_gives_what_is_due_and_says_when_most_of_it_is_stale() {
        let mut agenda = Agenda::default();
        let entry = |key: usize| Entry { partition: 0, key, name: Name::default() };
        for key in 0..3 * STALE_MIN {
            agenda.enter(Time::from_nanos(key as i64), entry(key));
        }
        for _ in 0..=3 * STALE_MIN / 2 {
            assert!(!agenda.is_cluttered());
            agenda.forget();
        }
        assert!(agenda.is_cluttered());
        let taken =
            agenda.take(Time::from_nanos(5)).1.map(|(time, entry)| (time.as_nanos(), entry.key));
        assert!(taken.eq((0..=5).map(|at| (at as i64, at))));
        assert_eq!(agenda.take(Time::END).0, 3 * STALE_MIN - 6);
        assert!(!agenda.is_cluttered());
    }
}
