//! [`MapStore::differences`]: how the entries of a table differ from those that it had otherwise.
//!
//! Invariant: rows are told in the order of their partitions, and in one of their keys' bytes: the same on any
//! number of workers.

use std::collections::BTreeMap;

use super::map_store::MapStore;
use super::{SubKey, Value};
use crate::Key;

/// An entry that differs: what it was, and what it is.
pub(crate) type Differing<S, V> = (S, Option<V>, Option<V>);

/// Rows of which some entries differ, by partition and by the bytes of their keys.
type Rows<K, S, V> = BTreeMap<(u32, Vec<u8>), (K, BTreeMap<S, (Option<V>, Option<V>)>)>;

impl<K: Key, S: SubKey, V: Value> MapStore<K, S, V> {
    /// Tells of each entry that there is here or in `former`, in no order: what it was there, and what it is.
    pub(crate) fn each_pair(
        &self,
        former: Option<&Self>,
        mut tell: impl FnMut(&K, &S, Option<&V>, Option<&V>),
    ) {
        if let Some(former) = former {
            former.each_entry(|key, sub_key, was| {
                let told = self.see(key, sub_key, |is| tell(key, sub_key, Some(was), Some(is)));
                told.unwrap_or_else(|| tell(key, sub_key, Some(was), None));
            });
        }
        self.each_entry(|key, sub_key, is| {
            if former.is_none_or(|former| former.see(key, sub_key, |_| ()).is_none()) {
                tell(key, sub_key, None, Some(is));
            }
        });
    }
}

impl<K: Key, S: SubKey, V: Value + PartialEq> MapStore<K, S, V> {
    /// Tells of each key of which entries differ from those of `former`.
    pub(crate) fn differences(
        &self,
        former: Option<&Self>,
        partition: impl Fn(&K) -> u32,
        mut tell: impl FnMut(&K, Vec<Differing<S, V>>),
    ) {
        let mut rows: Rows<K, S, V> = BTreeMap::new();
        let differs = |key: &K, sub_key: &S, was: Option<&V>, is: Option<&V>| {
            if was == is {
                return;
            }
            let mut bytes = Vec::new();
            key.append_bytes(&mut bytes);
            let place = (partition(key), bytes);
            let (_, entries) = rows.entry(place).or_insert_with(|| (key.clone(), BTreeMap::new()));
            entries.insert(sub_key.clone(), (was.cloned(), is.cloned()));
        };
        self.each_pair(former, differs);
        for (key, entries) in rows.into_values() {
            let entries = entries.into_iter().map(|(sub_key, (was, is))| (sub_key, was, is));
            tell(&key, entries.collect());
        }
    }
}
