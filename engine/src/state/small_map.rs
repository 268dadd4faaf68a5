//! [`SmallMap`]: a sorted map that takes little memory while it has few entries, as most rows of map tables
//! do: a key's open windows, its timers.
//!
//! Invariant: what it answers does not depend on its form. One entry is where the map is, a few are one sorted
//! piece of memory, more are a tree.

use std::collections::btree_map::{self, BTreeMap, Entry};
use std::mem;
use std::ops::{Bound, RangeBounds};
use std::slice;

/// The most entries of one piece.
const FEW: usize = 8;

/// A sorted map.
#[derive(Clone, Debug)]
pub(super) enum SmallMap<K, V> {
    One((K, V)),
    /// None is a few, too.
    Few(Vec<(K, V)>),
    // Boxed, so that a map takes no more than a piece does.
    #[allow(clippy::box_collection)]
    Many(Box<BTreeMap<K, V>>),
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// Where `key` is among `few`, or where it would be.
fn place<K: Ord, V>(few: &[(K, V)], key: &K) -> Result<usize, usize> {
    few.binary_search_by(|(there, _)| there.cmp(key))
}

/// The entries of `few` in `range`, in order.
fn within<'a, K: Ord, V>(few: &'a [(K, V)], range: &impl RangeBounds<K>) -> &'a [(K, V)] {
    let from = match range.start_bound() {
        Bound::Included(key) => few.partition_point(|(there, _)| there < key),
        Bound::Excluded(key) => few.partition_point(|(there, _)| there <= key),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(key) => few.partition_point(|(there, _)| there <= key),
        Bound::Excluded(key) => few.partition_point(|(there, _)| there < key),
        Bound::Unbounded => few.len(),
    };
    few.get(from..to).unwrap_or_default()
}

impl<K, V> SmallMap<K, V> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl<K: Ord, V> SmallMap<K, V> {
    #[inline]
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::One((there, value)) => (there == key).then_some(value),
            Self::Few(few) => few.get(place(few, key).ok()?).map(|(_, value)| value),
            Self::Many(many) => many.get(key),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self {
            Self::One((there, value)) => (there == key).then_some(value),
            Self::Few(few) => {
                let at = place(few, key).ok()?;
                few.get_mut(at).map(|(_, value)| value)
            }
            Self::Many(many) => many.get_mut(key),
        }
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn first(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    pub(super) fn last(&self) -> Option<(&K, &V)> {
        self.iter().next_back()
    }

    pub(super) fn iter(&self) -> Iter<'_, K, V> {
        self.range(..)
    }

    /// All entries, in order, to change their values.
    pub(super) fn each_mut(&mut self, mut change: impl FnMut(&K, &mut V)) {
        match self {
            Self::One((key, value)) => change(key, value),
            Self::Few(few) => few.iter_mut().for_each(|(key, value)| change(key, value)),
            Self::Many(many) => many.iter_mut().for_each(|(key, value)| change(key, value)),
        }
    }

