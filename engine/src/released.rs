//! [`Released`]: what a sink was given since the application's first start, as a number and a digest.
//!
//! Invariant: it is a function of the records alone, in their order, so a replay that releases the
//! same has the same; checkpoints keep it.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::Record;

/// What a sink was given: how many records, and a digest of all of them in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// How many.
    pub records: u64,
    /// Of their contents, one upon the other.
    pub digest: u64,
}

/// Adds records to a [`Released`].
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) released: Released,
    bytes: Vec<u8>,
}

impl Tally {
    /// Goes on from what was released before.
    pub(crate) fn from(released: Released) -> Self {
        Self { released, bytes: Vec::new() }
    }

    /// One more record. What has no form as bytes is counted only.
    pub(crate) fn add<T: Record>(&mut self, record: &T) {
        self.bytes.clear();
        let Released { records, digest } = &mut self.released;
        *records += 1;
        let taken = std::mem::take(&mut self.bytes);
        if let Ok(bytes) = postcard::to_extend(record, taken) {
            *digest = xxh3_64_with_seed(&bytes, *digest);
            self.bytes = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[&str]) -> Released {
        let mut tally = Tally::from(Released::default());
        records.iter().for_each(|record| tally.add(&record.to_string()));
        tally.released
    }

    #[test]
    fn order_and_content_count_and_pieces_do_not() {
        assert_eq!(of(&["a", "b"]).records, 2);
        assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
        assert_ne!(of(&["ab"]), of(&["a", "b"]));
        assert_ne!(of(&["a"]).digest, of(&["a", ""]).digest);
        let mut tally = Tally::from(of(&["a"]));
        tally.add(&"b".to_string());
        assert_eq!(tally.released, of(&["a", "b"]));
    }
}
