//! From a URL to the application's sources and sinks.
//!
//! Invariant: whatever brings trades, equal trades become equal prices. Looking at a URL touches
//! nothing outside.

use anabranch::Result;
use anabranch::sink::{self, Json, Sink};
use anabranch::source::{self, Source};
use anabranch::{Upsert, ViewData};
use anabranch_connectors::coinbase::{self, Trade};
use anabranch_connectors::{inlet, market, outlet};

use crate::{AlertUpdate, Notification, Price, PriceDecoder, UpdateDecoder};

/// A source of prices: what [`inlet`] takes, with the messages of exchanges that [`PriceDecoder`]
/// knows; `coinbase:` for the exchange's own feed, without gaps; `gen:` for a generated market.
///
/// ```
/// use anabranch::source::{Nature, Source};
/// use bitcoin_alerts::prices_from;
/// assert_eq!(prices_from("coinbase:?products=BTC-USD")?.nature(), Nature::Live);
/// assert_eq!(prices_from("gen:?count=1000")?.nature(), Nature::Recorded);
/// assert_eq!(prices_from("file:prices.jsonl")?.nature(), Nature::Recorded);
/// # Ok::<(), anabranch::Error>(())
/// ```
///
/// # Errors
/// [`anabranch::Error::Usage`] when the URL is not understood.
pub fn prices_from(url: &str) -> Result<Box<dyn Source<Item = Price>>> {
    let scheme = url.split(':').next().unwrap_or_default();
    if scheme == "coinbase" || scheme.starts_with("coinbase+") {
        return Ok(Box::new(source::map(coinbase::trades(url)?, Price::from)));
    }
    if scheme == "gen" {
        return Ok(Box::new(source::map(market::parse(url)?, Price::from)));
    }
    Ok(Box::new(source::frames(inlet(url)?, PriceDecoder::default)))
}

/// A source of updates as JSON: what [`inlet`] takes.
///
/// # Errors
/// [`anabranch::Error::Usage`] when the URL is not understood.
pub fn updates_from(url: &str) -> Result<Box<dyn Source<Item = AlertUpdate>>> {
    Ok(Box::new(source::frames(inlet(url)?, UpdateDecoder::default)))
}

/// A sink of notifications as JSON: what [`outlet`] takes.
///
/// # Errors
/// [`anabranch::Error::Usage`] when the URL is not understood.
pub fn notifications_to(url: &str) -> Result<Box<dyn Sink<Item = Notification>>> {
    Ok(Box::new(sink::frames(outlet(url)?, || Json)))
}

/// A sink of what changes in a view as JSON: what [`outlet`] takes.
///
/// # Errors
/// [`anabranch::Error::Usage`] when the URL is not understood.
pub(crate) fn upserts_to<K: ViewData, V: ViewData>(
    url: &str,
) -> Result<impl Sink<Item = Upsert<K, V>>> {
    Ok(sink::frames(outlet(url)?, || Json))
}

impl From<Trade> for Price {
    /// The price of a trade that was not sent before, as its `match` message would give it.
    fn from(trade: Trade) -> Self {
        let Trade { product, trade_id, price, time, .. } = trade;
        let price = price.normalize();
        Self { product, price, time: Some(time), trade_id: Some(trade_id), fresh: true }
    }
}
