//! Processes: how they find each other, prove themselves, watch each other, and end.

mod handshake;
mod secret;
mod wire;

pub use secret::Secret;
