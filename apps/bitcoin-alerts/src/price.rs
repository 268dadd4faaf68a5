//! [`Price`] and its decoder: which messages of which feeds are prices.
//!
//! Invariant: a message becomes prices, is ignored, or is refused with the reason, by what it says
//! alone: the decoder keeps nothing from one frame to the next. Whether an old trade was seen
//! before is for the computation to decide.

use std::borrow::Cow;

use anabranch::source::{Decoded, Decoder, Frame};
use anabranch::{Error, Result, Time};
use anabranch_connectors::coinbase::Product;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::field::{self, Field};
use crate::row;

/// The price of one trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// What was traded.
    pub product: Product,
    /// For how much; without trailing zeros, at most 18 significant digits.
    #[serde(with = "anabranch::decimal")]
    pub price: Decimal,
    /// When, by the exchange's clock, if the message says so.
    pub time: Option<Time>,
    /// The trade's number, higher for each trade of the product, if the feed numbers its trades.
    pub trade_id: Option<u64>,
    /// False if the trade may have been sent before (a `last_match`, a snapshot): it counts only
    /// if its number is higher than any seen of its product.
    pub fresh: bool,
}

/// Reads prices from the messages of exchanges.
///
/// | message | what becomes of it |
/// |---|---|
/// | Coinbase Exchange `match` | a price |
/// | `last_match` | a price if its trade is new |
/// | any other `type` with a `trade_id`, or a known one with a `product_id` or `sequence` (`ticker`, `heartbeat`, `l2update`, ...) | ignored |
/// | any other with `type` and `price` (Wallaroo's) | a price of `product_id`, else of `BTC-USD` |
/// | any other with `type`, without `price` | ignored |
/// | Advanced Trade `market_trades` | its trades by rising trade id; those of a `snapshot` if they are new |
/// | any other `channel` | ignored |
/// | Binance `trade`, alone or as `data` of a combined stream | a price |
/// | any other Binance event | ignored |
/// | a row of comma-separated values with `symbol`, `price`, and where there is one `timestamp` | a price |
/// | any other JSON object | ignored |
///
/// Refused are frames that are no JSON objects and messages of the kinds taken in which a field
/// that is read is missing or wrong.
#[derive(Debug, Default)]
pub struct PriceDecoder {
    found: Vec<Price>,
}

impl Decoder<Price> for PriceDecoder {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Decoded<'_, Price>) -> Result<()> {
        let (time, result) = self.find(&frame);
        if let Some(time) = time {
            out.time(time);
        }
        result?;
        self.found.drain(..).for_each(|price| out.emit(price));
        Ok(())
    }
}

impl PriceDecoder {
    /// The prices of `frame` in their order, with the time that the frame names; the time is given
    /// even of a frame that is ignored or refused, where it can be read.
    ///
    /// # Errors
    /// [`Error::Decode`] with the reason.
    pub fn prices(&mut self, frame: &Frame<'_>) -> (Option<Time>, Result<&[Price]>) {
        let (time, result) = self.find(frame);
        (time, result.map(|()| self.found.as_slice()))
    }

    fn find(&mut self, frame: &Frame<'_>) -> (Option<Time>, Result<()>) {
        self.found.clear();
        let mut time = None;
        let result = match frame.columns {
            Some(columns) => self.find_in_row(frame.bytes, columns, &mut time),
            None => self.find_in_message(frame.bytes, &mut time),
        };
        (time, result)
    }

    fn find_in_message(&mut self, bytes: &[u8], time: &mut Option<Time>) -> Result<()> {
        let message: Message<'_> = field::object(field::text_of(bytes)?)?;
        if let Some(channel) = message.channel {
            *time = readable(message.timestamp, field::time);
            return self.find_in_channel(channel, &message);
        }
        if let (Some(_), Some(data)) = (message.stream, message.data) {
            // Some streams carry arrays; none of them are trades.
            if !data.get().starts_with('{') {
                return Ok(());
            }
            let event: Message<'_> = field::object(data.get())?;
            return self.find_in_event(&event, time);
        }
        if message.event.is_some() {
            return self.find_in_event(&message, time);
        }
        *time = readable(message.time, field::time);
        match message.kind {
            Some(kind) => self.find_in_exchange_message(kind, &message),
            None => Ok(()),
        }
    }

