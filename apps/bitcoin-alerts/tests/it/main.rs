//! The promises of the application, one file each: of its decoders and computations by themselves,
//! through `TestDriver`, and of the program as a process.

// Tests fail by panicking, in their helper functions too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alerts_are_tried;
mod alerts_equal_a_scan;
mod average_is_exact;
mod bad_json;
mod bad_json_corpus;
mod bad_json_through_the_program;
mod index_equals_a_scan;
mod layout_changes_nothing;
mod oracle_agrees;
mod prices_are_decoded;
mod process;
mod program_shows_alerts;
mod program_teaches;
mod recorded_cases;
mod updates_are_decoded;
mod views_agree;
mod wallaroo_cases;
mod world;
