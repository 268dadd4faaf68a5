//! Coinbase: its trades.

pub mod encode;
mod product;
mod trade;

pub use product::{PRODUCT_LENGTH_MAX, Product};
pub use trade::{Side, Trade};