    /// A message of the Exchange feed, or Wallaroo's.
    fn find_in_exchange_message(&mut self, kind: &RawValue, message: &Message<'_>) -> Result<()> {
        let kind = field::text("type", kind)?;
        let of_exchange = message.product_id.is_some() || message.sequence.is_some();
        let (trade_id, fresh) = match &*kind {
            "match" | "last_match" if of_exchange || message.trade_id.is_some() => {
                let trade_id = required("trade_id", message.trade_id)?;
                required("product_id", message.product_id)?;
                (Some(field::integer("trade_id", trade_id)?), kind == "match")
            }
            _ if message.trade_id.is_some() => return Ok(()),
            known if of_exchange && KINDS_WITHOUT_TRADES.contains(&known) => return Ok(()),
            _ if message.price.is_none() => return Ok(()),
            _ => (None, true),
        };
        self.found.push(Price {
            product: message.product_id.map_or(Ok(Product::BTC_USD), product("product_id"))?,
            price: field::decimal("price", required("price", message.price)?)?,
            time: message.time.map(|time| field::time("time", time)).transpose()?,
            trade_id,
            fresh,
        });
        Ok(())
    }

    /// A message of the Advanced Trade feed.
    fn find_in_channel(&mut self, channel: &RawValue, message: &Message<'_>) -> Result<()> {
        if field::text("channel", channel)? != "market_trades" {
            return Ok(());
        }
        message.timestamp.map(|time| field::time("timestamp", time)).transpose()?;
        for event in field::array("events", required("events", message.events)?)? {
            let event: Message<'_> = field::object(event.get())?;
            let kind = field::text("type", required("type", event.kind)?)?;
            let fresh = match &*kind {
                "update" => true,
                "snapshot" => false,
                _ => continue,
            };
            for trade in field::array("trades", required("trades", event.trades)?)? {
                self.found.push(Price::of_trade(trade, fresh)?);
            }
        }
        // Newest first, as they are sent, would let an older trade follow a newer one.
        self.found.sort_by_key(|price| price.trade_id);
        Ok(())
    }

    /// An event of a Binance stream.
    fn find_in_event(&mut self, event: &Message<'_>, time: &mut Option<Time>) -> Result<()> {
        let at = event.trade_time.or(event.event_time);
        *time = readable(at, field::millis);
        let Some(kind) = event.event else { return Ok(()) };
        if field::text("e", kind)? != "trade" {
            return Ok(());
        }
        self.found.push(Price {
            product: product("s")(required("s", event.symbol)?)?,
            price: field::decimal("p", required("p", event.event_price)?)?,
            time: at.map(|time| field::millis("T", time)).transpose()?,
            trade_id: event.event_trade_id.map(|id| field::integer("t", id)).transpose()?,
            fresh: true,
        });
        Ok(())
    }

    fn find_in_row(
        &mut self,
        bytes: &[u8],
        columns: &[String],
        time: &mut Option<Time>,
    ) -> Result<()> {
        let row = Row::read(field::utf_8(bytes)?, columns)?;
        *time = row.time.as_deref().and_then(field::rfc_3339);
        if let (Some(text), None) = (&row.time, &*time) {
            return Err(Error::Decode(format!("`{text}` is not an RFC 3339 time")));
        }
        let symbol = row.symbol.ok_or_else(|| Error::Decode("no column `symbol`".into()))?;
        let price = row.price.ok_or_else(|| Error::Decode("no column `price`".into()))?;
        self.found.push(Price {
            product: symbol.parse()?,
            price: anabranch::decimal::parse(&price)?,
            time: *time,
            trade_id: None,
            fresh: true,
        });
        Ok(())
    }
}

impl Price {
    /// When it was paid: by the exchange's clock, else when it was received (its ingest time).
    #[inline]
    pub fn event_time(&self, ingest: Time) -> Time {
        self.time.unwrap_or(ingest)
    }

