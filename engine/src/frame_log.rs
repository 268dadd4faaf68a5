//! What was read from a live partition, as bytes for the journal, and back.
//!
//! Invariant: what is read back gives the same records, refusals and origins as the first time:
//! frames are decoded again from the bytes that came; records of sources that have no bytes are kept
//! themselves.

use crate::source::Frame;
use crate::{Error, Record, Result};

/// Items of the journal's payload, one after the other.
#[derive(Debug, Default)]
pub(crate) struct FrameLog {
    bytes: Vec<u8>,
}

/// One item of a payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Logged<'a> {
    /// A frame, to be decoded; with the transport's reason if it refused it.
    Frame { bytes: &'a [u8], refusal: Option<&'a str> },
    /// A record, encoded.
    Record(&'a [u8]),
    /// A refused frame of a source that decodes by itself.
    Refused { reason: &'a str, bytes: &'a [u8] },
}

const FRAME: u8 = 0;
const FRAME_REFUSED: u8 = 1;
const RECORD: u8 = 2;
const REFUSED: u8 = 3;

impl FrameLog {
    /// Keeps a frame as it came.
    #[inline]
    pub(crate) fn frame(&mut self, frame: &Frame<'_>) {
        match frame.refusal {
            None => self.item(frame.offset, FRAME, "", frame.bytes),
            Some(reason) => self.item(frame.offset, FRAME_REFUSED, reason, frame.bytes),
        }
    }

    /// Keeps a record of a source that has no frames.
    ///
    /// # Errors
    /// When the record has no encoded form.
    pub(crate) fn record<T: Record>(&mut self, offset: u64, record: &T) -> Result<()> {
        let bytes = rmp_serde::to_vec_named(record).map_err(|e| {
            Error::Connector(format!("record {offset} of a source cannot be journaled: {e}"))
        })?;
        self.item(offset, RECORD, "", &bytes);
        Ok(())
    }

    /// Keeps what a source that decodes by itself has refused.
    pub(crate) fn refused(&mut self, offset: u64, reason: &str, bytes: &[u8]) {
        self.item(offset, REFUSED, reason, bytes);
    }

    fn item(&mut self, offset: u64, kind: u8, text: &str, bytes: &[u8]) {
        // Frames and reasons are capped far below 4 GiB by whoever reads them.
        let length = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&offset.to_le_bytes());
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&length(text.as_bytes()).to_le_bytes());
        self.bytes.extend_from_slice(&length(bytes).to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    /// What was kept since it was last cleared.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was kept; the memory stays, for the next time, unless it was much.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
    }
}

/// The memory that a log without content keeps.
const KEPT_BYTES: usize = 1 << 20;

/// The items of a payload with their offsets.
///
/// # Errors
/// An item that is not whole: the payload is not what [`FrameLog`] wrote.
pub(crate) fn read(payload: &[u8]) -> impl Iterator<Item = Result<(u64, Logged<'_>)>> {
    let mut rest = Some(payload);
    std::iter::from_fn(move || {
        let bytes = rest.take().filter(|bytes| !bytes.is_empty())?;
        let Some((item, after)) = split(bytes) else {
            return Some(Err(Error::Decode("a journaled frame is not well-formed".to_string())));
        };
        rest = Some(after);
        Some(Ok(item))
    })
}

fn split(bytes: &[u8]) -> Option<((u64, Logged<'_>), &[u8])> {
    let (offset, rest) = bytes.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (text_length, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*text_length) as usize)?;
    let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let text = std::str::from_utf8(text).ok()?;
    let logged = match *kind {
        FRAME => Logged::Frame { bytes, refusal: None },
        FRAME_REFUSED => Logged::Frame { bytes, refusal: Some(text) },
        RECORD => Logged::Record(bytes),
        REFUSED => Logged::Refused { reason: text, bytes },
        _ => return None,
    };
    Some(((u64::from_le_bytes(*offset), logged), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn items_are_read_as_they_were_kept(
            items in proptest::collection::vec(any::<(u64, u8, String, Vec<u8>)>(), 0..9),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut log = FrameLog::default();
            let mut ends = vec![0];
            for (offset, kind, text, bytes) in &items {
                match kind % 4 {
                    0 => log.frame(&Frame::new(*offset, bytes)),
                    1 => log.frame(&Frame { refusal: Some(text), ..Frame::new(*offset, bytes) }),
                    2 => log.record(*offset, bytes).unwrap(),
                    _ => log.refused(*offset, text, bytes),
                }
                ends.push(log.bytes().len());
            }
            let encoded: Vec<Vec<u8>> =
                items.iter().map(|(.., bytes)| rmp_serde::to_vec_named(bytes).unwrap()).collect();
            let expected: Vec<_> = items.iter().zip(&encoded).map(|((offset, kind, text, bytes), encoded)| {
                (*offset, match kind % 4 {
                    0 => Logged::Frame { bytes, refusal: None },
                    1 => Logged::Frame { bytes, refusal: Some(text) },
                    2 => Logged::Record(encoded),
                    _ => Logged::Refused { reason: text, bytes },
                })
            }).collect();
            let read_back: Vec<_> = read(log.bytes()).map(Result::unwrap).collect();
            prop_assert_eq!(read_back, expected);
            let cut = cut.index(log.bytes().len() + 1);
            let whole = read(&log.bytes()[..cut]).all(|item| item.is_ok());
            prop_assert_eq!(whole, ends.contains(&cut));
        }
    }
}
