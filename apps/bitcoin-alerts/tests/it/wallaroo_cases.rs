//! The cases of Wallaroo's Bitcoin alerts, by their numbers.

use anabranch_connectors::coinbase::Product;

use crate::world::{World, prices_of};

fn after_four_alerts() -> World {
    let mut world = World::new();
    for (price, user) in [("6600", 1), ("6700", 2), ("6700", 3), ("7000", 4)] {
        world.alert(price, user);
    }
    world
}

#[test]
fn wb_1_alerts_at_or_under_the_average_fire_in_one_message() {
    let mut world = after_four_alerts();
    assert_eq!(world.price("6500.00"), "");
    assert_eq!(world.price("7000.00"), "6600:[1] 6700:[2, 3] average 6750");
    assert_eq!(world.price("7100.00"), "");
    assert_eq!(world.price("6000.00"), "");
    assert_eq!(world.open(Product::BTC_USD), 1);
}

#[test]
fn wb_1_byte_for_byte() {
    let mut world = after_four_alerts();
    world.price("6500.00");
    let sent = world.price_json(
        r#"{"type":"match","trade_id":"9","product_id":"BTC-USD","price":7000.00,"time":"2024-01-01T00:00:00.500000Z"}"#,
    );
    assert_eq!(
        sent,
        [concat!(
            r#"{"id":"prices-0-1","product":"BTC-USD","time":"2024-01-01T00:00:00.5Z","#,
            r#""price":"7000","average":"6750","fired":[{"direction":"above","price":"6600","#,
            r#""alerts":[{"id":"1:above:6600","user_id":1}]},{"direction":"above","price":"6700","#,
            r#""alerts":[{"id":"2:above:6700","user_id":2},{"id":"3:above:6700","user_id":3}]}]}"#
        )]
    );
}

#[test]
fn wb_1_averages() {
    let mut world = World::new();
    for (price, average) in
        [("6500", "6500"), ("7000", "6750"), ("7100", "6866.66666667"), ("6000", "6650")]
    {
        world.alert("0", 9);
        assert_eq!(world.price(price), format!("0:[9] average {average}"));
    }
}

#[test]
fn wb_2_a_late_alert_fires_at_the_next_price_and_not_before() {
    let mut world = after_four_alerts();
    for price in ["6500", "7000", "7100", "6000"] {
        world.price(price);
    }
    world.alert("6600", 5);
    assert_eq!(world.open(Product::BTC_USD), 2);
    assert_eq!(world.price("6650"), "6600:[5] average 6650");
}

#[test]
fn wb_3_the_same_user_and_price_is_one_alert() {
    let mut world = World::new();
    world.alert("6000", 1);
    world.alert("6000", 1);
    assert_eq!(world.price("6500"), "6000:[1] average 6500");
    assert_eq!(world.price("6500"), "", "once");
}

#[test]
fn wb_4_an_average_exactly_at_the_threshold_fires() {
    for direction in ["above", "below"] {
        let mut world = World::new();
        world.update_json(&format!(
            r#"{{"price":"6500.00","user_id":1,"direction":"{direction}"}}"#
        ));
        assert_eq!(world.price("6500"), "6500:[1] average 6500", "{direction}");
    }
    // The exact quotient decides: 20000/3 is below the threshold that its 8 places equal.
    let mut world = World::new();
    world.alert("6666.66666667", 1);
    world.price("6000");
    world.price("7000");
    assert_eq!(world.price("7000"), "");
    world.alert("6666.66666666", 2);
    world.price("6666.66666666");
    assert_eq!(world.open(Product::BTC_USD), 1);
}

#[test]
fn wb_5_equal_decimals_are_one_threshold() {
    let mut world = World::new();
    world.alert("6500", 1);
    world.alert("6500.00", 2);
    world.alert("6.5e3", 1);
    assert_eq!(world.price("6500"), "6500:[1, 2] average 6500");
}

#[test]
fn wb_6_prices_without_alerts_say_nothing() {
    let mut world = World::new();
    for price in ["6500", "7000", "7100", "6000"] {
        assert_eq!(world.price(price), "");
    }
}

#[test]
fn wb_7_a_message_without_price_or_type_is_dropped() {
    for message in [r#"{"type":"ticker"}"#, r#"{"price":"6500"}"#, "{}"] {
        assert_eq!(prices_of(message.as_bytes()).unwrap(), [], "{message}");
    }
}

#[test]
fn wb_10_a_removed_alert_does_not_fire() {
    let mut world = World::new();
    world.alert("6000", 1);
    world.alert("6000", 2);
    world.alert("6000", 3);
    world.update_json(r#"{"op":"remove","id":"1:above:6000"}"#);
    world.update_json(r#"{"op":"remove","price":6000.0,"user_id":3}"#);
    world.update_json(r#"{"op":"remove","id":"2:above:6000","product":"ETH-USD"}"#);
    assert_eq!(world.price("6500"), "6000:[2] average 6500");
}

#[test]
fn wb_11_the_price_pipeline_sees_what_the_update_pipeline_saved() {
    let mut world = World::new();
    world.price("6500");
    world.alert("6500", 1);
    assert_eq!(world.price("6500"), "6500:[1] average 6500");
}

#[test]
fn edits_keep_what_they_do_not_name() {
    let mut world = World::new();
    world.update_json(r#"{"id":"a","price":"9000","user_id":1}"#);
    world.update_json(r#"{"op":"edit","id":"a","price":"8000"}"#);
    world.update_json(r#"{"op":"edit","id":"a","price":"1","product":"ETH-USD"}"#);
    world.update_json(r#"{"op":"edit","id":"b","price":"1"}"#);
    assert_eq!(world.price("7000"), "");
    world.update_json(r#"{"op":"edit","id":"a","direction":"below","user_id":7}"#);
    assert_eq!(world.price("7000"), "8000:[7] average 7000");
    // `add` of a known id replaces the alert as a whole.
    world.update_json(r#"{"id":"a","price":"5000","user_id":1,"direction":"below"}"#);
    world.update_json(r#"{"id":"a","price":"6000","user_id":2}"#);
    assert_eq!(world.price("7000"), "6000:[2] average 7000");
}

#[test]
fn an_old_trade_counts_only_if_it_is_new() {
    let mut world = World::new();
    let message = |kind: &str, id: u64, price: u64| {
        format!(r#"{{"type":"{kind}","trade_id":{id},"product_id":"BTC-USD","price":"{price}"}}"#)
    };
    for (kind, id, price, average) in [
        ("last_match", 5, 10, Some("10")),
        ("last_match", 5, 10, None),
        ("match", 7, 20, Some("15")),
        ("last_match", 7, 99, None),
        ("last_match", 6, 99, None),
        ("match", 6, 30, Some("20")),
        ("last_match", 8, 40, Some("25")),
    ] {
        world.alert("0", 1);
        let sent = world.price_json(&message(kind, id, price)).concat();
        match average {
            Some(average) => assert!(sent.contains(&format!(r#""average":"{average}""#)), "{sent}"),
            None => assert_eq!(sent, ""),
        }
    }
}
