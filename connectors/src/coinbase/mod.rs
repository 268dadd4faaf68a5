//! Coinbase: its trades, its messages, and a feed handler that survives what exchanges do.
//!
//! Invariant: a trade is (product, trade id); each leaves once, in the order of its product's ids.
//! Bytes become frames in `frame`, frames become an ordered stream in `sequencer` (a state machine
//! without clock or network), `session` judges a connection's health, and `feed` moves bytes
//! between the network, these and the worker.

mod address;
mod connection;
pub mod encode;
mod feed;
mod frame;
mod history;
mod lane;
mod limits;
mod meters;
mod output;
mod pace;
mod product;
mod sequencer;
mod session;
mod source;
mod trade;

pub use address::{Address, Dialect};
pub use frame::{Body, Frame, decode_frame};
pub use limits::Limits;
pub use product::{PRODUCT_LENGTH_MAX, Product};
pub use sequencer::{Counts, Fetch, Missing, Page, Sequencer};
pub use source::{Trades, trades};
pub use trade::{Side, Trade};
