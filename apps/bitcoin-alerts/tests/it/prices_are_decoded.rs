//! Which messages of which feeds are prices, which are ignored and which are refused.

use anabranch::source::Frame;
use bitcoin_alerts::{Price, PriceDecoder};

use crate::world::prices_of;

/// `product price @time #trade_id`, `old` if it is, for each price.
fn show(prices: &[Price]) -> String {
    let show = |price: &Price| {
        let time = price.time.map(|time| format!(" @{time}")).unwrap_or_default();
        let id = price.trade_id.map(|id| format!(" #{id}")).unwrap_or_default();
        let old = if price.fresh { "" } else { " old" };
        format!("{} {}{time}{id}{old}", price.product, price.price)
    };
    prices.iter().map(show).collect::<Vec<_>>().join(", ")
}

#[test]
fn each_dialect_is_read() {
    for (message, prices) in [
        (
            r#"{"type":"match","trade_id":280232,"maker_order_id":"2a0d","side":"sell","size":"985","price":"0.00001305","product_id":"SKL-BTC","sequence":177100030,"time":"2021-04-17T16:43:37.089723Z"}"#,
            "SKL-BTC 0.00001305 @2021-04-17T16:43:37.089723Z #280232",
        ),
        (
            r#"{"type":"last_match","trade_id":"5","price":14.77500,"product_id":"BAND-GBP"}"#,
            "BAND-GBP 14.775 #5 old",
        ),
        (
            r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#,
            "BTCUSDT 61837.63 @2024-08-08T23:54:15.342Z #3735683259",
        ),
        (r#"{"e":"trade","E":1,"s":"BTCUSDT","p":1}"#, "BTCUSDT 1 @1970-01-01T00:00:00.001Z"),
        (
            r#"{"channel":"market_trades","timestamp":"2024-01-01T00:00:09.123456789Z","sequence_num":0,"events":[{"type":"update","trades":[{"product_id":"BTC-USD","trade_id":"3","price":"3","time":"2024-01-01T00:00:03Z","side":"BUY"},{"product_id":"BTC-USD","trade_id":"2","price":"2"}]},{"type":"snapshot","trades":[{"product_id":"ETH-USD","trade_id":1,"price":"1"}]},{"type":"news"}]}"#,
            "ETH-USD 1 #1 old, BTC-USD 2 #2, BTC-USD 3 @2024-01-01T00:00:03Z #3",
        ),
        (r#"{"type":"ticker","price":"6500.00"}"#, "BTC-USD 6500"),
        (r#"{"price":"6500.00","type":"match","trade_id":null}"#, "BTC-USD 6500"),
        (r#"{"type":"trade","price":"180","product_id":"ETH-USD"}"#, "ETH-USD 180"),
    ] {
        assert_eq!(show(&prices_of(message.as_bytes()).unwrap()), prices, "{message}");
    }
}

#[test]
fn other_messages_are_ignored() {
    for message in [
        r#"{"type":"ticker","sequence":333938798,"product_id":"BAND-GBP","price":"14.7775","trade_id":881613}"#,
        r#"{"type":"ticker","sequence":1,"product_id":"BTC-USD","price":"14.7775"}"#,
        r#"{"type":"ticker","trade_id":1,"price":"14.7775"}"#,
        r#"{"type":"heartbeat","sequence":90,"last_trade_id":0,"product_id":"BTC-USD","time":"soon"}"#,
        r#"{"type":"l2update","product_id":"BTC-USD","changes":[["buy","1","2"]]}"#,
        r#"{"type":"snapshot","product_id":"BTC-USD","bids":[["1","2"]],"asks":[]}"#,
        r#"{"type":"subscriptions","channels":[{"name":"level2","product_ids":["BAND-GBP"]}]}"#,
        r#"{"type":"error","message":"Failed to subscribe","reason":"x"}"#,
        r#"{"type":"open","price":"1","sequence":1,"product_id":"BTC-USD"}"#,
        r#"{"type":"a kind of tomorrow"}"#,
        r#"{"channel":"heartbeats","timestamp":"2024-01-01T00:00:00Z","events":[{"heartbeat_counter":1}]}"#,
        r#"{"channel":"l2_data","events":[]}"#,
        r#"{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"1","A":"1"}}"#,
        r#"{"stream":"btcusdt@depth","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","b":[],"a":[]}}"#,
        r#"{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker"}]}"#,
        r#"{"e":"aggTrade","s":"BTCUSDT","p":"1"}"#,
        r#"{"result":null,"id":1}"#,
        r#"{"price":"6500.00"}"#,
        "{}",
    ] {
        assert_eq!(prices_of(message.as_bytes()).unwrap(), [], "{message}");
    }
}

#[test]
fn what_a_trade_lacks_or_has_wrong_is_named() {
    for (message, reason) in [
        (r#"{"type":"match","product_id":"BTC-USD","price":"1"}"#, "`trade_id` is missing"),
        (r#"{"type":"match","trade_id":1,"price":"1"}"#, "`product_id` is missing"),
        (r#"{"type":"match","trade_id":1,"product_id":"BTC-USD"}"#, "`price` is missing"),
        (r#"{"type":"match","trade_id":1.5,"product_id":"BTC-USD","price":"1"}"#, "`trade_id`"),
        (r#"{"type":"match","trade_id":1,"product_id":7,"price":"1"}"#, "`product_id`"),
        (r#"{"type":"match","trade_id":1,"product_id":"","price":"1"}"#, "names no product"),
        (r#"{"type":"match","trade_id":1,"product_id":"X","price":"one"}"#, "`price`"),
        (r#"{"type":"match","trade_id":1,"product_id":"X","price":"1","time":0}"#, "`time`"),
        (r#"{"type":"x","price":"12345678901.123456789"}"#, "18 significant digits"),
        (r#"{"type":"x","price":1e-29}"#, "too small"),
        (r#"{"type":["x"],"price":"1"}"#, "`type`"),
        (r#"{"type":"x","price":"1","price":"2"}"#, "duplicate field `price`"),
        (r#"{"channel":5}"#, "`channel`"),
        (r#"{"channel":"market_trades"}"#, "`events` is missing"),
        (r#"{"channel":"market_trades","events":[["update",[]]]}"#, "not a JSON object"),
        (r#"{"channel":"market_trades","events":[{"type":"update"}]}"#, "`trades` is missing"),
        (
            r#"{"channel":"market_trades","events":[{"type":"update","trades":[{"product_id":"X","price":"1"}]}]}"#,
            "`trade_id` is missing",
        ),
        (r#"{"e":"trade","s":"BTCUSDT"}"#, "`p` is missing"),
        (r#"{"stream":"x","data":{"e":"trade","p":"1"}}"#, "`s` is missing"),
        (r#"{"e":"trade","s":"BTCUSDT","p":"1","T":9223372036855}"#, "`T`"),
    ] {
        let refused = prices_of(message.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(reason), "{message}: {refused}");
    }
}

/// The prices of a row of the columns given, and the time of the frame.
fn row(columns: &str, row: &str) -> Result<String, String> {
    let columns: Vec<String> = columns.split(',').map(Into::into).collect();
    let frame = Frame { columns: Some(&columns), ..Frame::new(0, row.as_bytes()) };
    let mut decoder = PriceDecoder::default();
    let (time, prices) = decoder.prices(&frame);
    let time = time.map(|time| format!("{time}: ")).unwrap_or_default();
    prices.map(|prices| time + &show(prices)).map_err(|e| e.to_string())
}

#[test]
fn rows_are_read_by_their_columns() {
    let columns = "symbol,side,price,amount,timestamp";
    assert_eq!(
        row(columns, r#""BTC-USD","buy",25741.03,3.844E-5,"2023-09-05T16:00:02.722748Z""#).unwrap(),
        "2023-09-05T16:00:02.722748Z: BTC-USD 25741.03 @2023-09-05T16:00:02.722748Z"
    );
    assert_eq!(row(columns, "BTC-USD,,1,,").unwrap(), "BTC-USD 1");
    assert_eq!(row("price, product ", "2.5e1,X").unwrap(), "X 25");
    for (columns, text, reason) in [
        (columns, "BTC-USD,buy,1,1", "fewer fields"),
        (columns, "BTC-USD,buy,1,1,,", "more fields"),
        (columns, "BTC-USD,buy,,1,", "decimal"),
        (columns, ",buy,1,1,", "names no product"),
        (columns, "BTC-USD,buy,1,1,now", "RFC 3339"),
        (columns, "\"BTC-USD,buy,1,1,", "not closed"),
        ("price,time", "1,", "no column `symbol`"),
        ("symbol,time", "X,", "no column `price`"),
        ("symbol,price,product", "X,1,X", "two columns"),
    ] {
        let refused = row(columns, text).unwrap_err();
        assert!(refused.contains(reason), "{text}: {refused}");
    }
}

#[test]
fn a_frame_says_when_it_was_even_if_it_is_ignored_or_refused() {
    for (message, nanos) in [
        (r#"{"type":"heartbeat","time":"1970-01-01T00:00:01Z"}"#, Some(1_000_000_000)),
        (r#"{"type":"x","price":"?","time":"1970-01-01T00:00:01.5Z"}"#, Some(1_500_000_000)),
        (r#"{"channel":"heartbeats","timestamp":"1970-01-01T01:00:00.000000001+01:00"}"#, Some(1)),
        (r#"{"e":"trade","E":9,"T":7}"#, Some(7_000_000)),
        (r#"{"stream":"x","data":{"E":9}}"#, Some(9_000_000)),
        (r#"{"type":"heartbeat","time":"today"}"#, None),
        (r#"{"type":"heartbeat"}"#, None),
        ("nonsense", None),
    ] {
        let frame = Frame::new(0, message.as_bytes());
        let mut decoder = PriceDecoder::default();
        assert_eq!(decoder.prices(&frame).0.map(|time| time.as_nanos()), nanos, "{message}");
    }
}

#[test]
fn times_are_rfc_3339_and_nothing_else() {
    let time_of = |time: &str| {
        let message = format!(r#"{{"type":"x","price":"1","time":"{time}"}}"#);
        prices_of(message.as_bytes()).ok().and_then(|prices| prices[0].time)
    };
    for (text, shown) in [
        ("2016-12-31t23:59:60.50-01:30", "2017-01-01T01:29:59.5Z"),
        ("2024-02-29T00:00:00z", "2024-02-29T00:00:00Z"),
        ("1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999Z"),
        ("2024-01-01T00:00:00-00:00", "2024-01-01T00:00:00Z"),
    ] {
        assert_eq!(time_of(text).map(|time| time.to_string()).as_deref(), Some(shown), "{text}");
    }
    for text in [
        "",
        "2023-09-05",
        "2023-02-29T00:00:00Z",
        "2023-09-05 16:00:01Z",
        "2023-09-05T16:00:01",
        "2023-09-05T24:00:00Z",
        "2023-09-05T16:00:61Z",
        "2023-09-05T16:00:01.Z",
        "2023-09-05T16:00:01.0000000001Z",
        "2023-09-05T16:00:01+01",
        "2023-09-05T16:00:01+24:00",
        "2023-09-05T16:00:01Z[UTC]",
        "+002023-09-05T16:00:01Z",
        "1600-01-01T00:00:00Z",
        "2300-01-01T00:00:00Z",
        "２023-09-05T16:00:01Z",
    ] {
        assert_eq!(time_of(text), None, "{text}");
    }
}
