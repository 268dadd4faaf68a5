//! The engine's promises, one file each.

mod arrival;
mod compile_fail;
mod faults;
mod mistakes;
mod order;
mod random;
mod rows;
mod seeds;
mod steps;
mod support;
mod time;
