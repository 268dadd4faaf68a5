//! [`Hot`]: which keys come most often, found by a sample of the records.
//!
//! Of each epoch the first record is looked at, so it costs nothing a record.
//!
//! Invariant: at most [`KEYS_MAX`] keys are kept (the *space-saving* algorithm of Metwally, Agrawal and El Abbadi,
//! 2005): a key that is more than one in so many of the sample is among them.

/// How many keys are kept.
const KEYS_MAX: usize = 64;

/// The keys that come most often.
pub(crate) struct Hot<K> {
    /// With how often each came at most.
    counts: Vec<(K, u64)>,
    /// Of how many.
    sampled: u64,
}

impl<K> Default for Hot<K> {
    fn default() -> Self {
        Self { counts: Vec::new(), sampled: 0 }
    }
}

impl<K: Eq> Hot<K> {
    /// Counts a key.
    pub(crate) fn add(&mut self, key: K) {
        self.sampled += 1;
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| *known == key) {
            *count += 1;
        } else if self.counts.len() < KEYS_MAX {
            self.counts.push((key, 1));
        } else if let Some(least) = self.counts.iter_mut().min_by_key(|(_, count)| *count) {
            *least = (key, least.1 + 1);
        }
    }

    /// How many were counted, and the keys, the most frequent first.
    pub(crate) fn keys(&self) -> (u64, Vec<(&K, u64)>) {
        let mut keys: Vec<_> = self.counts.iter().map(|(key, count)| (key, *count)).collect();
        keys.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        (self.sampled, keys)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_frequent_is_found(
            hot in proptest::collection::vec(0..4_u32, 200),
            cold in proptest::collection::vec(100..100_000_u32, 400),
        ) {
            let (mut keys, mut exact) = (Hot::default(), BTreeMap::new());
            let mut all: Vec<u32> = hot.into_iter().chain(cold).collect();
            all.sort_by_key(|key| key.wrapping_mul(2_654_435_761));
            for key in &all {
                keys.add(*key);
                *exact.entry(*key).or_insert(0_u64) += 1;
            }
            let (sampled, found) = keys.keys();
            prop_assert_eq!(sampled, all.len() as u64);
            prop_assert!(found.len() <= KEYS_MAX);
            prop_assert!(found.is_sorted_by(|one, next| one.1 >= next.1));
            let limit = all.len() as u64 / KEYS_MAX as u64;
            for (key, count) in exact {
                let told = found.iter().find(|(known, _)| **known == key);
                if count > limit {
                    prop_assert!(told.is_some(), "{key} came {count} times of {}", all.len());
                }
                if let Some((_, told)) = told {
                    prop_assert!((count..=count + limit).contains(told), "{told} for {count}");
                }
            }
        }
    }
}
