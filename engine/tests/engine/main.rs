//! The engine's promises, one file each.

// Helpers are tests too: the lints' exception for tests covers only functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

mod acting;
mod arrival;
mod batches;
mod compile_fail;
mod corrections;
mod datapipe;
mod dead_letters;
mod durability;
mod engine_timers;
mod event_time;
mod expiring;
mod faults;
mod framed;
mod http;
mod https;
mod joins;
mod lookups;
mod mistakes;
mod order;
mod random;
mod retrying;
mod rows;
mod seeds;
mod shared_frames;
mod steps;
mod support;
mod tables;
mod ticks;
mod time;
mod timers;
mod undo;
mod verification;
mod view_forms;
mod views;
mod windows;
