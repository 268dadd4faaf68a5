//! The exchange's messages, also the odd ones.
//!
//! Invariant: however odd a message of a trade is, it names the same trade: the same id, and
//! numbers that are equal.

use std::collections::BTreeMap;

use anabranch::{Time, clock};
use anabranch_connectors::coinbase::{Product, Side, Trade, encode};
use rust_decimal::Decimal;

/// All messages of a product are counted by one sequence, of which trades are a few.
pub(crate) fn sequence(trade_id: u64) -> u64 {
    1_000_000 + trade_id * 7
}

/// `text` with one more field at its end.
pub(crate) fn with_field(text: &str, field: &str) -> String {
    format!("{},{field}}}", text.strip_suffix('}').unwrap_or(text))
}

/// A match whose numbers are written in another way each time.
pub(crate) fn odd_numbers(trade: &Trade) -> String {
    let Trade { product, trade_id, price, size, side, time } = trade;
    let scientific = |n: &Decimal| format!("{}e-{}", n.mantissa(), n.scale());
    let (trade_id, price, size) = match trade_id % 4 {
        0 => (format!("\"{trade_id}\""), price.to_string(), scientific(size)),
        1 => (trade_id.to_string(), format!("\"{}\"", scientific(price)), size.to_string()),
        2 => (format!("\"{trade_id}\""), format!("\"{price:.9}\""), format!("\"{size:.9}\"")),
        _ => (trade_id.to_string(), scientific(price).to_uppercase(), format!("\"+{size}\"")),
    };
    format!(
        "{{\"type\":\"match\",\"trade_id\":{trade_id},\"side\":\"{side}\",\"size\":{size},\
         \"price\":{price},\"product_id\":\"{product}\",\"time\":\"{time}\"}}"
    )
}

/// A trade whose time is wrong in another way each time.
pub(crate) fn odd_time(trade: &Trade) -> Trade {
    const SECOND: i64 = 1_000_000_000;
    let nanos = trade.time.as_nanos();
    let odd = match trade.trade_id % 4 {
        0 => nanos - nanos % SECOND,
        1 => nanos.saturating_add(3_600 * SECOND),
        2 => nanos.saturating_sub(86_400 * SECOND),
        _ => nanos,
    };
    Trade { time: Time::from_nanos(odd), ..*trade }
}

/// What a ticker says of the day.
#[derive(Default)]
pub(crate) struct Tickers {
    days: BTreeMap<Product, Day>,
}

struct Day {
    open: Decimal,
    low: Decimal,
    high: Decimal,
    volume: Decimal,
}

impl Tickers {
    /// The ticker that follows a trade.
    pub(crate) fn ticker(&mut self, trade: &Trade) -> String {
        let Trade { product, trade_id, price, size, side, time } = trade;
        let day = self.days.entry(*product).or_insert(Day {
            open: *price,
            low: *price,
            high: *price,
            volume: Decimal::ZERO,
        });
        day.low = day.low.min(*price);
        day.high = day.high.max(*price);
        day.volume = day.volume.saturating_add(*size);
        let Day { open, low, high, volume } = day;
        let spread = Decimal::new(1, price.scale().max(2));
        let (bid, ask) = match side {
            Side::Buy => (*price, price.saturating_add(spread)),
            Side::Sell => (price.saturating_sub(spread), *price),
        };
        let (sequence, taker) = (sequence(*trade_id), side.other());
        format!(
            "{{\"type\":\"ticker\",\"sequence\":{sequence},\"product_id\":\"{product}\",\
             \"price\":\"{price}\",\"open_24h\":\"{open}\",\"volume_24h\":\"{volume}\",\
             \"low_24h\":\"{low}\",\"high_24h\":\"{high}\",\"volume_30d\":\"{volume}\",\
             \"best_bid\":\"{bid}\",\"best_ask\":\"{ask}\",\"side\":\"{taker}\",\
             \"time\":\"{time}\",\"trade_id\":{trade_id},\"last_size\":\"{size}\"}}"
        )
    }
}

/// A message of the Advanced Trade feed.
pub(crate) fn envelope(channel: &str, sequence_num: u64, events: &str) -> String {
    let now = clock::now();
    format!(
        "{{\"channel\":\"{channel}\",\"client_id\":\"\",\"timestamp\":\"{now}\",\
         \"sequence_num\":{sequence_num},\"events\":[{events}]}}"
    )
}

/// An event of `market_trades`; `trades` oldest first, which are written newest first.
pub(crate) fn market_trades(kind: &str, trades: &[Trade]) -> String {
    let trades: Vec<String> = trades.iter().rev().map(encode::market_trade).collect();
    format!("{{\"type\":\"{kind}\",\"trades\":[{}]}}", trades.join(","))
}

/// A level-2 snapshot of at least `bytes` bytes, as large ones are.
pub(crate) fn large_snapshot(product: Product, bytes: usize) -> String {
    let mut text = format!("{{\"type\":\"snapshot\",\"product_id\":\"{product}\",\"asks\":[");
    text.reserve(bytes + 64);
    while text.len() < bytes {
        text.push_str("[\"14.8024\",\"12.77\"],");
    }
    text.push_str("[\"14.8024\",\"12.77\"]],\"bids\":[]}");
    text
}

#[cfg(test)]
mod tests {
    use anabranch_connectors::coinbase::{Body, decode_frame};
    use anabranch_connectors::market;

    use super::*;

    #[test]
    fn odd_messages_name_the_same_trade() {
        let market = market::parse("gen:?count=1000&keys=16&skew=0").unwrap();
        for trade in market.trades() {
            let frame = decode_frame(odd_numbers(&trade).as_bytes()).unwrap();
            assert_eq!(frame.body, Body::Match(trade));
            assert_eq!(Trade { time: trade.time, ..odd_time(&trade) }, trade);
            let matched = encode::matched("match", &trade, 1);
            let frame = decode_frame(with_field(&matched, "\"a\":1").as_bytes()).unwrap();
            assert_eq!(frame.body, Body::Match(trade));
            let ticker = decode_frame(Tickers::default().ticker(&trade).as_bytes()).unwrap();
            assert!(
                matches!(ticker.body, Body::Ticker { trade_id, .. } if trade_id == Some(trade.trade_id))
            );
        }
    }

    #[test]
    fn advanced_messages_are_newest_first() {
        let trades: Vec<Trade> = market::parse("gen:?count=3").unwrap().trades().collect();
        let text = envelope("market_trades", 4, &market_trades("update", &trades));
        assert!(text.find("\"trade_id\":\"3\"") < text.find("\"trade_id\":\"1\""));
        let frame = decode_frame(text.as_bytes()).unwrap();
        assert_eq!(frame.sequence_num, Some(4));
        assert_eq!(frame.body, Body::MarketTrades { snapshot: vec![], update: trades });
    }
}
