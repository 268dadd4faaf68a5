//! The engine's promises, one file each.

mod faults;
mod order;
mod support;
mod time;
