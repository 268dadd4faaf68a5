//! A checked door to `abomonation`, which writes values as their memory is: the fastest form there
//! is, and only for the very program that wrote it, from storage that nobody else writes to.
//!
//! Invariant: nothing is read back as a `T` but bytes that [`encode`] made of a `T` of the same name,
//! size and alignment, undamaged. That is checked against accidents. It is no protection against
//! somebody who makes such bytes on purpose: `abomonation` is unsound then (RUSTSEC-2021-0120).

use std::any::type_name;
use std::ptr::NonNull;
use std::{io, slice};

pub use abomonation::Abomonation;
use xxhash_rust::xxh3::xxh3_64;

/// The length of what stands before the memory: what it is, and a checksum.
const HEADER: usize = 16;

/// Appends `value` as its memory is, and what that points to.
///
/// # Errors
/// Those of the type's own `entomb`; none of the types of `abomonation` has any.
pub fn encode<T: Abomonation>(value: &T, bytes: &mut Vec<u8>) -> io::Result<()> {
    let start = bytes.len();
    bytes.extend_from_slice(&kind::<T>().to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    if size_of::<T>() > 0 {
        // SAFETY: what abomonation asks for: `value` is a live `T`, and what is written is only ever
        // read back by `decode`. It reads padding too, which the language leaves undefined.
        unsafe { abomonation::encode(value, bytes)? };
    }
    let checksum = xxh3_64(bytes.get(start + HEADER..).unwrap_or_default()).to_le_bytes();
    if let Some(place) = bytes.get_mut(start + 8..start + HEADER) {
        place.copy_from_slice(&checksum);
    }
    Ok(())
}

/// The value in `bytes`, which [`encode`] made; `None` if it did not, of this type.
pub fn decode<T: Abomonation + Clone>(bytes: &[u8]) -> Option<T> {
    let (kind_read, rest) = bytes.split_first_chunk::<8>()?;
    let (checksum, memory) = rest.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*kind_read) != kind::<T>()
        || u64::from_le_bytes(*checksum) != xxh3_64(memory)
        || align_of::<T>() > align_of::<u128>()
    {
        return None;
    }
    if size_of::<T>() == 0 {
        // SAFETY: a value without bytes is valid at any aligned address; `encode` was given one.
        return Some(unsafe { NonNull::<T>::dangling().as_ref() }.clone());
    }
    let mut aligned = vec![0_u128; memory.len().div_ceil(size_of::<u128>())];
    // SAFETY: the buffer has at least that many bytes, all initialized, and is not used otherwise.
    let copy = unsafe { slice::from_raw_parts_mut(aligned.as_mut_ptr().cast(), memory.len()) };
    copy.copy_from_slice(memory);
    // SAFETY: the bytes are what `encode` wrote of a `T` of this name and size, and begin aligned. The
    // value points into `aligned` and is given away only as a clone.
    let (value, rest) = unsafe { abomonation::decode::<T>(copy)? };
    rest.is_empty().then(|| value.clone())
}

/// Tells types apart, as far as a program can.
fn kind<T>() -> u64 {
    let name = type_name::<T>();
    xxh3_64(format!("{name} {} {} {}", size_of::<T>(), align_of::<T>(), usize::BITS).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<T: Abomonation + Clone + PartialEq + std::fmt::Debug>(value: &T) {
        let mut bytes = b"before".to_vec();
        encode(value, &mut bytes).unwrap();
        assert_eq!(decode::<T>(&bytes[6..]).as_ref(), Some(value));
        for cut in 6..bytes.len() {
            assert_eq!(decode::<T>(&bytes[6..cut]), None, "cut at {cut}");
        }
        for at in 6..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode::<T>(&damaged[6..]), None, "damaged at {at}");
        }
    }

    #[test]
    fn values_come_back_and_damage_does_not() {
        round(&());
        round(&7_u64);
        round(&(String::from("text"), Some(String::new()), 9_u8));
        round(&vec![String::from("a"), String::from("bc")]);
        round(&(u128::MAX, vec![1_u64, 2, 3]));
    }

    #[test]
    fn another_type_is_refused() {
        let mut bytes = Vec::new();
        encode(&7_u64, &mut bytes).unwrap();
        assert_eq!(decode::<i64>(&bytes), None);
        assert_eq!(decode::<()>(&bytes), None);
    }
}
