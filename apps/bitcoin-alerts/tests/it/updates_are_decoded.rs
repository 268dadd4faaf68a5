//! Which updates of alerts are taken, as what, and which are refused.

use bitcoin_alerts::{ALERT_ID_LENGTH_MAX, Alert, Change, Direction, UpdateDecoder};
use rust_decimal::Decimal;

use crate::world::update_of;

fn add(direction: Direction, price: &str, user_id: u64) -> Change {
    Change::Add(Alert { direction, price: price.parse().unwrap(), user_id })
}

#[test]
fn what_is_left_out_has_one_meaning() {
    use Direction::{Above, Below};
    let edit = |price: Option<i64>, user_id, direction| Change::Edit {
        price: price.map(Decimal::from),
        user_id,
        direction,
    };
    for (json, product, id, change) in [
        (r#"{"price":"6500.00","user_id":7}"#, "BTC-USD", "7:above:6500", add(Above, "6500", 7)),
        (r#"{"user_id":"7","price":65e2}"#, "BTC-USD", "7:above:6500", add(Above, "6500", 7)),
        (
            r#"{"op":"add","id":"x","product":"ETH-USD","price":0.00500,"user_id":0,"direction":"below","time":"2024-01-01T00:00:00Z","more":[{}]}"#,
            "ETH-USD",
            "x",
            add(Below, "0.005", 0),
        ),
        (
            r#"{"op":null,"id":null,"product":null,"price":"1","user_id":18446744073709551615,"direction":null,"time":null}"#,
            "BTC-USD",
            "18446744073709551615:above:1",
            add(Above, "1", u64::MAX),
        ),
        (r#"{"op":"remove","id":"x"}"#, "BTC-USD", "x", Change::Remove),
        (
            r#"{"op":"remove","user_id":7,"price":"1.10","direction":"below"}"#,
            "BTC-USD",
            "7:below:1.1",
            Change::Remove,
        ),
        (r#"{"op":"edit","id":"x"}"#, "BTC-USD", "x", edit(None, None, None)),
        (
            r#"{"op":"edit","id":"x","price":"5","direction":"above"}"#,
            "BTC-USD",
            "x",
            edit(Some(5), None, Some(Above)),
        ),
        (
            r#"{"op":"edit","user_id":7,"price":"5"}"#,
            "BTC-USD",
            "7:above:5",
            edit(Some(5), Some(7), None),
        ),
        (r#"{"\u006fp":"remov\u0065","id":"\u00fc\n"}"#, "BTC-USD", "ü\n", Change::Remove),
    ] {
        let update = update_of(json.as_bytes()).unwrap_or_else(|e| panic!("{json}: {e}"));
        assert_eq!((update.product.as_str(), update.id.as_str()), (product, id), "{json}");
        assert_eq!(update.change, change, "{json}");
    }
}

#[test]
fn what_is_wrong_is_refused_with_the_field_that_is() {
    let long = "x".repeat(ALERT_ID_LENGTH_MAX + 1);
    for (json, reason) in [
        ("{}".to_string(), "`user_id` is missing"),
        (r#"{"user_id":7}"#.into(), "`price` is missing"),
        (r#"{"price":"1"}"#.into(), "`user_id` is missing"),
        (r#"{"id":"x","price":"1"}"#.into(), "`user_id` is missing"),
        (r#"{"id":"x","user_id":1}"#.into(), "`price` is missing"),
        (r#"{"op":"remove"}"#.into(), "`user_id` is missing"),
        (r#"{"op":"edit","price":"1"}"#.into(), "`user_id` is missing"),
        (r#"{"op":"put","price":"1","user_id":1}"#.into(), "`op`"),
        (r#"{"op":1,"price":"1","user_id":1}"#.into(), "`op`"),
        (r#"{"direction":"up","price":"1","user_id":1}"#.into(), "`direction`"),
        (r#"{"product":"BTC USD","price":"1","user_id":1}"#.into(), "`BTC USD` names no product"),
        (r#"{"product":"","price":"1","user_id":1}"#.into(), "names no product"),
        (r#"{"price":"x","user_id":1}"#.into(), "`price`"),
        (r#"{"price":[1],"user_id":1}"#.into(), "`price`"),
        (r#"{"price":true,"user_id":1}"#.into(), "`price`"),
        (r#"{"price":"1234567890.123456789","user_id":1}"#.into(), "18 significant digits"),
        (r#"{"price":1e999999999999,"user_id":1}"#.into(), "`price`"),
        (r#"{"price":"1","user_id":-1}"#.into(), "`user_id`"),
        (r#"{"price":"1","user_id":1.0}"#.into(), "`user_id`"),
        (r#"{"price":"1","user_id":18446744073709551616}"#.into(), "`user_id`"),
        (r#"{"price":"1","user_id":"seven"}"#.into(), "`user_id`"),
        (r#"{"id":"","price":"1","user_id":1}"#.into(), "`id`"),
        (r#"{"id":5,"price":"1","user_id":1}"#.into(), "`id`"),
        (format!(r#"{{"id":"{long}","price":"1","user_id":1}}"#), "`id` has 129 bytes"),
        (r#"{"price":"1","user_id":1,"time":"today"}"#.into(), "`time`"),
        (r#"{"price":"1","user_id":1,"price":"1"}"#.into(), "duplicate field `price`"),
        (r#"["add","x"]"#.into(), "not a JSON object"),
    ] {
        let refused = update_of(json.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(reason), "{json}: {refused}");
    }
    assert!(update_of(format!(r#"{{"op":"remove","id":"{}"}}"#, &long[1..]).as_bytes()).is_ok());
}

#[test]
fn a_refused_update_still_says_when_it_was() {
    let (time, update) =
        UpdateDecoder::update(br#"{"op":"put","time":"1970-01-01T00:00:01+00:00"}"#);
    assert_eq!(time.map(|time| time.as_nanos()), Some(1_000_000_000));
    assert!(update.is_err());
}
