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
    use super::*;

    #[test]
    fn placement_is_specified() {
        // From the reference implementation of XXH3 (`xxhsum -H3`), over the bytes documented.
        assert_eq!(().placement_hash(), 0x2d06_8005_38d3_94c2);
        assert_eq!(7_u32.placement_hash(), (7_u32,).placement_hash());
        assert_ne!(7_u32.placement_hash(), 7_u64.placement_hash());
        let split = |a: &str, b: &str| (a.to_string(), b.to_string()).placement_hash();
        assert_ne!(split("ab", "c"), split("a", "bc"));
    }
}
