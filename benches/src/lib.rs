//! The workloads of the benchmarks, and the hand-written programs that Anabranch is compared with.

pub mod alerts;
pub mod asking;
pub mod durability;
pub mod failure;
pub mod forms;
pub mod latency;
pub mod report;
pub mod views;
pub mod windows;

/// The allocator that the programs use, so that all forms are measured with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
