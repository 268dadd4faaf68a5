//! [`LogReader`]: reads the log while it is written, for one subscriber.
//!
//! Invariant: gives the records in order, each once, up to the number that it is told; what is gone
//! meanwhile is said, never skipped in silence. It blocks on files: not for a socket's thread.

use std::io;
use std::sync::Arc;

use super::segment::{Scanner, id_of};
use super::{Segment, Segments};

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::websocket) enum Chunk {
    /// These records; none if there is nothing more up to the bound.
    Records(Vec<Vec<u8>>),
    /// What should come next is gone: the log begins with the record of this name, if it has any.
    Gone(Option<Vec<u8>>),
}

pub(in crate::websocket) struct LogReader {
    segments: Arc<Segments>,
    /// The number of the next record.
    cursor: u64,
    /// The open segment, and the number of the record after its last; none if it is the last.
    open: Option<(Scanner, Option<u64>)>,
}

impl LogReader {
    pub(in crate::websocket) fn new(segments: Arc<Segments>) -> Self {
        Self { segments, cursor: 0, open: None }
    }

    /// The number of the next record.
    pub(in crate::websocket) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Goes on after the record with this name, before record `until`; else at the beginning of
    /// the log, and says what that is.
    pub(in crate::websocket) fn seek(&mut self, id: &[u8], until: u64) -> io::Result<Chunk> {
        // Who comes back was there a moment ago: the newest first.
        let segments: Vec<Segment> = self.segments.lock().iter().rev().cloned().collect();
        for segment in segments {
            let Some(mut scanner) = open(&segment)? else { continue };
            let mut number = segment.first;
            while number < until
                && let Some(payload) = scanner.next()?
            {
                number += 1;
                if id_of(payload) == id {
                    self.cursor = number;
                    return Ok(Chunk::Records(Vec::new()));
                }
            }
        }
        self.rewind(until)
    }

    /// Goes to the oldest record.
    fn rewind(&mut self, until: u64) -> io::Result<Chunk> {
        self.open = None;
        let oldest = self.segments.lock().front().cloned();
        let Some(oldest) = oldest else {
            self.cursor = until;
            return Ok(Chunk::Gone(None));
        };
        self.cursor = oldest.first.min(until);
        let first = match open(&oldest)? {
            Some(mut scanner) if oldest.first < until => {
                scanner.next()?.map(|payload| id_of(payload).to_vec())
            }
            _ => None,
        };
        Ok(Chunk::Gone(first))
    }

    /// Reads on up to record `until`, `bytes_max` bytes or one record more.
    pub(in crate::websocket) fn read(&mut self, until: u64, bytes_max: usize) -> io::Result<Chunk> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        let mut opened = false;
        while self.cursor < until && bytes < bytes_max {
            if self.open.as_ref().is_none_or(|(_, end)| *end == Some(self.cursor)) {
                opened = self.open_segment()?;
                if !opened {
                    return match records.is_empty() {
                        true => self.rewind(until),
                        false => Ok(Chunk::Records(records)),
                    };
                }
            }
            let Some((scanner, _)) = &mut self.open else { break };
            match scanner.next()? {
                Some(payload) => {
                    bytes += payload.len();
                    records.push(payload.to_vec());
                    self.cursor += 1;
                    opened = false;
                }
                // It has grown, or was followed by another, since it was opened.
                None if !opened => self.open = None,
                None => {
                    let what = format!("record {} of the log is damaged", self.cursor);
                    return Err(io::Error::other(what));
                }
            }
        }
        Ok(Chunk::Records(records))
    }

    /// Opens the segment with the record at the cursor, and goes there; false if it is gone.
    fn open_segment(&mut self) -> io::Result<bool> {
        self.open = None;
        let (segment, end) = {
            let segments = self.segments.lock();
            let at = segments.partition_point(|segment| segment.first <= self.cursor);
            let Some(segment) = at.checked_sub(1).and_then(|at| segments.get(at)) else {
                return Ok(false);
            };
            (segment.clone(), segments.get(at).map(|after| after.first))
        };
        let Some(mut scanner) = open(&segment)? else { return Ok(false) };
        for _ in segment.first..self.cursor {
            if scanner.next()?.is_none() {
                let what = format!("{} is damaged", segment.path.display());
                return Err(io::Error::other(what));
            }
        }
        self.open = Some((scanner, end));
        Ok(true)
    }
}

/// `None` if it is gone.
fn open(segment: &Segment) -> io::Result<Option<Scanner>> {
    match Scanner::open(&segment.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened,
    }
}
