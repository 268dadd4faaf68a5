//! [`Rows`]: rows of tables as bytes, on their way into a checkpoint and out of it.
//!
//! Invariant: a row is known by its key's bytes (and its sub-key's, in a map table); the last one of
//! a key is what it is.

use serde::{Deserialize, Serialize};

/// How the keys and values of a table are encoded in checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Codec {
    /// Self-describing MessagePack with named fields: fields can be added, removed and reordered,
    /// and anybody can read it.
    #[default]
    MessagePack,
    /// `bitcode`: small, slower than MessagePack row by row, and only for the very type that wrote it.
    Bitcode,
    /// `abomonation`: the memory as it is; for trusted storage and the very program that wrote it.
    Abomonation,
}

/// What a table is, as a checkpoint remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// Its name.
    pub name: String,
    /// The type of its keys, for people.
    pub key: String,
    /// The type of its sub-keys; none for a plain table.
    pub sub_key: Option<String>,
    /// The type of its values.
    pub value: String,
    /// How its rows are encoded.
    pub codec: Codec,
}

/// One row (of a map table: one entry of a row) as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowBytes<'a> {
    /// The partition that its key belongs to.
    pub partition: u32,
    /// Its key.
    pub key: &'a [u8],
    /// Its sub-key, in a map table.
    pub sub_key: Option<&'a [u8]>,
    /// Its value; none if the row is gone.
    pub value: Option<&'a [u8]>,
}

/// Rows of one table, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    bytes: Vec<u8>,
    count: usize,
}

/// Stands for the length of what is not there.
const NONE: u32 = u32::MAX;
/// Partition and three lengths.
const HEADER: usize = 16;

impl Rows {
    /// No rows, and room for `bytes` of them in memory that the system has handed out: whoever fills
    /// it waits for none.
    pub(crate) fn with_room(bytes: usize) -> Self {
        let mut rows = Self { bytes: vec![1; bytes], count: 0 };
        rows.clear();
        rows
    }

    /// Appends a row.
    ///
    /// # Panics
    /// When a key, sub-key or value has 4 GiB or more.
    pub fn push(&mut self, row: RowBytes<'_>) {
        self.bytes.extend_from_slice(&row.partition.to_le_bytes());
        for part in [Some(row.key), row.sub_key, row.value] {
            self.bytes.extend_from_slice(&length(part).to_le_bytes());
        }
        for part in [Some(row.key), row.sub_key, row.value].into_iter().flatten() {
            self.bytes.extend_from_slice(part);
        }
        self.count += 1;
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The rows as they are stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Drops all rows, and keeps their memory for others.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// Takes out the rows as they are stored, and how many they are.
    pub fn take(&mut self) -> (Vec<u8>, usize) {
        (std::mem::take(&mut self.bytes), std::mem::take(&mut self.count))
    }

    /// The rows in `bytes`, as [`bytes`](Rows::bytes) gave them; ends with `Err` where they are not
    /// well-formed.
    ///
    /// ```
    /// use anabranch::checkpoint::{RowBytes, Rows};
    /// let row = RowBytes { partition: 7, key: b"k", sub_key: None, value: Some(b"v") };
    /// let mut rows = Rows::default();
    /// rows.push(row);
    /// assert_eq!(Rows::read(rows.bytes()).collect::<Vec<_>>(), [Ok(row)]);
    /// ```
    pub fn read(bytes: &[u8]) -> impl Iterator<Item = Result<RowBytes<'_>, Malformed>> {
        let mut rest = Some(bytes);
        std::iter::from_fn(move || {
            let bytes = rest.take().filter(|bytes| !bytes.is_empty())?;
            let row = split(bytes);
            rest = row.map(|(_, rest)| rest);
            Some(row.map(|(row, _)| row).ok_or(Malformed))
        })
    }
}

/// Rows end in the middle of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

#[allow(clippy::expect_used)]
fn length(part: Option<&[u8]>) -> u32 {
    let Some(part) = part else { return NONE };
    u32::try_from(part.len())
        .ok()
        .filter(|length| *length != NONE)
        .expect("a key or value of 4 GiB cannot be kept: split it, for example over a MapTable")
}

fn split(bytes: &[u8]) -> Option<(RowBytes<'_>, &[u8])> {
    let (header, mut rest) = bytes.split_at_checked(HEADER)?;
    let mut numbers = header.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk));
    let partition = numbers.next()?;
    let mut part = || {
        let length = numbers.next()?;
        if length == NONE {
            return Some(None);
        }
        let (part, after) = rest.split_at_checked(length as usize)?;
        rest = after;
        Some(Some(part))
    };
    let (key, sub_key, value) = (part()??, part()?, part()?);
    Some((RowBytes { partition, key, sub_key, value }, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Part = Option<Vec<u8>>;

    proptest! {
        #[test]
        fn rows_are_read_as_they_were_pushed(
            given in proptest::collection::vec(any::<(u32, Vec<u8>, Part, Part)>(), 0..9),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut rows = Rows::default();
            let mut ends = vec![0];
            let given: Vec<_> = given.iter().map(|(partition, key, sub_key, value)| RowBytes {
                partition: *partition, key, sub_key: sub_key.as_deref(), value: value.as_deref(),
            }).collect();
            for row in &given {
                rows.push(*row);
                ends.push(rows.bytes().len());
            }
            prop_assert_eq!(rows.len(), given.len());
            let read: Vec<_> = Rows::read(rows.bytes()).collect();
            prop_assert_eq!(read, given.iter().map(|row| Ok(*row)).collect::<Vec<_>>());
            let cut = cut.index(rows.bytes().len() + 1);
            let whole = Rows::read(&rows.bytes()[..cut]).all(|row| row.is_ok());
            prop_assert_eq!(whole, ends.contains(&cut));
        }
    }
}
