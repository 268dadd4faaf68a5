//! Places where a test can make a checkpoint fail or the program end.
//!
//! Invariant: does nothing unless a test asks for it.

use std::io;

/// A place that is passed. Every place has a name of its own.
#[allow(clippy::unnecessary_wraps, reason = "a test makes it fail")]
pub(super) fn hit(_name: &str) -> io::Result<()> {
    Ok(())
}
