//! Sources and sinks for Anabranch, chosen by URL.

pub mod coinbase;
pub mod market;