    /// A trade of `market_trades`.
    fn of_trade(trade: &RawValue, fresh: bool) -> Result<Self> {
        let trade: Message<'_> = field::object(trade.get())?;
        Ok(Self {
            product: product("product_id")(required("product_id", trade.product_id)?)?,
            price: field::decimal("price", required("price", trade.price)?)?,
            time: trade.time.map(|time| field::time("time", time)).transpose()?,
            trade_id: Some(field::integer("trade_id", required("trade_id", trade.trade_id)?)?),
            fresh,
        })
    }
}

/// The messages of the Exchange feed that are no trades, whatever else they say.
const KINDS_WITHOUT_TRADES: [&str; 16] = [
    "activate",
    "auction",
    "change",
    "done",
    "error",
    "heartbeat",
    "l2update",
    "level2",
    "open",
    "received",
    "rfq_match",
    "snapshot",
    "status",
    "subscriptions",
    "ticker",
    "ticker_batch",
];

/// All fields that are read of any object of any feed, so that one pass over the text is enough
/// to see which feed it is of.
#[derive(Deserialize)]
struct Message<'a> {
    // Coinbase, and Wallaroo.
    #[serde(borrow, rename = "type")]
    kind: Field<'a>,
    #[serde(borrow)]
    product_id: Field<'a>,
    #[serde(borrow)]
    price: Field<'a>,
    #[serde(borrow)]
    time: Field<'a>,
    #[serde(borrow)]
    trade_id: Field<'a>,
    #[serde(borrow)]
    sequence: Field<'a>,
    #[serde(borrow)]
    channel: Field<'a>,
    #[serde(borrow)]
    timestamp: Field<'a>,
    #[serde(borrow)]
    events: Field<'a>,
    #[serde(borrow)]
    trades: Field<'a>,
    // Binance.
    #[serde(borrow)]
    stream: Field<'a>,
    #[serde(borrow)]
    data: Field<'a>,
    #[serde(borrow, rename = "e")]
    event: Field<'a>,
    #[serde(borrow, rename = "E")]
    event_time: Field<'a>,
    #[serde(borrow, rename = "s")]
    symbol: Field<'a>,
    #[serde(borrow, rename = "t")]
    event_trade_id: Field<'a>,
    #[serde(borrow, rename = "p")]
    event_price: Field<'a>,
    #[serde(borrow, rename = "T")]
    trade_time: Field<'a>,
}

/// The fields of a row that are read.
#[derive(Default)]
struct Row<'a> {
    symbol: Option<Cow<'a, str>>,
    price: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
}

impl<'a> Row<'a> {
    fn read(text: &'a str, columns: &[String]) -> Result<Self> {
        let mut row = Self::default();
        let mut names = columns.iter();
        for value in row::fields(text) {
            let value = value?;
            let name = names.next().map(|name| name.trim()).ok_or_else(|| {
                Error::Decode(format!("it has more fields than the {} columns", columns.len()))
            })?;
            let place = match name {
                "symbol" | "product_id" | "product" => &mut row.symbol,
                "price" => &mut row.price,
                "timestamp" | "time" if value.is_empty() => continue,
                "timestamp" | "time" => &mut row.time,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(Error::Decode(format!("two columns say what `{name}` says")));
            }
        }
        match names.len() {
            0 => Ok(row),
            missing => Err(Error::Decode(format!(
                "it has {missing} fewer fields than the {} columns",
                columns.len()
            ))),
        }
    }
}

fn required<'a>(name: &str, field: Field<'a>) -> Result<&'a RawValue> {
    field.ok_or_else(|| Error::Decode(format!("`{name}` is missing")))
}

fn product(name: &'static str) -> impl Fn(&RawValue) -> Result<Product> {
    move |value| field::text(name, value)?.parse()
}

/// A time that is used if it can be read, of messages that may be of no interest.
fn readable(value: Field<'_>, read: fn(&str, &RawValue) -> Result<Time>) -> Option<Time> {
    read("time", value?).ok()
}
