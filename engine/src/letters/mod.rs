//! Dead letters that survive: the log of them, what people ask of them, and how they are tried again.
//!
//! ```text
//! DIR/dead-letters/<n>.log        the log: letters and answers, from the entry number n on
//! DIR/dead-letters/requests       what was asked: retry, edit, ignore
//! DIR/dead-letters/admitted       of recorded input: which requests came in when
//! DIR/dead-letters/*.lock         held while one of them is written
//! ```
//!
//! Invariant: the log is written by the engine alone, as a sink; the requests by commands alone, and read
//! by the engine as a source. So a retry is input, and its answer is output.

mod commands;
mod drawing;
mod entry;
mod frames;
mod known;
mod log;
mod requests;
mod retry;
#[cfg(test)]
mod tests;
mod writer;

pub use self::commands::run;
pub(crate) use self::commands::{Asked, ask, groups, page};
pub(crate) use self::drawing::{Keeping, LETTERS, RETRIES, ToLetterSink, keep};
pub(crate) use self::entry::{Again, Answer, Outcome, Posted, posted};
pub(crate) use self::known::Group;
pub(crate) use self::requests::admit;
pub(crate) use self::retry::{Content, Retried, Retry, To};

use std::path::{Path, PathBuf};

/// How many dead letters of a data directory are to be tried again.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn waiting(data_dir: &Path) -> crate::Result<usize> {
    commands::waiting(&folder(data_dir))
}

/// The number of entries that a position of the log stands for.
pub(crate) fn number(position: &[u8]) -> u64 {
    <[u8; 8]>::try_from(position).map_or(0, u64::from_le_bytes)
}

/// Where dead letters are in a data directory.
pub(crate) fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("dead-letters")
}