    /// The entries whose keys are in `range`, in order.
    pub(super) fn range(&self, range: impl RangeBounds<K>) -> Iter<'_, K, V> {
        match self {
            Self::One(one) => Iter::Few(within(slice::from_ref(one), &range).iter()),
            Self::Few(few) => Iter::Few(within(few, &range).iter()),
            Self::Many(many) => Iter::Many(many.range(range)),
        }
    }

    /// Sets the value of `key`; gives what it was.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Self::Many(many) = self {
            return many.insert(key, value);
        }
        if let Some(there) = self.get_mut(&key) {
            return Some(mem::replace(there, value));
        }
        self.put(key, value);
        None
    }

    /// The value of `key` to change, and whether there was none: then it is the default.
    #[allow(clippy::expect_used)]
    pub(super) fn get_or_default(&mut self, key: K) -> (&mut V, bool)
    where
        K: Clone,
        V: Default,
    {
        if let Self::Many(many) = self {
            return match many.entry(key) {
                Entry::Occupied(entry) => (entry.into_mut(), false),
                Entry::Vacant(entry) => (entry.insert(V::default()), true),
            };
        }
        let found = match &*self {
            Self::Few(few) => place(few, &key).ok(),
            Self::One((there, _)) if *there == key => Some(0),
            _ => None,
        };
        match (self, found) {
            (Self::Few(few), Some(at)) => (&mut few.get_mut(at).expect("it is there").1, false),
            (Self::One((_, value)), Some(_)) => (value, false),
            (new, _) => {
                let put = key.clone();
                new.put(key, V::default());
                (new.get_mut(&put).expect("it was put in"), true)
            }
        }
    }

    /// Puts in an entry whose key is not there.
    fn put(&mut self, key: K, value: V) {
        match self {
            Self::Few(few) if few.is_empty() => *self = Self::One((key, value)),
            Self::Few(few) if few.len() < FEW => {
                let at = place(few, &key).unwrap_or_else(|at| at);
                few.insert(at, (key, value));
            }
            Self::Few(few) => {
                let mut many: BTreeMap<_, _> = mem::take(few).into_iter().collect();
                many.insert(key, value);
                *self = Self::Many(Box::new(many));
            }
            Self::Many(many) => drop(many.insert(key, value)),
            Self::One(_) => {
                if let Self::One(one) = mem::take(self) {
                    let new = (key, value);
                    let both = if one.0 < new.0 { [one, new] } else { [new, one] };
                    *self = Self::Few(Vec::from(both));
                }
            }
        }
    }

    /// Removes the entry of `key`, and gives it.
    pub(super) fn remove_entry(&mut self, key: &K) -> Option<(K, V)> {
        match self {
            Self::One((there, _)) if there == key => self.take_one(),
            Self::One(_) => None,
            Self::Few(few) => place(few, key).ok().map(|at| few.remove(at)),
            Self::Many(many) => many.remove_entry(key),
        }
    }

    pub(super) fn pop_first(&mut self) -> Option<(K, V)> {
        match self {
            Self::One(_) => self.take_one(),
            Self::Few(few) => (!few.is_empty()).then(|| few.remove(0)),
            Self::Many(many) => many.pop_first(),
        }
    }

    pub(super) fn pop_last(&mut self) -> Option<(K, V)> {
        match self {
            Self::One(_) => self.take_one(),
            Self::Few(few) => few.pop(),
            Self::Many(many) => many.pop_last(),
        }
    }

    fn take_one(&mut self) -> Option<(K, V)> {
        match mem::take(self) {
            Self::One(one) => Some(one),
            Self::Few(_) | Self::Many(_) => None,
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SmallMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

/// Entries, in order.
pub(super) enum Iter<'a, K, V> {
    Few(slice::Iter<'a, (K, V)>),
    Many(btree_map::Range<'a, K, V>),
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(few) => few.next().map(|(key, value)| (key, value)),
            Self::Many(many) => many.next(),
        }
    }
}

impl<K, V> DoubleEndedIterator for Iter<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(few) => few.next_back().map(|(key, value)| (key, value)),
            Self::Many(many) => many.next_back(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Do {
        Insert(u8, u32),
        Default(u8),
        Remove(u8),
        First,
        Last,
        Each,
        Clear,
        Range(u8, u8, bool, bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Do>> {
        let step = prop_oneof![
            6 => (0..14_u8, any::<u32>()).prop_map(|(key, value)| Do::Insert(key, value)),
            1 => (0..14_u8).prop_map(Do::Default),
            3 => (0..14_u8).prop_map(Do::Remove),
            1 => Just(Do::First),
            1 => Just(Do::Last),
            1 => Just(Do::Each),
            1 => Just(Do::Clear),
            3 => (0..14_u8, 0..14_u8, any::<bool>(), any::<bool>())
                .prop_map(|(a, b, c, d)| Do::Range(a.min(b), a.max(b) + 1, c, d)),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(steps in steps()) {
            let (mut map, mut model) = (SmallMap::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Do::Insert(key, value) => {
                        prop_assert_eq!(map.insert(key, value), model.insert(key, value));
                    }
                    Do::Default(key) => {
                        *map.get_or_default(key).0 += 1;
                        *model.entry(key).or_default() += 1;
                    }
                    Do::Remove(key) => {
                        prop_assert_eq!(map.remove_entry(&key), model.remove_entry(&key));
                    }
                    Do::First => prop_assert_eq!(map.pop_first(), model.pop_first()),
                    Do::Last => prop_assert_eq!(map.pop_last(), model.pop_last()),
                    Do::Each => {
                        map.each_mut(|key, value| *value = value.wrapping_add(u32::from(*key)));
                        for (key, value) in &mut model {
                            *value = value.wrapping_add(u32::from(*key));
                        }
                    }
                    Do::Clear => {
                        map.clear();
                        model.clear();
                    }
                    Do::Range(from, to, from_in, to_in) => {
                        let bound = |key, is_in| match is_in {
                            true => Bound::Included(key),
                            false => Bound::Excluded(key),
                        };
                        let range = (bound(from, from_in), bound(to, to_in));
                        prop_assert!(map.range(range).eq(model.range(range)));
                        prop_assert!(map.range(range).rev().eq(model.range(range).rev()));
                    }
                }
                prop_assert!(map.iter().eq(&model));
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!((map.first(), map.last()), (model.first_key_value(), model.last_key_value()));
                for key in 0..14 {
                    prop_assert_eq!(map.get(&key), model.get(&key));
                }
            }
        }
    }

    #[test]
    fn one_entry_takes_no_memory_elsewhere() {
        let map: SmallMap<u64, u64> = [(1, 2)].into_iter().collect();
        assert!(matches!(map, SmallMap::One((1, 2))));
        assert!(size_of::<SmallMap<u64, u64>>() <= size_of::<Vec<u64>>());
    }
}
