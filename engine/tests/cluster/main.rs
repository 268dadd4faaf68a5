//! Processes on real sockets and as real processes: forming, strangers, failure, drain, end.
//!
//! The tests that need processes start this binary again as [`program`]. Waits are polls with a
//! bound; nothing here depends on how long something takes.

// Helpers are tests too: the lints' exception for tests covers only functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod forming;
mod processes;
mod program;
mod restarts;
mod strangers;
mod supervised;
mod support;
