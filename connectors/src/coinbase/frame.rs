//! Frames of the Exchange and the Advanced Trade feed, decoded.
//!
//! Invariant: whatever the bytes are, decoding gives a [`Frame`] or an error, in time linear in
//! their number; numbers never pass through a binary fraction. A frame's own fields alone decide
//! how it is read, so one decoder serves both dialects, live and recorded.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anabranch::{Error, Result, Time};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Product, Side, Trade};

/// One message of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number on its connection, from 0 (Advanced Trade only): a jump is a loss.
    pub sequence_num: Option<u64>,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// A trade that happened now.
    Match(Trade),
    /// The product's last trade before the subscribe: an old one.
    LastMatch(Trade),
    /// Trades of the Advanced Trade feed, each list by rising trade id.
    MarketTrades {
        /// The last ones before the subscribe: old.
        snapshot: Vec<Trade>,
        /// Those that happened now.
        update: Vec<Trade>,
    },
    /// Sent each second for each product.
    Heartbeat {
        /// The product.
        product: Product,
        /// The product's newest trade; 0 is no information.
        last_trade_id: u64,
    },
    /// The heartbeat of an Advanced Trade connection, which tells of no trade.
    ConnectionHeartbeat,
    /// A price, with the trade that it is of where the frame has one.
    Ticker {
        /// The product.
        product: Product,
        /// The trade's id; the trade itself may still come.
        trade_id: Option<u64>,
    },
    /// The answer to a subscribe: the products of each channel, as far as subscribed.
    Subscriptions(BTreeMap<String, Vec<String>>),
    /// The exchange refused something.
    Error {
        /// What it refused.
        message: String,
        /// Why.
        reason: String,
    },
    /// A message of another type or channel, which is to be ignored.
    Other(String),
}

/// Decodes one message.
///
/// ```
/// use anabranch_connectors::coinbase::{Body, decode_frame};
/// let frame = decode_frame(br#"{"type":"heartbeat","sequence":90,"last_trade_id":20,
///     "product_id":"BTC-USD","time":"2014-11-07T08:19:28.464459Z"}"#)?;
/// assert!(matches!(frame.body, Body::Heartbeat { last_trade_id: 20, .. }));
/// assert!(decode_frame(b"{").is_err());
/// # Ok::<(), anabranch::Error>(())
/// ```
///
/// # Errors
/// [`Error::Decode`] when the bytes are no JSON object in UTF-8, or it lacks a field of its type.
pub fn decode_frame(bytes: &[u8]) -> Result<Frame> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| Error::Decode(format!("not UTF-8 from byte {} on", e.valid_up_to())))?;
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return Err(Error::Decode("not a JSON object".into()));
    }
    let fields: Fields<'_> = serde_json::from_str(text).map_err(|e| not_json(&e))?;
    let sequence_num = fields.sequence_num.map(|raw| integer(raw, "sequence_num")).transpose()?;
    let body = match (fields.kind, fields.channel) {
        // Errors of either feed have a type.
        (Some(kind), _) => exchange(&word(kind, "type")?, &fields)?,
        (None, Some(channel)) => advanced(&word(channel, "channel")?, &fields)?,
        (None, None) => {
            return Err(Error::Decode("it has neither `type` nor `channel`".into()));
        }
    };
    Ok(Frame { sequence_num, body })
}

/// Decodes the answer to `GET /products/<id>/trades`: trades, newest first as they came.
///
/// # Errors
/// [`Error::Decode`] when it is no list of trades.
pub(crate) fn decode_page(product: Product, bytes: &[u8]) -> Result<Vec<Trade>> {
    let fields: Vec<Fields<'_>> = serde_json::from_slice(bytes).map_err(|e| not_json(&e))?;
    fields.iter().map(|fields| trade(product, fields)).collect()
}

