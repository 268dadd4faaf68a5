//! Sources and sinks for Anabranch, chosen by URL.

mod backoff;
pub mod coinbase;
mod connect;
mod file;
mod listen;
pub mod market;
mod null;
mod options;
mod queue;
mod runtime;
mod tcp;
mod websocket;

pub use crate::backoff::{ATTEMPTS_PER_SECOND_MAX, Backoff};
pub use crate::connect::{inlet, outlet};
pub use crate::runtime::runtime;
pub use crate::websocket::{
    Connection, Dial, Feed, Interruption, Limits, Verdict, keep_connected, tls_client,
};
pub use tokio_tungstenite::tungstenite::protocol::Message;
