//! [`Trade`]: one trade of one product, the one trade type of the project.
//!
//! Invariant: a trade is identified by its product and its trade id; two trades with equal content
//! and different ids are two trades.

use std::fmt;

use anabranch::Time;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::Product;

/// One trade, as it happened.
///
/// ```
/// use anabranch::Time;
/// use anabranch_connectors::coinbase::{Product, Side, Trade};
/// let trade = Trade {
///     product: Product::BTC_USD,
///     trade_id: 7,
///     price: "6500.5".parse()?,
///     size: "0.01".parse()?,
///     side: Side::Sell,
///     time: "2024-01-01T00:00:00Z".parse()?,
/// };
/// assert_eq!(trade.to_string(), "BTC-USD 7: sell 0.01 at 6500.5, 2024-01-01T00:00:00Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trade {
    /// What was traded.
    pub product: Product,
    /// Its number: one more than that of the product's trade before it. 0 where a recording has
    /// no ids.
    pub trade_id: u64,
    /// The price, in the product's second currency.
    #[serde(with = "anabranch::decimal")]
    pub price: Decimal,
    /// How much of the product's first currency.
    #[serde(with = "anabranch::decimal")]
    pub size: Decimal,
    /// The side of the maker.
    pub side: Side,
    /// When it happened, by the exchange's clock.
    pub time: Time,
}

impl fmt::Display for Trade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { product, trade_id, price, size, side, time } = self;
        write!(f, "{product} {trade_id}: {side} {size} at {price}, {time}")
    }
}

/// The side of the maker: whose order was in the book before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The maker bought.
    Buy,
    /// The maker sold.
    Sell,
}

impl Side {
    /// `buy` or `sell`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }

    /// The taker's side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