/// The fields of all types of messages: a type decides which of them must be there.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    sequence_num: Option<&'a RawValue>,
    #[serde(borrow)]
    product_id: Option<&'a RawValue>,
    #[serde(borrow)]
    trade_id: Option<&'a RawValue>,
    #[serde(borrow)]
    last_trade_id: Option<&'a RawValue>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    size: Option<&'a RawValue>,
    #[serde(borrow)]
    side: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(borrow)]
    channels: Option<&'a RawValue>,
    #[serde(borrow)]
    events: Option<&'a RawValue>,
}

fn exchange(kind: &str, fields: &Fields<'_>) -> Result<Body> {
    let product = || -> Result<Product> {
        word(required(fields.product_id, "product_id")?, "product_id")?.parse()
    };
    Ok(match kind {
        "match" => Body::Match(trade(product()?, fields)?),
        "last_match" => Body::LastMatch(trade(product()?, fields)?),
        "heartbeat" => Body::Heartbeat {
            product: product()?,
            last_trade_id: integer(
                required(fields.last_trade_id, "last_trade_id")?,
                "last_trade_id",
            )?,
        },
        "ticker" => Body::Ticker {
            product: product()?,
            trade_id: fields.trade_id.map(|raw| integer(raw, "trade_id")).transpose()?,
        },
        "subscriptions" => Body::Subscriptions(channels(fields)?),
        "error" => {
            let words = |field: Option<&RawValue>, name| match field {
                Some(raw) => word(raw, name).map(|word| shortened(&word, 200)),
                None => Ok(String::new()),
            };
            Body::Error {
                message: words(fields.message, "message")?,
                reason: words(fields.reason, "reason")?,
            }
        }
        other => Body::Other(shortened(other, 40)),
    })
}

fn advanced(channel: &str, fields: &Fields<'_>) -> Result<Body> {
    match channel {
        "market_trades" => market_trades(fields),
        "heartbeats" => Ok(Body::ConnectionHeartbeat),
        "subscriptions" => {
            #[derive(Deserialize)]
            struct Event {
                #[serde(default)]
                subscriptions: BTreeMap<String, Vec<String>>,
            }
            let mut all = BTreeMap::new();
            for event in list::<Event>(required(fields.events, "events")?)? {
                all.extend(event.subscriptions);
            }
            Ok(Body::Subscriptions(all))
        }
        other => Ok(Body::Other(shortened(other, 40))),
    }
}

fn market_trades(fields: &Fields<'_>) -> Result<Body> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
        #[serde(borrow)]
        trades: Option<Vec<Fields<'a>>>,
    }
    let (mut snapshot, mut update) = (Vec::new(), Vec::new());
    for event in list::<Event<'_>>(required(fields.events, "events")?)? {
        let into = match &*word(required(event.kind, "events.type")?, "events.type")? {
            "snapshot" => &mut snapshot,
            "update" => &mut update,
            // Another type of event is to be ignored like another type of message.
            _ => continue,
        };
        for fields in event.trades.as_deref().unwrap_or_default() {
            let product = word(required(fields.product_id, "product_id")?, "product_id")?;
            into.push(trade(product.parse()?, fields)?);
        }
    }
    // Both were seen newest first.
    snapshot.sort_by_key(|trade: &Trade| (trade.product, trade.trade_id));
    update.sort_by_key(|trade: &Trade| (trade.product, trade.trade_id));
    Ok(Body::MarketTrades { snapshot, update })
}

fn channels(fields: &Fields<'_>) -> Result<BTreeMap<String, Vec<String>>> {
    #[derive(Deserialize)]
    struct Channel {
        name: String,
        #[serde(default)]
        product_ids: Vec<String>,
    }
    let channels = list::<Channel>(required(fields.channels, "channels")?)?;
    Ok(channels.into_iter().map(|channel| (channel.name, channel.product_ids)).collect())
}

