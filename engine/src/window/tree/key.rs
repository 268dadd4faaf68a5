//! What a key says of the shape: at which heights nodes begin with it.
//!
//! Invariant: a function of the key alone, the same on any machine and in any version: another one would
//! round the same values otherwise.

use crate::Time;

/// A key that a [`Tree`](super::Tree) can be sorted by: a [`Time`] or a number, and no other, since a hash
/// of it decides how values round.
pub trait TreeKey: Ord + Copy + sealed::Bits {}

impl TreeKey for Time {}
impl TreeKey for u64 {}

pub(super) mod sealed {
    /// What of a key is hashed.
    pub trait Bits {
        /// Other ones for each other key.
        fn bits(self) -> u64;
    }
}

impl sealed::Bits for Time {
    fn bits(self) -> u64 {
        self.as_nanos().cast_unsigned()
    }
}

impl sealed::Bits for u64 {
    fn bits(self) -> u64 {
        self
    }
}

/// One key in 2^3 begins a leaf: so many entries has a leaf, on average. With 2^4, memory is a fifth less
/// and what comes out of order costs a third more combines; with 2^2, they are two fifths more and a
/// tenth fewer.
const LEAF_BITS: u32 = 3;
/// Of those that begin a node, one in 2^2 begins the one above it too. With 2^1, trees are twice as high
/// for a fifth fewer combines.
const NODE_BITS: u32 = 2;

/// How many nodes, one above the other, begin with an entry: none if 0, the leaf if 1.
pub(super) fn height(key: impl sealed::Bits) -> usize {
    let zeros = mix(key.bits()).trailing_zeros();
    zeros.checked_sub(LEAF_BITS).map_or(0, |more| 1 + (more / NODE_BITS) as usize)
}

/// The finaliser of SplitMix64: keys at fixed distances become as good as random.
///
/// What is added is the first digits of pi behind the point. With those of the golden ratio, the number 6
/// would begin six nodes: too many for the counts of records, all of which begin at 0.
fn mix(bits: u64) -> u64 {
    let z = bits.wrapping_add(0x243f_6a88_85a3_08d3);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
