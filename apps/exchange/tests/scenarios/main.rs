//! What a feed handler must survive: one test a scenario, against the fake exchange on loopback.
//!
//! Each test compares the trades that came with the market's own list: none missing, none twice,
//! in the order of their ids. A crash is a reader that is dropped and another that gets the
//! position that the first one had said. Limits are scaled to tens of milliseconds; nothing
//! waits for a fixed time.

// All of this is test code, also what is not marked as a test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bench;
mod bounds;
mod connecting;
mod content;
mod gaps;
mod recordings;
mod restarting;
mod staleness;
