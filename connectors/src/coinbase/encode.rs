//! Messages in the exchange's own format, for the generator and the fake exchange.
//!
//! Invariant: field names, their order and their types are those of recorded frames. Not used by
//! the feed handler, which only reads.

use std::fmt::Write as _;

use super::Trade;

/// A trade as a message of the Exchange feed: `kind` is `match` or `last_match`.
///
/// ```
/// use anabranch_connectors::coinbase::encode;
/// use anabranch_connectors::market;
/// let trade = market::parse("gen:?seed=7")?.trades().next().expect("it never ends");
/// assert!(encode::matched("match", &trade, 12).contains(r#""trade_id":1,"#));
/// # Ok::<(), anabranch::Error>(())
/// ```
pub fn matched(kind: &str, trade: &Trade, sequence: u64) -> String {
    let Trade { product, trade_id, size, side, time, .. } = trade;
    let price = price_text(trade);
    let (maker, taker) = (order_id(trade, 1), order_id(trade, 2));
    format!(
        "{{\"type\":\"{kind}\",\"trade_id\":{trade_id},\"maker_order_id\":\"{maker}\",\
         \"taker_order_id\":\"{taker}\",\"side\":\"{side}\",\"size\":\"{size}\",\
         \"price\":\"{price}\",\"product_id\":\"{product}\",\"sequence\":{sequence},\
         \"time\":\"{time}\"}}"
    )
}

/// A trade as an element of `market_trades` of the Advanced Trade feed.
pub fn market_trade(trade: &Trade) -> String {
    let Trade { product, trade_id, price, size, side, time } = trade;
    let side = side.as_str().to_ascii_uppercase();
    format!(
        "{{\"product_id\":\"{product}\",\"trade_id\":\"{trade_id}\",\"price\":\"{price}\",\
         \"size\":\"{size}\",\"time\":\"{time}\",\"side\":\"{side}\"}}"
    )
}

/// A trade as an element of the answer to `GET /products/<id>/trades`.
pub fn http_trade(trade: &Trade) -> String {
    let Trade { trade_id, size, side, time, .. } = trade;
    let price = price_text(trade);
    format!(
        "{{\"trade_id\":{trade_id},\"side\":\"{side}\",\"size\":\"{size}\",\
         \"price\":\"{price}\",\"time\":\"{time}\"}}"
    )
}

/// A `heartbeat` of the Exchange feed.
pub fn heartbeat(
    product: super::Product,
    last_trade_id: u64,
    sequence: u64,
    time: anabranch::Time,
) -> String {
    format!(
        "{{\"type\":\"heartbeat\",\"sequence\":{sequence},\"last_trade_id\":{last_trade_id},\
         \"product_id\":\"{product}\",\"time\":\"{time}\"}}"
    )
}

/// Prices are sent with two decimals at least.
fn price_text(trade: &Trade) -> String {
    format!("{:.*}", trade.price.scale().max(2) as usize, trade.price)
}

/// An order id that looks like one: a UUID of version 4 made from the trade's identity.
fn order_id(trade: &Trade, salt: u64) -> String {
    use crate::market::mix;
    let text = trade.product.as_str().bytes().fold(salt, |h, b| mix(h ^ u64::from(b)));
    let (high, low) = (mix(text ^ trade.trade_id), mix(text.wrapping_add(trade.trade_id)));
    let mut id = String::with_capacity(36);
    let _ = write!(
        id,
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        0x8000 | low >> 48 & 0x3fff,
        low & 0xffff_ffff_ffff
    );
    id
}