fn trade(product: Product, fields: &Fields<'_>) -> Result<Trade> {
    let trade_id = integer(required(fields.trade_id, "trade_id")?, "trade_id")?;
    if trade_id == 0 || i64::try_from(trade_id).is_err() {
        return Err(Error::Decode(format!("`trade_id` {trade_id} is none of a trade")));
    }
    let decimal = |field, name| anabranch::decimal::parse(&word(required(field, name)?, name)?);
    let side = word(required(fields.side, "side")?, "side")?;
    Ok(Trade {
        product,
        trade_id,
        price: decimal(fields.price, "price")?,
        size: decimal(fields.size, "size")?,
        side: match &*side {
            side if side.eq_ignore_ascii_case("buy") => Side::Buy,
            side if side.eq_ignore_ascii_case("sell") => Side::Sell,
            _ => return Err(Error::Decode("`side` is neither buy nor sell".into())),
        },
        time: word(required(fields.time, "time")?, "time")?.parse::<Time>()?,
    })
}

fn required<'a>(field: Option<&'a RawValue>, name: &str) -> Result<&'a RawValue> {
    field.ok_or_else(|| Error::Decode(format!("it has no `{name}`")))
}

/// The text of a string, or of a number as it is written.
fn word<'a>(raw: &'a RawValue, name: &str) -> Result<Cow<'a, str>> {
    let text = raw.get();
    if let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        return if inner.contains('\\') {
            serde_json::from_str::<String>(text).map(Cow::Owned).map_err(|e| not_json(&e))
        } else {
            Ok(Cow::Borrowed(inner))
        };
    }
    if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        Ok(Cow::Borrowed(text))
    } else {
        Err(Error::Decode(format!("`{name}` is neither text nor a number")))
    }
}

/// Ids come as numbers on one feed and as text on the other.
fn integer(raw: &RawValue, name: &str) -> Result<u64> {
    word(raw, name)?.parse().map_err(|_| {
        Error::Decode(format!("`{name}` is no number from 0 to 2^64 - 1 without a fraction"))
    })
}

fn list<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<Vec<T>> {
    serde_json::from_str(raw.get()).map_err(|e| not_json(&e))
}

