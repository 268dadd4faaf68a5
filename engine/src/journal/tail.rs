//! Where a segment stops making sense: a torn tail, or damage.
//!
//! Invariant: nothing that was known to be on the disk is ever cut. A frame says how much of its segment
//! was when it was written; if that reaches past the bad bytes they were damaged later, and the
//! segment is refused.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::frame::{self, HEAD, Place};

/// What is wrong with the bytes after the last good frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// They were being written when the machine or the program went down.
    Torn,
    /// They were whole once: this is the offset of a frame that shows it.
    Damaged { by: u64 },
}

/// How much is looked at at a time.
const WINDOW: usize = 64 << 10;
/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// Judges the bytes of a segment (known by the checksum of its header) from `bad`, where a frame should
/// begin, to its end.
pub(super) fn judge(file: &File, segment: u32, bad: u64, end: u64) -> io::Result<Tail> {
    let mut window = vec![0; WINDOW];
    let mut body = Vec::new();
    let mut from = bad + 1;
    let mut valid = None;
    while from + HEAD as u64 <= end {
        let length = usize::try_from(end - from).unwrap_or(WINDOW).min(WINDOW);
        let bytes = window.get_mut(..length).unwrap_or_default();
        file.read_exact_at(bytes, from)?;
        for (at, candidate) in (from..).zip(bytes.windows(HEAD)) {
            let Some(candidate) = candidate.first_chunk::<HEAD>() else { continue };
            let Some(read) = frame::read(candidate, Place { segment, at }) else { continue };
            if read.synced > bad {
                return Ok(Tail::Damaged { by: at });
            }
            let starts = at + HEAD as u64;
            if valid.is_none() && starts + read.body() as u64 <= end {
                body.resize(read.body(), 0);
                file.read_exact_at(&mut body, starts)?;
                valid = read.fits(&body).then_some(at);
            }
        }
        from += (length - HEAD + 1) as u64;
    }
    match valid {
        // Blocks of one write may reach the disk in any order; one that did not is zeros.
        Some(by) if !hole(file, bad, by)? => Ok(Tail::Damaged { by }),
        _ => Ok(Tail::Torn),
    }
}

/// Whether a sector in there was never written.
fn hole(file: &File, from: u64, to: u64) -> io::Result<bool> {
    let mut sector = [0; SECTOR as usize];
    let mut at = from.next_multiple_of(SECTOR);
    while at + SECTOR <= to {
        file.read_exact_at(&mut sector, at)?;
        if sector.iter().all(|byte| *byte == 0) {
            return Ok(true);
        }
        at += SECTOR;
    }
    Ok(false)
}
