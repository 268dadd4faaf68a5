//! Recordings of real exchanges, read as trades.
//!
//! Invariant: trades come in the order of their lines; lines that are no trades are passed over,
//! lines that should be and cannot be read are an error with their number. Bounded by
//! [`TRADES_MAX`].

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anabranch::{Error, Result, Time};
use anabranch_connectors::coinbase::{Body, Product, Side, Trade, decode_frame};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use crate::Recording;

/// The most trades of a recording that is served.
pub const TRADES_MAX: usize = 5_000_000;
/// The longest line, in bytes.
const LINE_MAX: u64 = 16 << 20;

/// Reads a recording, `.gz` or not: lines `<unix seconds>: <JSON>` or bare JSON of the Coinbase
/// feeds, lines `<unix nanoseconds> <JSON>` of Binance's combined streams, or comma-separated
/// `symbol,side,price,amount,timestamp` (whose trades are numbered from 1).
///
/// # Errors
/// When the file cannot be read, or a line of it; [`Error::Usage`] when it holds no trade.
pub fn read_recording(path: &Path) -> Result<Recording> {
    let shown = path.display();
    let file = File::open(path).map_err(|e| Error::io(format!("opening {shown}"), e))?;
    let file: Box<dyn Read> = match path.extension() {
        Some(extension) if extension == "gz" => Box::new(MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    let mut reader = BufReader::new(file);
    let mut recording = Recording::default();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        if read.map_err(|e| Error::io(format!("reading {shown}"), e))? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        read_line(text.trim_end(), &mut recording)
            .map_err(|e| Error::Decode(format!("{shown}, line {number}: {e}")))?;
        if recording.trades.len() + recording.history.len() > TRADES_MAX {
            return Err(Error::Usage(format!(
                "{shown} has more than {TRADES_MAX} trades: serve a part of it"
            )));
        }
    }
    if recording.trades.is_empty() {
        return Err(Error::Usage(format!("{shown} holds no trade of a known form")));
    }
    Ok(recording)
}

fn read_line(line: &str, recording: &mut Recording) -> Result<()> {
    let Some(at) = line.find('{') else {
        return read_row(line, recording);
    };
    let (stamp, json) = line.split_at(at);
    let stamped = stamp.trim_end().trim_end_matches(':');
    if !stamped.is_empty() && !stamped.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        // A note of the recorder's, such as what it sent.
        return Ok(());
    }
    if json.starts_with("{\"stream\"") {
        return read_binance(json, recording);
    }
    if !stamped.is_empty() && !stamp.trim_end().ends_with(':') {
        // Among Binance's frames there are answers to requests, which belong to no stream.
        return Ok(());
    }
    match decode_frame(json.as_bytes())?.body {
        Body::Match(trade) => recording.trades.push(trade),
        Body::LastMatch(trade) => recording.history.push(trade),
        Body::MarketTrades { snapshot, update } => {
            recording.history.extend(snapshot);
            recording.trades.extend(update);
        }
        _ => {}
    }
    Ok(())
}

fn read_binance(json: &str, recording: &mut Recording) -> Result<()> {
    #[derive(Deserialize)]
    struct Stream {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        #[serde(rename = "e")]
        event: Option<String>,
        #[serde(rename = "s")]
        symbol: Option<String>,
        #[serde(rename = "t")]
        trade_id: Option<u64>,
        #[serde(rename = "p")]
        price: Option<String>,
        #[serde(rename = "q")]
        size: Option<String>,
        #[serde(rename = "T")]
        time_ms: Option<i64>,
        #[serde(rename = "m")]
        buyer_is_maker: Option<bool>,
    }
    let stream: Stream =
        serde_json::from_str(json).map_err(|e| Error::Decode(format!("not JSON: {e}")))?;
    let data = stream.data;
    if data.event.as_deref() != Some("trade") {
        return Ok(());
    }
    let lacks = |name: &str| Error::Decode(format!("a trade without `{name}`"));
    recording.trades.push(Trade {
        product: data.symbol.ok_or_else(|| lacks("s"))?.parse()?,
        trade_id: data.trade_id.ok_or_else(|| lacks("t"))?,
        price: anabranch::decimal::parse(&data.price.ok_or_else(|| lacks("p"))?)?,
        size: anabranch::decimal::parse(&data.size.ok_or_else(|| lacks("q"))?)?,
        side: if data.buyer_is_maker.ok_or_else(|| lacks("m"))? { Side::Buy } else { Side::Sell },
        time: Time::from_millis(data.time_ms.ok_or_else(|| lacks("T"))?),
    });
    Ok(())
}

