//! The promises of the application, one file each, without the engine's workers: decoders are fed
//! frames, and computations rows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
// Tests fail by panicking, in their helper functions too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod average_is_exact;
mod bad_json;
mod bad_json_corpus;
mod index_equals_a_scan;
mod layout_changes_nothing;
mod oracle_agrees;
mod prices_are_decoded;
mod updates_are_decoded;
mod wallaroo_cases;
mod world;
