//! What was answered, as bytes for the journal, and back.
//!
//! Invariant: an answer is found by the origin of its record, and is used only for the question that it
//! answers: if the record of that origin is another one, it has no answer.

use std::collections::BTreeMap;

use crate::{Error, Origin, Result};

/// What came of asking about a record, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// An answer, as MessagePack.
    Answer(Vec<u8>),
    /// The record counts for nothing.
    Nothing,
    /// It failed for good, as MessagePack.
    Failed(Vec<u8>),
}

const ANSWER: u8 = 0;
const NOTHING: u8 = 1;
const FAILED: u8 = 2;

/// What is known of records: by origin, with the digest of the record.
pub(crate) type Known = BTreeMap<Origin, (u64, Said)>;

/// Appends an item to a payload.
pub(super) fn push(payload: &mut Vec<u8>, origin: Origin, question: u64, said: &Said) {
    let (kind, bytes): (u8, &[u8]) = match said {
        Said::Answer(bytes) => (ANSWER, bytes),
        Said::Nothing => (NOTHING, &[]),
        Said::Failed(bytes) => (FAILED, bytes),
    };
    payload.extend_from_slice(&origin.to_bytes());
    payload.extend_from_slice(&question.to_le_bytes());
    payload.push(kind);
    // The caller has kept the cap.
    payload.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    payload.extend_from_slice(bytes);
}

/// Adds the items of a payload to what is known.
///
/// # Errors
/// An item that is not whole: the payload is not what [`push`] wrote.
pub(super) fn read(mut payload: &[u8], known: &mut Known) -> Result<()> {
    while !payload.is_empty() {
        let Some((origin, question, said, rest)) = split(payload) else {
            return Err(Error::Data(
                "a journaled answer is not well-formed: it was written by another version, or is \
                 damaged"
                    .to_string(),
            ));
        };
        known.insert(origin, (question, said));
        payload = rest;
    }
    Ok(())
}

fn split(bytes: &[u8]) -> Option<(Origin, u64, Said, &[u8])> {
    let (origin, rest) = bytes.split_first_chunk()?;
    let (question, rest) = rest.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (said, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let said = match *kind {
        ANSWER => Said::Answer(said.to_vec()),
        NOTHING if said.is_empty() => Said::Nothing,
        FAILED => Said::Failed(said.to_vec()),
        _ => return None,
    };
    Some((Origin::of_bytes(origin)?, u64::from_le_bytes(*question), said, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Time;

    proptest! {
        #[test]
        fn items_are_read_as_they_were_kept(
            items in proptest::collection::vec(any::<(i64, u8, u64, u8, Vec<u8>)>(), 0..9),
            cut in any::<proptest::sample::Index>(),
        ) {
            let (mut payload, mut ends, mut expected) = (Vec::new(), vec![0], Known::new());
            for (time, place, question, kind, bytes) in items {
                let origin = Origin::new(Time::from_nanos(time), 3, 1, 7).child(place.into());
                let said = match kind % 3 {
                    ANSWER => Said::Answer(bytes),
                    NOTHING => Said::Nothing,
                    _ => Said::Failed(bytes),
                };
                push(&mut payload, origin, question, &said);
                expected.insert(origin, (question, said));
                ends.push(payload.len());
            }
            let mut known = Known::new();
            read(&payload, &mut known).unwrap();
            prop_assert_eq!(known, expected);
            let cut = cut.index(payload.len() + 1);
            prop_assert_eq!(read(&payload[..cut], &mut Known::new()).is_ok(), ends.contains(&cut));
        }
    }
}
