//! Which updates of alerts are taken, as what, and which are refused.

use std::time::Duration;

use bitcoin_alerts::{
    ALERT_ID_LENGTH_MAX, Alert, Change, Direction, Edit, Expiry, Measure, Repeat, Unit,
    UpdateDecoder,
};
use rust_decimal::Decimal;

use crate::world::update_of;

fn add(direction: Direction, price: &str, user_id: u64) -> Change {
    Change::Add(Alert::once(direction, price.parse().unwrap(), user_id))
}

#[test]
fn what_is_left_out_has_one_meaning() {
    use Direction::{Above, Below};
    let edit = |price: Option<i64>, user_id, direction| {
        let level = price.map(|price| (Unit::Price, Decimal::from(price).into()));
        Change::Edit(Edit { level, user_id, direction, ..Edit::default() })
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
fn whatever_is_measured_has_its_level_and_its_id() {
    use Direction::{Above, Below, Crossing};
    let (minutes, hour) = (Duration::from_secs(600), Duration::from_secs(3600));
    let alert = |measure, direction, level: &str| Alert {
        measure,
        ..Alert::once(direction, level.parse().unwrap(), 7)
    };
    for (json, id, alert) in [
        (
            r#"{"of":"price","price":"6500","user_id":7,"direction":"crossing"}"#,
            "7:price:crossing:6500",
            alert(Measure::Price, Crossing, "6500"),
        ),
        (
            r#"{"of":"change","over":"600s","percent":"-5.0","user_id":7,"direction":"below","repeat":"rearm","hysteresis":1,"cooldown":"1h"}"#,
            "7:change:10m:below:-5",
            Alert {
                repeat: Repeat::Rearm { hysteresis: 1.into() },
                cooldown: hour,
                ..alert(Measure::Change(minutes), Below, "-5")
            },
        ),
        (
            r#"{"of":"zscore","over":"1h","z":3,"user_id":7,"repeat":"every","expires":"1970-01-01T00:00:01Z","labels":["a","b"]}"#,
            "7:zscore:1h:above:3",
            Alert {
                repeat: Repeat::Every,
                expires: Some(anabranch::Time::from_nanos(1_000_000_000)),
                labels: vec!["a".into(), "b".into()],
                ..alert(Measure::Score(hour), Above, "3")
            },
        ),
    ] {
        let update = update_of(json.as_bytes()).unwrap_or_else(|e| panic!("{json}: {e}"));
        assert_eq!(update.id, id);
        assert_eq!(update.change, Change::Add(alert), "{json}");
    }
    let edit = r#"{"op":"edit","id":"x","percent":"5","repeat":"once","cooldown":"0s","expires":"never","labels":[]}"#;
    let edit = update_of(edit.as_bytes()).unwrap().change;
    let expected = Edit {
        level: Some((Unit::Percent, Decimal::from(5).into())),
        repeat: Some(Repeat::Once),
        cooldown: Some(Duration::ZERO),
        expires: Some(Expiry::Never),
        labels: Some(Vec::new()),
        ..Edit::default()
    };
    assert_eq!(edit, Change::Edit(expected));
}

#[test]
fn what_does_not_go_together_is_refused_with_what_does() {
    let label = "x".repeat(65);
    let many = vec![r#""x""#; 17].join(",");
    for (fields, reason) in [
        (r#""of":"median","price":1"#, "`average`, `price`, `change` or `zscore`"),
        (r#""of":"change","percent":1"#, "`over` is missing"),
        (r#""of":"change","over":"10m","price":1"#, "name its `percent`"),
        (r#""of":"zscore","over":"10m","percent":1"#, "name its `z`"),
        (r#""of":"change","over":"10m""#, "`percent` is missing"),
        (r#""over":"10m","price":1"#, r#"add "of":"change""#),
        (r#""price":1,"z":1"#, "one level, and here are `price` and `z`"),
        (r#""of":"change","over":"10","percent":1"#, "`over`: a duration needs a unit"),
        (r#""of":"change","over":"1ms","percent":1"#, "from 1s to 168h"),
        (r#""of":"change","over":"169h","percent":1"#, "from 1s to 168h"),
        (r#""of":"change","over":"1h","percent":1000001"#, "from -1000000 to 1000000"),
        (r#""of":"zscore","over":"1h","z":"0.00001""#, "up to 4 places"),
        (r#""price":1,"repeat":"often""#, "`once`, `every` or `rearm`"),
        (r#""price":1,"hysteresis":1"#, r#"add "repeat":"rearm""#),
        (r#""price":1,"repeat":"rearm","hysteresis":-1"#, "must be 0 or more"),
        (r#""price":1,"cooldown":"1h""#, r#"add "repeat":"every""#),
        (r#""price":1,"cooldown":"1","repeat":"every""#, "`cooldown`: a duration needs a unit"),
        (r#""price":1,"expires":"soon""#, "`expires`"),
        (r#""price":1,"labels":"x""#, "`labels`"),
        (r#""price":1,"labels":[1]"#, "`labels`"),
        (r#""price":1,"labels":[""]"#, "must have 1 to 64"),
        (&format!(r#""price":1,"labels":["{label}"]"#), "65 bytes"),
        (&format!(r#""price":1,"labels":[{many}]"#), "at most 16"),
        (r#""op":"edit","of":"price","price":1"#, "remove it and add another"),
    ] {
        let json = format!(r#"{{"user_id":1,{fields}}}"#);
        let refused = update_of(json.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(reason), "{json}: {refused}");
    }
}

#[test]
fn a_refused_update_still_says_when_it_was() {
    let (time, update) =
        UpdateDecoder::update(br#"{"op":"put","time":"1970-01-01T00:00:01+00:00"}"#);
    assert_eq!(time.map(|time| time.as_nanos()), Some(1_000_000_000));
    assert!(update.is_err());
}