fn shortened(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

fn not_json(error: &serde_json::Error) -> Error {
    // The parser's words may quote the input at length.
    Error::Decode(format!("not JSON as expected: {}", shortened(&error.to_string(), 200)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::coinbase::encode;
    use crate::market;

    #[test]
    fn a_market_is_read_as_it_was_written() {
        let market = market::parse("gen:?seed=5&count=2000&keys=30&skew=0.3").unwrap();
        for (trade, frame) in market.trades().zip(market::frames(&market)) {
            let frame = decode_frame(frame.as_bytes()).unwrap();
            assert_eq!(frame, Frame { sequence_num: None, body: Body::Match(trade) });
            let page = format!("[{}]", encode::http_trade(&trade));
            assert_eq!(decode_page(trade.product, page.as_bytes()).unwrap(), [trade]);
        }
    }

    #[test]
    fn newest_first_frames_are_sorted() {
        let market = market::parse("gen:?count=5").unwrap();
        let trades: Vec<Trade> = market.trades().collect();
        let newest_first: Vec<String> = trades.iter().rev().map(encode::market_trade).collect();
        let (old, new) = newest_first.split_at(2);
        let frame = format!(
            r#"{{"channel":"market_trades","sequence_num":"7","timestamp":"x","events":[
                {{"type":"snapshot","trades":[{}]}},{{"type":"update","trades":[{}]}},
                {{"type":"new","trades":null}}]}}"#,
            old.join(","),
            new.join(",")
        );
        let frame = decode_frame(frame.as_bytes()).unwrap();
        assert_eq!(frame.sequence_num, Some(7));
        let snapshot = trades[3..].to_vec();
        assert_eq!(frame.body, Body::MarketTrades { snapshot, update: trades[..3].to_vec() });
    }

    #[test]
    fn numbers_and_strings_are_both_read() {
        let frame = |trade_id: &str, price: &str, time: &str| {
            let json = format!(
                r#" {{"type":"match","trade_id":{trade_id},"price":{price},"size":"3.844E-5",
                "side":"BUY","product_id":"BTC-USD","time":{time},"new":[{{}}]}}"#
            );
            match decode_frame(json.as_bytes()).map(|frame| frame.body) {
                Ok(Body::Match(trade)) => Ok((trade.trade_id, trade.price.to_string())),
                Ok(other) => Err(format!("{other:?}")),
                Err(error) => Err(error.to_string()),
            }
        };
        let time = r#""2014-11-07T08:19:28Z""#;
        assert_eq!(frame("10", "400.23", time), Ok((10, "400.23".into())));
        assert_eq!(frame(r#""10""#, r#""4.0023e2""#, time), Ok((10, "400.23".into())));
        assert_eq!(frame("10", r#""7""#, r#""2014-11-07T08:19:28.464459Z""#), Ok((10, "7".into())));
        assert_eq!(frame("10", "0.123456789", time), Ok((10, "0.123456789".into())));
        for (trade_id, price, at, reason) in [
            ("null", "1", time, "no `trade_id`"),
            ("0", "1", time, "none of a trade"),
            ("-1", "1", time, "`trade_id` is no number"),
            ("1.5", "1", time, "`trade_id` is no number"),
            ("18446744073709551615", "1", time, "none of a trade"),
            ("[1]", "1", time, "`trade_id` is neither text nor a number"),
            ("1", "true", time, "`price` is neither text nor a number"),
            ("1", r#""1,5""#, time, "no usable decimal"),
            ("1", "1234567890.1234567891", time, "more than 18"),
            ("1", "1", r#""yesterday""#, "not an RFC 3339 time"),
            ("1", "1", "1400000000", "not an RFC 3339 time"),
        ] {
            let error = frame(trade_id, price, at).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn other_messages_are_known_or_ignored() {
        let body = |json: &str| decode_frame(json.as_bytes()).map(|frame| frame.body);
        assert_eq!(
            body(r#"{"type":"l2update","changes":[]}"#).unwrap(),
            Body::Other("l2update".into())
        );
        assert_eq!(body(r#"{"channel":"candles"}"#).unwrap(), Body::Other("candles".into()));
        assert_eq!(
            body(r#"{"type":"error","message":"Failed to subscribe","reason":"no \"X\""}"#)
                .unwrap(),
            Body::Error { message: "Failed to subscribe".into(), reason: "no \"X\"".into() }
        );
        assert_eq!(
            body(r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["A","B"]}]}"#)
                .unwrap(),
            Body::Subscriptions([("matches".into(), vec!["A".into(), "B".into()])].into())
        );
        assert_eq!(
            body(r#"{"channel":"subscriptions","events":[{"subscriptions":{"market_trades":["A"]}}]}"#)
                .unwrap(),
            Body::Subscriptions([("market_trades".into(), vec!["A".into()])].into())
        );
        let ticker = r#"{"type":"ticker","product_id":"A","price":"1"}"#;
        assert!(matches!(body(ticker).unwrap(), Body::Ticker { trade_id: None, .. }));
        for bad in
            ["", "null", "[]", "{}", "\"match\"", "{\"type\":7", r#"{"type":{}}"#, "{\"a\":1}"]
        {
            assert!(matches!(body(bad), Err(Error::Decode(_))), "{bad}");
        }
        assert!(decode_frame(b"{\"type\":\"match\xff\"}").is_err());
        let deep = format!("{{\"type\":\"x\",\"a\":{}", "[".repeat(1_000_000));
        assert!(decode_frame(deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_frame(&bytes);
        }

        #[test]
        fn no_broken_frame_panics(at in 0..300_usize, byte in any::<u8>(), seed in 0..50_u64) {
            let market = market::parse(&format!("gen:?seed={seed}&count=1")).unwrap();
            let mut frame = market::frames(&market).next().unwrap().into_bytes();
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
            let _ = decode_frame(&frame);
            frame.truncate(at);
            let _ = decode_frame(&frame);
        }
    }
}
