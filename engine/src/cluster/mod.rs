//! Processes: how they find each other, prove themselves, watch each other, and end.

mod door;
mod drain;
mod failure;
mod forming;
mod handshake;
mod link;
mod mesh;
mod panics;
mod run;
mod seats;
mod secret;
mod wire;

pub use drain::Drain;
pub use failure::{Cause, Failures};
pub use link::Links;
pub use mesh::{ClusterConfig, Limits, Mesh};
pub use panics::{catch, install_panic_hook};
pub use secret::Secret;
