//! Whole programs as a user starts them: one file per promise.
//!
//! Invariant: what runs here is the executable itself, a process of its own with real files, sockets
//! and signals; what it writes is compared with a loop that shares no code with the engine. Not the
//! place for what a test in memory can show: that is with the crate that promises it.

// Clippy's leave for tests ends at the functions that tests call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bills;
mod ledger;
mod lives;
mod producer;
mod programs;
mod run;
mod service;
mod sockets;
mod subscriber;
mod support;
mod windows;

mod back_pressure;
mod cluster_port;
mod comparing;
mod configuration;
mod crashes;
mod datapipe;
mod dead_letters;
mod disk_errors;
mod disk_full;
mod formats;
mod http;
mod idle;
mod layouts;
mod letters;
mod live;
mod lookups;
mod machines;
mod oracle;
mod readme;
mod reprocess;
mod reprocess_refused;
mod rescale;
mod shutdown;
mod sinks;
#[cfg(feature = "failpoints")]
mod steps;
mod stopped;
