//! Sources and sinks for Anabranch, chosen by URL: any program can be pointed at any of them.
//!
//! Invariant: a peer, a file or a network can slow a program down or be reported, never make it
//! block, grow or fall over. What a connector knows ends at frames; records are the decoder's. Only
//! market data leaves here decoded: [`coinbase::trades`] and [`market::parse`] are sources of trades.
//!
//! ```
//! use anabranch::prelude::*;
//! use anabranch::{sink, source};
//! use anabranch_connectors::{inlet, outlet};
//!
//! fn shout(app: &App) -> Result<()> {
//!     let (from, to) = (inlet("ws-listen://:9000/quiet")?, outlet("ws-listen://:9001/loud")?);
//!     app.source("quiet", source::frames(from, || source::Text))
//!         .map(|text: String| text.to_uppercase())
//!         .sink("loud", sink::frames(to, || sink::Text));
//!     Ok(())
//! }
//! # let mut driver = anabranch::TestDriver::new(shout).start()?;
//! # driver.send_bytes("quiet", "hello")?;
//! # driver.run()?;
//! # assert_eq!(driver.lines("loud"), ["HELLO"]);
//! # Ok::<(), anabranch::Error>(())
//! ```
//!
//! # URLs
//!
#![doc = include_str!("../docs/urls.md")]

mod backoff;
pub mod coinbase;
mod connect;
mod durable;
mod file;
mod http;
pub mod json;
mod listen;
pub mod market;
mod null;
mod options;
mod queue;
mod runtime;
mod secret;
pub mod stream;
mod tcp;
mod websocket;

pub use crate::backoff::{ATTEMPTS_PER_SECOND_MAX, Backoff};
pub use crate::connect::{inlet, outlet};
pub use crate::http::{Posted, posted};
pub use crate::runtime::runtime;
pub use crate::websocket::{
    Connection, Dial, Feed, Interruption, Limits, Verdict, keep_connected, tls_client,
};
pub use tokio_tungstenite::tungstenite::protocol::Message;