fn read_row(line: &str, recording: &mut Recording) -> Result<()> {
    let cells: Vec<&str> = line.split(',').map(|cell| cell.trim_matches('"')).collect();
    let [product, side, price, size, time] = cells[..] else { return Ok(()) };
    if (product, side) == ("symbol", "side") {
        return Ok(());
    }
    let product: Product = product.parse()?;
    let before = recording.trades.iter().rev().find(|trade| trade.product == product);
    recording.trades.push(Trade {
        product,
        trade_id: before.map_or(1, |trade| trade.trade_id + 1),
        price: anabranch::decimal::parse(price)?,
        size: anabranch::decimal::parse(size)?,
        side: match side {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            _ => return Err(Error::Decode(format!("`{side}` is neither buy nor sell"))),
        },
        time: time.parse()?,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_and_notes_are_passed_over() {
        let mut recording = Recording::default();
        for line in [
            "wss://x <-> 1618677816.8434298",
            r#"wss://x <- 1618677817.02: {"type":"subscribe"}"#,
            r#"1618677817.06: {"type":"subscriptions","channels":[]}"#,
            r#"1618677817.07: {"type":"last_match","trade_id":6,"side":"sell","size":"1","price":"2","product_id":"A-B","time":"2021-04-17T16:43:30Z"}"#,
            r#"{"type":"match","trade_id":7,"side":"sell","size":"1","price":"2","product_id":"A-B","time":"2021-04-17T16:43:30Z"}"#,
            r#"1723161254087891268 {"stream":"x@bookTicker","data":{"u":5,"s":"BTCUSDT"}}"#,
            r#"1723161254087891268 {"lastUpdateId":50093239206,"bids":[]}"#,
            r#"1723161254087896568 {"stream":"x@trade","data":{"e":"trade","s":"BTCUSDT","t":8,"p":"61837.63000000","q":"0.02","T":1723161255342,"m":true}}"#,
            r#""symbol","side","price","amount","timestamp""#,
            r#""BTC-USD","buy",25741.03,3.844E-5,"2023-09-05T16:00:02.722748Z""#,
            r#""BTC-USD","sell",25741.02,1,"2023-09-05T16:00:03Z""#,
            "",
        ] {
            read_line(line, &mut recording).unwrap();
        }
        let shown = |trades: &[Trade]| trades.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(&recording.history), ["A-B 6: sell 1 at 2, 2021-04-17T16:43:30Z"]);
        assert_eq!(
            shown(&recording.trades),
            [
                "A-B 7: sell 1 at 2, 2021-04-17T16:43:30Z",
                "BTCUSDT 8: buy 0.02 at 61837.63, 2024-08-08T23:54:15.342Z",
                "BTC-USD 1: buy 0.00003844 at 25741.03, 2023-09-05T16:00:02.722748Z",
                "BTC-USD 2: sell 1 at 25741.02, 2023-09-05T16:00:03Z",
            ]
        );
        for bad in [r#"{"type":"match"}"#, "{", r#""A","hold",1,1,"2023-09-05T16:00:03Z""#] {
            assert!(read_line(bad, &mut recording).is_err(), "{bad}");
        }
    }
}
