//! [`Key`]: what can choose a row, and the bytes by which it is placed.
//!
//! Invariant: a key's bytes, and so its placement, are the same on every machine, in every
//! version of the program and of the engine.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

/// What can choose a row of a table.
///
/// Two keys are equal exactly if their bytes are. For a key of your own, append the bytes of its
/// fields:
///
/// ```
/// use anabranch::Key;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
/// struct Account { bank: u16, number: String }
///
/// impl Key for Account {
///     fn append_bytes(&self, bytes: &mut Vec<u8>) {
///         self.bank.append_bytes(bytes);
///         self.number.append_bytes(bytes);
///     }
/// }
/// # let account = Account { bank: 7, number: "12".into() };
/// # assert_eq!(account.placement_hash(), (7_u16, "12".to_string()).placement_hash());
/// ```
pub trait Key: Clone + Eq + Hash + Send + Serialize + DeserializeOwned + 'static {
    /// Appends the key's bytes: integers little-endian, text as its length (`u64`) and UTF-8,
    /// tuples field by field.
    fn append_bytes(&self, bytes: &mut Vec<u8>);

    /// The xxh3 hash of the bytes, which places the key. Override it only to save the copy.
    fn placement_hash(&self) -> u64 {
        let mut bytes = Vec::with_capacity(64);
        self.append_bytes(&mut bytes);
        xxh3_64(&bytes)
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Key for $integer {
            fn append_bytes(&self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
            #[inline]
            fn placement_hash(&self) -> u64 {
                xxh3_64(&self.to_le_bytes())
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

impl Key for bool {
    fn append_bytes(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*self));
    }
}

impl Key for char {
    fn append_bytes(&self, bytes: &mut Vec<u8>) {
        u32::from(*self).append_bytes(bytes);
    }
}

impl Key for String {
    fn append_bytes(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&(self.len() as u64).to_le_bytes());
        bytes.extend_from_slice(self.as_bytes());
    }
}

impl<T: Key> Key for Option<T> {
    fn append_bytes(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self.is_some()));
        if let Some(key) = self {
            key.append_bytes(bytes);
        }
    }
}

macro_rules! tuples {
    ($($name:ident $index:tt),*) => {
        impl<$($name: Key),*> Key for ($($name,)*) {
            fn append_bytes(&self, _bytes: &mut Vec<u8>) {
                $(self.$index.append_bytes(_bytes);)*
            }
        }
    };
}

tuples!();
tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::Placement;

    #[test]
    fn placement_is_specified() {
        // From the reference implementation of XXH3 (`xxhsum -H3`), over the bytes documented.
        assert_eq!(().placement_hash(), 0x2d06_8005_38d3_94c2);
        assert_eq!(7_u32.placement_hash(), (7_u32,).placement_hash());
        assert_ne!(7_u32.placement_hash(), 7_u64.placement_hash());
        let split = |a: &str, b: &str| (a.to_string(), b.to_string()).placement_hash();
        assert_ne!(split("ab", "c"), split("a", "bc"));
    }

    /// Both what a key appends and what it is placed by are these bytes.
    #[track_caller]
    fn has_bytes(key: &impl Key, bytes: &[u8]) {
        let mut appended = b"before".to_vec();
        key.append_bytes(&mut appended);
        assert_eq!(appended, [b"before", bytes].concat());
        assert_eq!(key.placement_hash(), xxh3_64(bytes));
    }

    #[test]
    fn every_type_has_the_bytes_that_are_documented() {
        has_bytes(&0x12_u8, &[0x12]);
        has_bytes(&0x1234_u16, &[0x34, 0x12]);
        has_bytes(&0x1234_5678_u32, &[0x78, 0x56, 0x34, 0x12]);
        has_bytes(&0x0102_0304_0506_0708_u64, &[8, 7, 6, 5, 4, 3, 2, 1]);
        has_bytes(&(1_u128 << 120 | 2), &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        has_bytes(&-2_i8, &[0xfe]);
        has_bytes(&-2_i16, &[0xfe, 0xff]);
        has_bytes(&-2_i32, &[0xfe, 0xff, 0xff, 0xff]);
        has_bytes(&-2_i64, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        has_bytes(&i128::MIN, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]);
        has_bytes(&true, &[1]);
        has_bytes(&false, &[0]);
        has_bytes(&'€', &[0xac, 0x20, 0, 0]);
        has_bytes(&"€".to_string(), &[3, 0, 0, 0, 0, 0, 0, 0, 0xe2, 0x82, 0xac]);
        has_bytes(&String::new(), &[0; 8]);
        has_bytes(&None::<u16>, &[0]);
        has_bytes(&Some(7_u16), &[1, 7, 0]);
        has_bytes(&(), &[]);
        has_bytes(&(1_u8, 2_u16), &[1, 2, 0]);
        has_bytes(&(1_u8, Some('a'), false), &[1, 1, 0x61, 0, 0, 0, 0]);
        has_bytes(&(1_u8, (2_u8, 3_u8), 4_u8, 5_u8), &[1, 2, 3, 4, 5]);
    }

    fn bytes(key: &impl Key) -> Vec<u8> {
        let mut bytes = Vec::new();
        key.append_bytes(&mut bytes);
        bytes
    }

    type Compound = (String, Option<String>, u16);

    proptest! {
        #[test]
        fn keys_are_equal_exactly_if_their_bytes_are(
            a in ("[ab]{0,2}", proptest::option::of("[ab]{0,2}"), 0..2_u16),
            b in ("[ab]{0,2}", proptest::option::of("[ab]{0,2}"), 0..2_u16),
        ) {
            let (a, b): (Compound, Compound) = (a, b);
            prop_assert_eq!(bytes(&a) == bytes(&b), a == b);
            prop_assert_eq!(a.placement_hash(), xxh3_64(&bytes(&a)));
        }

        #[test]
        fn workers_own_contiguous_ranges_that_cover_all_partitions(
            partitions in 1..3000_usize, workers in 1..300_usize,
        ) {
            let placement = Placement::new(partitions, workers, 0, 0..workers);
            let owners: Vec<usize> =
                (0..partitions as u64).map(|partition| placement.worker(partition)).collect();
            prop_assert!(owners.is_sorted());
            prop_assert!(owners.iter().all(|owner| *owner < workers));
            // The same whatever is added in whole rounds of partitions: only the remainder counts.
            prop_assert_eq!(placement.worker(partitions as u64 * 7 + 1), placement.worker(1));
            // Shares differ by one at most, so no worker is idle if there are enough partitions.
            let shares: Vec<usize> = (0..workers)
                .map(|worker| owners.iter().filter(|owner| **owner == worker).count())
                .collect();
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{shares:?}");
        }
    }
}
