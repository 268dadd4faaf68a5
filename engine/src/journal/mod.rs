//! The durable log of what entered, with its epochs.
//!
#![doc = include_str!("../../docs/journal.md")]
//! # In the code
//!
//! `LaneReader` reads a lane, `Journal` writes those of a worker by a thread of its own. Both know
//! nothing of records and of sources: what is in a payload or a position is the engine's.
//!
//! Invariant: what was reported durable is read again, byte for byte and in order, or the reader refuses
//! and names the file and the offset.

use std::path::Path;

use crate::Error;
use crate::config::Durability;

mod commit;
mod extent;
mod frame;
mod reader;
mod segment;
mod tail;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use extent::{Extent, has_beginning};
pub(crate) use frame::{FrameHead, Kind};
pub(crate) use reader::{Access, LaneEnd, LaneReader};
pub(crate) use segment::{LaneName, LanePosition, lanes, sync_folder};
pub(crate) use writer::Journal;

/// A refusal, with what can be done.
fn refused(path: &Path, at: u64, what: &str, remedy: &str) -> Error {
    Error::Data(format!(
        "the journal segment {} cannot be used, offset {at}: {what}; {remedy}",
        path.display()
    ))
}
